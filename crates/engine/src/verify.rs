//! Verify: after an outcome the tests decide, never the actuator.
//!
//! Only answers to questions that were put after the outcome count. What passes long enough goes on
//! probation; what does not within the step's time to settle is another try, then another step.

use std::time::Duration;

use pitcrew_model::{
    Action, Authority, CaseId, Effect, Ending, Fact, OrderId, Outcome, OutcomeKind, Phase, Proves,
    Record, Saved, ServiceName, TestKind, Timestamp,
};

use crate::{
    Engine, Judge, Out,
    diagnose::{Opinion, View},
    guards::{Guard, holds},
    timers::Timer,
};

impl Engine {
    pub(crate) fn take_outcome(
        &mut self,
        now: Timestamp,
        mut outcome: Outcome,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        // An actuator's clock may be ahead of ours, which may have been set back since: no answer would be to a
        // question put after such an outcome, and nothing could verify the order.
        outcome.at = outcome.at.min(now);
        let id = outcome.order;
        let Some(state) = self
            .orders
            .get_mut(&id)
            .filter(|state| state.given)
            .filter(|state| state.outcome.is_none() || !holds(Guard::OutcomeOnce))
        else {
            return;
        };
        state.outcome = Some(outcome.clone());
        let order = state.order.clone();
        out.push(Effect::Record(Record {
            at: now,
            case: order.case,
            order: Some(id),
            target: Some(order.target.id.clone()),
            service: order.service.clone(),
            fact: Fact::Outcome {
                outcome: outcome.clone(),
            },
        }));
        if order.action.is_drain() {
            self.note_lease_outcome(now, &order, &outcome, out);
        }
        if order.is_upkeep() {
            return self.end_order(now, id, out);
        }
        let state = &self.orders[&id];
        out.push(Effect::Save(Saved::Order(Box::new(state.clone()))));
        self.timers.set(Timer::Order(id), now + order.settle);
        let at = self.fleet.find(&order.target.id);
        // Whether it is in use says nothing of how it is.
        if let Some(at) = at.filter(|_| !order.action.is_drain()) {
            self.forget_before(at, outcome.at);
            self.probe_all(at, out);
        }
        if !order.action.is_drain()
            && outcome.kind != OutcomeKind::Failed
            && holds(Guard::ProofAfterHostsOrder)
        {
            let machine = self.fleet.find(&order.acts_on().id);
            for touched in machine.map_or_else(Vec::new, |at| self.fleet.touched_by(at)) {
                self.forget_before(touched, outcome.at);
            }
        }
        let case = order.case.filter(|case| {
            matches!(self.cases.get(case), Some(case) if matches!(case.phase, Phase::Repairing { order } if order == id))
        });
        let Some(case) = case else {
            if outcome.kind == OutcomeKind::Failed {
                self.end_order(now, id, out);
            }
            return;
        };
        if order.action.is_drain() {
            return self.drain_ended(now, at, case, &outcome, judge, out);
        }
        self.timers.clear(&Timer::Order(id));
        let repeats = outcome.kind == OutcomeKind::Unknown && !holds(Guard::UnknownIsVerified);
        if outcome.kind == OutcomeKind::Failed || repeats {
            self.end_order(now, id, out);
            self.open_case_mut(case).phase = Phase::Confirmed;
            self.save_case(case, out);
            match at {
                Some(at) => self.plan(now, at, case, judge, out),
                // After a restart its target may be found later.
                None => self.timers.set(Timer::Case(case), now),
            }
            return;
        }
        let until = match holds(Guard::Settle) {
            true => now + order.settle,
            false => now,
        };
        self.open_case_mut(case).phase = Phase::Verifying {
            order: id,
            since: now,
            until,
        };
        self.timers.set(Timer::Case(case), until);
        self.save_case(case, out);
        if let Some(at) = at.filter(|_| !holds(Guard::TestsDecide)) {
            self.pass(now, at, case, out);
        }
    }

    /// A drain repairs nothing: once its connections had time to end, the ladder goes on.
    fn drain_ended(
        &mut self,
        now: Timestamp,
        at: Option<usize>,
        id: CaseId,
        outcome: &Outcome,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        let has_failed = match holds(Guard::DrainedForSure) {
            true => outcome.kind != OutcomeKind::Done,
            false => outcome.kind == OutcomeKind::Failed,
        };
        let settle = self.orders[&outcome.order].order.settle;
        if let Some(progress) = &mut self.open_case_mut(id).progress {
            progress.drains_failed = match has_failed {
                true => progress.drains_failed.saturating_add(1),
                false => 0,
            };
        }
        self.save_case(id, out);
        match at {
            Some(at) if outcome.kind == OutcomeKind::Failed || !holds(Guard::DrainSettles) => {
                self.after_drain(now, at, id, outcome.order, judge, out);
            }
            // After a restart its target may be found later.
            _ => self.timers.set(Timer::Case(id), now + settle),
        }
    }

    fn after_drain(
        &mut self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        order: OrderId,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        self.end_order(now, order, out);
        self.open_case_mut(id).phase = Phase::Confirmed;
        self.save_case(id, out);
        self.plan(now, at, id, judge, out);
    }

    /// A drain has had its time to settle; of any other order the outcome is waited for.
    pub(crate) fn repairing_is_due(
        &mut self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        order: OrderId,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        let state = self.orders.get(&order);
        let drained = state.filter(|state| state.order.action.is_drain());
        let Some((outcome, settle)) =
            drained.and_then(|state| Some((state.outcome.as_ref()?, state.order.settle)))
        else {
            return;
        };
        let settled_at = outcome.at + settle;
        if now < settled_at && outcome.kind != OutcomeKind::Failed {
            return self.timers.set(Timer::Case(id), settled_at);
        }
        self.after_drain(now, at, id, order, judge, out);
    }

    /// What was seen of it before an order landed proves nothing about what is there now.
    fn forget_before(&mut self, at: usize, landed_at: Timestamp) {
        for view in self.fleet.member_mut(at).views.iter_mut() {
            view.forget(landed_at);
        }
        self.fleet.doubt(at);
    }

    fn probe_all(&self, at: usize, out: &mut Out) {
        let Some(crew) = self.fleet.crew_of(at) else {
            return;
        };
        for test in &crew.service.tests {
            out.push(Effect::Probe {
                target: self.fleet.member(at).target.id.clone(),
                test: test.name.clone(),
            });
        }
    }

    /// Every test that found something or that proves the target up has passed long enough since `since`, when the
    /// outcome was known, as every observer sees it that reports. One that saw it pass all along, and only says
    /// that nothing changed, neither proves nor disproves anything: what was found is disproved by passes that
    /// were reported.
    fn is_verified(&self, now: Timestamp, at: usize, id: CaseId, since: Timestamp) -> bool {
        let Some(crew) = self.fleet.crew_of(at) else {
            return false;
        };
        let findings = &self.open_case(id).findings;
        crew.service
            .tests
            .iter()
            .enumerate()
            .all(|(position, test)| {
                let found = findings.iter().any(|finding| finding.test == test.name);
                let tells_little = test.proves == Proves::Degraded
                    || test.kind == TestKind::Push
                    || !holds(Guard::VerifiedWhole);
                if !found && tells_little {
                    return true;
                }
                let passed_long_enough = |view: &View| view.passes_enough(test);
                let unchanged = |view: &View| {
                    let asked_at = view.asked_at_latest(test, self.unchanged_at(view));
                    asked_at > view.asked_at && asked_at >= since
                };
                let mut heard = false;
                let mut proven = false;
                self.views(at)
                    .filter(|(at, view)| {
                        *at == position
                            && (self.is_fresh(now, test, view) || !holds(Guard::VerifiedFreshly))
                    })
                    .all(|(_, view)| {
                        heard = true;
                        proven |= passed_long_enough(view);
                        view.opinion == Opinion::Passing
                            && (passed_long_enough(view) || unchanged(view))
                            || !holds(Guard::VerifiedByAll)
                    })
                    && heard
                    && (proven || !found && !findings.is_empty() || !holds(Guard::VerifiedByReport))
            })
    }

    pub(crate) fn verify(&mut self, now: Timestamp, at: usize, id: CaseId, out: &mut Out) {
        let Phase::Verifying { since, .. } = self.open_case(id).phase else {
            return;
        };
        if self.is_verified(now, at, id, since) {
            self.pass(now, at, id, out);
        }
    }

    fn pass(&mut self, now: Timestamp, at: usize, id: CaseId, out: &mut Out) {
        let observers = self.observers.clone();
        self.end_verification(
            now,
            id,
            true,
            "its tests pass again".to_owned(),
            observers,
            out,
        );
        self.begin_probation(now, at, id, out);
    }

    /// The step's time to settle is over and the tests did not pass.
    pub(crate) fn not_verified(
        &mut self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        let seen = self.beliefs(now, at);
        let detail = seen.first().map_or_else(
            || "no test passed long enough in time".to_owned(),
            |finding| format!("{}: {}", finding.test, finding.evidence),
        );
        let observers = seen
            .first()
            .map(|finding| finding.observers.clone())
            .unwrap_or_default();
        self.end_verification(now, id, false, detail, observers, out);
        let case = self.open_case_mut(id);
        case.phase = Phase::Confirmed;
        if !seen.is_empty() {
            case.findings = seen;
        }
        self.plan(now, at, id, judge, out);
    }

    fn end_verification(
        &mut self,
        now: Timestamp,
        id: CaseId,
        passed: bool,
        detail: String,
        observers: Vec<pitcrew_model::ObserverName>,
        out: &mut Out,
    ) {
        let Phase::Verifying { order, .. } = self.open_case(id).phase else {
            return;
        };
        self.record(
            now,
            id,
            Some(order),
            Fact::Verified {
                passed,
                observers,
                detail,
            },
            out,
        );
        self.learn(now, id, order, passed, out);
        self.end_order(now, order, out);
    }

    pub(crate) fn begin_probation(&mut self, now: Timestamp, at: usize, id: CaseId, out: &mut Out) {
        self.stop_counting(at, id);
        self.drop_pending_order(now, id, out);
        // Before it is watched: what it is watched with is real traffic.
        if holds(Guard::GivenBackToProve) {
            self.give_back(now, id, "it is repaired", out);
        }
        let service = self.open_case(id).service.clone();
        let until = match holds(Guard::Probation) {
            true => now + self.probation_of(&service),
            false => now,
        };
        if let Some(crew) = self.fleet.crew_mut(&service) {
            crew.waiting.remove(&id);
        }
        self.open_case_mut(id).phase = Phase::Probation { until };
        self.timers.set(Timer::Case(id), until);
        self.record(now, id, None, Fact::Probation { until }, out);
        self.save_case(id, out);
    }

    pub(crate) fn probation_of(&self, service: &ServiceName) -> Duration {
        let crew = self.fleet.crew(service);
        crew.map(|crew| crew.service.limits.probation)
            .unwrap_or_default()
    }

    /// Quiet for all of its probation: cured. While a failure is suspected, or nothing is heard, it goes on.
    pub(crate) fn probation_is_due(
        &mut self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        out: &mut Out,
    ) {
        let crew = self.fleet.crew_of(at);
        let patience = crew
            .and_then(|crew| crew.service.tests.iter().map(|test| test.interval).min())
            .unwrap_or(Duration::from_secs(10));
        let quiet = crew.is_some_and(|crew| {
            self.views(at)
                .any(|(position, view)| self.is_fresh(now, &crew.service.tests[position], view))
                && self.current_views(now, at).all(|(_, view)| view.fails == 0)
        });
        if quiet || !holds(Guard::ProbationQuiet) {
            let orders = self.open_case(id).orders.len();
            let why = format!(
                "quiet for its probation after {orders} {}",
                if orders == 1 { "order" } else { "orders" }
            );
            self.close(now, at, id, Ending::Cured, why, out);
        } else {
            self.timers.set(Timer::Case(id), now + patience);
        }
    }

    /// An order's deadline: no outcome came, or a person's own order has had its time to settle.
    pub(crate) fn order_is_due(
        &mut self,
        now: Timestamp,
        id: OrderId,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        let Some(state) = self
            .orders
            .get(&id)
            .filter(|state| state.given && state.ended_at.is_none())
        else {
            return;
        };
        if state.outcome.is_some() {
            // While its case is being verified, its effect is what is being looked at.
            let verifying = state.order.case.and_then(|case| self.cases.get(&case));
            return match verifying.map(|case| &case.phase) {
                Some(Phase::Verifying { order, until, .. })
                    if *order == id && now < *until && holds(Guard::FlightOverVerification) =>
                {
                    self.timers.set(Timer::Order(id), *until);
                }
                _ => self.end_order(now, id, out),
            };
        }
        if !holds(Guard::OutcomeOverdue) {
            return;
        }
        let detail = "the actuator never reported".to_owned();
        self.take_outcome(
            now,
            Outcome {
                order: id,
                kind: OutcomeKind::Unknown,
                at: now,
                detail,
            },
            judge,
            out,
        );
    }

    /// The ledger could not take the intent, so these orders never left.
    pub(crate) fn lose_ledger(
        &mut self,
        now: Timestamp,
        not_given: &[OrderId],
        error: String,
        out: &mut Out,
    ) {
        self.ledger_trouble = Some(error);
        for id in not_given {
            let Some(state) = self.orders.get(id).filter(|state| state.ended_at.is_none()) else {
                continue;
            };
            let (case, on_a_rung) = (state.order.case, state.order.repair.is_some());
            let stopped = (state.order.action == Action::Stop
                && matches!(state.order.authority, Authority::Person { .. }))
            .then(|| state.order.target.id.clone());
            let is_drain = state.order.action.is_drain();
            if is_drain {
                self.lease_order_not_given(now, *id, out);
            }
            if holds(Guard::NotGivenLands) {
                self.end_order(now, *id, out);
            }
            if let Some(target) = stopped.filter(|_| holds(Guard::NotGivenIsNoStop)) {
                self.end_hold(now, &target, out);
            }
            let Some(case) = case.and_then(|case| self.cases.get_mut(&case)) else {
                continue;
            };
            if matches!(case.phase, Phase::Repairing { order } if order == *id) {
                case.orders.retain(|order| order != id);
                let is_no_try = on_a_rung && !is_drain && holds(Guard::NotGivenIsNoTry);
                if let Some(progress) = case.progress.as_mut().filter(|_| is_no_try) {
                    progress.tries = progress.tries.saturating_sub(1);
                }
                case.phase = Phase::Held(pitcrew_model::Hold::LedgerUnwritable);
                let id = case.id;
                self.timers.set(Timer::Case(id), now);
                self.save_case(id, out);
            }
        }
    }
}
