//! 7: what is drained comes back. Nobody is kept out of use without a case or a person's word, nor past the lease.
//!
//! A server that is away gives nothing back, so what is asked of it begins when it is there again. An undrain that failed
//! must be followed by another one.

use std::{collections::BTreeMap, time::Duration};

use pitcrew_model::{Action, CaseId, Order, OrderId, Outcome, OutcomeKind, TargetId, Timestamp};

use super::{Auditor, invariants::Charge};

/// A lost outcome is waited for two minutes; then an undrain leaves at once.
const PATIENCE: Duration = Duration::from_secs(3 * 60);
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(5 * 60);

struct Leased {
    id: OrderId,
    case: Option<CaseId>,
    until: Timestamp,
    /// Decided on only; whether it left is known later.
    has_left: bool,
    /// An earlier one was not over.
    follows_another: bool,
    /// From when on nothing justified it any more.
    over_at: Option<Timestamp>,
    /// An undrain was done. A crash may make the server forget that.
    is_back: bool,
    undrained_at: Option<Timestamp>,
    convicted: bool,
}

#[derive(Default)]
pub(super) struct Leases {
    on: BTreeMap<TargetId, Leased>,
    /// Whose target they are about, and until when they last.
    out: BTreeMap<OrderId, (TargetId, Option<Timestamp>)>,
    /// Since when the server has been there without a break.
    awake_since: Timestamp,
}

impl Leases {
    pub(super) fn awake(&mut self, now: Timestamp) {
        self.awake_since = now;
    }

    pub(super) fn is_out_of_use(&self, target: &TargetId) -> bool {
        let leased = self.on.get(target);
        leased.is_some_and(|leased| leased.has_left && !leased.is_back)
    }

    pub(super) fn decided(&mut self, order: &Order) {
        let (Action::Drain(_), Some(term)) = (&order.action, &order.lease) else {
            return;
        };
        if order.is_upkeep() {
            return;
        }
        let before = self.on.get(&order.target.id);
        let has_left = before.is_some_and(|before| before.has_left && !before.is_back);
        let leased = Leased {
            id: order.id,
            case: order.case,
            until: term.until,
            has_left,
            follows_another: has_left,
            over_at: None,
            is_back: false,
            undrained_at: None,
            convicted: false,
        };
        self.on.insert(order.target.id.clone(), leased);
    }

    pub(super) fn left(&mut self, now: Timestamp, order: &Order) {
        let Some(leased) = self.on.get_mut(&order.target.id) else {
            return;
        };
        let until = match (&order.action, &order.lease) {
            (Action::Drain(_), Some(term)) => Some(term.until),
            (Action::Undrain(_), _) => None,
            _ => return,
        };
        leased.has_left = true;
        if until.is_none() {
            leased.undrained_at = Some(now);
        }
        if order.is_upkeep() {
            self.out.insert(order.id, (order.target.id.clone(), until));
        }
    }

    pub(super) fn outcome(&mut self, outcome: &Outcome) {
        // It may be given back all the same: a server that waited for too long takes it for drained.
        let mut began = self.on.values_mut().filter(|it| it.id == outcome.order);
        if let Some(leased) = began.next().filter(|it| !it.follows_another)
            && outcome.kind == OutcomeKind::Failed
        {
            leased.is_back = true;
        }
        let Some((target, until)) = self.out.remove(&outcome.order) else {
            return;
        };
        if outcome.kind != OutcomeKind::Done {
            return;
        }
        if let Some(leased) = self.on.get_mut(&target) {
            match until {
                Some(until) => leased.until = until,
                None => leased.is_back = true,
            }
        }
    }

    pub(super) fn struck(&mut self, order: OrderId) {
        self.on
            .retain(|_, leased| leased.id != order || leased.has_left);
    }

    pub(super) fn crashed(&mut self) {
        self.on.retain(|_, leased| leased.has_left);
    }
}

impl Auditor {
    /// All that speaks against a renewal or an undrain when it is decided on.
    pub(super) fn charges_against_upkeep(&self, now: Timestamp, order: &Order) -> Vec<Charge> {
        let id = &order.target.id;
        let about = |what: &str| Some((7, format!("{} on {id} {what}", order.id)));
        let leased = self.leases.on.get(id);
        let mut charges = vec![
            self.lease_ends(now, order),
            self.fence_is_current(order),
            leased
                .is_none()
                .then(|| about("is about nothing that was drained"))
                .flatten(),
        ];
        if let (Action::Drain(drain), Some(leased)) = (&order.action, leased) {
            let term = order.lease.as_ref();
            let is_same =
                term.is_some_and(|term| term.id == leased.id) && order.case == leased.case;
            let too_long = term.is_none_or(|term| term.until > now + drain.lease);
            charges.extend([
                (!is_same).then(|| about("renews another lease")).flatten(),
                too_long.then(|| about("lasts too long")).flatten(),
                (now >= leased.until)
                    .then(|| about("renews a lease that ran out"))
                    .flatten(),
                order
                    .case
                    .is_none()
                    .then(|| about("renews a person's drain"))
                    .flatten(),
                self.case_is_open(order),
                self.not_handed_over(order),
                self.person_has_no_hand_on_it(order),
            ]);
        }
        charges.into_iter().flatten().collect()
    }

    /// Asked with all that happens.
    pub(super) fn everybody_comes_back(&mut self, now: Timestamp) {
        let annals = &self.annals;
        let awake_since = self.leases.awake_since;
        let mut kept: Vec<TargetId> = Vec::new();
        for (id, leased) in &mut self.leases.on {
            let is_over = leased.until <= now
                || leased.case.is_some_and(|case| {
                    annals.closed.contains(&case) || annals.handed_over.contains(&case)
                });
            if !is_over || leased.is_back || !leased.has_left {
                leased.over_at = None;
                continue;
            }
            let over_at = *leased.over_at.get_or_insert(now);
            let tried = leased.undrained_at.map(|at| at + AGAIN);
            let due = over_at.max(awake_since).max(tried.unwrap_or_default()) + PATIENCE;
            if now > due && !leased.convicted {
                leased.convicted = true;
                kept.push(id.clone());
            }
        }
        for id in kept {
            self.convict(
                now,
                7,
                format!("{id} stays drained, and nobody gives it back"),
            );
        }
    }
}
