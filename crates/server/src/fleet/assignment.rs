//! Who asks what: pure.
//!
//! What looks into a host is asked by that host alone. What is asked over the network is asked by the server and by a
//! few other hosts, so that one place's broken network is outvoted. Which hosts these are follows from names alone: they
//! stand on a ring by their hashes, and a target is asked by the next ones, so a host that comes or goes changes little.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    ops::Bound,
    sync::Arc,
};

use pitcrew_model::{TargetId, Test, TestKind};
use pitcrew_wire::HostName;

/// What the server itself asks of a target. A secret it takes only where `may_tell` says so.
pub(crate) fn by_server(tests: &[Arc<Test>], may_tell: bool) -> Vec<Arc<Test>> {
    chosen(tests, |test| {
        !test.is_inside() && (may_tell || !test.kind.holds_secret())
    })
}

/// What the target's own host asks; to this very host nothing travels.
pub(crate) fn by_own_host(host: &HostName, tests: &[Arc<Test>]) -> Vec<Arc<Test>> {
    chosen(tests, |test| {
        test.is_inside() && (host.is_local() || can_travel(test))
    })
}

/// What another host asks.
pub(crate) fn by_observer(tests: &[Arc<Test>]) -> Vec<Arc<Test>> {
    chosen(tests, |test| {
        !test.is_inside() && can_travel(test) && !matches!(test.kind, TestKind::Nagios(_))
    })
}

/// Secrets and metrics stay on the server; pushed results come by themselves.
fn can_travel(test: &Test) -> bool {
    !test.kind.holds_secret() && !matches!(test.kind, TestKind::Push | TestKind::Metric(_))
}

fn chosen(tests: &[Arc<Test>], is_meant: impl Fn(&Test) -> bool) -> Vec<Arc<Test>> {
    tests
        .iter()
        .filter(|test| is_meant(test))
        .cloned()
        .collect()
}

/// Hosts that can be asked to observe, by their hashes.
#[derive(Default)]
pub(crate) struct Ring(BTreeSet<(u64, HostName)>);

/// The same in every run.
fn hash(text: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(text)
}

impl Ring {
    pub(crate) fn insert(&mut self, host: &HostName) {
        self.0.insert((hash(host.as_str()), host.clone()));
    }

    pub(crate) fn remove(&mut self, host: &HostName) {
        self.0.remove(&(hash(host.as_str()), host.clone()));
    }

    /// The next `count` hosts after the target, its own left out.
    pub(crate) fn observers<'r>(
        &'r self,
        target: &TargetId,
        own: Option<&'r HostName>,
        count: usize,
    ) -> impl Iterator<Item = &'r HostName> {
        let from = hash(target.as_str());
        let is_before = move |(at, _): &&(u64, HostName)| *at < from;
        let before = self.0.iter().take_while(is_before);
        let lowest = HostName::new("0").expect("it is a fit name");
        let after = self
            .0
            .range((Bound::Included((from, lowest)), Bound::Unbounded));
        after
            .chain(before)
            .map(|(_, host)| host)
            .filter(move |host| Some(*host) != own)
            .take(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: usize) -> HostName {
        HostName::new(&format!("host-{number}")).unwrap()
    }

    fn observers(ring: &Ring, target: usize, own: &HostName) -> Vec<HostName> {
        let id = TargetId::new(format!("target-{target}")).unwrap();
        ring.observers(&id, Some(own), 2).cloned().collect()
    }

    #[test]
    fn each_target_has_two_observers_that_are_not_its_own_host_and_few_change_when_one_goes() {
        let mut ring = Ring::default();
        (0..20).for_each(|number| ring.insert(&host(number)));
        let all = |ring: &Ring| -> Vec<Vec<HostName>> {
            (0..1_000)
                .map(|target| observers(ring, target, &host(0)))
                .collect()
        };
        let before = all(&ring);
        assert!(
            before
                .iter()
                .all(|hosts| hosts.len() == 2 && hosts[0] != hosts[1])
        );
        assert!(!before.iter().flatten().any(|one| *one == host(0)));
        ring.remove(&host(7));
        let after = all(&ring);
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || before.contains(&host(7)));
        }
        ring.insert(&host(7));
        assert_eq!(all(&ring), before);
    }

    #[test]
    fn a_ring_with_nobody_else_has_no_observers() {
        let mut ring = Ring::default();
        ring.insert(&host(0));
        assert!(observers(&ring, 1, &host(0)).is_empty());
    }
}
