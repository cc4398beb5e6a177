//! Changing labels: set and delete in any order, build once.

use std::{collections::BTreeMap, sync::Arc};

use super::{Label, Labels};

/// Labels while they are being changed.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder(BTreeMap<Arc<str>, Arc<str>>);

impl LabelsBuilder {
    /// Starts with the labels of a series.
    pub fn from_labels(labels: &Labels) -> Self {
        let pairs = labels.iter();
        LabelsBuilder(
            pairs
                .map(|label| (label.name.clone(), label.value.clone()))
                .collect(),
        )
    }

    /// Sets a label; an empty value deletes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        if value.is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(Arc::from(name), Arc::from(value));
        }
        self
    }

    /// Deletes a label where it exists.
    pub fn delete(&mut self, name: &str) -> &mut Self {
        self.0.remove(name);
        self
    }

    /// The value so far; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value)
    }

    /// The labels as they are now.
    pub fn build(&self) -> Labels {
        let labels = self.0.iter();
        Labels(
            labels
                .map(|(name, value)| Label {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
        )
    }
}
