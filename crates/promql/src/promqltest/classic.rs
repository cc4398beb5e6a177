//! `load_with_nhcb`: classic histograms as native ones with custom buckets.

use std::{collections::BTreeMap, sync::Arc};

use super::run::TestStore;
use crate::{
    eval::SampleValue,
    histogram::{CUSTOM_SCHEMA, FloatHistogram},
    labels::{BUCKET_BOUND, Labels, LabelsBuilder, METRIC_NAME},
};

/// What is known of one histogram at one instant.
#[derive(Default)]
struct Parts {
    /// Bounds with cumulative counts.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// Classic histograms while they are collected.
#[derive(Default)]
pub(super) struct ClassicHistograms(BTreeMap<Labels, BTreeMap<i64, Parts>>);

impl ClassicHistograms {
    /// Takes a sample if its series is a part of a classic histogram.
    pub(super) fn add(&mut self, labels: &Labels, time_ms: i64, value: f64) {
        let name = labels.metric_name();
        for suffix in ["_bucket", "_count", "_sum"] {
            let Some(base) = name.strip_suffix(suffix) else {
                continue;
            };
            let bound = labels.get(BUCKET_BOUND).parse::<f64>().ok();
            let labels = LabelsBuilder::from_labels(labels)
                .set(METRIC_NAME, base)
                .delete(BUCKET_BOUND)
                .build();
            let parts = self
                .0
                .entry(labels)
                .or_default()
                .entry(time_ms)
                .or_default();
            match (suffix, bound) {
                ("_bucket", Some(bound)) => parts.buckets.push((bound, value)),
                ("_count", _) => parts.count = Some(value),
                ("_sum", _) => parts.sum = value,
                _ => {}
            }
        }
    }

    pub(super) fn store(self, store: &mut impl TestStore) {
        for (labels, samples) in self.0 {
            for (time_ms, parts) in samples {
                if let Some(histogram) = parts.histogram() {
                    let value = SampleValue::Histogram(Arc::new(histogram));
                    store.add(&labels, time_ms, value, 0);
                }
            }
        }
    }
}

impl Parts {
    /// Nothing where counts decrease.
    fn histogram(mut self) -> Option<FloatHistogram> {
        self.buckets
            .sort_by(|left, right| left.0.total_cmp(&right.0));
        let last = self.buckets.last().map_or(0.0, |(_, count)| *count);
        let count = self.count.unwrap_or(last);
        if self
            .buckets
            .last()
            .is_none_or(|(bound, _)| *bound != f64::INFINITY)
        {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut before = 0.0;
        let mut counts = Vec::new();
        for (_, cumulative) in &self.buckets {
            if *cumulative < before {
                return None;
            }
            counts.push(cumulative - before);
            before = *cumulative;
        }
        let bounds = self.buckets.iter().map(|(bound, _)| *bound);
        Some(FloatHistogram {
            schema: CUSTOM_SCHEMA,
            count,
            sum: self.sum,
            positive: FloatHistogram::buckets_from_counts(0, &counts),
            custom_bounds: bounds.filter(|bound| bound.is_finite()).collect(),
            ..FloatHistogram::default()
        })
    }
}
