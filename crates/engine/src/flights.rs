//! Orders that were given and have not ended, counted by target and by label, so that no decision walks them all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pitcrew_model::{Labels, Order, OrderId, TargetId};

/// Its name and value.
type Label = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
pub(crate) struct Flights {
    all: BTreeSet<OrderId>,
    on: BTreeMap<TargetId, BTreeSet<OrderId>>,
    /// By label name and value of what they touch, as it was when the order was given or that was found again.
    with: BTreeMap<Arc<str>, BTreeMap<Arc<str>, u32>>,
    counted: BTreeMap<OrderId, BTreeSet<Label>>,
}

impl Flights {
    pub(crate) fn insert(&mut self, order: &Order) {
        if !self.all.insert(order.id) {
            return;
        }
        for target in [&order.target, order.acts_on()] {
            let on = self.on.entry(target.id.clone()).or_default();
            on.insert(order.id);
            self.count(order.id, &target.labels);
        }
    }

    /// The order touches something with these labels; what has the same one several times counts once.
    pub(crate) fn count(&mut self, order: OrderId, labels: &Labels) {
        let counted = self.counted.entry(order).or_default();
        for (name, value) in labels.iter() {
            if counted.insert((name.clone(), value.clone())) {
                let values = self.with.entry(name.clone()).or_default();
                *values.entry(value.clone()).or_default() += 1;
            }
        }
    }

    pub(crate) fn remove(&mut self, order: &Order) {
        if !self.all.remove(&order.id) {
            return;
        }
        for target in [&order.target, order.acts_on()] {
            if let Some(on) = self.on.get_mut(&target.id) {
                on.remove(&order.id);
                if on.is_empty() {
                    self.on.remove(&target.id);
                }
            }
        }
        for (name, value) in self.counted.remove(&order.id).unwrap_or_default() {
            let Some(values) = self.with.get_mut(&name) else {
                continue;
            };
            if let Some(count) = values.get_mut(&value) {
                *count -= 1;
                if *count == 0 {
                    values.remove(&value);
                }
            }
            if values.is_empty() {
                self.with.remove(&name);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn contains(&self, order: OrderId) -> bool {
        self.all.contains(&order)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &OrderId> {
        self.all.iter()
    }

    /// The oldest on this target.
    pub(crate) fn first_on(&self, target: &TargetId) -> Option<OrderId> {
        self.on.get(target)?.first().copied()
    }

    /// That touch something with this label, whatever its service.
    pub(crate) fn count_with(&self, label: &str, value: &str) -> u32 {
        let values = self.with.get(label);
        values
            .and_then(|values| values.get(value))
            .copied()
            .unwrap_or(0)
    }
}
