//! The interlock: an independent check of every order against the invariants.
//!
//! It keeps its own books from the same events as the engine, with its own code and its own counting, so that
//! one mistake can't be made twice. It can only veto; what it does not understand it refuses.

mod books;
mod invariants;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use books::{Entry, Flight};
use pitcrew_model::{
    Event, FleetLimits, Objection, ObserverName, OperationId, Order, OrderId, PersonAct, Saved,
    Scope, Service, TargetId, Timestamp,
};

pub struct Interlock {
    fence: u64,
    services: Vec<Arc<Service>>,
    fleet_limits: FleetLimits,
    entries: BTreeMap<TargetId, Entry>,
    /// Per service: targets whose last answer to some test was a failure, by when that began.
    failing: Vec<BTreeSet<(Timestamp, TargetId)>>,
    in_flight: BTreeMap<OrderId, Flight>,
    /// When a repair of a target ended: it is on probation for a while.
    repaired: BTreeMap<TargetId, Timestamp>,
    operations: BTreeSet<OperationId>,
    given: VecDeque<(Timestamp, Option<usize>)>,
    released: BTreeMap<Scope, Timestamp>,
    paused: BTreeSet<Scope>,
    /// Until when a person has a target, and whether because it was stopped on purpose.
    held: BTreeMap<TargetId, (Timestamp, bool)>,
    suspects: BTreeSet<ObserverName>,
    /// Answers name an observer by its position here.
    observers: Vec<ObserverName>,
    ledger_broken: bool,
    trust_after: Timestamp,
}

impl Interlock {
    #[must_use]
    pub fn new(fence: u64) -> Self {
        Self {
            fence,
            services: Vec::new(),
            fleet_limits: FleetLimits::default(),
            entries: BTreeMap::new(),
            failing: Vec::new(),
            in_flight: BTreeMap::new(),
            repaired: BTreeMap::new(),
            operations: BTreeSet::new(),
            given: VecDeque::new(),
            released: BTreeMap::new(),
            paused: BTreeSet::new(),
            held: BTreeMap::new(),
            suspects: BTreeSet::new(),
            observers: Vec::new(),
            ledger_broken: false,
            trust_after: Timestamp::ZERO,
        }
    }

    /// Takes over the rows that a former run saved.
    pub fn restore(&mut self, now: Timestamp, rows: &[Saved]) {
        self.trust_after = now;
        for row in rows {
            match row {
                Saved::Order(state) if state.given && state.ended_at.is_none() => {
                    let flight = Flight::new(
                        &state.order,
                        state.outcome.as_ref().map(|outcome| outcome.at),
                    );
                    self.operations.insert(state.order.operation.clone());
                    self.in_flight.insert(state.order.id, flight);
                }
                Saved::Hold {
                    target,
                    why,
                    until: Some(until),
                    ..
                } => {
                    self.held
                        .insert(target.clone(), (*until, why.starts_with("stopped")));
                }
                Saved::Pause {
                    scope,
                    why: Some(_),
                    ..
                } => {
                    self.paused.insert(scope.clone());
                }
                Saved::FleetBrake {
                    released_at: Some(at),
                } => {
                    self.released.insert(Scope::Fleet, *at);
                }
                Saved::Given { service: None, at } => {
                    self.given.extend(at.iter().map(|at| (*at, None)))
                }
                _ => {}
            }
        }
    }

    /// Told every event, before the engine is.
    pub fn note(&mut self, now: Timestamp, event: &Event) {
        match event {
            Event::Production(production) => {
                let before = std::mem::replace(&mut self.services, production.services.clone());
                self.fleet_limits = production.limits.clone();
                self.reassign(&before);
            }
            Event::Targets { upserted, removed } => {
                for target in upserted {
                    self.put(target);
                }
                for id in removed {
                    self.remove(id);
                }
            }
            Event::Observations(seen) => {
                for observation in seen {
                    self.note_observation(now, observation);
                }
            }
            Event::Observer { observer, trouble } => {
                if trouble.is_some() {
                    self.suspects.insert(observer.clone());
                } else {
                    self.suspects.remove(observer);
                }
            }
            Event::Outcome(outcome) => self.note_outcome(now, outcome),
            Event::Person(request) => self.note_person(now, &request.act),
            Event::LedgerFailed { not_given, .. } => {
                self.ledger_broken = true;
                for id in not_given {
                    if let Some(flight) = self.in_flight.remove(id) {
                        self.operations.remove(&flight.order.operation);
                    }
                }
            }
            Event::LedgerRecovered => self.ledger_broken = false,
            Event::Woke { .. } => self.trust_after = now,
            Event::Source { .. } | Event::Tick => {}
        }
        self.forget_what_landed(now);
    }

    fn note_person(&mut self, now: Timestamp, act: &PersonAct) {
        match act {
            PersonAct::Pause { scope, .. } => {
                self.paused.insert(scope.clone());
            }
            PersonAct::Resume { scope } => {
                self.paused.remove(scope);
                self.released.insert(scope.clone(), now);
            }
            PersonAct::Hold { target, until, .. } => {
                self.held.insert(target.clone(), (*until, false));
            }
            PersonAct::Release { target } => {
                self.held.remove(target);
            }
            PersonAct::Approve { .. }
            | PersonAct::Deny { .. }
            | PersonAct::Order { .. }
            | PersonAct::Close { .. } => {}
        }
    }

    /// No objection lets the order pass, and from then on it counts as in flight.
    pub fn check(&mut self, now: Timestamp, order: &Order) -> Vec<Objection> {
        self.forget_what_landed(now);
        let objections = self.objections(now, order);
        if objections.is_empty() {
            self.take_off(now, order);
        }
        objections
    }
}
