//! The service that a target belongs to: the first whose selector matches.
//!
//! Each selector is filed under one of its pairs, the one that is in the fewest selectors, in one sorted list. A
//! target's pairs are looked up there, and only what is filed under them is tried.

use std::{collections::BTreeMap, sync::Arc};

use pitcrew_model::{Labels, Service};

#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// Label, value and position of the service, sorted.
    filed: Vec<(Arc<str>, Arc<str>, usize)>,
}

impl Choice {
    pub(crate) fn among(services: &[Arc<Service>]) -> Self {
        let mut used = BTreeMap::<(&str, &str), u32>::new();
        for service in services {
            for (label, value) in service.select.0.iter() {
                *used.entry((label, value)).or_default() += 1;
            }
        }
        let mut filed = Vec::with_capacity(services.len());
        for (at, service) in services.iter().enumerate() {
            let mut least: Option<(u32, &Arc<str>, &Arc<str>)> = None;
            for (label, value) in service.select.0.iter() {
                let others = used[&(&**label, &**value)];
                if least.is_none_or(|(fewest, ..)| others < fewest) {
                    least = Some((others, label, value));
                }
            }
            // One without any pair selects nothing and is filed nowhere.
            if let Some((_, label, value)) = least {
                filed.push((label.clone(), value.clone(), at));
            }
        }
        filed.sort_unstable();
        Self { filed }
    }

    /// Of `services`, the ones that this was made of.
    pub(crate) fn of(&self, services: &[Arc<Service>], labels: &Labels) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (label, value) in labels.iter() {
            let from = self
                .filed
                .partition_point(|(l, v, _)| (&**l, &**v) < (&**label, &**value));
            for (l, v, at) in &self.filed[from..] {
                if (l, v) != (label, value) || best.is_some_and(|best| best < *at) {
                    break;
                }
                if services[*at].select.selects(labels) {
                    best = Some(*at);
                    break;
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use pitcrew_model::{Autonomy, Limits, Selector};
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &BTreeMap<u8, u8>) -> Labels {
        let pairs = pairs.iter();
        Labels::new(pairs.map(|(name, value)| (format!("l{name}"), format!("v{value}")))).unwrap()
    }

    fn service(at: usize, pairs: &BTreeMap<u8, u8>) -> Arc<Service> {
        Arc::new(Service {
            name: format!("s{at}").parse().unwrap(),
            select: Selector(labels(pairs)),
            domains: Vec::new(),
            autonomy: Autonomy::Observe,
            tests: Vec::new(),
            repairs: Vec::new(),
            limits: Limits::default(),
            windows: Vec::new(),
            runs_as: None,
            drain: None,
        })
    }

    proptest! {
        #[test]
        fn the_first_service_that_selects_a_target_has_it(
            selectors in prop::collection::vec(prop::collection::btree_map(0..4u8, 0..3u8, 0..4), 0..16),
            target in prop::collection::btree_map(0..4u8, 0..3u8, 0..5),
        ) {
            let services: Vec<_> = selectors
                .iter()
                .enumerate()
                .map(|(at, pairs)| service(at, pairs))
                .collect();
            let target = labels(&target);
            let mut selecting = services.iter().enumerate().filter(|(_, service)| service.select.selects(&target));
            let wanted = selecting.next().map(|(at, _)| at);
            prop_assert_eq!(Choice::among(&services).of(&services, &target), wanted);
        }
    }
}
