//! What the report says, counted as it happens: by the truth where the truth knows, by the ledger's records where
//! only those do. It changes nothing in the world.

use std::collections::{BTreeMap, BTreeSet};

use pitcrew_engine::Engine;
use pitcrew_model::{
    Autonomy, CaseId, Ending, Hold, Order, OrderId, Outcome, OutcomeKind, Production, ServiceName,
    TargetId,
};

use super::{
    World,
    faults::{self, MINUTE},
    queue::Millis,
    truth::Ended,
    usage::Usage,
};
use crate::{Broken, FaultKind, FaultTally, TargetIndex};

/// A fault that a policy can cure is cured by then, unless something holds it back.
pub(super) const BOUND: Millis = 60 * MINUTE;
/// From this rate on a ladder's step counts as a cure.
const CURES: u64 = 50;
/// Points of the timeline.
pub(super) const STEPS_MAX: u64 = 288;
/// Of broken invariants that are told one by one.
const BROKEN_TOLD: usize = 100;

#[derive(Debug, Default, Clone)]
pub(super) struct ServiceBook {
    pub(super) targets: u64,
    pub(super) cases: u64,
    pub(super) orders: u64,
    pub(super) called: u64,
    pub(super) down_ms: u64,
}

#[derive(Debug)]
pub(super) struct Tally {
    pub(super) step_ms: Millis,
    pub(super) services: Vec<ServiceBook>,
    by_name: BTreeMap<ServiceName, usize>,
    pub(super) usage: Usage,
    last_case: u64,
    pub(super) opened: u64,
    pub(super) ended: BTreeMap<String, u64>,
    /// Whose trouble a case is.
    case_targets: BTreeMap<CaseId, TargetId>,
    /// By number, the action's name; gone once its outcome is known.
    without_outcome: BTreeMap<OrderId, &'static str>,
    pub(super) orders: BTreeMap<String, u64>,
    pub(super) orders_left: u64,
    pub(super) wrong_targets: u64,
    pub(super) false_repairs: u64,
    pub(super) missed_repairs: u64,
    pub(super) broken_count: u64,
    pub(super) broken: Vec<Broken>,
    pub(super) faults: BTreeMap<&'static str, FaultTally>,
    held: BTreeSet<(&'static str, CaseId)>,
    /// When something last held a target's case back, or a person got it.
    excused: BTreeMap<TargetIndex, Millis>,
    pub(super) breaker_trips: u64,
    pub(super) people_called: u64,
    /// Down now, by faults or orders, since when.
    down_since: BTreeMap<TargetIndex, Millis>,
    /// Of targets that no service has.
    down_elsewhere_ms: u64,
    pub(super) down_with: Vec<u64>,
    pub(super) cases_over_time: Vec<u64>,
    pub(super) called_over_time: Vec<u64>,
}

impl Tally {
    pub(super) fn new(production: &Production, sizes: &[u64], length: Millis) -> Self {
        let seconds = length.div_ceil(1_000).max(1);
        let step_ms = seconds.div_ceil(STEPS_MAX) * 1_000;
        let steps = usize::try_from(length.div_ceil(step_ms).max(1)).unwrap_or(1);
        let names = production.services.iter().enumerate();
        let services = sizes.iter().map(|targets| ServiceBook {
            targets: *targets,
            ..ServiceBook::default()
        });
        Self {
            step_ms,
            services: services.collect(),
            by_name: names
                .map(|(at, service)| (service.name.clone(), at))
                .collect(),
            usage: Usage::new(step_ms, steps),
            last_case: 0,
            opened: 0,
            ended: BTreeMap::new(),
            case_targets: BTreeMap::new(),
            without_outcome: BTreeMap::new(),
            orders: BTreeMap::new(),
            orders_left: 0,
            wrong_targets: 0,
            false_repairs: 0,
            missed_repairs: 0,
            broken_count: 0,
            broken: Vec::new(),
            faults: BTreeMap::new(),
            held: BTreeSet::new(),
            excused: BTreeMap::new(),
            breaker_trips: 0,
            people_called: 0,
            down_since: BTreeMap::new(),
            down_elsewhere_ms: 0,
            down_with: Vec::with_capacity(steps),
            cases_over_time: vec![0; steps],
            called_over_time: vec![0; steps],
        }
    }

    fn step(&self, now: Millis) -> usize {
        let last = self.cases_over_time.len() - 1;
        usize::try_from(now / self.step_ms)
            .unwrap_or(last)
            .min(last)
    }

    pub(super) fn server_started(&mut self, last_case: u64) {
        self.last_case = last_case;
    }

    /// Cases that were opened by what has just been decided.
    pub(super) fn note_cases(&mut self, now: Millis, engine: &Engine) {
        let newest = engine.cases().next_back().map_or(0, |case| case.id.0);
        if newest <= self.last_case {
            return;
        }
        let step = self.step(now);
        for case in engine
            .cases()
            .rev()
            .take_while(|case| case.id.0 > self.last_case)
        {
            self.opened += 1;
            self.cases_over_time[step] += 1;
            if let Some(service) = self.by_name.get(&case.service) {
                self.services[*service].cases += 1;
            }
        }
        self.last_case = newest;
    }

    pub(super) fn confirmed(&mut self, case: CaseId, target: &TargetId) {
        self.case_targets.insert(case, target.clone());
    }

    /// Whether the order is for the target of the case that it names.
    pub(super) fn decided_on(&self, order: &Order) -> bool {
        let target = order.case.and_then(|case| self.case_targets.get(&case));
        target == Some(&order.target.id)
    }

    pub(super) fn held(
        &mut self,
        now: Millis,
        hold: &Hold,
        case: Option<CaseId>,
        target: Option<TargetIndex>,
    ) {
        if let Some(case) = case {
            self.held.insert((hold.name(), case));
        }
        self.excuse(now, target);
    }

    pub(super) fn handed_over(&mut self, now: Millis, target: Option<TargetIndex>) {
        self.excuse(now, target);
    }

    fn excuse(&mut self, now: Millis, target: Option<TargetIndex>) {
        if let Some(target) = target {
            self.excused.insert(target, now);
        }
    }

    pub(super) fn held_by(&self) -> BTreeMap<String, u64> {
        let mut by = BTreeMap::new();
        for (name, _) in &self.held {
            *by.entry((*name).to_owned()).or_default() += 1;
        }
        by
    }

    pub(super) fn closed(&mut self, ending: Ending) {
        *self.ended.entry(ending.to_string()).or_default() += 1;
    }

    pub(super) fn tripped(&mut self) {
        self.breaker_trips += 1;
    }

    pub(super) fn called(&mut self, now: Millis, service: Option<&ServiceName>) {
        let step = self.step(now);
        self.people_called += 1;
        self.called_over_time[step] += 1;
        if let Some(at) = service.and_then(|name| self.by_name.get(name)) {
            self.services[*at].called += 1;
        }
    }

    pub(super) fn intended(&mut self, order: &Order) {
        self.without_outcome.insert(order.id, order.action.name());
    }

    pub(super) fn came_out(&mut self, outcome: &Outcome) {
        if let Some(action) = self.without_outcome.remove(&outcome.order) {
            let kind = match outcome.kind {
                OutcomeKind::Done => "done",
                OutcomeKind::Failed => "failed",
                OutcomeKind::Unknown => "unknown",
            };
            *self.orders.entry(format!("{action} {kind}")).or_default() += 1;
        }
    }

    /// The ledger took no intent of these: they were never given.
    pub(super) fn struck(&mut self, orders: &[OrderId]) {
        for id in orders {
            self.without_outcome.remove(id);
        }
    }

    /// With those whose outcome nobody knows yet.
    pub(super) fn orders_by_outcome(&self) -> BTreeMap<String, u64> {
        let mut orders = self.orders.clone();
        for action in self.without_outcome.values() {
            *orders.entry(format!("{action} under way")).or_default() += 1;
        }
        orders
    }

    pub(super) fn left(&mut self, now: Millis, order: &Order, production: &Production) {
        self.orders_left += 1;
        let service = order
            .service
            .as_ref()
            .and_then(|name| self.by_name.get(name))
            .copied();
        if let Some(at) = service {
            self.services[at].orders += 1;
        }
        if let Some(at) = service.filter(|_| !order.is_upkeep()) {
            self.usage.left(now, order, &production.services[at]);
        }
    }

    pub(super) fn landed(&mut self, now: Millis, order: OrderId) {
        self.usage.landed(now, order);
    }

    pub(super) fn wrong_target(&mut self) {
        self.wrong_targets += 1;
    }

    pub(super) fn false_repair(&mut self) {
        self.false_repairs += 1;
    }

    pub(super) fn seen_broken(&mut self, now: Millis, invariant: u8, what: String) {
        self.broken(Broken {
            invariant,
            at_seconds: now / 1_000,
            what,
        });
    }

    pub(super) fn broken(&mut self, broken: Broken) {
        self.broken_count += 1;
        if self.broken.len() < BROKEN_TOLD {
            self.broken.push(broken);
        }
    }

    fn fault(&mut self, kind: FaultKind) -> &mut FaultTally {
        self.faults.entry(faults::name(kind)).or_default()
    }

    pub(super) fn fault_struck(&mut self, kind: FaultKind) {
        self.fault(kind).targets += 1;
    }

    pub(super) fn fault_confirmed(&mut self, kind: FaultKind) {
        self.fault(kind).confirmed += 1;
    }

    pub(super) fn fault_ended(&mut self, kind: FaultKind, how: Ended) {
        let tally = self.fault(kind);
        match how {
            Ended::Repaired => tally.cured += 1,
            Ended::Healed => tally.by_itself += 1,
            Ended::Fixed => tally.by_person += 1,
        }
    }

    pub(super) fn fault_lasts(&mut self, kind: FaultKind) {
        self.fault(kind).lasting += 1;
    }

    pub(super) fn went_down(&mut self, now: Millis, target: TargetIndex, service: Option<usize>) {
        self.down_since.insert(target, now);
        if let Some(service) = service {
            self.usage.down(now, service, 1);
        }
    }

    pub(super) fn came_up(&mut self, now: Millis, target: TargetIndex, service: Option<usize>) {
        let Some(since) = self.down_since.remove(&target) else {
            return;
        };
        self.add_down(now - since, service);
        if let Some(service) = service {
            self.usage.down(now, service, -1);
        }
    }

    fn add_down(&mut self, ms: Millis, service: Option<usize>) {
        match service {
            Some(service) => self.services[service].down_ms += ms,
            None => self.down_elsewhere_ms += ms,
        }
    }

    pub(super) fn down_ms(&self) -> u64 {
        let of_services: u64 = self.services.iter().map(|service| service.down_ms).sum();
        of_services + self.down_elsewhere_ms
    }

    /// The timeline's next point.
    pub(super) fn note_step(&mut self) {
        self.down_with.push(self.down_since.len() as u64);
    }

    /// What is down at the end was down until the end.
    pub(super) fn close_books(
        &mut self,
        now: Millis,
        service_of: impl Fn(TargetIndex) -> Option<usize>,
    ) {
        for (target, since) in std::mem::take(&mut self.down_since) {
            self.add_down(now - since, service_of(target));
        }
        self.usage.close_books(now);
    }

    pub(super) fn is_excused(&self, target: TargetIndex, since: Millis) -> bool {
        self.excused.get(&target).is_some_and(|at| *at >= since)
    }
}

impl World<'_> {
    /// A fault has had its time to be cured.
    pub(super) fn judge_missed(&mut self, fault: u32, target: TargetIndex) {
        let Some(affliction) = self.truth.afflictions.get(&(target, fault)) else {
            return;
        };
        let (kind, began) = (affliction.kind, affliction.began);
        if self.now - began < BOUND || self.tally.is_excused(target, began) {
            return;
        }
        if self.is_curable(kind, target) {
            self.tally.missed_repairs += 1;
        }
    }

    /// Whether some test shows it and the ladder for that test has a step that cures it.
    fn is_curable(&self, kind: FaultKind, target: TargetIndex) -> bool {
        let Some(at) = self.fleet.service_of(target) else {
            return false;
        };
        let service = &self.production.services[at];
        service.autonomy == Autonomy::Act
            && service
                .tests
                .iter()
                .filter(|test| faults::shows(kind, &test.kind))
                .any(|test| {
                    let steps = service.repair_for(&test.name).map(|repair| &repair.steps);
                    let mut steps = steps.into_iter().flatten();
                    steps.any(|step| faults::cure_percent(kind, &step.action) >= CURES)
                })
    }
}
