//! A store in memory, for tests.
//!
//! It keeps what a real store would keep. Of a histogram's hint that is whether the sample just before it in the
//! same chunk makes a reset impossible; that a reset happened is found out again when it is read.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use super::TestStore;
use crate::{
    eval::SampleValue,
    histogram::FloatHistogram,
    labels::Labels,
    storage::{FloatColumn, Found, HistogramColumn, Selection, Series, Storage, StorageError},
};

/// Samples of any number of series.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    samples: BTreeMap<Labels, BTreeMap<i64, (SampleValue, i64)>>,
    series: Vec<Series>,
}

impl MemoryStore {
    /// Adds a sample. `start_ms`: when its counter began, 0 where that isn't known.
    pub fn add(&mut self, labels: &Labels, time_ms: i64, value: SampleValue, start_ms: i64) {
        let samples = self.samples.entry(labels.clone()).or_default();
        samples.insert(time_ms, (value, start_ms));
    }

    /// Makes what was added visible to queries.
    pub fn commit(&mut self) {
        self.series = self
            .samples
            .iter()
            .map(|(labels, samples)| series(labels, samples))
            .collect();
    }
}

fn series(labels: &Labels, samples: &BTreeMap<i64, (SampleValue, i64)>) -> Series {
    let mut floats = FloatColumn::default();
    let mut histograms = HistogramColumn::default();
    let (mut float_times, mut histogram_times) = (Vec::new(), Vec::new());
    let mut before: Option<&FloatHistogram> = None;
    for (time, (value, start)) in samples {
        match value {
            SampleValue::Float(value) => {
                float_times.push(*time);
                floats.values.push(*value);
                floats.starts.push(*start);
                before = None;
            }
            SampleValue::Histogram(value) => {
                let mut stored = FloatHistogram::clone(value);
                stored.reset_hint = value.hint_after(before);
                histogram_times.push(*time);
                histograms.values.push(Arc::new(stored));
                histograms.starts.push(*start);
                before = Some(value);
            }
        }
    }
    floats.timestamps = float_times.into();
    histograms.timestamps = histogram_times.into();
    Series {
        labels: labels.clone(),
        floats,
        histograms,
    }
}

impl TestStore for MemoryStore {
    fn add(&mut self, labels: &Labels, time_ms: i64, value: SampleValue, start_ms: i64) {
        MemoryStore::add(self, labels, time_ms, value, start_ms);
    }

    fn commit(&mut self) {
        MemoryStore::commit(self);
    }
}

impl Storage for MemoryStore {
    fn select(
        &self,
        selection: &Selection<'_>,
        take: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let fits = |series: &&Series| {
            let mut matchers = selection.matchers.iter();
            matchers.all(|matcher| matcher.matches(series.labels.get(matcher.name())))
        };
        for series in self.series.iter().filter(fits) {
            if take(Found::Series(&mut within(series, selection))).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The samples of the selection's time.
fn within(series: &Series, selection: &Selection<'_>) -> Series {
    let bounds = |times: &[i64]| {
        let start = times.partition_point(|time| *time < selection.start_ms);
        let end = times.partition_point(|time| *time <= selection.end_ms);
        start..end.max(start)
    };
    let (floats, histograms) = (&series.floats, &series.histograms);
    let (f, h) = (bounds(&floats.timestamps), bounds(&histograms.timestamps));
    Series {
        labels: series.labels.clone(),
        floats: FloatColumn {
            timestamps: floats.timestamps[f.clone()].into(),
            values: floats.values[f.clone()].to_vec(),
            starts: floats.starts[f].to_vec(),
        },
        histograms: HistogramColumn {
            timestamps: histograms.timestamps[h.clone()].into(),
            values: histograms.values[h.clone()].to_vec(),
            starts: histograms.starts[h].to_vec(),
        },
    }
}
