//! Leases: who is out of use, until when, and that everybody comes back.
//!
//! A drain is an order like any other. What follows from it, its renewals and the undrain, disrupts nothing new: it is no
//! order in flight, and no limit, pause or breaker holds an undrain up. Of each target's one at a time is with its hook,
//! so that none overtakes another; and a target counts as out of use until an undrain is done, whatever its tests say.

use std::time::Duration;

use pitcrew_model::{
    Action, Authority, CaseId, DrainBy, Effect, Fact, Hold, Lease, LeaseTerm, Notice, OperationId,
    Order, OrderId, OrderState, Outcome, OutcomeKind, Phase, Record, Saved, TargetId, Timestamp,
    Undo, Urgency,
};

use crate::{
    DrainStatus, Engine, Judge, Out,
    guards::{Guard, holds},
    timers::Timer,
};

/// A failed undrain is tried again after one second, then two, four, and so on up to this.
const UNDO_AGAIN_MAX: Duration = Duration::from_secs(300);
/// Failures after which a person is told.
const TOLD_AFTER: u32 = 3;
/// Nothing is begun under a lease of which less than this part is left.
const BEGUN_WITHIN: u32 = 4;
/// Where the interlock refuses: what it knows changes slowly.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);

/// A lease and what is under way about it.
#[derive(Debug)]
pub(crate) struct Leased {
    pub(crate) lease: Lease,
    /// The order that is with its hook.
    pub(crate) out: Option<OrderId>,
    /// An order of a former run may reach the hook until then, after whatever is asked now.
    former_busy_until: Option<Timestamp>,
}

impl Leased {
    /// The repair of this case may go on: it was told that the target is out of use, for long enough to begin something.
    fn is_drained(&self, now: Timestamp, case: CaseId) -> bool {
        let lease = &self.lease;
        let drain_is_out = self.out == Some(lease.term.id);
        let begins_until = lease.term.until - lease.drain.lease / BEGUN_WITHIN;
        lease.case == Some(case)
            && lease.undo.is_none()
            && !drain_is_out
            && (lease.is_sure || !holds(Guard::DrainedForSure))
            && (now < begins_until || !holds(Guard::LapsedDrainsAgain))
    }

    pub(crate) fn status(&self) -> DrainStatus {
        let lease = &self.lease;
        DrainStatus {
            lease: lease.term.id,
            case: lease.case,
            until: lease.term.until,
            ending: lease.undo.as_ref().map(|undo| undo.why.clone()),
        }
    }

    fn renew_at(&self) -> Timestamp {
        let drain = &self.lease.drain;
        self.lease.term.until - (drain.lease - drain.renew_after())
    }
}

impl Engine {
    /// How a target that is out of use, or may be, was drained.
    #[must_use]
    pub fn drained_by(&self, target: &TargetId) -> Option<&DrainBy> {
        let leased = self.leases.get(target);
        leased.map(|leased| &leased.lease.drain.by)
    }

    pub(crate) fn is_drained(&self, now: Timestamp, target: &TargetId, case: CaseId) -> bool {
        let leased = self.leases.get(target);
        leased.is_some_and(|leased| leased.is_drained(now, case))
    }

    /// Nobody may count on it, from the first drain until the undrain is done.
    pub(crate) fn is_out_of_use(&self, target: &TargetId) -> bool {
        self.leases.contains_key(target) && holds(Guard::DrainedIsUnavailable)
    }

    /// A drain waits for what is with the hook already.
    pub(crate) fn hook_is_free(&self, target: &TargetId) -> Result<(), Hold> {
        let order = self.leases.get(target).and_then(|leased| leased.out);
        match order.filter(|_| holds(Guard::OneAtTheHook)) {
            Some(order) => Err(Hold::OneAtATime {
                order,
                target: target.clone(),
            }),
            None => Ok(()),
        }
    }

    /// A drain is given: its target is out of use from now on.
    pub(crate) fn begin_lease(&mut self, now: Timestamp, order: &Order, out: &mut Out) {
        let (Action::Drain(drain), Some(term)) = (&order.action, &order.lease) else {
            return;
        };
        let target = order.target.id.clone();
        let leased = Leased {
            lease: Lease {
                target: order.target.clone(),
                service: order.service.clone(),
                case: order.case,
                drain: drain.clone(),
                term: term.clone(),
                needed_at: now,
                follows_another: self.leases.contains_key(&target),
                is_sure: false,
                busy_until: Some(order.overdue_at()),
                undo: None,
            },
            out: Some(order.id),
            former_busy_until: None,
        };
        self.timers
            .set(Timer::Lease(target.clone()), leased.renew_at());
        self.leases.insert(target.clone(), leased);
        self.doubt_target(&target);
        self.save_lease(&target, out);
    }

    fn save_lease(&self, target: &TargetId, out: &mut Out) {
        let lease = self.leases.get(target);
        out.push(Effect::Save(Saved::Lease {
            target: target.clone(),
            lease: lease.map(|leased| Box::new(leased.lease.clone())),
        }));
    }

    fn end_lease(&mut self, target: &TargetId, out: &mut Out) {
        self.timers.clear(&Timer::Lease(target.clone()));
        self.leases.remove(target);
        self.doubt_target(target);
        self.save_lease(target, out);
    }

    fn doubt_target(&mut self, target: &TargetId) {
        self.available.take();
        if let Some(at) = self.fleet.find(target) {
            self.fleet.doubt(at);
        }
    }

    /// The target of this case is given back, as soon as timers run.
    pub(crate) fn give_back(&mut self, now: Timestamp, id: CaseId, why: &str, out: &mut Out) {
        let target = self.open_case(id).target.clone();
        let leased = self.leases.get(&target);
        if leased.is_some_and(|leased| leased.lease.case == Some(id)) {
            self.undo(now, &target, why, out);
        }
    }

    fn undo(&mut self, now: Timestamp, target: &TargetId, why: &str, out: &mut Out) {
        let Some(leased) = self.leases.get_mut(target) else {
            return;
        };
        if leased.lease.undo.is_some() {
            return;
        }
        leased.lease.undo = Some(Undo {
            since: now,
            why: why.to_owned(),
            failures: 0,
        });
        self.timers.set(Timer::Lease(target.clone()), now);
        self.save_lease(target, out);
    }

    /// A person wants it back: the way it was drained or, once that has failed, the way that its service has now.
    pub(crate) fn undrain_by_person(
        &mut self,
        now: Timestamp,
        target: &TargetId,
        (by, why): (&str, &str),
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) -> Result<Option<OrderId>, String> {
        let current = self.fleet.find(target);
        let current = current.and_then(|at| self.fleet.crew_of(at)?.service.drain.clone());
        let Some(leased) = self.leases.get_mut(target) else {
            return Err(format!("`{target}` is not drained"));
        };
        let has_failed = (leased.lease.undo.as_ref()).is_some_and(|undo| undo.failures > 0);
        if let Some(current) = current.filter(|_| has_failed) {
            leased.lease.drain.by = current.by;
        }
        let waits_for = leased.out;
        self.undo(now, target, &format!("{by}: {why}"), out);
        self.save_lease(target, out);
        if waits_for.is_some() {
            return Ok(None);
        }
        let authority = Authority::Person {
            by: by.to_owned(),
            why: why.to_owned(),
        };
        self.undrain(now, target, authority, judge, out);
        Ok(self.leases.get(target).and_then(|leased| leased.out))
    }

    /// Time to renew it or to give it back.
    pub(crate) fn lease_is_due(
        &mut self,
        now: Timestamp,
        target: &TargetId,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        let Some(leased) = self.leases.get(target) else {
            return;
        };
        if leased.out.is_some() {
            // Its outcome comes back here.
            return;
        }
        if let Some(why) = self.over(now, &leased.lease) {
            self.undo(now, target, why, out);
        }
        let leased = &self.leases[target];
        let until = leased.lease.term.until;
        let renew_at = match leased.lease.case {
            Some(_) => leased.renew_at(),
            None => until,
        };
        if leased.lease.undo.is_some() {
            self.undrain(now, target, Authority::Policy, judge, out);
        } else if now < renew_at {
            self.timers.set(Timer::Lease(target.clone()), renew_at);
        } else if self.may_renew(now, target) {
            self.renew(now, target, judge, out);
        } else {
            self.look_again(now, target);
        }
    }

    /// Why a lease ends by itself now.
    fn over(&self, now: Timestamp, lease: &Lease) -> Option<&'static str> {
        if now >= lease.term.until && holds(Guard::LapsedIsGivenBack) {
            return Some("its lease ran out");
        }
        let case = self.cases.get(&lease.case?);
        let is_open = case.is_some_and(|case| case.is_open() && case.handed_over.is_none());
        (!is_open).then_some("its case is over")
    }

    /// While something is done or about to be. Not into a person's pause or hand, nor without a ledger.
    fn may_renew(&mut self, now: Timestamp, target: &TargetId) -> bool {
        let lease = &self.leases[target].lease;
        let case = lease.case.and_then(|case| self.cases.get(&case));
        let (Some(case), Some(at)) = (case, self.fleet.find(target)) else {
            return false;
        };
        let is_working = matches!(
            case.phase,
            Phase::Repairing { .. } | Phase::Verifying { .. }
        );
        let waits_shortly = match &case.phase {
            Phase::Confirmed => true,
            Phase::Held(hold) => hold.is_short(),
            _ => false,
        } && now < lease.needed_at + lease.drain.lease;
        let is_needed = is_working || waits_shortly || !holds(Guard::RenewedForWork);
        let ledger = self.ledger_trouble.is_none() || !holds(Guard::RenewedInLedger);
        let free = self.free_of_people(now, at).is_ok() || !holds(Guard::RenewedUnlessPaused);
        if is_working && let Some(leased) = self.leases.get_mut(target) {
            leased.lease.needed_at = now;
        }
        is_needed && ledger && free && holds(Guard::Renewed)
    }

    /// A renewal that could not be is tried again; what is to be given back waits for nothing.
    fn look_again(&mut self, now: Timestamp, target: &TargetId) {
        let lease = &self.leases[target].lease;
        let again = now + (lease.drain.lease / 20).max(Duration::from_secs(1));
        let again = match lease.undo.is_some() && holds(Guard::UndoWaitsForNoRenewal) {
            true => now,
            false => again.min(lease.term.until),
        };
        self.timers.set(Timer::Lease(target.clone()), again);
    }

    fn renew(&mut self, now: Timestamp, target: &TargetId, judge: &mut Judge<'_>, out: &mut Out) {
        let lease = &self.leases[target].lease;
        let term = LeaseTerm {
            id: lease.term.id,
            until: now + lease.drain.lease,
        };
        let action = Action::Drain(lease.drain.clone());
        let order = self.upkeep(now, lease, action, term, Authority::Policy);
        if self.give_upkeep(now, order, judge, out).is_err() {
            self.look_again(now, target);
        }
    }

    fn undrain(
        &mut self,
        now: Timestamp,
        target: &TargetId,
        authority: Authority,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        let lease = &self.leases[target].lease;
        let action = Action::Undrain(lease.drain.by.clone());
        let order = self.upkeep(now, lease, action, lease.term.clone(), authority);
        if let Err(why) = self.give_upkeep(now, order, judge, out) {
            self.undrain_failed(now, target, &why, out);
            self.timers
                .set(Timer::Lease(target.clone()), now + REFUSED_AGAIN);
        }
    }

    fn upkeep(
        &self,
        now: Timestamp,
        lease: &Lease,
        action: Action,
        term: LeaseTerm,
        authority: Authority,
    ) -> Order {
        let (id, operation) = self.next_operation();
        // An undrain may leave without a ledger, so that its number may be given once more after a crash.
        let operation = OperationId::new(format!("{operation}-{}", self.birth.fence))
            .expect("an operation's name and a number make a valid name");
        let failures = lease.undo.as_ref().map_or(0, |undo| undo.failures);
        Order {
            id,
            operation,
            case: lease.case,
            target: lease.target.clone(),
            host: None,
            service: lease.service.clone(),
            action,
            lease: Some(term),
            runner: None,
            authority,
            repair: None,
            step: 0,
            attempt: u8::try_from(failures).unwrap_or(u8::MAX).saturating_add(1),
            given_at: now,
            settle: Duration::ZERO,
            expires_at: self.expiry(now),
            fence: self.current_fence(),
            digest: String::new(),
            target_is_down: false,
        }
    }

    /// Lets a renewal or an undrain go: recorded, but in flight nowhere. The error: the interlock's objections.
    fn give_upkeep(
        &mut self,
        now: Timestamp,
        order: Order,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) -> Result<(), String> {
        let objections = judge(now, &order);
        if !objections.is_empty() && holds(Guard::InterlockObeyed) {
            return Err(Hold::Interlock { objections }.to_string());
        }
        if let Some(leased) = self.leases.get_mut(&order.target.id) {
            leased.out = Some(order.id);
            leased.lease.busy_until = Some(order.overdue_at());
            self.save_lease(&order.target.id, out);
        }
        self.birth.last_order = self.birth.last_order.max(order.id.0);
        self.timers.set(Timer::Order(order.id), order.overdue_at());
        out.push(Effect::Record(Record {
            at: now,
            case: order.case,
            order: Some(order.id),
            target: Some(order.target.id.clone()),
            service: order.service.clone(),
            fact: Fact::Intent {
                order: Box::new(order.clone()),
            },
        }));
        let state = OrderState {
            order: order.clone(),
            given: true,
            outcome: None,
            ended_at: None,
        };
        self.orders.insert(order.id, state);
        out.push(Effect::Give(order));
        Ok(())
    }

    /// What became of a drain, a renewal or an undrain.
    pub(crate) fn note_lease_outcome(
        &mut self,
        now: Timestamp,
        order: &Order,
        outcome: &Outcome,
        out: &mut Out,
    ) {
        let target = &order.target.id;
        let is_done = outcome.kind == OutcomeKind::Done;
        let Some(leased) = self
            .leases
            .get_mut(target)
            .filter(|leased| leased.out == Some(order.id))
        else {
            return;
        };
        leased.out = None;
        if outcome.kind != OutcomeKind::Unknown {
            leased.lease.busy_until = None;
        }
        self.timers.set(Timer::Lease(target.clone()), now);
        match &order.action {
            Action::Undrain(_) if is_done || !holds(Guard::UndrainedAgain) => {
                let former = leased.former_busy_until.filter(|until| now < *until);
                match former.filter(|_| holds(Guard::FormerHookIsOutlived)) {
                    Some(until) => self.timers.set(Timer::Lease(target.clone()), until),
                    None => self.end_lease(target, out),
                }
            }
            Action::Undrain(_) => {
                let failures = self.undrain_failed(now, target, &outcome.detail, out);
                let again = Duration::from_secs(1 << failures.saturating_sub(1).min(16));
                let again = now + again.min(UNDO_AGAIN_MAX);
                self.timers.set(Timer::Lease(target.clone()), again);
            }
            _ if order.is_upkeep() => {
                if let Some(term) = order.lease.as_ref().filter(|_| is_done) {
                    leased.lease.term = term.clone();
                    leased.lease.is_sure = true;
                    self.save_lease(target, out);
                } else {
                    self.look_again(now, target);
                }
            }
            _ if is_done => {
                leased.lease.is_sure = true;
                self.save_lease(target, out);
            }
            _ => {
                let unknown = outcome.kind == OutcomeKind::Unknown;
                if outcome.kind == OutcomeKind::Failed || unknown && !holds(Guard::UnknownIsDrained)
                {
                    self.drain_had_no_effect(now, target, out);
                }
            }
        }
    }

    fn drain_had_no_effect(&mut self, now: Timestamp, target: &TargetId, out: &mut Out) {
        if self.leases[target].lease.follows_another {
            self.undo(now, target, "an earlier drain may be in effect", out);
        } else {
            self.end_lease(target, out);
        }
    }

    /// How many failures in a row that makes.
    fn undrain_failed(
        &mut self,
        now: Timestamp,
        target: &TargetId,
        why: &str,
        out: &mut Out,
    ) -> u32 {
        let leased = self.leases.get_mut(target);
        let Some(Lease {
            undo,
            case,
            service,
            ..
        }) = leased.map(|leased| &mut leased.lease)
        else {
            return 0;
        };
        let Some(undo) = undo else { return 0 };
        undo.failures = undo.failures.saturating_add(1);
        let failures = undo.failures;
        if failures == TOLD_AFTER && holds(Guard::UndrainTold) {
            out.push(Effect::Notify(Notice {
                to: Vec::new(),
                at: now,
                urgency: Urgency::Page,
                case: *case,
                target: Some(target.clone()),
                service: service.clone(),
                summary: format!(
                    "{target} is out of use and can't be given back: {why}. It is tried again until it succeeds; \
                     with a corrected `drain` of its service at once by: pitcrew order {target} undrain"
                ),
                evidence: vec![format!("to be given back since {}: {}", undo.since, undo.why)],
            }));
        }
        // How often after that makes no difference to anybody, also after a restart.
        if failures <= TOLD_AFTER {
            self.save_lease(target, out);
        }
        failures
    }

    /// The ledger could not take its intent, so the hook was not told.
    pub(crate) fn lease_order_not_given(&mut self, now: Timestamp, id: OrderId, out: &mut Out) {
        let Some(state) = self.orders.get(&id) else {
            return;
        };
        let outcome = Outcome {
            order: id,
            kind: OutcomeKind::Failed,
            at: now,
            detail: "the ledger could not take it".to_owned(),
        };
        let order = state.order.clone();
        self.note_lease_outcome(now, &order, &outcome, out);
    }

    /// A lease of a former run goes on or ends, not later than if it began now: the clock may have been set back. What was
    /// with its hook then may still arrive; only the drain that began it is asked for like every order.
    pub(crate) fn restore_leases(&mut self, now: Timestamp) {
        for (target, leased) in &mut self.leases {
            let began = self.orders.get(&leased.lease.term.id);
            let is_out = began.is_some_and(|state| state.given && state.outcome.is_none());
            leased.out = is_out.then_some(leased.lease.term.id);
            let lease = &mut leased.lease;
            lease.term.until = lease.term.until.min(now + lease.drain.lease);
            self.timers.set(Timer::Lease(target.clone()), now);
        }
    }

    pub(crate) fn restore_lease(&mut self, target: TargetId, lease: Lease) {
        let leased = Leased {
            former_busy_until: lease.busy_until,
            lease,
            out: None,
        };
        self.leases.insert(target, leased);
    }
}
