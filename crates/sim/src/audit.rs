//! An independent auditor of the fifteen invariants: it sees what entered, what was wanted, what the ledger took
//! and what left, and says which invariant that breaks.
//!
//! It never asks the engine or the interlock for anything and shares no code with them, so that it can convict
//! both. It judges when an order is decided on, with what had entered by then, and convicts when that order
//! leaves. What can't be known from outside is not guessed at:
//! - 2: that a durable intent is on a disk; only that it was committed before the order left.
//! - 5: the shape of a discovery's answer; only what became of the targets known before.
//! - 7: whether a hook does what it is told; only that it is told.
//! - 12: what the actuator re-reads at the target; only what the server knew when it decided, and its expiry.
//! - 13: who carried an order out; only that tests which nobody saw pass verify nothing.

mod annals;
mod answers;
mod capacity;
mod flights;
mod invariants;
mod leases;
mod mass;
mod people;
mod recorded;
mod roster;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use annals::Annals;
use flights::Flights;
use leases::Leases;
use pitcrew_model::{
    Effect, Event, Fact, FleetLimits, Order, OrderId, Outcome, OutcomeKind, PersonAct, Production,
    Record, SourceName, Target, TargetId, Timestamp,
};
use roster::Roster;

use crate::Broken;

/// Work is proportional to what enters, and to one service's size where an order is decided on.
pub struct Auditor {
    started_at: Option<Timestamp>,
    /// The latest time that any run of the server has seen: what ended by then has ended, though a clock that is
    /// set back gives the next run an earlier one.
    latest: Timestamp,
    /// A run of the server has just begun.
    starting: bool,
    roster: Roster,
    fleet_limits: FleetLimits,
    sources: BTreeMap<SourceName, u32>,
    /// Sources whose next answer may shrink, because a person accepted it.
    accepted: BTreeSet<SourceName>,
    flights: Flights,
    leases: Leases,
    annals: Annals,
    /// Of the orders decided on in this run: what convicts them if they leave.
    charges: BTreeMap<OrderId, Vec<(u8, String)>>,
    /// Committed in this run.
    intents: BTreeMap<OrderId, Order>,
    /// The fences of this run and of the highest run before.
    fence: Option<u64>,
    fence_before: u64,
    ledger_broken: bool,
    broken: Vec<Broken>,
}

impl Auditor {
    #[must_use]
    pub fn new(production: &Production) -> Self {
        let mut auditor = Self {
            started_at: None,
            latest: Timestamp::ZERO,
            starting: true,
            roster: Roster::default(),
            fleet_limits: production.limits.clone(),
            sources: BTreeMap::new(),
            accepted: BTreeSet::new(),
            flights: Flights::default(),
            leases: Leases::default(),
            annals: Annals::default(),
            charges: BTreeMap::new(),
            intents: BTreeMap::new(),
            fence: None,
            fence_before: 0,
            ledger_broken: false,
            broken: Vec::new(),
        };
        auditor.roster.load(production);
        auditor
    }

    /// Told every event that enters the engine, before its effects.
    pub fn event(&mut self, now: Timestamp, event: &Event) {
        self.started_at.get_or_insert(now);
        self.latest = self.latest.max(now);
        if std::mem::take(&mut self.starting) {
            self.roster.trust_after = now;
            self.leases.awake(now);
        }
        match event {
            Event::Production(production) => {
                self.fleet_limits = production.limits.clone();
                self.roster.load(production);
            }
            Event::Targets { upserted, removed } => self.targets(now, upserted, removed),
            Event::Observations(seen) => {
                for observation in seen {
                    let order_is_out = self.is_order_out(&observation.target);
                    self.roster.note(now, observation, order_is_out);
                }
            }
            Event::Unchanged { observer, at } => self.roster.unchanged(observer, *at),
            Event::Observer { observer, trouble } => {
                self.roster.suspect(observer, trouble.is_some());
            }
            Event::Outcome(outcome) => {
                self.leases.outcome(outcome);
                if let Some(on) = self.flights.land(now, outcome) {
                    self.landed(&on, outcome.at.min(now));
                }
            }
            Event::Person(request) => self.person(now, &request.act),
            Event::LedgerFailed { not_given, .. } => {
                self.ledger_broken = true;
                for id in not_given {
                    self.flights.strike(*id);
                    self.leases.struck(*id);
                    self.annals.struck.insert(*id);
                    self.charges.remove(id);
                    self.intents.remove(id);
                }
            }
            Event::LedgerRecovered => self.ledger_broken = false,
            Event::Woke { .. } => {
                self.roster.trust_after = now;
                self.leases.awake(now);
            }
            Event::Source { .. } | Event::Tick => {}
        }
        self.everybody_comes_back(now);
    }

    /// All that went down with it has to prove itself anew.
    fn landed(&mut self, on: &TargetId, at: Timestamp) {
        for touched in self.roster.brought_down(on) {
            self.roster.landed(&touched, at);
        }
    }

    fn is_order_out(&self, id: &TargetId) -> bool {
        if self.flights.is_empty() {
            return false;
        }
        let Some((_, entry)) = self.roster.find(id) else {
            return false;
        };
        let hosts = self.roster.hosts(&entry.target);
        let touched: Vec<&TargetId> = std::iter::once(id).chain(&hosts).collect();
        self.flights.is_out_on(&touched)
    }

    fn targets(&mut self, now: Timestamp, upserted: &[Arc<Target>], removed: &[TargetId]) {
        let mut gone: BTreeMap<SourceName, u32> = BTreeMap::new();
        for id in removed {
            if let Some((_, entry)) = self.roster.find(id) {
                *gone.entry(entry.target.source.clone()).or_default() += 1;
            }
            self.roster.remove(id);
        }
        let before = gone
            .keys()
            .map(|source| {
                (
                    source.clone(),
                    self.sources.get(source).copied().unwrap_or(0),
                )
            })
            .collect();
        for (source, gone) in &gone {
            if let Some(known) = self.sources.get_mut(source) {
                *known = known.saturating_sub(*gone);
            }
        }
        for target in upserted {
            if self.roster.find(&target.id).is_none() {
                *self.sources.entry(target.source.clone()).or_default() += 1;
            }
            self.roster.put(target);
        }
        self.answer_not_too_small(now, &before);
    }

    fn person(&mut self, now: Timestamp, act: &PersonAct) {
        match act {
            PersonAct::Resume { scope } => {
                self.annals.resumed.insert(scope.clone(), now);
            }
            PersonAct::Accept { source, .. } => {
                self.accepted.insert(source.clone());
            }
            _ => {}
        }
    }

    /// Told what the engine wants done, before any of it is.
    pub fn effects(&mut self, now: Timestamp, effects: &[Effect]) {
        for effect in effects {
            self.annals.wanted(effect);
            match effect {
                Effect::Give(order) => self.decided(now, order),
                Effect::Record(record) => self.recorded(now, record, effects),
                Effect::Watch { target, service } => {
                    self.watched_is_selected(now, target, service);
                }
                Effect::Save(row) => {
                    self.hold_ends(now, row);
                    self.brake_is_released_by_person(now, row);
                }
                Effect::Unwatch { .. } | Effect::Probe { .. } | Effect::Notify(_) => {}
            }
        }
    }

    /// Judged with what has entered by now; the order is convicted only if it leaves.
    fn decided(&mut self, now: Timestamp, order: &Order) {
        self.flights.forget_ended(now);
        self.forget_given(now, order);
        self.fence.get_or_insert(order.fence);
        if order.is_upkeep() {
            let charges = self.charges_against_upkeep(now, order);
            self.charges.insert(order.id, charges);
            return;
        }
        let charges = self.charges_against(now, order);
        self.charges.insert(order.id, charges);
        self.flights.give(order);
        self.leases.decided(order);
    }

    fn recorded(&mut self, now: Timestamp, record: &Record, beside: &[Effect]) {
        match &record.fact {
            Fact::Verified {
                passed, observers, ..
            } => {
                if *passed {
                    self.verified_by_tests(now, record, observers);
                }
                if let Some(id) = record.order {
                    self.flights.verified(id);
                }
            }
            Fact::Outcome { outcome } => self.given_up(now, outcome),
            Fact::Confirmed { .. } => self.no_case_by_own_effect(now, record),
            Fact::BreakerTripped { scope, .. } => self.trip_is_told(now, scope, beside),
            Fact::BreakerReleased { scope, by } => {
                self.manual_release_by_person(now, scope, by.as_deref());
            }
            Fact::HandedOver { why, .. } => self.person_is_told(now, record, why, beside),
            _ => {}
        }
    }

    /// An outcome that never came counts as "may have taken effect" once it is overdue, and not before.
    fn given_up(&mut self, now: Timestamp, outcome: &Outcome) {
        let overdue = self
            .flights
            .get(outcome.order)
            .is_some_and(|flight| flight.is_out() && now >= flight.order.overdue_at());
        if overdue
            && outcome.kind == OutcomeKind::Unknown
            && let Some(on) = self.flights.land(now, outcome)
        {
            self.landed(&on, outcome.at);
        }
    }

    /// Told what one transaction of the ledger took.
    pub fn committed(&mut self, effects: &[Effect]) {
        for effect in effects {
            self.annals.committed(effect);
            if let Effect::Record(Record {
                fact: Fact::Intent { order },
                ..
            }) = effect
            {
                self.intents.insert(order.id, (**order).clone());
            }
        }
    }

    /// Told of each order that leaves to its actuator.
    pub fn left(&mut self, now: Timestamp, order: &Order) {
        let decided = self.charges.remove(&order.id);
        let mut charges: Vec<(u8, String)> = self.leaving(now, order, decided.is_some());
        charges.extend(decided.into_iter().flatten());
        for (invariant, what) in charges {
            self.convict(now, invariant, what);
        }
        self.leases.left(now, order);
        if let (Some(case), Some(repair), false) =
            (order.case, &order.repair, order.action.is_drain())
        {
            let rung = (repair.clone(), order.step, order.attempt);
            self.annals.rungs.insert(case, rung);
        }
    }

    /// The server's process is gone, and with it all that was not committed.
    pub fn crashed(&mut self, _now: Timestamp) {
        self.starting = true;
        self.fence_before = self.fence.take().unwrap_or(0).max(self.fence_before);
        self.ledger_broken = false;
        self.charges.clear();
        self.intents.clear();
        self.flights.crashed();
        self.leases.crashed();
        self.roster.forget_all();
        self.sources.clear();
    }

    /// What was found since the last time, oldest first.
    #[must_use]
    pub fn take(&mut self) -> Vec<Broken> {
        std::mem::take(&mut self.broken)
    }

    fn convict(&mut self, now: Timestamp, invariant: u8, what: String) {
        let since = self.started_at.map_or(now, |started_at| started_at);
        self.broken.push(Broken {
            invariant,
            at_seconds: now.since(since).as_secs(),
            what,
        });
    }
}
