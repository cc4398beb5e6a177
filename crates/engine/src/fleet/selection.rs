//! Which service a target belongs to, without asking every selector.
//!
//! Each selector is found by one of its label pairs: the one that the fewest selectors name. A target is then weighed
//! against the selectors of its own pairs only, and the first service that selects it wins, as it is written.

use std::{collections::BTreeMap, sync::Arc};

use pitcrew_model::{Labels, Service};

/// Positions of services, in order, by label name and value.
type ByPair = BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<usize>>>;

#[derive(Debug, Default)]
pub(crate) struct Selection {
    by_pair: ByPair,
}

impl Selection {
    pub(crate) fn of(services: &[Arc<Service>]) -> Self {
        let mut named = ByPair::new();
        for (at, service) in services.iter().enumerate() {
            for (name, value) in service.select.0.iter() {
                note(&mut named, name, value, at);
            }
        }
        let mut by_pair = ByPair::new();
        for (at, service) in services.iter().enumerate() {
            // An empty selector has no pair, is found by none and selects nothing.
            let rarest = service
                .select
                .0
                .iter()
                .min_by_key(|(name, value)| named[*name][*value].len());
            if let Some((name, value)) = rarest {
                note(&mut by_pair, name, value, at);
            }
        }
        Self { by_pair }
    }

    /// The first of `services`, those that this was made of, that selects `labels`.
    pub(crate) fn first(&self, services: &[Arc<Service>], labels: &Labels) -> Option<usize> {
        let found = labels.iter().filter_map(|(name, value)| {
            let at = self.by_pair.get(name)?.get(value)?;
            at.iter()
                .copied()
                .find(|at| services[*at].select.selects(labels))
        });
        found.min()
    }
}

fn note(pairs: &mut ByPair, name: &Arc<str>, value: &Arc<str>, at: usize) {
    let values = pairs.entry(name.clone()).or_default();
    values.entry(value.clone()).or_default().push(at);
}

#[cfg(test)]
mod tests {
    use pitcrew_model::{Autonomy, Limits, Selector};
    use proptest::prelude::*;

    use super::*;

    fn service(at: usize, pairs: &BTreeMap<&'static str, &'static str>) -> Arc<Service> {
        Arc::new(Service {
            name: format!("service-{at}").parse().unwrap(),
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

    fn labels(pairs: &BTreeMap<&'static str, &'static str>) -> Labels {
        Labels::new(pairs.iter().map(|(name, value)| (*name, *value))).unwrap()
    }

    fn pairs() -> impl Strategy<Value = BTreeMap<&'static str, &'static str>> {
        let name = prop::sample::select(vec!["service", "zone", "tier"]);
        let value = prop::sample::select(vec!["a", "b", "c"]);
        prop::collection::btree_map(name, value, 0..4)
    }

    proptest! {
        #[test]
        fn it_finds_what_trying_every_selector_finds(
            selectors in prop::collection::vec(pairs(), 0..12),
            target in pairs(),
        ) {
            let services: Vec<Arc<Service>> = selectors
                .iter()
                .enumerate()
                .map(|(at, pairs)| service(at, pairs))
                .collect();
            let target = labels(&target);
            let tried = services.iter().position(|service| service.select.selects(&target));
            prop_assert_eq!(Selection::of(&services).first(&services, &target), tried);
        }
    }
}
