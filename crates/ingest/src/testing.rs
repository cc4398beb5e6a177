//! A sink for tests: what it was told, a line each.

use crate::{BadHistogram, Exemplar, Float, Histogram, Metadata, RawSeries, Sink};

#[derive(Default)]
pub(crate) struct Told {
    pub(crate) lines: Vec<String>,
    pub(crate) series: Vec<String>,
    /// It is full then.
    pub(crate) series_max: Option<usize>,
}

impl Told {
    pub(crate) fn of_series(series_max: usize) -> Self {
        Self {
            series_max: Some(series_max),
            ..Self::default()
        }
    }
}

fn labels(series: RawSeries<'_>) -> String {
    let mut text = String::new();
    match series.each_label(|name, value| text += &format!(" {name}={value:?}")) {
        Ok(()) => text.trim_start().to_owned(),
        Err(error) => format!("bad labels: {error}"),
    }
}

fn at(at_ms: Option<i64>, start_ms: i64) -> String {
    let at = at_ms.map_or(String::new(), |at_ms| format!(" @{at_ms}"));
    match start_ms {
        0 => at,
        start => format!("{at} since {start}"),
    }
}

impl Sink for Told {
    type Series = usize;

    fn series(&mut self, series: RawSeries<'_>) -> Option<usize> {
        self.series.push(labels(series));
        Some(self.series.len() - 1)
    }

    fn is_full(&self) -> bool {
        self.series_max
            .is_some_and(|most| self.series.len() >= most)
    }

    fn float(&mut self, series: usize, sample: Float) {
        let (series, at) = (&self.series[series], at(sample.at_ms, sample.start_ms));
        self.lines.push(format!("{series}: {:?}{at}", sample.value));
    }

    fn histogram(&mut self, series: usize, sample: Histogram) {
        let (series, at) = (&self.series[series], at(sample.at_ms, sample.start_ms));
        let count = sample.value.count;
        self.lines
            .push(format!("{series}: histogram of {count}{at}"));
    }

    fn bad_histogram(&mut self, series: usize, why: BadHistogram) {
        let series = &self.series[series];
        self.lines.push(format!("{series}: {why}"));
    }

    fn exemplar(&mut self, series: usize, exemplar: Exemplar<'_>) {
        let (series, at) = (&self.series[series], at(exemplar.at_ms, 0));
        let labels = labels(exemplar.labels);
        self.lines.push(format!(
            "{series}: exemplar {labels}: {:?}{at}",
            exemplar.value
        ));
    }

    fn metadata(&mut self, metadata: Metadata<'_>) {
        let Metadata {
            family,
            kind,
            help,
            unit,
        } = metadata;
        self.lines
            .push(format!("{family}: {kind:?} {help:?} {unit:?}"));
    }
}
