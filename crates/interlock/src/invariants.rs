//! The invariants, one function each, numbered as in the design's safety page.

use std::{collections::BTreeSet, time::Duration};

use pitcrew_model::{
    Action, Authority, Autonomy, Objection, Order, Proves, Scope, Service, ServiceName, Target,
    TargetId, Timestamp,
};

use crate::{
    Interlock,
    books::Entry,
    guards::{Guard, holds},
};

/// Refuses with a reason.
pub(crate) fn object(invariant: u8, reason: impl Into<String>) -> Option<Objection> {
    Some(Objection {
        invariant,
        reason: reason.into(),
    })
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Interlock {
    pub(crate) fn objections(&self, now: Timestamp, order: &Order) -> Vec<Objection> {
        if order.is_upkeep() {
            return self.upkeep_objections(now, order);
        }
        let Some((entry, service)) = self.subject(order) else {
            if !self.entries.contains_key(&order.target.id) && !holds(Guard::KnownTarget) {
                return Vec::new();
            }
            let reason = format!("{} is not a target of {:?}", order.target.id, order.service);
            return object(12, reason).into_iter().collect();
        };
        let mut objections: Vec<Objection> = [
            self.one_order_at_a_time(order),
            self.ledger_can_be_written(),
            self.not_repeated(order),
            self.acts_on_own_machine(order),
            self.lease_is_sound(order),
            self.current(now, order),
            self.free_of_people(now, order),
            self.guests_are_nobodys(now, order),
            autonomy_allows(now, order, service),
            ladder_does_not_loop(order, service),
        ]
        .into_iter()
        .flatten()
        .collect();
        if order.action.is_disruptive() {
            objections.extend(
                [
                    self.justified(now, order),
                    self.room_in_flight(order),
                    self.enough_left(now, order),
                    self.observers_believable(order),
                    self.no_mass_failure(now, entry, service),
                    self.rates_hold(now, order),
                ]
                .into_iter()
                .flatten(),
            );
        }
        objections
    }

    /// The target as discovery has it now, and the service that selects it now: an order for anything else is stale.
    fn subject(&self, order: &Order) -> Option<(&Entry, &Service)> {
        let entry = self.entries.get(&order.target.id)?;
        let service = self.services.get(entry.service()?)?;
        let is_own = order.service.as_ref() == Some(&service.name) || !holds(Guard::OwnService);
        is_own.then_some((entry, service))
    }

    /// What it acts on, what runs on that and so on down: all that goes away with it.
    pub(crate) fn brought_down(&self, order: &Order) -> Vec<TargetId> {
        let mut down = vec![order.acts_on().id.clone()];
        let mut seen = 0;
        while seen < down.len() {
            let children = self.children.get(&down[seen]);
            seen += 1;
            for id in children.into_iter().flatten() {
                if !down.contains(id) {
                    down.push(id.clone());
                }
            }
        }
        down
    }

    /// What it acts on runs on, and what that runs on, and so on up.
    fn hosts(&self, order: &Order) -> Vec<TargetId> {
        self.hosts_of(order.acts_on())
    }

    pub(crate) fn hosts_of(&self, target: &Target) -> Vec<TargetId> {
        let mut hosts = Vec::new();
        let mut next = target.run_on.as_ref();
        while let Some(host) = next.filter(|host| !hosts.contains(*host)) {
            hosts.push(host.clone());
            let entry = self.entries.get(host);
            next = entry.and_then(|entry| entry.target.run_on.as_ref());
        }
        hosts
    }

    /// 12: a machine goes down for what runs on it, as discovery has it now, or for its own sake.
    fn acts_on_own_machine(&self, order: &Order) -> Option<Objection> {
        let id = &order.target.id;
        let entry = self.entries.get(id)?;
        let carries = self
            .children
            .get(id)
            .is_some_and(|guests| !guests.is_empty());
        let machine = match (&entry.target.run_on, order.action.is_on_host()) {
            (Some(host), true) if !carries => host,
            _ => id,
        };
        let acts_on = &order.acts_on().id;
        if acts_on == machine && self.entries.contains_key(machine) || !holds(Guard::OwnMachine) {
            return None;
        }
        object(
            12,
            format!("{} of {id} would act on {acts_on}", order.action),
        )
    }

    /// What else goes down with a machine, and is not down already.
    fn bystanders(&self, now: Timestamp, order: &Order) -> Vec<&Entry> {
        let mut others = self.brought_down(order);
        others.retain(|id| {
            order.action.is_on_host()
                && *id != order.target.id
                && !self.is_failing(now, id, Some(Proves::Down))
        });
        let entries = others.iter().filter_map(|id| self.entries.get(id));
        entries.collect()
    }

    /// 10 and 14: a person's hand, a pause, a service's own autonomy and a mass failure hold for every guest.
    fn guests_are_nobodys(&self, now: Timestamp, order: &Order) -> Option<Objection> {
        let down = self.brought_down(order);
        let mut down = down.iter().filter(|_| order.action.is_on_host());
        let is_held = |id: &&TargetId| self.held.get(*id).is_some_and(|(until, _)| now < *until);
        if let Some(id) = down.find(is_held)
            && holds(Guard::GuestsOfPeople)
        {
            return object(14, format!("a person holds {id}"));
        }
        self.bystanders(now, order).into_iter().find_map(|entry| {
            let service = &*self.services[entry.service()?];
            let mut paused = self.paused.iter();
            if let Some(scope) = paused.find(|scope| covers(scope, service, &entry.target))
                && holds(Guard::GuestsPaused)
            {
                return object(14, format!("{scope} is paused"));
            }
            autonomy_allows(now, order, service)
                .filter(|_| holds(Guard::GuestsAutonomy))
                .or_else(|| {
                    let failing = self.no_mass_failure(now, entry, service);
                    failing.filter(|_| holds(Guard::GuestsMassFailure))
                })
        })
    }

    /// 1: one order per target at a time; a host and what runs on it conflict.
    fn one_order_at_a_time(&self, order: &Order) -> Option<Objection> {
        let mut busy = self.brought_down(order);
        if !holds(Guard::OrdersOnGuests) {
            busy.truncate(1);
        }
        if !holds(Guard::OneOrder) {
            busy.remove(0);
        }
        if holds(Guard::OrdersOnHosts) {
            busy.extend(self.hosts(order));
        }
        let other = busy
            .iter()
            .filter_map(|id| self.in_flight.first_on(id))
            .min_by_key(|other| other.id)?;
        object(
            1,
            format!("{} is in flight on {}", other.id, other.target.id),
        )
    }

    /// 2: intent is durable before the act.
    pub(crate) fn ledger_can_be_written(&self) -> Option<Objection> {
        if self.ledger_broken && holds(Guard::LedgerWritable) {
            object(2, "the ledger can't be written")
        } else {
            None
        }
    }

    /// 3, second half: unknown is not proven dead, so it justifies nothing.
    fn justified(&self, now: Timestamp, order: &Order) -> Option<Objection> {
        let by_person = matches!(order.authority, Authority::Person { .. });
        let is_failing = || self.is_failing(now, &order.target.id, None);
        if by_person || !holds(Guard::Justified) || is_failing() {
            return None;
        }
        object(
            3,
            format!(
                "no fresh majority of observers sees {} fail",
                order.target.id
            ),
        )
    }

    /// 3: orders in flight per service and per domain value, for the target and for all that goes away with it.
    fn room_in_flight(&self, order: &Order) -> Option<Objection> {
        let mut down = self.brought_down(order);
        if !holds(Guard::RoomOfGuests) {
            down.truncate(1);
        }
        down.iter().find_map(|id| {
            let entry = self.entries.get(id)?;
            let service = &self.services[entry.service()?];
            self.room_beside(order, entry, service)
        })
    }

    fn room_beside(&self, order: &Order, entry: &Entry, service: &Service) -> Option<Objection> {
        // The same order again is not in its own way.
        let itself = self.in_flight.get(order.id);
        let strayed = self.in_flight.strayed();
        let strayed = strayed
            .filter(|flying| flying.id != order.id)
            .filter(|flying| {
                let now = self.entries.get(&flying.target.id);
                flying.service.as_ref() == Some(&service.name) && holds(Guard::FlightWhereGiven)
                    || now.is_some_and(|now| now.service() == entry.service())
                        && holds(Guard::FlightWhereFound)
            });
        let at_home = self.in_flight.at_home_in(&service.name, order.id);
        let strayed = count(strayed.count());
        let passing = self.passing_through(order, |entry| {
            entry
                .service()
                .is_some_and(|at| self.services[at].name == service.name)
        });
        let passing = passing.filter(|flying| {
            let own = self.entries.get(&flying.target.id);
            flying.service.as_ref() != Some(&service.name)
                && own.and_then(Entry::service) != entry.service()
        });
        let in_service = at_home + strayed + count(passing.count());
        let most = service.limits.max_in_flight;
        if in_service >= most && holds(Guard::MaxInFlight) {
            let reason = format!("{in_service} in flight in {}, at most {most}", service.name);
            return object(3, reason);
        }
        for label in &service.domains {
            let Some(value) = entry.target.labels.get(label) else {
                continue;
            };
            let is_one = itself.is_some_and(|own| own.target.labels.get(label) == Some(value));
            let alike = |target: &Target| target.labels.get(label) == Some(value);
            let passing = self.passing_through(order, |entry| alike(&entry.target));
            let passing = passing.filter(|flying| !alike(&flying.target));
            let together = self.in_flight.count_with(label, value) - u32::from(is_one)
                + count(passing.count());
            let mut limits = service.limits.per_domain.iter();
            let most = limits
                .find(|(name, _)| name == label)
                .map_or(1, |(_, most)| *most);
            if together >= most && holds(Guard::PerDomain) {
                let reason = format!("{together} in flight in {label}={value}, at most {most}");
                return object(3, reason);
            }
        }
        None
    }

    /// Other orders in flight on machines that take down something of this kind.
    fn passing_through<'a>(
        &'a self,
        order: &'a Order,
        kind: impl Fn(&Entry) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Order> {
        let flying = self.in_flight.wide();
        flying.filter(move |flying| {
            flying.id != order.id
                && holds(Guard::FlightOfGuests)
                && self
                    .brought_down(flying)
                    .iter()
                    .any(|id| self.entries.get(id).is_some_and(&kind))
        })
    }

    /// 3 and 4: counted after the removal, over every service that loses something. What is proven down by the
    /// interlock's own books costs nothing.
    fn enough_left(&self, now: Timestamp, order: &Order) -> Option<Objection> {
        let mut lost = self.brought_down(order);
        if !holds(Guard::CapacityOfGuests) {
            lost.truncate(1);
        }
        let said_down = |id: &TargetId| order.target_is_down && *id == order.target.id;
        lost.retain(|id| match holds(Guard::OwnWordForDown) {
            true => !self.is_failing(now, id, Some(Proves::Down)),
            false => !said_down(id),
        });
        let losing: BTreeSet<usize> = lost
            .iter()
            .filter_map(|id| self.entries.get(id)?.service())
            .collect();
        for at in losing {
            let service = &self.services[at];
            let of = count(self.members[at].len());
            let left = self.count_up(now, at, &lost);
            if left == 0 && holds(Guard::LastHealthy) {
                return object(
                    4,
                    format!(
                        "never the last one: 0 of {of} in {} would be healthy",
                        service.name
                    ),
                );
            }
            let most = service.limits.unavailable_max(of);
            if of - left > most && holds(Guard::MaxUnavailable) {
                return object(
                    3,
                    format!(
                        "{} of {of} in {} would be unavailable, at most {most}",
                        of - left,
                        service.name
                    ),
                );
            }
        }
        None
    }

    /// 6: an operation is never given twice.
    pub(crate) fn not_repeated(&self, order: &Order) -> Option<Objection> {
        if self.operations.contains(&order.operation) && holds(Guard::NotRepeated) {
            object(6, format!("operation {} was given before", order.operation))
        } else {
            None
        }
    }

    /// 9: not on the word of an observer that fails its own control test.
    fn observers_believable(&self, order: &Order) -> Option<Objection> {
        let by_person = matches!(order.authority, Authority::Person { .. });
        let none_left = !self.suspects.is_empty()
            && self
                .observers
                .iter()
                .all(|name| self.suspects.contains(name));
        if none_left && !by_person && holds(Guard::SuspectObservers) {
            object(9, "every observer is suspect")
        } else {
            None
        }
    }

    /// 9 and 10: much of a scope newly failing stops new disruption in it. The whole fleet has the default rule.
    fn no_mass_failure(
        &self,
        now: Timestamp,
        entry: &Entry,
        service: &Service,
    ) -> Option<Objection> {
        let at = entry.service()?;
        let rule = &service.limits.breaker;
        let trips = |failing: u32, of: u32| {
            failing >= rule.count
                && u64::from(failing) * 100 >= u64::from(of) * u64::from(rule.percent)
        };
        // More than all that fail can't fail newly: mostly there is nothing to be counted.
        let most = count(self.failing[at].len());
        let released = |scope: &Scope| self.released.get(scope).copied().unwrap_or_default();
        let own = released(&Scope::Service(service.name.clone())).max(released(&Scope::Fleet));
        let newly = |after: Timestamp| {
            self.failing[at]
                .iter()
                .filter(move |(since, _)| *since > after && now.since(*since) <= rule.within)
        };
        let of = count(self.members[at].len());
        if trips(most, of) && holds(Guard::MassFailureOfService) {
            let failing = count(newly(own).count());
            if trips(failing, of) {
                let scope = &service.name;
                return object(10, format!("{failing} of {of} in {scope} newly failing"));
            }
        }
        for (label, sizes) in service.domains.iter().zip(&self.sizes[at]) {
            let Some(value) = entry.target.labels.get(label) else {
                continue;
            };
            let of = sizes.get(value).copied().unwrap_or_default();
            if !trips(most, of) || !holds(Guard::MassFailureOfDomain) {
                continue;
            }
            let scope = Scope::Domain {
                service: service.name.clone(),
                label: label.clone(),
                value: value.to_string(),
            };
            let alike = |slot: u32| self.entries.at(slot).target.labels.get(label) == Some(value);
            let failing = newly(own.max(released(&scope))).filter(|(_, slot)| alike(*slot));
            let failing = count(failing.count());
            if trips(failing, of) {
                return object(10, format!("{failing} of {of} in {scope} newly failing"));
            }
        }
        None
    }

    /// 11: the fleet brake, which only a person releases, and the own rate of each service that is touched.
    fn rates_hold(&self, now: Timestamp, order: &Order) -> Option<Objection> {
        let fleet = self.fleet_limits.fleet_rate;
        let given = |of: &Option<ServiceName>, after: Timestamp, per: Duration| {
            let given = self.given.get(of).into_iter().flatten();
            count(
                given
                    .filter(|at| now.since(**at) < per && **at > after)
                    .count(),
            )
        };
        let all = given(&None, self.brake_released_at, fleet.per);
        let is_on = self.brake_on && holds(Guard::BrakeNeedsPerson) || all >= fleet.count;
        if is_on && holds(Guard::FleetBrake) {
            let reason = format!("fleet brake: {all} orders given, at most {fleet}");
            return object(11, reason);
        }
        self.spending(order).into_iter().find_map(|at| {
            let service = &self.services[at];
            let rate = service.limits.rate;
            let own = given(&Some(service.name.clone()), Timestamp::ZERO, rate.per);
            if own < rate.count || !holds(Guard::ServiceRate) {
                return None;
            }
            let reason = format!("{own} orders given in {}, at most {rate}", service.name);
            object(11, reason)
        })
    }

    /// The services in whose rates it counts.
    pub(crate) fn spending(&self, order: &Order) -> BTreeSet<usize> {
        let named = order.service.as_ref();
        let own = named.and_then(|name| self.service_named.get(name)).copied();
        let mut down = self.brought_down(order);
        if !holds(Guard::RateOfGuests) {
            down.clear();
        }
        let touched = down.iter();
        let touched = touched.filter_map(|id| self.entries.get(id)?.service());
        own.into_iter().chain(touched).collect()
    }

    /// 12: identity and time are re-read: not expired, not from the future, current fence.
    pub(crate) fn current(&self, now: Timestamp, order: &Order) -> Option<Objection> {
        if order.fence != self.fence && holds(Guard::Fence) {
            return object(
                12,
                format!(
                    "its fence is {}, the current one {}",
                    order.fence, self.fence
                ),
            );
        }
        let is_expired = now >= order.expires_at && holds(Guard::Expired);
        if is_expired || order.given_at > now && holds(Guard::FromFuture) {
            return object(12, "it is expired or from the future");
        }
        None
    }

    /// 14: a target under a person's hand is left alone; a pause stops new orders.
    pub(crate) fn free_of_people(&self, now: Timestamp, order: &Order) -> Option<Objection> {
        let by_person = matches!(order.authority, Authority::Person { .. });
        let starts =
            by_person && matches!(order.action, Action::Start | Action::Restart | Action::Stop);
        let hosts = self.hosts(order);
        let own = [&order.target.id, &order.acts_on().id];
        for id in own.into_iter().chain(&hosts) {
            let guard = match *id == order.target.id {
                true => Guard::HeldByPerson,
                false => Guard::HostHeldByPerson,
            };
            if let Some((until, stopped)) = self.held.get(id)
                && holds(guard)
                && now < *until
                && !(*stopped && starts)
            {
                return object(14, format!("a person holds {id}"));
            }
        }
        let (_, service) = self.subject(order)?;
        let mut paused = self.paused.iter();
        let paused = paused.find(|scope| covers(scope, service, &order.target))?;
        object(14, format!("{paused} is paused"))
    }
}

/// Whether a pause of `scope` holds for a target of `service`.
fn covers(scope: &Scope, service: &Service, target: &Target) -> bool {
    match scope {
        Scope::Fleet => holds(Guard::FleetPaused),
        Scope::Service(of) => *of == service.name && holds(Guard::ServicePaused),
        Scope::Domain {
            service: of,
            label,
            value,
        } => {
            let has_it = target
                .labels
                .get(label)
                .is_some_and(|have| **have == **value);
            *of == service.name && has_it && holds(Guard::DomainPaused)
        }
    }
}

/// Autonomy and windows: a person decides how freely a service is repaired.
fn autonomy_allows(now: Timestamp, order: &Order, service: &Service) -> Option<Objection> {
    let strictest = service
        .windows
        .iter()
        .filter(|window| window.from <= now && now < window.to && holds(Guard::Window))
        .map(|window| window.autonomy)
        .fold(service.autonomy, Autonomy::min);
    let enough = match &order.authority {
        Authority::Policy => strictest == Autonomy::Act || !holds(Guard::PolicyNeedsAct),
        Authority::Approval { by } => {
            (strictest >= Autonomy::Approve || !holds(Guard::ApprovalNeedsApprove))
                && (!by.is_empty() || !holds(Guard::ApprovalHasName))
        }
        Authority::Person { by, .. } => !by.is_empty() || !holds(Guard::PersonHasName),
    };
    if enough {
        None
    } else {
        object(14, format!("autonomy of {} is {strictest}", service.name))
    }
}

/// 15: no ladder loops: the order must stand on a rung of its repair, within that rung's tries.
fn ladder_does_not_loop(order: &Order, service: &Service) -> Option<Objection> {
    if matches!(order.authority, Authority::Person { .. }) {
        return None;
    }
    let rung = order.repair.as_ref().and_then(|name| {
        let repair = service.repairs.iter().find(|repair| repair.name == *name)?;
        repair.steps.get(usize::from(order.step))
    });
    let stands = match rung {
        Some(rung) => {
            (rung.action == order.action || !holds(Guard::RungAction))
                && (order.attempt >= 1 || !holds(Guard::RungFirstTry))
                && (order.attempt <= rung.tries || !holds(Guard::RungTries))
        }
        None => !holds(Guard::LadderRung),
    };
    if stands {
        None
    } else {
        object(15, "it stands on no rung of its repair")
    }
}
