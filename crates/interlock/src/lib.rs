//! The interlock: an independent check of every order against the invariants.
//!
//! It keeps its own books from the same events as the engine, with its own code and its own counting, so that
//! one mistake can't be made twice. It can only veto; what it does not understand it refuses.

mod books;
pub mod guards;
mod invariants;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use books::{Choice, Flights, Leases, Roll};
use guards::{Guard, holds};
use pitcrew_model::{
    Event, FleetLimits, Objection, ObserverName, OperationId, Order, PersonAct, Phase, Saved,
    Scope, Service, ServiceName, TargetId, Timestamp,
};

pub struct Interlock {
    fence: u64,
    services: Vec<Arc<Service>>,
    fleet_limits: FleetLimits,
    /// Where each of `services` is, by its name.
    service_named: BTreeMap<ServiceName, usize>,
    choice: Choice,
    entries: Roll,
    /// Per service: its targets' slots. So that a check costs in proportion to what the order touches.
    members: Vec<BTreeSet<u32>>,
    /// Per service and domain label: how many targets have each value.
    sizes: Vec<Vec<BTreeMap<Arc<str>, u32>>>,
    /// What runs on a target.
    children: BTreeMap<TargetId, BTreeSet<TargetId>>,
    /// Per service: targets whose last answer to some test was a failure, by when that began.
    failing: Vec<BTreeSet<(Timestamp, u32)>>,
    in_flight: Flights,
    leases: Leases,
    /// Until when a repaired target is on probation.
    proving: BTreeMap<TargetId, Timestamp>,
    /// At how many of them those that are over are thrown away.
    proving_max: usize,
    /// Given lately; an order of before has expired long since.
    operations: BTreeSet<OperationId>,
    /// The same, oldest first.
    operations_given: VecDeque<OperationId>,
    /// When disruptive orders were given: for one service, or (`None`) over everything.
    given: BTreeMap<Option<ServiceName>, VecDeque<Timestamp>>,
    /// The fleet brake: only a person releases it.
    brake_on: bool,
    brake_released_at: Timestamp,
    released: BTreeMap<Scope, Timestamp>,
    paused: BTreeSet<Scope>,
    /// Until when a person has a target, and whether because it was stopped on purpose.
    held: BTreeMap<TargetId, (Timestamp, bool)>,
    suspects: BTreeSet<ObserverName>,
    /// Answers name an observer by its position here.
    observers: Vec<ObserverName>,
    /// When each of them last vouched that what it saw pass still passes.
    unchanged: Vec<Timestamp>,
    ledger_broken: bool,
    trust_after: Timestamp,
    /// Where the targets of some answers are; kept to be filled again.
    slots: Vec<Option<u32>>,
}

impl Interlock {
    #[must_use]
    pub fn new(fence: u64) -> Self {
        Self {
            fence,
            services: Vec::new(),
            fleet_limits: FleetLimits::default(),
            service_named: BTreeMap::new(),
            choice: Choice::default(),
            entries: Roll::default(),
            members: Vec::new(),
            sizes: Vec::new(),
            children: BTreeMap::new(),
            failing: Vec::new(),
            in_flight: Flights::default(),
            leases: Leases::default(),
            proving: BTreeMap::new(),
            proving_max: 64,
            operations: BTreeSet::new(),
            operations_given: VecDeque::new(),
            given: BTreeMap::new(),
            brake_on: false,
            brake_released_at: Timestamp::ZERO,
            released: BTreeMap::new(),
            paused: BTreeSet::new(),
            held: BTreeMap::new(),
            suspects: BTreeSet::new(),
            observers: Vec::new(),
            unchanged: Vec::new(),
            ledger_broken: false,
            trust_after: Timestamp::ZERO,
            slots: Vec::new(),
        }
    }

    /// Takes over the rows that a former run saved.
    pub fn restore(&mut self, now: Timestamp, rows: &[Saved]) {
        if holds(Guard::RestartTrust) {
            self.trust_after = now;
        }
        for row in rows {
            match row {
                Saved::Order(state) if state.given && state.ended_at.is_none() => {
                    if holds(Guard::RestoredOperation) {
                        self.remember_operation(&state.order);
                    }
                    if holds(Guard::RestoredOrder) {
                        let landed_at = state.outcome.as_ref().map(|outcome| outcome.at);
                        self.begin_flight(now, &state.order, landed_at);
                    }
                }
                Saved::Case(case) => {
                    if let Phase::Probation { until } = case.phase
                        && holds(Guard::RestoredProbation)
                    {
                        self.proving.insert(case.target.clone(), until);
                    }
                }
                Saved::Hold {
                    target,
                    until: Some(until),
                    stopped,
                    ..
                } if holds(Guard::RestoredHold) => {
                    self.held.insert(target.clone(), (*until, *stopped));
                }
                Saved::Pause {
                    scope,
                    why: Some(_),
                    ..
                } if holds(Guard::RestoredPause) => {
                    self.paused.insert(scope.clone());
                }
                Saved::FleetBrake { released_at } if holds(Guard::RestoredBrake) => {
                    self.brake_on = released_at.is_none();
                    self.brake_released_at = released_at.unwrap_or_default();
                }
                Saved::Given { service, at } if holds(Guard::RestoredRate) => {
                    self.given
                        .insert(service.clone(), at.iter().copied().collect());
                }
                Saved::Lease {
                    lease: Some(lease), ..
                } if holds(Guard::RestoredLease) => self.leases.restore(now, lease),
                Saved::Order(_)
                | Saved::Lease { .. }
                | Saved::Hold { .. }
                | Saved::Pause { .. }
                | Saved::FleetBrake { .. }
                | Saved::Given { .. }
                | Saved::Breaker { .. }
                | Saved::Memory { .. }
                | Saved::Learned { .. } => {}
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
                self.note_observations(now, seen);
            }
            Event::Unchanged { observer, at } => self.note_unchanged(now, observer, *at),
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
                    self.leases.not_given(*id);
                    if holds(Guard::NotGivenLands)
                        && let Some(order) = self.end_flight(*id)
                    {
                        self.never_left(&order);
                    }
                }
            }
            Event::LedgerRecovered => self.ledger_broken = false,
            Event::Woke { .. } if holds(Guard::TrustAfter) => self.trust_after = now,
            Event::Woke { .. } | Event::Source { .. } | Event::Tick => {}
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
                if *scope == Scope::Fleet && self.brake_on {
                    (self.brake_on, self.brake_released_at) = (false, now);
                }
            }
            PersonAct::Hold { target, until, .. } => {
                self.held.retain(|_, (until, _)| now < *until);
                // A stop stands until the target is started or released.
                let is_stopped = self.held.get(target).is_some_and(|(_, stopped)| *stopped);
                if !is_stopped || !holds(Guard::HoldKeepsStop) {
                    self.held.insert(target.clone(), (*until, false));
                }
            }
            PersonAct::Release { target } => {
                self.held.remove(target);
            }
            PersonAct::Approve { .. }
            | PersonAct::Deny { .. }
            | PersonAct::Order { .. }
            | PersonAct::Close { .. }
            | PersonAct::Accept { .. } => {}
        }
    }

    /// No objection lets the order pass, and from then on it counts as in flight.
    pub fn check(&mut self, now: Timestamp, order: &Order) -> Vec<Objection> {
        self.forget_what_landed(now);
        let objections = self.objections(now, order);
        if objections.is_empty() {
            self.remember_operation(order);
            if order.is_upkeep() {
                self.leases.keep_up(now, order);
            } else {
                self.take_off(now, order);
            }
        }
        objections
    }
}
