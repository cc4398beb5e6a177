//! Who is out of use in truth: what balancers do, whatever the server knows of it.
//!
//! There are two kinds, as outside. The hook of one forgets nothing: what it was told to drain stays drained until it is told
//! otherwise. The other is the target's own host, which gives the target back by itself when the lease runs out, and which
//! can be told nothing while it is down.

use std::collections::{BTreeMap, BTreeSet};

use pitcrew_model::{Action, Order, TargetId};

use super::{
    World,
    queue::{Happening, Millis},
};
use crate::TargetIndex;

#[derive(Default)]
pub(super) struct Balancer {
    /// By name, which is all that a hook knows, and until when; a hook knows no end.
    drained: BTreeMap<TargetId, Option<Millis>>,
}

/// Whether the target's own host drains it.
pub(super) fn is_by_host(target: TargetIndex) -> bool {
    !target.is_multiple_of(2)
}

impl World<'_> {
    /// `target`: where it is, if it is there still.
    pub(super) fn drain_or_undrain(&mut self, order: &Order, target: Option<TargetIndex>) {
        let id = &order.target.id;
        match (&order.action, &order.lease) {
            (Action::Undrain(_), _) => {
                self.balancer.drained.remove(id);
            }
            (Action::Drain(drain), Some(_)) => {
                let lease = u64::try_from(drain.lease.as_millis()).unwrap_or(u64::MAX);
                let is_by_host = target.is_some_and(is_by_host);
                let until = is_by_host.then(|| self.now + lease);
                self.balancer.drained.insert(id.clone(), until);
                if let Some(until) = until {
                    let target = id.clone();
                    self.queue.push(until, Happening::LeaseEnds { target });
                }
            }
            _ => {}
        }
    }

    /// Unless it was renewed meanwhile.
    pub(super) fn lease_ends(&mut self, target: &TargetId) {
        let until = self.balancer.drained.get(target).copied().flatten();
        if until.is_some_and(|until| until <= self.now) {
            self.balancer.drained.remove(target);
        }
    }

    /// Whoever gets no traffic, the server knows of it, or it would stay so for ever.
    pub(super) fn nobody_is_forgotten(&mut self) {
        let Some(engine) = self.server.engine() else {
            return;
        };
        let known: BTreeSet<_> = engine.drained().map(|(target, _)| target).collect();
        let drained = self.balancer.drained.keys();
        let forgotten = drained.filter(|target| !known.contains(target));
        let told: Vec<String> = forgotten
            .map(|target| format!("{target} is drained, and the server doesn't know"))
            .collect();
        for what in told {
            self.tally.seen_broken(self.now, 7, what);
        }
    }
}
