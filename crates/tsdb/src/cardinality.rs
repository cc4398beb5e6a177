//! Cardinality: which names and labels the most series have, for whoever looks for what makes a store large.

use std::collections::HashMap;

use pitcrew_promql::labels::METRIC_NAME;

use crate::store::{Store, read};

/// Of the series that report now; each list begins with the most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Different pairs of a label's name and value.
    pub label_pairs: u64,
    /// Metrics and their series.
    pub series_by_name: Vec<(String, u64)>,
    /// Names of labels and their different values.
    pub values_by_label: Vec<(String, u64)>,
    /// `name=value` and the series that have it.
    pub series_by_pair: Vec<(String, u64)>,
}

impl Store {
    /// Looks at every label of every series that reports; `limit` entries in each list.
    pub fn cardinality(&self, limit: usize) -> Cardinality {
        let head = read(&self.head);
        let (symbols, postings) = (&head.table.symbols, &head.table.postings);
        let mut pairs: Vec<(u64, u32, u32)> = postings
            .counts()
            .map(|(name, value, series)| (series, name, value))
            .collect();
        let mut values: HashMap<u32, u64> = HashMap::new();
        for (_, name, _) in &pairs {
            *values.entry(*name).or_default() += 1;
        }
        let label_pairs = pairs.len() as u64;
        let text = |symbol: u32| symbols.text(symbol).to_string();
        let metric_name = symbols.find(METRIC_NAME);
        let names = pairs
            .iter()
            .filter(|(_, name, _)| Some(*name) == metric_name)
            .map(|(series, _, value)| (text(*value), *series));
        let series_by_name = largest(names.collect(), limit);
        let values = values.into_iter().map(|(name, count)| (text(name), count));
        let values_by_label = largest(values.collect(), limit);
        // Only the texts of the few that are listed are made.
        pairs.sort_unstable_by(|left, right| right.cmp(left));
        pairs.truncate(limit);
        let pairs = pairs.into_iter();
        let pairs =
            pairs.map(|(series, name, value)| (format!("{}={}", text(name), text(value)), series));
        Cardinality {
            label_pairs,
            series_by_name,
            values_by_label,
            series_by_pair: largest(pairs.collect(), limit),
        }
    }
}

/// Equal ones by name.
fn largest(mut counted: Vec<(String, u64)>, limit: usize) -> Vec<(String, u64)> {
    counted.sort_unstable_by(|(left, more), (right, most)| most.cmp(more).then(left.cmp(right)));
    counted.truncate(limit);
    counted
}
