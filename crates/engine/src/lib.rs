//! The decision engine: observations in, orders out.
//!
//! Pure: `now`, an event and the state so far decide everything. It has no clock, no randomness, no IO, and
//! it never trusts itself alone: the `judge` that every order must pass is another crate's code.
//!
//! One case is one target's trouble. `diagnose` opens and confirms it, `plan` climbs its repair's ladder and
//! asks `plan::permit` whether anything holds it back, `verify` lets the tests say whether it helped, and
//! `learn` counts. Work per event is proportional to what changed: a passing answer of a healthy target
//! costs one lookup.

mod capacity;
mod diagnose;
mod fleet;
mod flights;
pub mod guards;
mod learn;
mod leases;
mod observe;
mod persons;
mod plan;
mod production;
mod restore;
mod status;
mod timers;
mod verify;

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use diagnose::Breakers;
use fleet::Fleet;
use flights::Flights;
use guards::{Guard, holds};
use learn::Learned;
use leases::Leased;
use pitcrew_model::{
    Case, CaseId, CaseMemory, Effect, Event, Fact, FleetLimits, ObserverName, OperationId, Order,
    OrderId, OrderState, ReceiverName, Record, Saved, Scope, Service, ServiceName, SourceName,
    SourceTrouble, TargetId, Timestamp,
};
use timers::{Timer, Timers};

pub use status::{
    DrainStatus, HoldStatus, LimitStatus, PauseStatus, ServiceStatus, TargetStatus, TestStatus,
};

/// What an engine is born with.
#[derive(Clone, Debug)]
pub struct Birth {
    /// Unique to this installation; part of every operation id.
    pub installation: String,
    /// Grows with every start.
    pub fence: u64,
    /// The highest numbers the ledger knows; numbering goes on above them.
    pub last_case: u64,
    pub last_order: u64,
}

/// Asked before every order; no objection lets it pass, and then it counts as given.
pub type Judge<'a> = dyn FnMut(Timestamp, &Order) -> Vec<pitcrew_model::Objection> + 'a;

/// Timers that run with one event. When thousands of cases ask again at the same moment, what is seen and told
/// meanwhile is not kept waiting for all of them: what is left is due still, so another event follows at once.
const DUE_AT_ONCE: usize = 64;

/// Ended cases and orders that are still shown; older ones are in the ledger.
const SHOWN_AFTER_END: usize = 1_000;

/// The fleet brake: what was given lately over everything, and when a person last released it.
#[derive(Debug, Default)]
struct Brake {
    on: bool,
    given: VecDeque<Timestamp>,
    released_at: Timestamp,
}

#[derive(Clone, Debug)]
struct Pause {
    by: String,
    why: String,
}

pub struct Engine {
    birth: Birth,
    fleet: Fleet,
    fleet_limits: FleetLimits,
    receivers: Vec<ReceiverName>,
    observers: Vec<ObserverName>,
    /// When each of them last said that what it reported as passing still passes: one time for all its views.
    unchanged: Vec<Timestamp>,
    /// Observers that fail their own control test, and how.
    suspects: BTreeMap<ObserverName, String>,
    /// Sources whose last answer was not obeyed.
    sources: BTreeMap<SourceName, SourceTrouble>,
    cases: BTreeMap<CaseId, Case>,
    closed: VecDeque<CaseId>,
    /// When the extra round before the first step was asked for.
    rechecks: BTreeMap<CaseId, Timestamp>,
    /// The order of each case that a person is asked to approve. Once approved, by the name in its authority,
    /// the case goes on with it as soon as nothing else holds it.
    pending: BTreeMap<CaseId, OrderId>,
    orders: BTreeMap<OrderId, OrderState>,
    /// Given and not ended.
    flying: Flights,
    ended: VecDeque<OrderId>,
    /// Targets that are out of use, or may be.
    leases: BTreeMap<TargetId, Leased>,
    memories: BTreeMap<TargetId, CaseMemory>,
    memories_swept_at: Timestamp,
    holds: BTreeMap<TargetId, HoldStatus>,
    pauses: BTreeMap<Scope, Pause>,
    breakers: Breakers,
    brake: Brake,
    learned: Learned,
    ledger_trouble: Option<String>,
    /// Nothing observed before counts: the process slept or the clock stepped.
    trust_after: Timestamp,
    timers: Timers,
    /// What a former run gave lately, until its service is configured.
    restored_given: BTreeMap<ServiceName, Vec<Timestamp>>,
    /// Open cases of a former run whose targets discovery has not given again yet.
    unplaced: BTreeMap<TargetId, CaseId>,
    /// How many members of a service are available, by its position: counted at most once for all cases that
    /// ask within one event, and thrown away whenever one may have become unavailable.
    available: RefCell<BTreeMap<usize, u32>>,
    /// Services whose capacity is being kept up, by their position.
    counted: VecDeque<usize>,
    /// Where the targets of some answers stand; kept to be filled again.
    places: Vec<Option<usize>>,
    hashes: Vec<u64>,
}

/// Effects of one call, in order.
pub(crate) type Out = Vec<Effect>;

impl Engine {
    #[must_use]
    pub fn new(birth: Birth) -> Self {
        Self {
            birth,
            fleet: Fleet::default(),
            fleet_limits: FleetLimits::default(),
            receivers: Vec::new(),
            observers: Vec::new(),
            unchanged: Vec::new(),
            suspects: BTreeMap::new(),
            sources: BTreeMap::new(),
            cases: BTreeMap::new(),
            closed: VecDeque::new(),
            rechecks: BTreeMap::new(),
            pending: BTreeMap::new(),
            orders: BTreeMap::new(),
            flying: Flights::default(),
            ended: VecDeque::new(),
            leases: BTreeMap::new(),
            memories: BTreeMap::new(),
            memories_swept_at: Timestamp::ZERO,
            holds: BTreeMap::new(),
            pauses: BTreeMap::new(),
            breakers: Breakers::default(),
            brake: Brake::default(),
            learned: Learned::default(),
            ledger_trouble: None,
            trust_after: Timestamp::ZERO,
            timers: Timers::default(),
            restored_given: BTreeMap::new(),
            unplaced: BTreeMap::new(),
            available: RefCell::default(),
            counted: VecDeque::new(),
            places: Vec::new(),
            hashes: Vec::new(),
        }
    }

    /// All that can happen, each to its stage. Timers that are due by `now` run after it, so that
    /// none acts on what the event has just forbidden.
    pub fn handle(&mut self, now: Timestamp, event: Event, judge: &mut Judge<'_>) -> Vec<Effect> {
        let mut out = Out::new();
        self.available.take();
        self.give_up_a_count(now);
        match event {
            Event::Production(production) => self.load(now, &production, &mut out),
            Event::Targets { upserted, removed } => {
                self.take_targets(now, upserted, &removed, &mut out)
            }
            Event::Source { source, trouble } => self.note_source(now, source, trouble, &mut out),
            Event::Observations(seen) => {
                self.observe_all(now, &seen, judge, &mut out);
            }
            Event::Unchanged { observer, at } => self.note_unchanged(now, &observer, at),
            Event::Observer { observer, trouble } => {
                self.weigh_observer(now, observer, trouble, &mut out)
            }
            Event::Outcome(outcome) => self.take_outcome(now, outcome, judge, &mut out),
            Event::Person(request) => self.obey(now, request, judge, &mut out),
            Event::LedgerFailed { not_given, error } => {
                self.lose_ledger(now, &not_given, error, &mut out)
            }
            Event::LedgerRecovered => {
                if self.ledger_trouble.take().is_some() {
                    out.push(fact(
                        now,
                        Fact::LedgerRecovered {
                            not_given: Vec::new(),
                        },
                    ));
                }
            }
            Event::Woke { paused_for } => self.wake(now, paused_for, &mut out),
            Event::Tick => {}
        }
        self.run_timers(now, judge, &mut out);
        out
    }

    fn run_timers(&mut self, now: Timestamp, judge: &mut Judge<'_>, out: &mut Out) {
        self.available.take();
        for _ in 0..DUE_AT_ONCE {
            let Some(timer) = self.timers.pop_due(now) else {
                return;
            };
            match timer {
                Timer::Case(id) => self.case_is_due(now, id, judge, out),
                Timer::Order(id) => self.order_is_due(now, id, judge, out),
                Timer::Lease(target) => self.lease_is_due(now, &target, judge, out),
                Timer::Hold(target) => self.end_hold(now, &target, out),
                Timer::Breaker(scope) => self.breaker_is_due(now, &scope, out),
            }
        }
    }

    /// When [`Event::Tick`] is next due, if nothing else happens.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// Given, and no outcome known yet.
    #[must_use]
    pub fn orders_in_flight(&self) -> Vec<Order> {
        self.flying
            .iter()
            .filter_map(|id| self.orders.get(id))
            .filter(|state| state.outcome.is_none())
            .map(|state| state.order.clone())
            .collect()
    }

    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.fleet.crews.iter().map(|crew| &crew.service)
    }

    /// Open cases and lately closed ones, by id.
    pub fn cases(&self) -> impl DoubleEndedIterator<Item = &Case> {
        self.cases.values()
    }

    #[must_use]
    pub fn case(&self, id: CaseId) -> Option<&Case> {
        self.cases.get(&id)
    }

    /// Orders in flight and lately ended ones, by id.
    pub fn orders(&self) -> impl DoubleEndedIterator<Item = &OrderState> {
        self.orders.values()
    }

    #[must_use]
    pub fn order(&self, id: OrderId) -> Option<&OrderState> {
        self.orders.get(&id)
    }

    /// The number the next order will have; it is used up when that order is given or put up for approval.
    fn next_operation(&self) -> (OrderId, OperationId) {
        let id = OrderId(self.birth.last_order + 1);
        let operation = OperationId::new(format!("{}-{id}", self.birth.installation))
            .expect("an installation's id and a number make a valid name");
        (id, operation)
    }

    fn keep_order(&mut self, state: OrderState, out: &mut Out) {
        if holds(Guard::Numbering) {
            self.birth.last_order = self.birth.last_order.max(state.order.id.0);
        }
        out.push(Effect::Save(Saved::Order(Box::new(state.clone()))));
        self.orders.insert(state.order.id, state);
    }

    fn open_case(&self, id: CaseId) -> &Case {
        self.cases
            .get(&id)
            .expect("an open case is kept until it is closed")
    }

    fn open_case_mut(&mut self, id: CaseId) -> &mut Case {
        self.cases
            .get_mut(&id)
            .expect("an open case is kept until it is closed")
    }

    /// A record about a case.
    fn record(
        &self,
        now: Timestamp,
        id: CaseId,
        order: Option<OrderId>,
        fact: Fact,
        out: &mut Out,
    ) {
        let case = self.open_case(id);
        out.push(Effect::Record(Record {
            at: now,
            case: Some(id),
            order,
            target: Some(case.target.clone()),
            service: Some(case.service.clone()),
            fact,
        }));
    }

    fn save_case(&self, id: CaseId, out: &mut Out) {
        out.push(Effect::Save(Saved::Case(self.open_case(id).clone())));
    }
}

/// A record about nothing in particular.
fn fact(now: Timestamp, fact: Fact) -> Effect {
    Effect::Record(Record {
        at: now,
        case: None,
        order: None,
        target: None,
        service: None,
        fact,
    })
}
