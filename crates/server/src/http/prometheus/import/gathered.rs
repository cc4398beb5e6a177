//! What one piece of an import says, gathered for the store.

use std::collections::BTreeMap;

use pitcrew_ingest::{BadHistogram, Exemplar, Float, Histogram, Metadata, RawSeries, Sink, text};
use pitcrew_promql::{
    histogram::FloatHistogram,
    labels::{Labels, LabelsBuilder},
};
use pitcrew_tsdb::{
    Accepted, Batch, IncomingExemplar, LabelsOf, RawLabels, Sample, Value, key_of, labels_of_key,
};

use crate::{
    http::prometheus::lines::Line,
    telemetry::{NotTaken, Telemetry},
};

/// Whom limits are counted for.
const SOURCE: &str = "import";

pub(super) struct Gathered {
    now_ms: i64,
    keys: Vec<Vec<u8>>,
    samples: Vec<Gotten>,
    exemplars: Vec<(usize, Labels, f64, i64)>,
    families: BTreeMap<String, pitcrew_tsdb::Metadata>,
    /// Whether keys are text as it came; otherwise they are the store's own.
    is_text: bool,
    /// What the store can't be asked about.
    pub(super) unreadable: u64,
}

struct Gotten {
    series: usize,
    timestamp_ms: i64,
    start_ms: i64,
    value: Measured,
}

enum Measured {
    Float(f64),
    Histogram(Box<FloatHistogram>),
}

impl Gathered {
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            now_ms,
            keys: Vec::new(),
            samples: Vec::new(),
            exemplars: Vec::new(),
            families: BTreeMap::new(),
            is_text: false,
            unreadable: 0,
        }
    }

    /// The error has the line, from 1, and what is wrong with it.
    pub(super) fn json_lines(&mut self, piece: &[u8]) -> Result<(), (usize, String)> {
        for (number, text) in piece.split(|byte| *byte == b'\n').enumerate() {
            if text.trim_ascii().is_empty() {
                continue;
            }
            let line: Result<Line, _> = serde_json::from_slice(text);
            let line = line.map_err(|error| error.to_string());
            let line = line.and_then(|line| line.check().map(|()| line));
            self.line(&line.map_err(|why| (number + 1, why))?);
        }
        Ok(())
    }

    fn line(&mut self, line: &Line) {
        let series = self.keys.len();
        self.keys.push(key_of(&Labels::from_pairs(&line.metric)));
        let start = |starts: &[i64], index: usize| starts.get(index).copied().unwrap_or(0);
        let floats = line.values.iter().zip(&line.timestamps).enumerate();
        self.samples
            .extend(floats.map(|(index, (value, timestamp_ms))| Gotten {
                series,
                timestamp_ms: *timestamp_ms,
                start_ms: start(&line.starts, index),
                value: Measured::Float(value.0),
            }));
        let native = line
            .histograms
            .iter()
            .zip(&line.histogram_timestamps)
            .enumerate();
        self.samples
            .extend(native.map(|(index, (value, timestamp_ms))| Gotten {
                series,
                timestamp_ms: *timestamp_ms,
                start_ms: start(&line.histogram_starts, index),
                value: Measured::Histogram(Box::new(value.read())),
            }));
    }

    pub(super) fn text(
        &mut self,
        format: text::Format,
        piece: &[u8],
    ) -> Result<(), (usize, String)> {
        self.is_text = true;
        text::read(format, piece, self).map_err(|error| (error.line, error.why.to_string()))
    }

    pub(super) fn store(&self, telemetry: &Telemetry) -> Result<Accepted, NotTaken> {
        let samples: Vec<Sample<'_>> = self
            .samples
            .iter()
            .map(|sample| Sample {
                key: &self.keys[sample.series],
                timestamp_ms: sample.timestamp_ms,
                start_ms: sample.start_ms,
                value: match &sample.value {
                    Measured::Float(value) => Value::Float(*value),
                    Measured::Histogram(histogram) => Value::Histogram(histogram),
                },
            })
            .collect();
        let exemplars: Vec<IncomingExemplar<'_>> = self
            .exemplars
            .iter()
            .map(|(series, labels, value, timestamp_ms)| IncomingExemplar {
                key: &self.keys[*series],
                labels,
                value: *value,
                timestamp_ms: *timestamp_ms,
            })
            .collect();
        let metadata: Vec<_> = self.families.values().cloned().collect();
        let (scope, labels_of): (&[u8], &LabelsOf<'_>) = match self.is_text {
            true => (b"text", &labels_of_text),
            false => (b"labels", &labels_of_key),
        };
        telemetry.backfill(&Batch {
            source: SOURCE,
            scope,
            labels_of,
            samples: &samples,
            exemplars: &exemplars,
            metadata: &metadata,
        })
    }
}

fn labels_of_text(key: &[u8], out: &mut RawLabels) -> Result<(), String> {
    let read = RawSeries::Text(key).each_label(|name, value| out.push(name, value));
    read.map_err(|error| error.to_string())
}

impl Sink for Gathered {
    type Series = usize;

    fn series(&mut self, series: RawSeries<'_>) -> Option<usize> {
        self.keys.push(series.bytes().to_vec());
        Some(self.keys.len() - 1)
    }

    fn float(&mut self, series: usize, sample: Float) {
        self.samples.push(Gotten {
            series,
            timestamp_ms: sample.at_ms.unwrap_or(self.now_ms),
            start_ms: sample.start_ms,
            value: Measured::Float(sample.value),
        });
    }

    fn histogram(&mut self, series: usize, sample: Histogram) {
        self.samples.push(Gotten {
            series,
            timestamp_ms: sample.at_ms.unwrap_or(self.now_ms),
            start_ms: sample.start_ms,
            value: Measured::Histogram(Box::new(sample.value)),
        });
    }

    fn bad_histogram(&mut self, _series: usize, _why: BadHistogram) {
        self.unreadable += 1;
    }

    fn exemplar(&mut self, series: usize, exemplar: Exemplar<'_>) {
        let mut labels = LabelsBuilder::default();
        let read = exemplar.labels.each_label(|name, value| {
            labels.set(name, value);
        });
        if read.is_err() {
            self.unreadable += 1;
            return;
        }
        let at_ms = exemplar.at_ms.unwrap_or(self.now_ms);
        self.exemplars
            .push((series, labels.build(), exemplar.value, at_ms));
    }

    /// Type, help and unit come one by one.
    fn metadata(&mut self, metadata: Metadata<'_>) {
        let family = metadata.family.into_owned();
        let known = self
            .families
            .entry(family.clone())
            .or_insert_with(|| pitcrew_tsdb::Metadata {
                family,
                kind: "unknown".to_owned(),
                unit: String::new(),
                help: String::new(),
            });
        if let Some(kind) = metadata.kind {
            known.kind = kind.name().to_owned();
        }
        for (text, place) in [
            (metadata.unit, &mut known.unit),
            (metadata.help, &mut known.help),
        ] {
            if !text.is_empty() {
                *place = text.into_owned();
            }
        }
    }
}
