//! Orders in flight: from the moment one passes until its target is proven up, or has had its time to settle.
//!
//! Only those are weighed again whose target answered, that reported, or whose time is over; all of them only when
//! something changed for all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use pitcrew_model::{
    Action, Authority, Order, OrderId, Outcome, OutcomeKind, Proves, ServiceName, TargetId,
    Timestamp, Verdict,
};

use crate::{
    Interlock,
    books::Entry,
    guards::{Guard, holds},
};

/// Orders expire within a minute; so many are not given in one.
const OPERATIONS_KEPT: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) order: Order,
    landed_at: Option<Timestamp>,
}

impl Flight {
    /// An outcome that never came counts as "may have taken effect" once it is overdue.
    fn overdue_at(&self) -> Timestamp {
        self.order.overdue_at()
    }

    fn landed_at(&self, now: Timestamp) -> Option<Timestamp> {
        let overdue_at = self.overdue_at();
        self.landed_at
            .or_else(|| (now >= overdue_at).then_some(overdue_at))
    }

    /// When time alone next changes something about it.
    fn due_at(&self, now: Timestamp) -> Timestamp {
        match self.landed_at(now) {
            Some(landed_at) => landed_at + self.order.settle,
            None => self.overdue_at(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Flights {
    all: BTreeMap<OrderId, Flight>,
    on: BTreeMap<TargetId, BTreeSet<OrderId>>,
    /// How many were given for each service.
    given_for: BTreeMap<ServiceName, u32>,
    /// How many are on targets with each value of each label.
    with: BTreeMap<Arc<str>, BTreeMap<Arc<str>, u32>>,
    /// Those whose target does not belong to the service that they were given for.
    strayed: BTreeSet<OrderId>,
    /// Those on a machine: they take down what runs there.
    wide: BTreeSet<OrderId>,
    due: BTreeSet<(Timestamp, OrderId)>,
    stirred: BTreeSet<OrderId>,
}

impl Flights {
    pub(crate) fn targets(&self) -> impl Iterator<Item = &TargetId> {
        self.on.keys()
    }

    /// The oldest on this target.
    pub(crate) fn first_on(&self, target: &TargetId) -> Option<&Order> {
        let first = self.on.get(target)?.first()?;
        self.all.get(first).map(|flight| &flight.order)
    }

    /// Given for this service, and their targets belong to it; without `but`.
    pub(crate) fn at_home_in(&self, service: &ServiceName, but: OrderId) -> u32 {
        let given = self.given_for.get(service).copied().unwrap_or_default();
        let not_counted = self
            .strayed()
            .chain(self.get(but).filter(|_| !self.strayed.contains(&but)))
            .filter(|order| order.service.as_ref() == Some(service));
        given - u32::try_from(not_counted.count()).unwrap_or(u32::MAX)
    }

    pub(crate) fn get(&self, id: OrderId) -> Option<&Order> {
        self.all.get(&id).map(|flight| &flight.order)
    }

    pub(crate) fn strayed(&self) -> impl Iterator<Item = &Order> {
        let flights = self.strayed.iter().filter_map(|id| self.all.get(id));
        flights.map(|flight| &flight.order)
    }

    pub(crate) fn wide(&self) -> impl Iterator<Item = &Order> {
        let flights = self.wide.iter().filter_map(|id| self.all.get(id));
        flights.map(|flight| &flight.order)
    }

    pub(crate) fn count_with(&self, label: &str, value: &str) -> u32 {
        let values = self.with.get(label);
        let count = values.and_then(|values| values.get(value));
        count.copied().unwrap_or_default()
    }

    /// Counted up when one begins, down when it ends.
    fn count(&mut self, order: &Order, change: fn(&mut u32)) {
        if let Some(service) = &order.service {
            change(self.given_for.entry(service.clone()).or_default());
        }
        for (label, value) in order.target.labels.iter() {
            let values = self.with.entry(label.clone()).or_default();
            let count = values.entry(value.clone()).or_default();
            change(count);
            if *count == 0 {
                values.remove(value);
            }
        }
    }

    /// Those on this target are to be weighed again.
    pub(crate) fn stir(&mut self, target: &TargetId) {
        let on = self.on.get(target).into_iter().flatten();
        self.stirred.extend(on.copied());
    }

    pub(crate) fn stir_all(&mut self) {
        self.stirred.extend(self.all.keys().copied());
    }

    fn begin(&mut self, flight: Flight, now: Timestamp) {
        let id = flight.order.id;
        self.due.insert((flight.due_at(now), id));
        for target in [&flight.order.target, flight.order.acts_on()] {
            let on = self.on.entry(target.id.clone()).or_default();
            on.insert(id);
        }
        if !self.all.contains_key(&id) {
            self.count(&flight.order, |count| *count += 1);
        }
        self.all.insert(id, flight);
        self.stirred.insert(id);
    }

    fn end(&mut self, id: OrderId) -> Option<Order> {
        let Flight { order, .. } = self.all.remove(&id)?;
        self.stirred.remove(&id);
        self.strayed.remove(&id);
        self.wide.remove(&id);
        self.count(&order, |count| *count -= 1);
        for target in [&order.target, order.acts_on()] {
            if let Some(on) = self.on.get_mut(&target.id) {
                on.remove(&id);
                if on.is_empty() {
                    self.on.remove(&target.id);
                }
            }
        }
        Some(order)
    }

    /// Those that may have ended, each once.
    fn take_changed(&mut self, now: Timestamp) -> BTreeSet<OrderId> {
        let mut some = std::mem::take(&mut self.stirred);
        while let Some(&(at, id)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            some.insert(id);
        }
        some
    }
}

impl Interlock {
    pub(crate) fn begin_flight(
        &mut self,
        now: Timestamp,
        order: &Order,
        landed_at: Option<Timestamp>,
    ) {
        self.in_flight.begin(
            Flight {
                order: order.clone(),
                landed_at,
            },
            now,
        );
        let machine = &order.acts_on().id;
        if order.action.is_on_host() || self.children.contains_key(machine) {
            self.in_flight.wide.insert(order.id);
        }
        self.recount_flights(&order.target.id);
        self.recount_flights(machine);
    }

    pub(crate) fn end_flight(&mut self, id: OrderId) -> Option<Order> {
        let order = self.in_flight.end(id)?;
        self.recount_flights(&order.target.id);
        self.recount_flights(&order.acts_on().id);
        Some(order)
    }

    /// An entry knows of its flights, so that an observation need not ask; and a flight is looked at again where its
    /// target may have come into another service.
    pub(crate) fn recount_flights(&mut self, target: &TargetId) {
        let Some(on) = self.in_flight.on.get(target) else {
            if let Some(entry) = self.entries.get_mut(target) {
                entry.flights = 0;
            }
            return;
        };
        let on = on.clone();
        if let Some(entry) = self.entries.get_mut(target) {
            entry.flights = u16::try_from(on.len()).unwrap_or(u16::MAX);
        }
        let found = self.entries.get(target).and_then(|entry| entry.service());
        for id in on {
            let flight = self.in_flight.all.get(&id);
            // Whose service it was given for is the target's business, not that of the machine under it.
            let Some(flight) = flight.filter(|flight| flight.order.target.id == *target) else {
                continue;
            };
            let given_for = flight.order.service.as_ref();
            let named = given_for.and_then(|name| self.service_named.get(name));
            if found.is_some() && named == found.as_ref() {
                self.in_flight.strayed.remove(&id);
            } else {
                self.in_flight.strayed.insert(id);
            }
        }
    }

    /// After every target may have come into another service.
    pub(crate) fn recount_all_flights(&mut self) {
        let targets: Vec<TargetId> = self.in_flight.targets().cloned().collect();
        for target in targets {
            self.recount_flights(&target);
        }
    }

    pub(crate) fn note_outcome(&mut self, now: Timestamp, outcome: &Outcome) {
        self.leases.note_outcome(now, outcome);
        match outcome.kind {
            OutcomeKind::Failed => {
                if let Some(order) = self.end_flight(outcome.order)
                    && order.action.is_drain()
                {
                    self.leases.drain_failed(&order);
                }
            }
            OutcomeKind::Done | OutcomeKind::Unknown => {
                let Some(flight) = self.in_flight.all.get_mut(&outcome.order) else {
                    return;
                };
                flight.landed_at.get_or_insert(now);
                self.in_flight
                    .due
                    .insert((flight.due_at(now), outcome.order));
                self.in_flight.stirred.insert(outcome.order);
                // The next order needs proof from after this one: what was asked before it is late, and nothing that
                // was answered is from after it.
                let just_before = outcome.at.min(now) - Duration::from_millis(1);
                let order = flight.order.clone();
                // Whether it is in use says nothing of how it is.
                if order.action.is_drain() {
                    return;
                }
                let mut touched = self.brought_down(&order);
                touched.retain(|id| match *id == order.target.id {
                    true => holds(Guard::ProofAfterOrder),
                    false => holds(Guard::ProofAfterHostsOrder),
                });
                for id in touched {
                    let answers = self.entries.get_mut(&id).map(Entry::answers_mut);
                    for answer in answers.into_iter().flatten() {
                        answer.fails_in_row = 0;
                        answer.asked_at = answer.asked_at.max(just_before);
                    }
                }
            }
        }
    }

    /// An order stops counting when its target has passed every test that proves it up, asked after it landed,
    /// or when its time to settle is over.
    pub(crate) fn forget_what_landed(&mut self, now: Timestamp) {
        for id in self.in_flight.take_changed(now) {
            let Some(flight) = self.in_flight.all.get(&id) else {
                continue;
            };
            if !self.has_ended(now, flight) {
                self.in_flight.due.insert((flight.due_at(now), id));
                continue;
            }
            let target = flight.order.target.id.clone();
            let is_drain = flight.order.action.is_drain();
            self.end_flight(id);
            self.leases.worked_on(now, &target);
            if is_drain {
                continue;
            }
            let service = self.entries.get(&target).and_then(|entry| entry.service());
            let probation = service.map(|at| self.services[at].limits.probation);
            if holds(Guard::ProbationBegins) {
                self.prove(now, target, now + probation.unwrap_or_default());
            }
        }
    }

    fn has_ended(&self, now: Timestamp, flight: &Flight) -> bool {
        flight.landed_at(now).is_some_and(|landed_at| {
            now >= landed_at + flight.order.settle
                || !holds(Guard::FlightUntilSettled)
                || !flight.order.action.is_drain()
                    && self.is_up_since(&flight.order.target.id, landed_at)
        })
    }

    /// The target is on probation; what is over is thrown away whenever there is twice as much of it.
    pub(crate) fn prove(&mut self, now: Timestamp, target: TargetId, until: Timestamp) {
        self.proving.insert(target, until);
        if self.proving.len() >= self.proving_max {
            self.proving.retain(|_, until| now < *until);
            self.proving_max = self.proving.len() * 2 + 64;
        }
    }

    fn is_up_since(&self, target: &TargetId, since: Timestamp) -> bool {
        let Some(entry) = self.entries.get(target) else {
            return true;
        };
        let mut proving = self
            .tests_of(entry)
            .filter(|(_, test)| test.proves == Proves::Down)
            .peekable();
        proving.peek().is_some()
            && proving.all(|(position, test)| {
                let mut answers = entry
                    .answers()
                    .iter()
                    .filter(|answer| usize::from(answer.test) == position)
                    .peekable();
                answers.peek().is_some()
                    && answers.all(|answer| {
                        let unchanged_at = self.unchanged_at(answer);
                        let asked_at = answer.vouched(answer.asked_at, test, unchanged_at);
                        (asked_at >= since || !holds(Guard::UpAfterLanding))
                            && !answer.unanswered
                            && matches!(answer.verdict, Verdict::Pass | Verdict::Warn)
                    })
            })
    }

    pub(crate) fn take_off(&mut self, now: Timestamp, order: &Order) {
        let id = &order.target.id;
        self.leases.begin(now, order);
        self.leases.worked_on(now, id);
        self.begin_flight(now, order, None);
        if order.action.is_disruptive() {
            self.count_disruption(now, order);
        }
        if matches!(order.authority, Authority::Person { .. }) {
            match order.action {
                Action::Stop if !holds(Guard::StopStands) => {}
                Action::Stop => {
                    self.held
                        .insert(id.clone(), (Timestamp::from_millis(u64::MAX), true));
                }
                Action::Start | Action::Restart => {
                    if self.held.get(id).is_some_and(|(_, stopped)| *stopped) {
                        self.held.remove(id);
                    }
                }
                Action::Reboot
                | Action::PowerCycle
                | Action::Drain(_)
                | Action::Undrain(_)
                | Action::Command { .. }
                | Action::Webhook { .. }
                | Action::HandOver { .. } => {}
            }
        }
    }

    pub(crate) fn remember_operation(&mut self, order: &Order) {
        if self.operations.insert(order.operation.clone()) {
            self.operations_given.push_back(order.operation.clone());
        }
        if self.operations_given.len() > OPERATIONS_KEPT
            && let Some(oldest) = self.operations_given.pop_front()
        {
            self.operations.remove(&oldest);
        }
    }

    fn count_disruption(&mut self, now: Timestamp, order: &Order) {
        let fleet = self.fleet_limits.fleet_rate;
        let spending = self.spending(order).into_iter();
        let rates = spending.map(|at| {
            let service = &self.services[at];
            (Some(service.name.clone()), service.limits.rate)
        });
        for (of, rate) in rates.chain([(None, fleet)]).collect::<Vec<_>>() {
            let given = self.given.entry(of).or_default();
            given.retain(|at| now.since(*at) < rate.per);
            given.push_back(now);
        }
        let since_release = self.given[&None]
            .iter()
            .filter(|at| **at > self.brake_released_at)
            .count();
        self.brake_on |= since_release >= usize::try_from(fleet.count).unwrap_or(usize::MAX);
    }

    /// The ledger could not take its intent. Its rate stays spent: that only makes the next one wait.
    pub(crate) fn never_left(&mut self, order: &Order) {
        let by_person = matches!(order.authority, Authority::Person { .. });
        if order.action.is_drain() {
            self.leases.drain_failed(order);
        }
        if by_person && order.action == Action::Stop && holds(Guard::NotGivenIsNoStop) {
            self.held.remove(&order.target.id);
        }
    }
}
