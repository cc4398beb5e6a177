//! What people ask for: pauses, holds, approvals and orders of their own.
//!
//! A person's order goes through the same limits as any other. Each request is answered by exactly one record
//! of [`Fact::Person`], which says whether and why it was refused.

use std::time::Duration;

use pitcrew_model::{
    Action, Authority, CaseId, Effect, Ending, Fact, Hold, Order, OrderId, PersonAct, Phase,
    Record, Request, Saved, Scope, SourceName, SourceTrouble, TargetId, Timestamp,
};

use crate::{
    Engine, HoldStatus, Judge, Out, Pause,
    guards::{Guard, holds},
    plan::{is_approved, lease_of},
    timers::Timer,
};

/// How long a person's order has to show its effect before it no longer counts as in flight.
const SETTLE: Duration = Duration::from_secs(60);
/// A machine boots in minutes.
const HOST_SETTLE: Duration = Duration::from_secs(10 * 60);
/// A stop by an operator stands until it is started or released; the lease ends after a year all the same.
const STOPPED: Duration = Duration::from_secs(365 * 86_400);

/// What a request was about, for its record.
#[derive(Default)]
struct About {
    case: Option<CaseId>,
    order: Option<OrderId>,
    target: Option<TargetId>,
}

impl Engine {
    pub(crate) fn obey(
        &mut self,
        now: Timestamp,
        request: Request,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        let Request { by, act } = request;
        let mut about = About::default();
        let place = out.len();
        let refused = match &act {
            PersonAct::Pause { scope, why } => self.pause(scope, &by, why, out),
            PersonAct::Resume { scope } => self.resume(now, scope, &by, out),
            PersonAct::Hold { target, until, why } => {
                about.target = Some(target.clone());
                self.hold_by_person(now, target, *until, &by, why, out)
            }
            PersonAct::Release { target } => {
                about.target = Some(target.clone());
                self.release_target(now, target, out)
            }
            PersonAct::Approve { order, digest } => {
                about.order = Some(*order);
                self.approve(now, *order, digest, &by, &mut about, judge, out)
            }
            PersonAct::Deny { order } => {
                about.order = Some(*order);
                self.deny(now, *order, &by, &mut about, out)
            }
            PersonAct::Order {
                target,
                action,
                why,
            } => {
                about.target = Some(target.clone());
                self.order_by_person(now, target, action, &by, why, &mut about, judge, out)
            }
            PersonAct::Close { case, why } => {
                about.case = Some(*case);
                self.close_by_person(now, *case, &by, why, out)
            }
            PersonAct::Accept { source, .. } => self.is_refused(source),
        }
        .err();
        let service = about
            .target
            .as_ref()
            .and_then(|target| self.fleet.find(target))
            .and_then(|at| self.fleet.crew_of(at))
            .map(|crew| crew.service.name.clone());
        let record = Record {
            at: now,
            case: about.case,
            order: about.order,
            target: about.target,
            service,
            fact: Fact::Person { by, act, refused },
        };
        // Before what it caused, so that the ledger reads in order.
        out.insert(place, Effect::Record(record));
    }

    /// Only what was not believed can be accepted; whoever asked the source then obeys its answer.
    fn is_refused(&self, source: &SourceName) -> Result<(), String> {
        match self.sources.get(source) {
            Some(SourceTrouble::Empty { .. } | SourceTrouble::Shrank { .. }) => Ok(()),
            Some(SourceTrouble::Failed { error }) => {
                Err(format!("{source} gives no answer to accept: {error}"))
            }
            None if holds(Guard::AcceptNeedsRefusal) => {
                Err(format!("no answer of {source} is refused"))
            }
            None => Ok(()),
        }
    }

    fn known_scope(&self, scope: &Scope) -> Result<(), String> {
        match scope {
            Scope::Fleet => Ok(()),
            Scope::Service(service) | Scope::Domain { service, .. } => {
                match self.fleet.crew(service) {
                    Some(_) => Ok(()),
                    None => {
                        let known: Vec<&str> = self
                            .services()
                            .map(|service| service.name.as_str())
                            .collect();
                        Err(format!(
                            "there is no service `{service}`; there are: {}",
                            known.join(", ")
                        ))
                    }
                }
            }
        }
    }

    /// A misspelt part of a service would look paused and hold nothing back.
    fn known_domain(&self, scope: &Scope) -> Result<(), String> {
        let Scope::Domain {
            service,
            label,
            value,
        } = scope
        else {
            return Ok(());
        };
        let known: Vec<&str> = self
            .fleet
            .crew(service)
            .into_iter()
            .flat_map(|crew| crew.values(label))
            .map(|(value, _)| value.as_ref())
            .collect();
        if known.contains(&value.as_str()) {
            return Ok(());
        }
        let instead = if known.is_empty() {
            format!("`{label}` is not one of the domains of `{service}`")
        } else {
            format!("there are: {}", known.join(", "))
        };
        Err(format!(
            "no target of `{service}` has {label}={value}; {instead}"
        ))
    }

    fn pause(&mut self, scope: &Scope, by: &str, why: &str, out: &mut Out) -> Result<(), String> {
        if holds(Guard::PauseNamesSomething) {
            self.known_scope(scope)?;
            self.known_domain(scope)?;
        }
        let pause = Pause {
            by: by.to_owned(),
            why: why.to_owned(),
        };
        out.push(Effect::Save(Saved::Pause {
            scope: scope.clone(),
            by: pause.by.clone(),
            why: Some(pause.why.clone()),
        }));
        self.pauses.insert(scope.clone(), pause);
        Ok(())
    }

    /// Lifts the pause, and what else only a person releases in that scope.
    fn resume(
        &mut self,
        now: Timestamp,
        scope: &Scope,
        by: &str,
        out: &mut Out,
    ) -> Result<(), String> {
        self.known_scope(scope)?;
        let mut lifted = self.pauses.remove(scope).is_some();
        if lifted {
            out.push(Effect::Save(Saved::Pause {
                scope: scope.clone(),
                by: by.to_owned(),
                why: None,
            }));
        }
        let covered: Vec<Scope> = self
            .breakers
            .tripped()
            .filter(|tripped| covers(scope, tripped))
            .cloned()
            .collect();
        for tripped in covered {
            lifted |= self.breakers.release(&tripped);
            self.announce_release(now, &tripped, Some(by.to_owned()), out);
        }
        if *scope == Scope::Fleet && self.brake.on {
            lifted = true;
            (self.brake.on, self.brake.released_at) = (false, now);
            out.push(Effect::Save(Saved::FleetBrake {
                released_at: Some(now),
            }));
        }
        if !lifted {
            return Err(self.nothing_to_resume(scope));
        }
        self.ask_held_cases_again(now);
        Ok(())
    }

    /// Names what is paused instead: whoever resumes means something.
    fn nothing_to_resume(&self, scope: &Scope) -> String {
        let paused: Vec<String> = self.pauses.keys().map(ToString::to_string).collect();
        let instead = if paused.is_empty() {
            "nothing is paused".to_owned()
        } else {
            format!("paused: {}", paused.join(", "))
        };
        format!("{scope} is neither paused nor held by a breaker; {instead}")
    }

    /// Something that may have held any case is gone.
    fn ask_held_cases_again(&mut self, now: Timestamp) {
        for case in self.cases.values() {
            if matches!(case.phase, Phase::Held(_)) && case.handed_over.is_none() {
                self.timers.set(Timer::Case(case.id), now);
            }
        }
    }

    fn known_target(&self, target: &TargetId) -> Result<usize, String> {
        self.fleet
            .find(target)
            .ok_or_else(|| format!("there is no target `{target}`; see: pitcrew targets"))
    }

    fn hold_by_person(
        &mut self,
        now: Timestamp,
        target: &TargetId,
        until: Timestamp,
        by: &str,
        why: &str,
        out: &mut Out,
    ) -> Result<(), String> {
        self.known_target(target)?;
        if until <= now {
            return Err(format!("the hold would have ended already, at {until}"));
        }
        if let Some(stop) = self.holds.get(target).filter(|hold| hold.stopped)
            && holds(Guard::HoldKeepsStop)
        {
            // A shorter hold in its place would end the stop, too.
            return Err(format!(
                "`{target}` was stopped by {} and is left alone until it is started",
                stop.by
            ));
        }
        let hold = HoldStatus {
            by: by.to_owned(),
            why: why.to_owned(),
            until,
            stopped: false,
        };
        self.hold_target(target, hold, out);
        Ok(())
    }

    fn hold_target(&mut self, target: &TargetId, hold: HoldStatus, out: &mut Out) {
        out.push(Effect::Save(saved_hold(target, &hold, Some(hold.until))));
        self.timers.set(Timer::Hold(target.clone()), hold.until);
        self.holds.insert(target.clone(), hold);
        if let Some(at) = self.fleet.find(target) {
            self.fleet.doubt(at);
        }
    }

    fn release_target(
        &mut self,
        now: Timestamp,
        target: &TargetId,
        out: &mut Out,
    ) -> Result<(), String> {
        if !self.holds.contains_key(target) {
            return Err(format!("nobody holds `{target}`"));
        }
        self.end_hold(now, target, out);
        Ok(())
    }

    pub(crate) fn end_hold(&mut self, now: Timestamp, target: &TargetId, out: &mut Out) {
        self.timers.clear(&Timer::Hold(target.clone()));
        let Some(hold) = self.holds.remove(target) else {
            return;
        };
        out.push(Effect::Save(saved_hold(target, &hold, None)));
        let freed = self
            .fleet
            .find(target)
            .map(|at| self.fleet.touched_by(at))
            .unwrap_or_default();
        // What runs on it was held with it.
        for case in freed
            .into_iter()
            .filter_map(|at| self.fleet.member(at).case())
        {
            if matches!(self.open_case(case).phase, Phase::Held(_)) {
                self.timers.set(Timer::Case(case), now);
            }
        }
    }

    /// The order of a case that waits for this very approval.
    fn awaiting(&self, order: OrderId) -> Result<(CaseId, String), String> {
        let state = self
            .orders
            .get(&order)
            .ok_or_else(|| format!("there is no {order}; see: pitcrew orders"))?;
        let case = state.order.case;
        match case.filter(|case| self.pending.get(case) == Some(&order)) {
            Some(case) if !is_approved(&state.order) => Ok((case, state.order.digest.clone())),
            Some(_) | None => Err(format!("{order} does not wait for approval")),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a person's act with all that answers it"
    )]
    fn approve(
        &mut self,
        now: Timestamp,
        order: OrderId,
        digest: &str,
        by: &str,
        about: &mut About,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) -> Result<(), String> {
        let (case, current) = self.awaiting(order)?;
        if current != digest && holds(Guard::AskedDigest) {
            return Err(format!(
                "the digest of {order} is {current} now, not {digest}: look at it again"
            ));
        }
        about.case = Some(case);
        about.target = Some(self.open_case(case).target.clone());
        if let Some(state) = self.orders.get_mut(&order) {
            state.order.authority = Authority::Approval { by: by.to_owned() };
            out.push(Effect::Save(Saved::Order(Box::new(state.clone()))));
        }
        let at = self.known_target(&self.open_case(case).target.clone())?;
        self.plan(now, at, case, judge, out);
        Ok(())
    }

    fn deny(
        &mut self,
        now: Timestamp,
        order: OrderId,
        by: &str,
        about: &mut About,
        out: &mut Out,
    ) -> Result<(), String> {
        let (case, _) = self.awaiting(order)?;
        about.case = Some(case);
        about.target = Some(self.open_case(case).target.clone());
        let at = self.known_target(&self.open_case(case).target.clone())?;
        self.drop_pending_order(now, case, out);
        self.hold(now, at, case, None, Hold::Denied { by: by.to_owned() }, out);
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a person's act with all that answers it"
    )]
    fn order_by_person(
        &mut self,
        now: Timestamp,
        target: &TargetId,
        action: &Action,
        by: &str,
        why: &str,
        about: &mut About,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) -> Result<(), String> {
        if let Action::Undrain(_) = action {
            // Also of a target that is no more: its hook may still know it.
            about.order = self.undrain_by_person(now, target, (by, why), judge, out)?;
            return Ok(());
        }
        let at = self.known_target(target)?;
        self.expect_count(now, at);
        let order = self.person_order(now, at, action, by, why)?;
        about.order = Some(order.id);
        about.case = order.case;
        let objections = judge(now, &order);
        if !objections.is_empty() && holds(Guard::PersonsInterlock) {
            return Err(Hold::Interlock { objections }.to_string());
        }
        self.lift_stop(now, target, action, by, why, out);
        if let Some(case) = order.case {
            self.drop_pending_order(now, case, out);
            self.leave_waiting(case);
            let open = self.open_case_mut(case);
            open.phase = Phase::Repairing { order: order.id };
            open.orders.push(order.id);
            self.timers.clear(&Timer::Case(case));
            self.save_case(case, out);
        }
        self.give(now, at, None, order, out);
        Ok(())
    }

    /// An operator's stop is respected until the target is started again; starting it ends that hold.
    fn lift_stop(
        &mut self,
        now: Timestamp,
        target: &TargetId,
        action: &Action,
        by: &str,
        why: &str,
        out: &mut Out,
    ) {
        match action {
            Action::Stop if !holds(Guard::StopStands) => {}
            Action::Stop => {
                let why = if why.is_empty() {
                    "stopped".to_owned()
                } else {
                    format!("stopped: {why}")
                };
                let hold = HoldStatus {
                    by: by.to_owned(),
                    why,
                    until: now + STOPPED,
                    stopped: true,
                };
                self.hold_target(target, hold, out);
            }
            Action::Start | Action::Restart => {
                if self.holds.get(target).is_some_and(|hold| hold.stopped) {
                    self.end_hold(now, target, out);
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

    fn person_order(
        &self,
        now: Timestamp,
        at: usize,
        action: &Action,
        by: &str,
        why: &str,
    ) -> Result<Order, String> {
        let refuse = |hold: Hold| hold.to_string();
        let target = self.fleet.member(at).target.clone();
        let service = self.fleet.crew_of(at).map(|crew| crew.service.clone());
        if holds(Guard::PersonsHold) && !self.holds.get(&target.id).is_some_and(|hold| hold.stopped)
        {
            self.free_of_people(now, at).map_err(refuse)?;
        }
        if holds(Guard::PersonsPause) {
            self.free_of_pauses(at).map_err(refuse)?;
        }
        if action.is_disruptive() && holds(Guard::PersonsBreaker) {
            self.breakers_are_closed(now, at).map_err(refuse)?;
        }
        if action.is_on_host() {
            self.bystanders_are_free(now, at).map_err(refuse)?;
        }
        let runner = match &service {
            Some(service) => service.runner_for(&target),
            None => target.runner.clone(),
        };
        if action.needs_runner() && runner.is_none() && holds(Guard::PersonsRunner) {
            return Err(refuse(Hold::NoRunner {
                action: action.to_string(),
            }));
        }
        let target_is_down = self.is_proven_down(now, at);
        // Stopping on purpose takes its capacity for good, whatever the tests say now.
        if holds(Guard::PersonsLimits) {
            self.may_disrupt(now, at, action, target_is_down)
                .map_err(refuse)?;
        }
        let host = self.host_for(at, action);
        let (id, operation) = self.next_operation();
        let case = self
            .fleet
            .member(at)
            .case()
            .filter(|_| *action != Action::Stop || !holds(Guard::StopIsNoRepair))
            .filter(|_| !action.is_drain());
        Ok(Order {
            id,
            operation,
            case,
            target,
            host,
            service: service.map(|service| service.name.clone()),
            action: action.clone(),
            lease: lease_of(now, id, action),
            runner,
            authority: Authority::Person {
                by: by.to_owned(),
                why: why.to_owned(),
            },
            repair: None,
            step: 0,
            attempt: 1,
            given_at: now,
            settle: match action {
                Action::Drain(_) => Duration::ZERO,
                action if action.is_on_host() => HOST_SETTLE,
                _ => SETTLE,
            },
            expires_at: self.expiry(now),
            fence: self.current_fence(),
            digest: String::new(),
            target_is_down,
        })
    }

    fn close_by_person(
        &mut self,
        now: Timestamp,
        id: CaseId,
        by: &str,
        why: &str,
        out: &mut Out,
    ) -> Result<(), String> {
        let case = self
            .cases
            .get(&id)
            .ok_or_else(|| format!("there is no {id}; see: pitcrew cases"))?;
        if !case.is_open() {
            return Err(format!("{id} is closed already"));
        }
        if matches!(
            case.phase,
            Phase::Repairing { .. } | Phase::Verifying { .. }
        ) && holds(Guard::CloseWaits)
        {
            return Err(format!(
                "{id} has an order in flight; it closes when that has ended"
            ));
        }
        let why = format!("closed by {by}: {why}");
        match self.fleet.find(&case.target.clone()) {
            Some(at) => self.close(now, at, id, Ending::HandedOver, why, out),
            None => self.forget_case(now, id, Ending::HandedOver, why, out),
        }
        Ok(())
    }
}

fn saved_hold(target: &TargetId, hold: &HoldStatus, until: Option<Timestamp>) -> Saved {
    Saved::Hold {
        target: target.clone(),
        by: hold.by.clone(),
        why: hold.why.clone(),
        until,
        stopped: hold.stopped,
    }
}

/// Whether `outer` is `inner` or contains it.
fn covers(outer: &Scope, inner: &Scope) -> bool {
    match (outer, inner) {
        (Scope::Fleet, _) => true,
        (Scope::Service(outer), Scope::Service(inner) | Scope::Domain { service: inner, .. }) => {
            outer == inner
        }
        (outer, inner) => outer == inner,
    }
}
