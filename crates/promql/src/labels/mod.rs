//! Labels: the identity of a series, sorted by name, cheap to clone.
//!
//! An empty value means that the label is absent, so it is never stored. Labels order as Prometheus orders
//! them: pair by pair, name before value.

mod builder;
mod hash;
mod matcher;
pub(crate) mod pattern;

use std::{fmt, sync::Arc};

pub use builder::LabelsBuilder;
pub use matcher::{MatchOp, Matcher};
pub use pattern::{MatcherError, anchored};

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";
/// The label that holds a metric's type, where types are kept as labels.
pub const METRIC_TYPE: &str = "__type__";
/// The label that holds a metric's unit, where units are kept as labels.
pub const METRIC_UNIT: &str = "__unit__";
/// The upper bound of a bucket of a classic histogram.
pub const BUCKET_BOUND: &str = "le";

/// One name and its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// Any non-empty UTF-8.
    pub name: Arc<str>,
    /// Any non-empty UTF-8.
    pub value: Arc<str>,
}

/// The labels of one series.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[Label]>);

impl Labels {
    /// From pairs in any order; of a repeated name the last value counts, empty values are left out.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// From labels that a store keeps in order: ascending by name, no name twice, no value empty.
    pub fn from_sorted(labels: Vec<Label>) -> Self {
        debug_assert!(labels.is_sorted_by(|left, right| left.name < right.name));
        debug_assert!(labels.iter().all(|label| !label.value.is_empty()));
        Labels(labels.into())
    }

    /// The value of a label; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0
            .binary_search_by(|label| (*label.name).cmp(name))
            .map_or("", |index| &self.0[index].value)
    }

    /// Whether the label is there.
    pub fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// The metric's name; empty where there is none.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME)
    }

    /// By name, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Only the named ones.
    pub fn keep(&self, names: &[String]) -> Self {
        self.filtered(|label| names.iter().any(|name| **name == *label.name))
    }

    /// All but the named ones.
    pub fn without(&self, names: &[String]) -> Self {
        self.filtered(|label| !names.iter().any(|name| **name == *label.name))
    }

    /// Without name, type and unit: what a value is called no longer holds once it was computed with.
    pub fn without_metadata(&self) -> Self {
        if self.iter().any(|label| is_metadata(&label.name)) {
            self.filtered(|label| !is_metadata(&label.name))
        } else {
            self.clone()
        }
    }

    /// Whether these are others at one place: equal ones at different places are not.
    pub(crate) fn is_at_place_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Position of these labels between 0 and 1, the same in every process: what `limit_ratio` samples by.
    pub(crate) fn sample_position(&self) -> f64 {
        hash::labels(self) as f64 / u64::MAX as f64
    }

    pub(crate) fn filtered(&self, keep: impl Fn(&Label) -> bool) -> Self {
        Labels(self.0.iter().filter(|label| keep(label)).cloned().collect())
    }
}

/// Whether a label describes the metric rather than the series.
pub(crate) fn is_metadata(name: &str) -> bool {
    matches!(name, METRIC_NAME | METRIC_TYPE | METRIC_UNIT)
}

impl fmt::Display for Labels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("{")?;
        for (index, label) in self.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(out, "{comma}{}={:?}", label.name, &*label.value)?;
        }
        out.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_empty_values_are_absent() {
        let labels = Labels::from_pairs([("job", "x"), (METRIC_NAME, "up"), ("zone", "")]);
        assert_eq!(labels.to_string(), r#"{__name__="up", job="x"}"#);
        assert_eq!(labels.get("zone"), "");
    }

    #[test]
    fn metadata_goes_together() {
        let labels = Labels::from_pairs([(METRIC_NAME, "up"), (METRIC_TYPE, "gauge"), ("a", "b")]);
        assert_eq!(labels.without_metadata().to_string(), r#"{a="b"}"#);
    }
}
