//! Who is out of use, by these books alone: from the drain that passed until an undrain is done.
//!
//! What follows from a drain is let through beside all limits, so it is judged here: a renewal only for a lease that is
//! known, runs still and is worked for; an undrain only for a target that was drained.

use std::{collections::BTreeMap, time::Duration};

use pitcrew_model::{
    Action, CaseId, Lease, Objection, Order, OrderId, Outcome, OutcomeKind, TargetId, Timestamp,
};

use crate::{
    Interlock,
    guards::{Guard, holds},
    invariants::object,
};

#[derive(Debug)]
struct Leased {
    id: OrderId,
    case: Option<CaseId>,
    lasts: Duration,
    until: Timestamp,
    /// When an order was last in flight on it.
    worked_at: Timestamp,
    is_ending: bool,
    follows_another: bool,
}

/// A renewal or an undrain without an outcome.
#[derive(Debug)]
struct Out {
    target: TargetId,
    /// The order that began the lease.
    lease: Option<OrderId>,
    /// Of a renewal.
    until: Option<Timestamp>,
    overdue_at: Timestamp,
}

#[derive(Debug, Default)]
pub(crate) struct Leases {
    on: BTreeMap<TargetId, Leased>,
    out: BTreeMap<OrderId, Out>,
    /// The last lease of each target that was given back lately: an undrain may have to be repeated, and hurts nobody.
    ended: BTreeMap<TargetId, (OrderId, Timestamp)>,
}

/// How long an undrain may be repeated.
const REPEATED_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

impl Leases {
    pub(crate) fn restore(&mut self, now: Timestamp, lease: &Lease) {
        let leased = Leased {
            id: lease.term.id,
            case: lease.case,
            lasts: lease.drain.lease,
            until: lease.term.until.min(now + lease.drain.lease),
            worked_at: lease.needed_at.min(now),
            is_ending: lease.undo.is_some(),
            follows_another: lease.follows_another,
        };
        self.on.insert(lease.target.id.clone(), leased);
    }

    pub(crate) fn is_out_of_use(&self, target: &TargetId) -> bool {
        !self.on.is_empty() && self.on.contains_key(target) && holds(Guard::DrainedIsNotUp)
    }

    pub(crate) fn targets(&self) -> impl Iterator<Item = &TargetId> {
        self.on.keys()
    }

    /// A drain passes: its target is out of use from now on.
    pub(crate) fn begin(&mut self, now: Timestamp, order: &Order) {
        let (Action::Drain(drain), Some(term)) = (&order.action, &order.lease) else {
            return;
        };
        let target = order.target.id.clone();
        let leased = Leased {
            id: order.id,
            case: order.case,
            lasts: drain.lease,
            until: term.until,
            worked_at: now,
            is_ending: false,
            follows_another: self.on.contains_key(&target),
        };
        self.on.insert(target, leased);
    }

    /// A drain certainly without effect.
    pub(crate) fn drain_failed(&mut self, order: &Order) {
        let target = &order.target.id;
        let Some(leased) = self.on.get_mut(target) else {
            return;
        };
        if leased.id != order.id {
            return;
        }
        if leased.follows_another {
            leased.is_ending = true;
        } else {
            self.end(order.given_at, target);
        }
    }

    fn end(&mut self, now: Timestamp, target: &TargetId) {
        if let Some(leased) = self.on.remove(target) {
            self.ended
                .retain(|_, (_, at)| now.since(*at) < REPEATED_WITHIN);
            self.ended.insert(target.clone(), (leased.id, now));
        }
    }

    /// A renewal or an undrain passes.
    pub(crate) fn keep_up(&mut self, now: Timestamp, order: &Order) {
        let target = order.target.id.clone();
        let undrains = matches!(order.action, Action::Undrain(_));
        if let Some(leased) = self.on.get_mut(&target) {
            leased.is_ending |= undrains;
        }
        let until = order.lease.as_ref().map(|term| term.until);
        let out = Out {
            target,
            lease: order.lease.as_ref().map(|term| term.id),
            until: until.filter(|_| !undrains),
            overdue_at: order.overdue_at(),
        };
        self.out.retain(|_, out| now < out.overdue_at);
        self.out.insert(order.id, out);
    }

    pub(crate) fn note_outcome(&mut self, now: Timestamp, outcome: &Outcome) {
        let Some(out) = self.out.remove(&outcome.order) else {
            return;
        };
        if outcome.kind != OutcomeKind::Done {
            return;
        }
        // Another drain may have begun since.
        let leased = self.on.get_mut(&out.target);
        let Some(leased) = leased.filter(|leased| out.lease == Some(leased.id)) else {
            return;
        };
        match out.until {
            None => self.end(now, &out.target),
            Some(until) => leased.until = until,
        }
    }

    /// The ledger could not take it, so it did not leave.
    pub(crate) fn not_given(&mut self, order: OrderId) {
        self.out.remove(&order);
    }

    pub(crate) fn worked_on(&mut self, now: Timestamp, target: &TargetId) {
        if let Some(leased) = self.on.get_mut(target) {
            leased.worked_at = now;
        }
    }

    /// Whether a renewal or an undrain may still be with its hook.
    fn is_busy(&self, now: Timestamp, target: &TargetId) -> bool {
        let mut out = self.out.values();
        out.any(|out| out.target == *target && now < out.overdue_at)
    }
}

impl Interlock {
    /// All that speaks against a renewal or an undrain.
    pub(crate) fn upkeep_objections(&self, now: Timestamp, order: &Order) -> Vec<Objection> {
        let found = [
            self.not_repeated(order),
            self.current(now, order),
            match order.action {
                Action::Undrain(_) => self.is_drained(order),
                _ => self.may_be_renewed(now, order),
            },
        ];
        found.into_iter().flatten().collect()
    }

    /// 7: only what was drained is given back.
    fn is_drained(&self, order: &Order) -> Option<Objection> {
        let id = &order.target.id;
        let lease = order.lease.as_ref().map(|term| term.id);
        let was_drained =
            (self.leases.ended.get(id)).is_some_and(|(ended, _)| lease == Some(*ended));
        if self.leases.on.contains_key(id) || was_drained || !holds(Guard::UndrainsDrained) {
            return None;
        }
        object(7, format!("{id} was not drained"))
    }

    /// 7: a lease is kept alive only for the repair that it was begun for, and as long as that goes on.
    fn may_be_renewed(&self, now: Timestamp, order: &Order) -> Option<Objection> {
        let id = &order.target.id;
        let term = order.lease.as_ref();
        let leased = self.leases.on.get(id).filter(|leased| {
            term.is_some_and(|term| term.id == leased.id) && order.case == leased.case
        });
        let Some(leased) = leased else {
            return object(7, format!("there is no lease on {id} that it could renew"))
                .filter(|_| holds(Guard::RenewsKnown));
        };
        let runs = now < leased.until && !leased.is_ending && leased.case.is_some();
        if !runs && holds(Guard::RenewsLive) {
            return object(7, format!("the lease on {id} is over"));
        }
        let until_max = now + leased.lasts;
        if term.is_some_and(|term| term.until > until_max) && holds(Guard::LeaseEnds) {
            return object(7, format!("the lease on {id} would last too long"));
        }
        let works = self.in_flight.first_on(id).is_some() || now < leased.worked_at + leased.lasts;
        if !works && holds(Guard::RenewsForWork) {
            return object(
                7,
                format!("nothing is done on {id} that it is out of use for"),
            );
        }
        self.ledger_can_be_written()
            .filter(|_| holds(Guard::RenewsInLedger))
            .or_else(|| {
                let people = self.free_of_people(now, order);
                people.filter(|_| holds(Guard::RenewsUnlessPaused))
            })
    }

    /// 7: a drain ends by itself after the time that its service says; and it waits for what is with its hook.
    pub(crate) fn lease_is_sound(&self, order: &Order) -> Option<Objection> {
        let Action::Drain(drain) = &order.action else {
            return None;
        };
        let id = &order.target.id;
        let ends = order
            .lease
            .as_ref()
            .is_some_and(|term| term.until <= order.given_at + drain.lease);
        if !ends && holds(Guard::LeaseEnds) {
            return object(7, format!("the lease on {id} would last too long"));
        }
        let busy = self.leases.is_busy(order.given_at, id) && holds(Guard::OneAtTheHook);
        object(7, format!("another order about {id} is with its hook")).filter(|_| busy)
    }
}
