//! What carries orders out: once for each operation, never an expired one nor one of a former run, and always with
//! an outcome, though that may get lost. Like the real ones they know what became of an operation when they are
//! asked; unlike them they know of the truth, because they change it.

use std::collections::BTreeMap;

use pitcrew_model::{Action, Authority, Event, OperationId, Order, OrderId, Outcome, OutcomeKind};

use super::{
    World,
    balancer::is_by_host,
    chance::For,
    faults::{self, MINUTE, SECOND},
    fleet::Lookup,
    queue::{Happening, Millis},
    server::RECONCILE_AGAIN,
    truth::Ended,
};
use crate::{FaultKind, Link, TargetIndex};

/// A restart takes from one second to ten.
const WORK_MIN: Millis = SECOND;
const WORK_SPREAD: u64 = 9_000;
/// And then up to twenty until it serves again.
const WARM_UP: u64 = 20_000;
/// A host takes so many times longer.
const HOST_FACTOR: u64 = 10;
/// Until an actuator gives up on a host that it can't reach.
const UNREACHABLE: Millis = 5 * SECOND;
/// Of a hundred orders one fails without effect, and of two hundred one can't be told.
const FAILS_PER_MILLE: u64 = 10;
const UNTOLD_PER_MILLE: u64 = 5;
const UNTOLD_AFTER: Millis = 30 * SECOND;
/// For the report.
pub(super) const ASSUMED: [&str; 3] = [
    "A restart or start takes 1 to 10 seconds, and the target serves again up to 20 seconds after that; hosts take ten times as long. While it is carried out the target serves nobody.",
    "1% of the orders fail without effect, and of 0.5% nobody can tell whether they had one. On a host or in a domain that is down no order can be carried out.",
    "Half of the restarts by people go past Pitcrew.",
];
/// Whoever was well for so long was not the trouble that an order is for.
const LATELY: Millis = 5 * MINUTE;
const REMEMBERED: Millis = 60 * MINUTE;

struct Operation {
    order: Order,
    /// What it is done to.
    target: TargetIndex,
    /// The run that wants to hear of it.
    run: u64,
    outcome: Option<Outcome>,
    will: Will,
}

/// What will come of it, once its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Will {
    Work,
    WorkUntold,
    Fail(&'static str),
}

#[derive(Default)]
pub(super) struct Actuators {
    /// Orders with a lower one are of a former run.
    fence: u64,
    operations: Vec<Operation>,
    known: Lookup<OperationId, u32>,
    /// Operations under way, by the target that they are on.
    under_way: BTreeMap<u32, TargetIndex>,
}

impl Actuators {
    pub(super) fn admit(&mut self, fence: u64) {
        self.fence = self.fence.max(fence);
    }
}

impl World<'_> {
    pub(super) fn carry_out(&mut self, run: u64, order: Order) {
        if let Some(known) = self.actuators.known.get(&order.operation).copied() {
            let operation = &mut self.actuators.operations[known as usize];
            operation.run = operation.run.max(run);
            if let Some(outcome) = operation.outcome.clone() {
                self.answer(run, outcome);
            }
            return;
        }
        let Some(target) = self.fleet.find(&order.target.id) else {
            if matches!(order.action, Action::Undrain(_)) {
                self.drain_or_undrain(&order, None);
                let outcome = self.outcome(&order, OutcomeKind::Done, "there is no such target");
                return self.answer(run, outcome);
            }
            // Its target is no more: whatever is there now is another one.
            let outcome = self.outcome(&order, OutcomeKind::Failed, "there is no such target");
            return self.answer(run, outcome);
        };
        if self.stamp(self.now) >= order.expires_at {
            let outcome = self.outcome(&order, OutcomeKind::Failed, "the order has expired");
            return self.answer(run, outcome);
        }
        if order.fence < self.actuators.fence {
            let outcome = self.outcome(&order, OutcomeKind::Failed, "it is of a former run");
            return self.answer(run, outcome);
        }
        let machine = match order.action.is_on_host() {
            true => self.fleet.host_of(target).unwrap_or(target),
            false => target,
        };
        self.begin(run, order, target, machine);
    }

    fn begin(&mut self, run: u64, order: Order, ill: TargetIndex, target: TargetIndex) {
        if !order.is_upkeep() {
            self.judge(&order, ill, target);
        }
        let number = u32::try_from(self.actuators.operations.len()).unwrap_or(u32::MAX);
        let (will, takes) = self.fate_of(&order, target);
        let ends = self.now + takes;
        self.queue
            .push(ends, Happening::OrderEnds { operation: number });
        if will_work(will) {
            let drains = order.action.is_drain();
            if order.action.is_disruptive() && !drains {
                self.take_down(target);
            }
            let warm = self
                .chance
                .below(WARM_UP, For::WarmUp, &[order.id.0, target.into()]);
            let warm = if drains { 0 } else { warm };
            let done = match will {
                Will::WorkUntold => self.now + self.work(&order, target),
                Will::Work | Will::Fail(_) => ends,
            };
            let effect = Happening::TakesEffect { operation: number };
            self.queue.push((done + warm).max(ends), effect);
        }
        if !order.is_upkeep() {
            self.actuators.under_way.insert(number, target);
        }
        self.actuators.known.insert(order.operation.clone(), number);
        self.actuators.operations.push(Operation {
            order,
            target,
            run,
            outcome: None,
            will,
        });
    }

    fn fate_of(&self, order: &Order, target: TargetIndex) -> (Will, Millis) {
        let action = &order.action;
        let mut kinds = self.truth.kinds(target);
        let asks_host = !action.is_drain() || is_by_host(target);
        if asks_host && kinds.any(|kind| faults::can_not_be_done(kind, action)) {
            return (Will::Fail("its host can't be reached"), UNREACHABLE);
        }
        let luck = self
            .chance
            .below(1_000, For::Fumble, &[order.id.0, target.into()]);
        if luck < FAILS_PER_MILLE {
            return (Will::Fail("permission denied"), WORK_MIN);
        }
        if luck < FAILS_PER_MILLE + UNTOLD_PER_MILLE {
            return (Will::WorkUntold, UNTOLD_AFTER);
        }
        (Will::Work, self.work(order, target))
    }

    fn work(&self, order: &Order, target: TargetIndex) -> Millis {
        let of = [order.id.0, u64::from(target)];
        if order.action.is_drain() {
            return self.chance.below(WORK_SPREAD / 4, For::Work, &of);
        }
        let work = WORK_MIN + self.chance.below(WORK_SPREAD, For::Work, &of);
        if self.fleet.is_host(target) {
            work * HOST_FACTOR
        } else {
            work
        }
    }

    pub(super) fn order_ends(&mut self, number: u32) {
        let operation = &self.actuators.operations[number as usize];
        let (kind, detail) = match operation.will {
            Will::Work => (OutcomeKind::Done, "done"),
            Will::WorkUntold => (OutcomeKind::Unknown, "it has not ended in time"),
            Will::Fail(why) => (OutcomeKind::Failed, why),
        };
        let (run, outcome) = (operation.run, self.outcome(&operation.order, kind, detail));
        let operation = &mut self.actuators.operations[number as usize];
        operation.outcome = Some(outcome.clone());
        if !will_work(operation.will) {
            self.actuators.under_way.remove(&number);
        }
        self.answer(run, outcome);
    }

    pub(super) fn take_effect(&mut self, number: u32) {
        self.actuators.under_way.remove(&number);
        let operation = &self.actuators.operations[number as usize];
        let (target, action) = (operation.target, operation.order.action.clone());
        let (id, is_there) = (
            operation.order.id,
            self.fleet.find(&operation.order.acts_on().id) == Some(target),
        );
        if action.is_drain() {
            let order = operation.order.clone();
            return self.drain_or_undrain(&order, Some(target));
        }
        if action.is_disruptive() {
            self.bring_back(target);
        }
        if !is_there {
            return;
        }
        match action {
            Action::Stop => return self.stop(target),
            Action::Restart | Action::Start => {
                self.unstop(target);
                self.restarted_into_release(target);
            }
            Action::Reboot | Action::PowerCycle => {
                for touched in self.with_guests(target) {
                    self.restarted_into_release(touched);
                }
            }
            Action::Drain(_)
            | Action::Undrain(_)
            | Action::Command { .. }
            | Action::Webhook { .. }
            | Action::HandOver { .. } => {}
        }
        let touched = match action.is_on_host() {
            true => self.with_guests(target),
            false => vec![target],
        };
        for touched in touched {
            self.cure(id, &action, touched);
        }
    }

    fn cure(&mut self, id: OrderId, action: &Action, target: TargetIndex) {
        let faults: Vec<(u32, FaultKind)> = self
            .truth
            .of(target)
            .map(|(fault, affliction)| (fault, affliction.kind))
            .collect();
        for (fault, kind) in faults {
            let percent = faults::cure_percent(kind, action);
            if self
                .chance
                .percent(percent, For::Cure, &[id.0, fault.into()])
            {
                self.relieve(fault, target, Ended::Repaired);
            } else if kind == FaultKind::Slow && *action == Action::Restart {
                self.begin_anew(fault, target);
            }
        }
    }

    /// Whether the order is for whom it was decided on, and whether that one needed it.
    fn judge(&mut self, order: &Order, target: TargetIndex, machine: TargetIndex) {
        let touched = self.with_guests(machine);
        let host = self.fleet.host_of(machine);
        // One whose outcome was told is over for the server, though its target may still warm up.
        let untold = |number: u32| self.actuators.operations[number as usize].outcome.is_none();
        let under_way = self.actuators.under_way.iter();
        if under_way
            .filter(|(number, _)| untold(**number))
            .any(|(_, other)| touched.contains(other) || host == Some(*other))
        {
            let what = format!("{} began on {} beside another", order.id, order.target.id);
            self.tally.seen_broken(self.now, 1, what);
        }
        if matches!(order.authority, Authority::Person { .. }) {
            return;
        }
        if !self.tally.decided_on(order) {
            return self.tally.wrong_target();
        }
        let is_ill = self.truth.is_down(target) || self.truth.of(target).next().is_some();
        if is_ill
            || self
                .truth
                .was_down_since(target, self.now.saturating_sub(LATELY))
        {
            return;
        }
        let accused = self.observers.accused.get(&target).copied();
        if accused.is_some_and(|at| self.now - at <= REMEMBERED) {
            self.tally.false_repair();
        } else {
            self.tally.wrong_target();
        }
    }

    fn outcome(&self, order: &Order, kind: OutcomeKind, detail: &str) -> Outcome {
        Outcome {
            order: order.id,
            kind,
            at: self.stamp(self.now),
            detail: detail.to_owned(),
        }
    }

    /// To the run that gave the order; if it is gone, nobody hears it.
    fn answer(&mut self, run: u64, outcome: Outcome) {
        if run == self.server.run() {
            self.send_to_server(Link::ActuatorsToServer, Event::Outcome(outcome), false);
        }
    }

    /// A new run asks what became of a former run's order.
    pub(super) fn reconcile(&mut self, run: u64, order: Order) {
        if run != self.server.run() {
            return;
        }
        let away = self.weather.is_cut(Link::ServerToActuators)
            || self.weather.is_cut(Link::ActuatorsToServer);
        if away || !self.server.listens() {
            let order = Box::new(order);
            let again = Happening::Reconcile { run, order };
            return self.queue.push(self.now + RECONCILE_AGAIN, again);
        }
        let Some(known) = self.actuators.known.get(&order.operation).copied() else {
            let outcome = self.outcome(&order, OutcomeKind::Failed, "it was never begun");
            return self.take(Event::Outcome(outcome));
        };
        let operation = &mut self.actuators.operations[known as usize];
        operation.run = run;
        if let Some(outcome) = operation.outcome.clone() {
            self.take(Event::Outcome(outcome));
        }
    }
}

fn will_work(will: Will) -> bool {
    matches!(will, Will::Work | Will::WorkUntold)
}
