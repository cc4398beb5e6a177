//! What the store was given and what became of it, for `/metrics`. Of the process, whoever leads.

use pitcrew_tsdb::{Accepted, Statistics};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    samples: Counter,
    duplicates: Counter,
    created: Counter,
    refused: Family<ReasonLabel, Counter>,
    /// Answers to tests that found no room on their way into the store.
    pub(crate) dropped: Counter,
    open: Gauge,
    series: Gauge,
    head_bytes: Gauge,
    part_bytes: Gauge,
    parts: Gauge,
}

impl Counts {
    pub(super) fn add(&self, accepted: &Accepted) {
        self.samples.inc_by(accepted.samples);
        self.duplicates.inc_by(accepted.duplicates);
        self.created.inc_by(accepted.new_series);
        let (samples, exemplars) = (&accepted.refused, &accepted.refused_exemplars);
        for (reason, count) in samples.by_reason.iter().chain(&exemplars.by_reason) {
            let reason = (*reason).to_owned();
            self.refused
                .get_or_create(&ReasonLabel { reason })
                .inc_by(*count);
        }
    }

    /// Samples of a batch that was refused as a whole.
    pub(super) fn refuse(&self, reason: &str, samples: usize) {
        let reason = reason.to_owned();
        self.refused
            .get_or_create(&ReasonLabel { reason })
            .inc_by(u64::try_from(samples).unwrap_or(u64::MAX));
    }

    /// Read when somebody looks; nothing while there is no store.
    pub(super) fn set(&self, statistics: Option<Statistics>) {
        let as_gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let of_usize = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.open.set(i64::from(statistics.is_some()));
        if let Some(store) = statistics {
            self.series.set(of_usize(store.series));
            self.head_bytes.set(of_usize(store.head_bytes));
            self.part_bytes.set(as_gauge(store.part_bytes));
            self.parts.set(of_usize(store.parts));
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            ("metrics_samples", "Samples stored", &self.samples),
            (
                "metrics_duplicate_samples",
                "Samples that were there already",
                &self.duplicates,
            ),
            (
                "metrics_series_created",
                "Series that were new",
                &self.created,
            ),
            (
                "metrics_dropped_observations",
                "Answers to tests that found no room on their way into the store",
                &self.dropped,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "metrics_refused_samples",
            "Samples and exemplars that were not stored",
            self.refused.clone(),
        );
        for (name, help, gauge) in [
            ("metrics_store_open", "Whether there is a store", &self.open),
            ("metrics_series", "Series that report", &self.series),
            (
                "metrics_head_bytes",
                "Memory for series and samples, estimated",
                &self.head_bytes,
            ),
            ("metrics_part_bytes", "Files of samples", &self.part_bytes),
            ("metrics_parts", "How many files", &self.parts),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }
}
