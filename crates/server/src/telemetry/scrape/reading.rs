//! A page's samples as they are read: what the rules drop is left out, and reading ends where the page exceeds a limit.

use std::collections::HashSet;

use pitcrew_ingest::{BadHistogram, Exemplar, Float, Histogram, Metadata, RawSeries, Sink};

use crate::telemetry::Gathered;

/// Gathers what is kept.
pub(super) struct Reading<IsKept> {
    pub(super) gathered: Gathered,
    /// Series with times of their own.
    pub(super) timed: HashSet<u32>,
    /// All that were told.
    pub(super) samples: usize,
    pub(super) is_kept: IsKept,
    pub(super) honors_timestamps: bool,
    /// What may be kept.
    pub(super) samples_max: Option<u64>,
}

impl<IsKept> Reading<IsKept> {
    /// The limit of samples, if there are more.
    pub(super) fn exceeded(&self) -> Option<u64> {
        let kept = u64::try_from(self.gathered.len()).unwrap_or(u64::MAX);
        self.samples_max.filter(|max| kept > *max)
    }

    fn at(&mut self, series: u32, at_ms: Option<i64>) -> Option<i64> {
        let at_ms = at_ms.filter(|_| self.honors_timestamps);
        if at_ms.is_some() {
            self.timed.insert(series);
        }
        at_ms
    }
}

impl<IsKept: FnMut(&[u8]) -> bool> Sink for Reading<IsKept> {
    type Series = u32;

    fn series(&mut self, series: RawSeries<'_>) -> Option<u32> {
        // Each series is told with one sample.
        self.samples += 1;
        let is_kept = (self.is_kept)(series.bytes());
        is_kept.then(|| self.gathered.series(series)).flatten()
    }

    fn float(&mut self, series: u32, sample: Float) {
        let at_ms = self.at(series, sample.at_ms);
        self.gathered.float(series, Float { at_ms, ..sample });
    }

    fn histogram(&mut self, series: u32, sample: Histogram) {
        let at_ms = self.at(series, sample.at_ms);
        self.gathered
            .histogram(series, Histogram { at_ms, ..sample });
    }

    fn bad_histogram(&mut self, series: u32, why: BadHistogram) {
        self.gathered.bad_histogram(series, why);
    }

    fn exemplar(&mut self, series: u32, exemplar: Exemplar<'_>) {
        self.gathered.exemplar(series, exemplar);
    }

    fn metadata(&mut self, metadata: Metadata<'_>) {
        Sink::metadata(&mut self.gathered, metadata);
    }

    fn is_full(&self) -> bool {
        self.gathered.is_too_much || self.exceeded().is_some()
    }
}
