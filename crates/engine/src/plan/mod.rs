//! Plan: what a confirmed case wants next, and the order for it when nothing holds it back.
//!
//! The ladder only climbs: each step has its tries, and after the last one a person has the case. Whether a
//! wanted order may be given is decided in [`permit`]; this file never weighs a limit itself.

mod permit;

pub(crate) use permit::{domain_limit, is_approved};

use std::{sync::Arc, time::Duration};

use pitcrew_model::{
    Action, Authority, Autonomy, CaseId, Effect, Ending, Fact, Hold, LeaseTerm, Notice, Objection,
    Order, OrderId, OrderState, Phase, Progress, Proves, ReceiverName, Repair, Runner, Saved, Step,
    Target, Timestamp, Urgency,
};
use sha2::{Digest, Sha256};

use crate::{
    Engine, Judge, Out,
    guards::{Guard, holds},
    timers::Timer,
};

/// A held case asks again after this when its limit names no time: limits free up through other cases.
const RETRY: Duration = Duration::from_secs(1);
/// For limits that only a new configuration or a window's edge changes.
const SLOW_RETRY: Duration = Duration::from_secs(10);
/// How long discovery has to find a target again after a restart, before its case is given up.
const TARGET_MISSING: Duration = Duration::from_secs(15 * 60);
/// Drains of a target, each for a step that was then held up until the lease ran out.
const DRAINS_IN_VAIN: u8 = 3;
/// Held cases of a service that are asked again at once when one of its orders ends.
const WOKEN_AT_ONCE: usize = 8;

/// The next rung of the ladder.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) repair: Repair,
    pub(crate) step: u8,
    pub(crate) attempt: u8,
    pub(crate) action: Action,
    pub(crate) settle: Duration,
    pub(crate) runner: Option<Runner>,
    /// What it acts on, when that is not the target itself.
    pub(crate) host: Option<Arc<Target>>,
    /// The drain before this step failed as often as it is tried.
    is_undrained: bool,
}

impl Wanted {
    /// `restart unit nginx.service (step 1 of `restart-then-call`, try 1 of 2)`
    fn describe(&self) -> String {
        let what = match (&self.runner, &self.host) {
            (_, Some(host)) => format!("{} {}", self.action, host.id),
            (Some(runner), None) if self.action.needs_runner() => {
                format!("{} {runner}", self.action)
            }
            _ => self.action.to_string(),
        };
        let tries = self
            .repair
            .steps
            .get(usize::from(self.step))
            .map_or(0, |step| step.tries);
        format!(
            "{what} (step {} of `{}`, try {} of {tries})",
            self.step + 1,
            self.repair.name,
            self.attempt
        )
    }
}

impl Engine {
    /// Decides about a confirmed or held case: gives the next order, hands it over, or says what holds it.
    pub(crate) fn plan(
        &mut self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        self.expect_count(now, at);
        if self.open_case(id).handed_over.is_some() && holds(Guard::HandedOver) {
            return self.leave_to_person(id, out);
        }
        let wanted = self.wanted(now, at, id);
        if let Err(hold) = self.may_touch(now, at) {
            return self.hold(now, at, id, wanted.as_ref(), hold, out);
        }
        let Some(wanted) = wanted else {
            let why = "no repair is configured for this finding".to_owned();
            return match self.may_escalate(now, at, id) {
                Err(hold) => self.hold(now, at, id, None, hold, out),
                Ok(()) => self.hand_over(now, id, None, why, out),
            };
        };
        if let Action::HandOver { to } = &wanted.action {
            return match self.may_escalate(now, at, id) {
                Err(hold) => self.hold(now, at, id, Some(&wanted), hold, out),
                Ok(()) => self.hand_over(now, id, to.clone(), self.ladder_end(id), out),
            };
        }
        if wanted.is_undrained && !self.is_proven_down(now, at) && holds(Guard::UndrainedStops) {
            let progress = self.open_case(id).progress.as_ref();
            let why = match progress.filter(|progress| progress.drains_failed == 0) {
                Some(Progress { drains, .. }) => {
                    format!(
                        "drained {drains} times, and never could `{}` begin",
                        wanted.action
                    )
                }
                None => format!("it could not be drained before `{}`", wanted.action),
            };
            return match self.may_escalate(now, at, id) {
                Err(hold) => self.hold(now, at, id, Some(&wanted), hold, out),
                Ok(()) => self.hand_over(now, id, None, why, out),
            };
        }
        let authority = match self.may_repair(now, at, id, &wanted) {
            Ok(authority) => authority,
            Err(hold) => return self.hold(now, at, id, Some(&wanted), hold, out),
        };
        if let Err(hold) = self.may_disrupt(now, at, &wanted.action, self.is_proven_down(now, at)) {
            return self.hold(now, at, id, Some(&wanted), hold, out);
        }
        let order = self.order_for(now, at, id, &wanted, authority);
        let objections = judge(now, &order);
        if !objections.is_empty() && holds(Guard::InterlockObeyed) {
            return self.hold(
                now,
                at,
                id,
                Some(&wanted),
                Hold::Interlock { objections },
                out,
            );
        }
        self.give(now, at, Some((id, &wanted)), order, out);
    }

    /// The rung a case stands on, by what it believes. `None` when no repair is for any of its findings.
    fn wanted(&self, now: Timestamp, at: usize, id: CaseId) -> Option<Wanted> {
        let case = self.open_case(id);
        let service = &self.fleet.crew_of(at)?.service;
        let repair = match &case.progress {
            Some(progress) => service
                .repairs
                .iter()
                .find(|repair| repair.name == progress.repair),
            None => None,
        }
        .or_else(|| {
            case.findings
                .iter()
                .find_map(|finding| service.repair_for(&finding.test))
        })?;
        let drained = self.is_drained(now, &case.target, id);
        let progress = case.progress.as_ref();
        let progress = progress.filter(|progress| progress.repair == repair.name);
        let (step, tries, is_undrained) = next_rung(repair, progress, drained);
        let (action, settle) = repair
            .steps
            .get(usize::from(step))
            .or_else(|| repair.steps.last().filter(|_| !holds(Guard::LadderEnds)))
            .map_or((Action::HandOver { to: None }, Duration::ZERO), |step| {
                (step.action.clone(), step.settle)
            });
        let runner = service.runner_for(&self.fleet.member(at).target);
        let host = self.host_for(at, &action);
        Some(Wanted {
            repair: repair.clone(),
            step,
            attempt: tries.saturating_add(1),
            action,
            settle,
            runner,
            host,
            is_undrained,
        })
    }

    /// What an action on `at` acts on, when that is another target. Where it can't be told, `permit` says so.
    pub(crate) fn host_for(&self, at: usize, action: &Action) -> Option<Arc<Target>> {
        let machine = self
            .fleet
            .machine_of(at)
            .ok()
            .filter(|_| action.is_on_host());
        let host = machine.filter(|machine| *machine != at)?;
        Some(self.fleet.member(host).target.clone())
    }

    fn ladder_end(&self, id: CaseId) -> String {
        let is_drain = |id: &&OrderId| {
            let state = self.orders.get(*id);
            state.is_some_and(|state| state.order.action.is_drain())
        };
        let orders = self.open_case(id).orders.iter();
        match orders.filter(|id| !is_drain(id)).count() {
            0 => "its repair begins with a person".to_owned(),
            1 => "1 order did not help".to_owned(),
            given => format!("{given} orders did not help"),
        }
    }

    fn order_for(
        &self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        wanted: &Wanted,
        authority: Authority,
    ) -> Order {
        let (order_id, operation) = match (&authority, self.pending_order(id)) {
            (Authority::Approval { by }, Some(pending)) if !by.is_empty() => {
                (pending.id, pending.operation.clone())
            }
            _ => self.next_operation(),
        };
        let target_is_down = self.is_proven_down(now, at);
        let lease = lease_of(now, order_id, &wanted.action);
        let digest = self.digest(id, wanted);
        let member = self.fleet.member(at);
        Order {
            id: order_id,
            operation,
            case: Some(id),
            target: member.target.clone(),
            host: wanted.host.clone(),
            service: Some(self.open_case(id).service.clone()),
            action: wanted.action.clone(),
            lease,
            runner: wanted.runner.clone(),
            authority,
            repair: Some(wanted.repair.name.clone()),
            step: wanted.step,
            attempt: wanted.attempt,
            given_at: now,
            settle: wanted.settle,
            expires_at: self.expiry(now),
            fence: self.current_fence(),
            digest,
            target_is_down,
        }
    }

    pub(crate) fn expiry(&self, now: Timestamp) -> Timestamp {
        match holds(Guard::Expiry) {
            true => now + Order::EXPIRY,
            false => Timestamp::from_millis(u64::MAX),
        }
    }

    pub(crate) fn current_fence(&self) -> u64 {
        match holds(Guard::Fence) {
            true => self.birth.fence,
            false => 0,
        }
    }

    /// Whether a trusted, fresh majority of observers believes in a failure that proves the target serves nobody.
    pub(crate) fn is_proven_down(&self, now: Timestamp, at: usize) -> bool {
        self.beliefs(now, at)
            .iter()
            .any(|finding| finding.proves == Proves::Down)
    }

    /// What an approval is bound to: target, action, rung and the findings that called for it.
    pub(crate) fn digest(&self, id: CaseId, wanted: &Wanted) -> String {
        let case = self.open_case(id);
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text);
        };
        part(case.target.as_str());
        part(&format!("{:?} {:?}", wanted.action, wanted.runner));
        if let Some(host) = &wanted.host {
            part(host.id.as_str());
        }
        part(&format!(
            "{} {} {} {}",
            case.id, wanted.repair.name, wanted.step, wanted.attempt
        ));
        for finding in &case.findings {
            part(finding.test.as_str());
        }
        hash.finalize()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Writes the intent, then lets the order go.
    pub(crate) fn give(
        &mut self,
        now: Timestamp,
        at: usize,
        case: Option<(CaseId, &Wanted)>,
        order: Order,
        out: &mut Out,
    ) {
        let id = order.id;
        let service = order.service.clone();
        self.available.take();
        self.flying.insert(&order);
        self.depart(at, id);
        let host = order.host.as_ref();
        if let Some(host) = host.and_then(|host| self.fleet.find(&host.id)) {
            self.depart(host, id);
        }
        self.timers.set(Timer::Order(id), order.overdue_at());
        let state = OrderState {
            order: order.clone(),
            given: true,
            outcome: None,
            ended_at: None,
        };
        if holds(Guard::IntentFirst) {
            out.push(Effect::Record(pitcrew_model::Record {
                at: now,
                case: order.case,
                order: Some(id),
                target: Some(order.target.id.clone()),
                service: service.clone(),
                fact: Fact::Intent {
                    order: Box::new(order.clone()),
                },
            }));
        }
        self.keep_order(state, out);
        self.begin_lease(now, &order, out);
        if order.action.is_disruptive() {
            self.spend_rate(now, &order, out);
        }
        if let Some((case_id, wanted)) = case {
            if self.pending.get(&case_id) == Some(&id) {
                self.pending.remove(&case_id);
            }
            self.drop_pending_order(now, case_id, out);
            self.leave_waiting(case_id);
            self.timers.clear(&Timer::Case(case_id));
            let case = self.open_case_mut(case_id);
            case.phase = Phase::Repairing { order: id };
            case.orders.push(id);
            let before = case.progress.take();
            let before = before.filter(|progress| progress.repair == wanted.repair.name);
            let repair = wanted.repair.name.clone();
            let mut progress = before.unwrap_or_else(|| Progress::of(repair));
            if order.action.is_drain() {
                progress.drains = progress.drains.saturating_add(1);
            } else {
                (progress.step, progress.tries) = (wanted.step, wanted.attempt);
                progress.drains = 0;
            }
            case.progress = Some(progress);
            self.save_case(case_id, out);
        }
        out.push(Effect::Give(order));
    }

    pub(crate) fn leave_waiting(&mut self, id: CaseId) {
        let service = self.open_case(id).service.clone();
        if let Some(crew) = self.fleet.crew_mut(&service) {
            crew.waiting.remove(&id);
        }
    }

    /// Says why a case is not acted on; written down when the reason changes.
    pub(crate) fn hold(
        &mut self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        wanted: Option<&Wanted>,
        hold: Hold,
        out: &mut Out,
    ) {
        match hold {
            Hold::Flapping { percent } => {
                let why = format!("it flaps: {percent}% of its recent rounds changed");
                return self.hand_over(now, id, None, why, out);
            }
            Hold::Lemon { .. } | Hold::NoRunner { .. } => {
                return self.hand_over(now, id, None, hold.to_string(), out);
            }
            _ => {}
        }
        let hold = match (hold, wanted) {
            (Hold::AwaitingApproval { .. }, Some(wanted)) => {
                self.propose_for_approval(now, at, id, wanted, out)
            }
            (hold, _) => hold,
        };
        let changed = !matches!(&self.open_case(id).phase, Phase::Held(before) if is_same_reason(before, &hold));
        match retry_at(now, &hold) {
            Some(at) if holds(Guard::HeldAsksAgain) => self.timers.set(Timer::Case(id), at),
            _ => self.timers.clear(&Timer::Case(id)),
        }
        let service = self.open_case(id).service.clone();
        if let Some(crew) = self.fleet.crew_mut(&service) {
            crew.waiting.insert(id);
        }
        self.open_case_mut(id).phase = Phase::Held(hold.clone());
        if !changed {
            return;
        }
        let described = wanted.map(Wanted::describe);
        let would = described.as_ref().map_or_else(
            || "a person would be told".to_owned(),
            |what| format!("without it: {what}"),
        );
        self.tell_of_hold(now, id, described.as_deref(), &hold, out);
        self.record(
            now,
            id,
            None,
            Fact::Held {
                wanted: described,
                hold,
                would,
            },
            out,
        );
        self.save_case(id, out);
    }

    /// Only what needs a person and no one has been told of.
    fn tell_of_hold(
        &self,
        now: Timestamp,
        id: CaseId,
        wanted: Option<&str>,
        hold: &Hold,
        out: &mut Out,
    ) {
        let wanted = wanted.unwrap_or("a person's look");
        let case = self.open_case(id);
        let (urgency, summary) = match hold {
            Hold::Autonomy {
                autonomy: Autonomy::Propose,
                ..
            } => (
                Urgency::Inform,
                format!(
                    "{}: proposes to {wanted}; do it with: pitcrew order",
                    case.target
                ),
            ),
            Hold::AwaitingApproval { order, .. } if holds(Guard::ApprovalTold) => (
                Urgency::Page,
                format!(
                    "{}: wants to {wanted}; allow it with: pitcrew approve {order}",
                    case.target
                ),
            ),
            _ => return,
        };
        out.push(Effect::Notify(self.notice(
            now,
            id,
            Vec::new(),
            urgency,
            summary,
        )));
    }

    fn notice(
        &self,
        now: Timestamp,
        id: CaseId,
        to: Vec<ReceiverName>,
        urgency: Urgency,
        summary: String,
    ) -> Notice {
        let case = self.open_case(id);
        let mut evidence: Vec<String> = case
            .findings
            .iter()
            .map(|finding| {
                let rounds = if finding.rounds == 1 {
                    "round"
                } else {
                    "rounds"
                };
                format!(
                    "{} failing since {}, {} {rounds}: {}",
                    finding.test, finding.since, finding.rounds, finding.evidence
                )
            })
            .collect();
        for order in &case.orders {
            let Some(state) = self.orders.get(order) else {
                continue;
            };
            let outcome = state.outcome.as_ref().map_or_else(
                || "no outcome yet".to_owned(),
                |outcome| format!("{}: {}", outcome.kind, outcome.detail),
            );
            evidence.push(format!(
                "{} {order} {}: {outcome}",
                state.order.given_at,
                state.order.deed()
            ));
        }
        Notice {
            to,
            at: now,
            urgency,
            case: Some(id),
            target: Some(case.target.clone()),
            service: Some(case.service.clone()),
            summary,
            evidence,
        }
    }

    /// A person goes on from here; the case stays open until its target recovers or the person closes it.
    fn hand_over(
        &mut self,
        now: Timestamp,
        id: CaseId,
        to: Option<ReceiverName>,
        why: String,
        out: &mut Out,
    ) {
        if self.open_case(id).handed_over.is_some() {
            return;
        }
        let to: Vec<ReceiverName> = to.map_or_else(|| self.receivers.clone(), |to| vec![to]);
        self.timers.clear(&Timer::Case(id));
        self.leave_waiting(id);
        self.drop_pending_order(now, id, out);
        if holds(Guard::GivenBackToPerson) {
            self.give_back(now, id, "a person has its case", out);
        }
        let case = self.open_case_mut(id);
        case.handed_over = Some(why.clone());
        case.phase = Phase::Held(Hold::HandedOver {
            to: to.iter().map(ToString::to_string).collect(),
            why: why.clone(),
        });
        let target = case.target.clone();
        self.record(
            now,
            id,
            None,
            Fact::HandedOver {
                to: to.clone(),
                why: why.clone(),
            },
            out,
        );
        self.save_case(id, out);
        if !holds(Guard::PersonCalled) {
            return;
        }
        let summary = format!("{target} needs you: {why}. See: pitcrew explain {id}");
        out.push(Effect::Notify(self.notice(
            now,
            id,
            to,
            Urgency::Page,
            summary,
        )));
    }

    /// Whatever came of a person's own order, the case is still theirs.
    fn leave_to_person(&mut self, id: CaseId, out: &mut Out) {
        let case = self.open_case_mut(id);
        if matches!(case.phase, Phase::Held(Hold::HandedOver { .. })) {
            return;
        }
        case.phase = Phase::Held(Hold::HandedOver {
            to: Vec::new(),
            why: case.handed_over.clone().unwrap_or_default(),
        });
        self.save_case(id, out);
    }

    /// Keeps the exact order that a person is asked to approve.
    fn propose_for_approval(
        &mut self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        wanted: &Wanted,
        out: &mut Out,
    ) -> Hold {
        let digest = self.digest(id, wanted);
        if let Some(pending) = self.pending_order(id)
            && pending.digest == digest
        {
            let order = pending.id;
            return Hold::AwaitingApproval { order, digest };
        }
        self.drop_pending_order(now, id, out);
        let order = self.order_for(
            now,
            at,
            id,
            wanted,
            Authority::Approval { by: String::new() },
        );
        let hold = Hold::AwaitingApproval {
            order: order.id,
            digest,
        };
        let state = OrderState {
            order,
            given: false,
            outcome: None,
            ended_at: None,
        };
        self.pending.insert(id, state.order.id);
        self.keep_order(state, out);
        hold
    }

    /// The order that a person is or was asked to approve for this case.
    pub(crate) fn pending_order(&self, id: CaseId) -> Option<&Order> {
        let order = self.pending.get(&id)?;
        self.orders.get(order).map(|state| &state.order)
    }

    /// What was never given is void.
    pub(crate) fn drop_pending_order(&mut self, now: Timestamp, id: CaseId, out: &mut Out) {
        if let Some(order) = self.pending.remove(&id) {
            self.end_order(now, order, out);
        }
    }

    pub(crate) fn end_order(&mut self, now: Timestamp, id: OrderId, out: &mut Out) {
        self.timers.clear(&Timer::Order(id));
        let Some(state) = self
            .orders
            .get_mut(&id)
            .filter(|state| state.ended_at.is_none())
        else {
            return;
        };
        state.ended_at = Some(now);
        out.push(Effect::Save(Saved::Order(Box::new(state.clone()))));
        let order = state.order.clone();
        let service = order.service.clone();
        self.flying.remove(&order);
        self.fleet.land(&order.target.id, id);
        self.fleet.land(&order.acts_on().id, id);
        if let Some(crew) = service.and_then(|service| self.fleet.crew(&service)) {
            for waiting in crew
                .waiting
                .iter()
                .take(WOKEN_AT_ONCE)
                .copied()
                .collect::<Vec<_>>()
            {
                self.timers.set(Timer::Case(waiting), now);
            }
        }
        self.ended.push_back(id);
        if self.ended.len() > crate::SHOWN_AFTER_END
            && let Some(oldest) = self.ended.pop_front()
        {
            self.orders.remove(&oldest);
        }
    }

    pub(crate) fn case_is_due(
        &mut self,
        now: Timestamp,
        id: CaseId,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        let Some(case) = self.cases.get(&id).filter(|case| case.is_open()) else {
            return;
        };
        let Some(at) = self.fleet.find(&case.target) else {
            return self.await_target(now, id, out);
        };
        match case.phase {
            // A denied order is not asked for again: only a new finding makes it another question.
            Phase::Held(Hold::Denied { .. }) if holds(Guard::DeniedStays) => {}
            Phase::Held(_) | Phase::Confirmed => self.plan(now, at, id, judge, out),
            Phase::Verifying { .. } => self.not_verified(now, at, id, judge, out),
            Phase::Probation { .. } => self.probation_is_due(now, at, id, out),
            Phase::Repairing { order } => self.repairing_is_due(now, at, id, order, judge, out),
            Phase::Suspected | Phase::Closed(_) => {}
        }
    }

    /// A case of a former run whose target has not been found again.
    fn await_target(&mut self, now: Timestamp, id: CaseId, out: &mut Out) {
        if now.since(self.trust_after) < TARGET_MISSING {
            self.timers.set(Timer::Case(id), now + SLOW_RETRY);
        } else {
            self.forget_case(
                now,
                id,
                Ending::Superseded,
                "its target was not found again".to_owned(),
                out,
            );
        }
    }
}

/// Step, tries of it so far, and whether the drain that should come before it can't be had. A drain is no step that
/// is climbed past: whatever comes after it needs the target out of use, so where its lease ran out, it is the next
/// step once more.
fn next_rung(repair: &Repair, progress: Option<&Progress>, drained: bool) -> (u8, u8, bool) {
    let (mut step, mut tries) = progress.map_or((0, 0), |progress| (progress.step, progress.tries));
    let drains_failed = progress.map_or(0, |progress| progress.drains_failed);
    let drains = progress.map_or(0, |progress| progress.drains);
    let drains_again = |drain: &Step| {
        let in_vain = drains >= drain.tries.max(DRAINS_IN_VAIN) && holds(Guard::DrainsEnd);
        drains_failed < drain.tries && !in_vain
    };
    let current = |step: u8| repair.steps.get(usize::from(step));
    if current(step).is_some_and(|step| tries >= step.tries) && holds(Guard::LadderClimbs) {
        (step, tries) = (step.saturating_add(1), 0);
    }
    while let Some(drain) = current(step).filter(|step| step.action.is_drain()) {
        if !drained && drains_again(drain) {
            return (step, drains_failed, false);
        }
        (step, tries) = (step.saturating_add(1), 0);
    }
    let acts = current(step).is_some_and(|step| !matches!(step.action, Action::HandOver { .. }));
    let mut before = repair.steps.iter().take(usize::from(step));
    let drain = before.rposition(|step| step.action.is_drain());
    match drain.filter(|_| acts && !drained) {
        None => (step, tries, false),
        Some(drain) if drains_again(&repair.steps[drain]) => {
            (u8::try_from(drain).unwrap_or(u8::MAX), drains_failed, false)
        }
        Some(_) => (step, tries, true),
    }
}

/// A reason is new when its limit is another, or when it asks for something else.
fn is_same_reason(before: &Hold, now: &Hold) -> bool {
    match (before, now) {
        (
            Hold::AwaitingApproval { order: before, .. },
            Hold::AwaitingApproval { order: now, .. },
        ) => before == now,
        (Hold::Interlock { objections: before }, Hold::Interlock { objections: now }) => {
            let invariants = |objections: &[Objection]| {
                objections.iter().map(|o| o.invariant).collect::<Vec<_>>()
            };
            invariants(before) == invariants(now)
        }
        _ => before.name() == now.name(),
    }
}

/// The lease that a drain begins.
pub(crate) fn lease_of(now: Timestamp, id: OrderId, action: &Action) -> Option<LeaseTerm> {
    match action {
        Action::Drain(drain) => Some(LeaseTerm {
            id,
            until: now + drain.lease,
        }),
        _ => None,
    }
}

/// All at the same moments, so that what they ask for is counted once for all of them.
fn next_retry(now: Timestamp) -> Timestamp {
    let retry_ms = u64::try_from(RETRY.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis((now.as_millis() / retry_ms + 1).saturating_mul(retry_ms))
}

/// When to ask again; `None`: when something happens.
fn retry_at(now: Timestamp, hold: &Hold) -> Option<Timestamp> {
    match hold {
        Hold::Cooldown { until } | Hold::Rate { until, .. } | Hold::HeldByPerson { until, .. } => {
            Some(*until)
        }
        Hold::Autonomy { .. } | Hold::AwaitingApproval { .. } | Hold::FleetRate { .. } => {
            Some(now + SLOW_RETRY)
        }
        Hold::Denied { .. }
        | Hold::Paused { .. }
        | Hold::Lemon { .. }
        | Hold::Flapping { .. }
        | Hold::NoRunner { .. }
        | Hold::HandedOver { .. } => None,
        Hold::LedgerUnwritable
        | Hold::Breaker { .. }
        | Hold::ObserverSuspect { .. }
        | Hold::Quorum { .. }
        | Hold::OneAtATime { .. }
        | Hold::MaxInFlight { .. }
        | Hold::PerDomain { .. }
        | Hold::MaxUnavailable { .. }
        | Hold::LastHealthy { .. }
        | Hold::HostUnknown { .. }
        | Hold::Interlock { .. } => Some(next_retry(now)),
    }
}
