//! Deadlines of open cases, orders, leases, holds and breakers: few, so a sorted set serves.

use std::collections::{BTreeMap, BTreeSet};

use pitcrew_model::{CaseId, OrderId, Scope, TargetId, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Case(CaseId),
    Order(OrderId),
    Lease(TargetId),
    Hold(TargetId),
    Breaker(Scope),
}

/// At most one deadline for each; setting it again replaces it.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(Timestamp, Timer)>,
    at: BTreeMap<Timer, Timestamp>,
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Timestamp) {
        self.clear(&timer);
        self.by_time.insert((at, timer.clone()));
        self.at.insert(timer, at);
    }

    pub(crate) fn clear(&mut self, timer: &Timer) {
        if let Some(at) = self.at.remove(timer) {
            self.by_time.remove(&(at, timer.clone()));
        }
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.by_time.pop_first()?;
        self.at.remove(&timer);
        Some(timer)
    }
}
