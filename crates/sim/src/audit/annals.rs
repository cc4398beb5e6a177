//! What the ledger says of people, breakers and cases.
//!
//! What forbids something counts once it is durable, what allows something as soon as it is wanted: a crash may
//! lose what was wanted and not yet written, and then nobody was promised anything.

use std::collections::{BTreeMap, BTreeSet};

use pitcrew_model::{
    Action, CaseId, Effect, Fact, OrderId, PersonAct, Record, RepairName, Scope, TargetId,
    Timestamp,
};

#[derive(Default)]
pub(super) struct Annals {
    /// Until when a person has a target.
    pub(super) holds: BTreeMap<TargetId, Timestamp>,
    pub(super) pauses: BTreeSet<Scope>,
    pub(super) tripped: BTreeSet<Scope>,
    /// When a person last resumed a scope.
    pub(super) resumed: BTreeMap<Scope, Timestamp>,
    pub(super) approved: BTreeMap<OrderId, String>,
    pub(super) denied: BTreeSet<OrderId>,
    /// What persons ordered themselves.
    pub(super) ordered: BTreeMap<OrderId, (TargetId, Action)>,
    pub(super) closed: BTreeSet<CaseId>,
    pub(super) handed_over: BTreeSet<CaseId>,
    confirmed: BTreeSet<CaseId>,
    /// Highest rung from which an order of this case left.
    pub(super) rungs: BTreeMap<CaseId, (RepairName, u8, u8)>,
    /// When confirmed cases of a target closed.
    pub(super) endings: BTreeMap<TargetId, Vec<Timestamp>>,
    /// When the last case of a target closed for which an order had left.
    pub(super) repaired_at: BTreeMap<TargetId, Timestamp>,
    /// Until when a repaired target is on probation.
    pub(super) probation: BTreeMap<TargetId, Timestamp>,
    /// Given, but the ledger could not take them.
    pub(super) struck: BTreeSet<OrderId>,
}

impl Annals {
    /// What allows something does so at once.
    pub(super) fn wanted(&mut self, effect: &Effect) {
        let Effect::Record(record) = effect else {
            return;
        };
        match &record.fact {
            Fact::BreakerReleased { scope, .. } => {
                self.tripped.remove(scope);
            }
            Fact::Person {
                act, refused: None, ..
            } => self.person_allows(record, act),
            Fact::Relapsed { .. } | Fact::Closed { .. } => {
                if let Some(target) = &record.target {
                    self.probation.remove(target);
                }
            }
            _ => {}
        }
    }

    fn person_allows(&mut self, record: &Record, act: &PersonAct) {
        match act {
            PersonAct::Release { target } => {
                self.holds.remove(target);
            }
            PersonAct::Resume { scope } => {
                self.pauses.remove(scope);
            }
            PersonAct::Approve { order, digest } => {
                self.approved.insert(*order, digest.clone());
            }
            PersonAct::Order { target, action, .. } => {
                if let Some(order) = record.order {
                    self.ordered.insert(order, (target.clone(), action.clone()));
                }
                if matches!(action, Action::Start | Action::Restart) {
                    self.holds.remove(target);
                }
            }
            PersonAct::Pause { .. }
            | PersonAct::Hold { .. }
            | PersonAct::Deny { .. }
            | PersonAct::Close { .. }
            | PersonAct::Accept { .. } => {}
        }
    }

    /// What forbids something does so from here on. Both may be committed together, as after a full disk, and then
    /// the last word counts.
    pub(super) fn committed(&mut self, effect: &Effect) {
        self.wanted(effect);
        let Effect::Record(record) = effect else {
            return;
        };
        match &record.fact {
            Fact::BreakerTripped { scope, .. } => {
                self.tripped.insert(scope.clone());
            }
            Fact::Person {
                act, refused: None, ..
            } => self.person_forbids(record, act),
            Fact::Probation { until } => {
                if let Some(target) = &record.target {
                    self.probation.insert(target.clone(), *until);
                }
            }
            Fact::Confirmed { .. } => self.confirmed.extend(record.case),
            Fact::HandedOver { .. } => self.handed_over.extend(record.case),
            Fact::Closed { .. } => self.close(record),
            _ => {}
        }
    }

    fn person_forbids(&mut self, record: &Record, act: &PersonAct) {
        match act {
            PersonAct::Hold { target, until, .. } => {
                self.holds.insert(target.clone(), *until);
            }
            PersonAct::Pause { scope, .. } => {
                self.pauses.insert(scope.clone());
            }
            PersonAct::Deny { order } => {
                self.denied.insert(*order);
            }
            PersonAct::Order {
                target,
                action: Action::Stop,
                ..
            } if record.order.is_some_and(|id| !self.struck.contains(&id)) => {
                // A year, which no simulation outlasts.
                let until = record.at + std::time::Duration::from_secs(365 * 86_400);
                self.holds.insert(target.clone(), until);
            }
            PersonAct::Order { .. }
            | PersonAct::Release { .. }
            | PersonAct::Resume { .. }
            | PersonAct::Approve { .. }
            | PersonAct::Close { .. }
            | PersonAct::Accept { .. } => {}
        }
    }

    /// As of the decision: the ledger has it a little later.
    fn close(&mut self, record: &Record) {
        let (Some(case), Some(target)) = (record.case, &record.target) else {
            return;
        };
        self.closed.insert(case);
        self.handed_over.remove(&case);
        if self.confirmed.remove(&case) {
            self.endings
                .entry(target.clone())
                .or_default()
                .push(record.at);
        }
        if self.rungs.remove(&case).is_some() {
            self.repaired_at.insert(target.clone(), record.at);
        }
    }
}
