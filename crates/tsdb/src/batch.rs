//! What comes in: samples under the bytes that name their series on the wire.
//!
//! A decoder hands over those bytes as they are. Only for bytes the store hasn't seen does it ask for the labels
//! they stand for; for all others nothing is parsed.

use std::{collections::BTreeMap, fmt};

use pitcrew_promql::{histogram::FloatHistogram, labels::Labels};

use crate::bytes::{Malformed, Put, Reader};

/// Reads the labels that a sample's key stands for; says for a person why it can't.
pub type LabelsOf<'a> = dyn Fn(&[u8], &mut RawLabels) -> Result<(), String> + 'a;

/// What one request or scrape brings.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// Whom limits are counted for.
    pub source: &'a str,
    /// All that decides, besides a key, which labels it stands for: the wire format and labels a target adds.
    pub scope: &'a [u8],
    /// Called for keys that are new.
    pub labels_of: &'a LabelsOf<'a>,
    /// In the order of the wire; siblings beside each other, and those of one timestamp, cost least.
    pub samples: &'a [Sample<'a>],
    /// Exemplars of the same series.
    pub exemplars: &'a [IncomingExemplar<'a>],
    /// What is known of metric families.
    pub metadata: &'a [Metadata],
}

/// One sample.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// The series, in the words of the wire.
    pub key: &'a [u8],
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// When its counter began, in milliseconds since the epoch; 0 is unknown.
    pub start_ms: i64,
    /// What was measured.
    pub value: Value<'a>,
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A number, kept bit for bit.
    Float(f64),
    /// A native histogram. Integer histograms come as their counts, which are exact below 2^53.
    Histogram(&'a FloatHistogram),
}

/// An example of what a sample counts.
#[derive(Debug, Clone, Copy)]
pub struct IncomingExemplar<'a> {
    /// The series, in the words of the wire.
    pub key: &'a [u8],
    /// Its own labels, for instance a trace's id.
    pub labels: &'a Labels,
    /// What was measured.
    pub value: f64,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
}

/// What is known of a metric family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The family's name.
    pub family: String,
    /// `counter`, `gauge`, `histogram`, …
    pub kind: String,
    /// `seconds`, `bytes`, …; empty where there is none.
    pub unit: String,
    /// For a person.
    pub help: String,
}

impl Metadata {
    pub(crate) fn bytes(&self) -> usize {
        let Metadata {
            family,
            kind,
            unit,
            help,
        } = self;
        [family, kind, unit, help].map(String::len).iter().sum()
    }
}

/// Labels on their way in: in any order, not yet checked. Reused from series to series.
#[derive(Debug, Default)]
pub struct RawLabels {
    text: String,
    /// Ends of name and value within the text.
    ends: Vec<(usize, usize)>,
    /// How many may be stored: of more only the next is kept, which tells that they are too many.
    labels_max: Option<usize>,
}

impl RawLabels {
    pub(crate) fn within(labels_max: usize) -> Self {
        RawLabels {
            labels_max: Some(labels_max),
            ..RawLabels::default()
        }
    }

    /// Adds a label.
    pub fn push(&mut self, name: &str, value: &str) {
        if self.labels_max.is_some_and(|max| self.ends.len() > max) {
            return;
        }
        self.text.push_str(name);
        let name_end = self.text.len();
        self.text.push_str(value);
        self.ends.push((name_end, self.text.len()));
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        self.ends.iter().map(move |(name_end, value_end)| {
            let name = &self.text[start..*name_end];
            let value = &self.text[*name_end..*value_end];
            start = *value_end;
            (name, value)
        })
    }
}

/// A key for those who have labels instead of a wire format.
pub fn key_of(labels: &Labels) -> Vec<u8> {
    let mut key = Vec::new();
    for label in labels.iter() {
        key.put_text(&label.name);
        key.put_text(&label.value);
    }
    key
}

/// Reads the labels from a key of [`key_of`].
pub fn labels_of_key(key: &[u8], out: &mut RawLabels) -> Result<(), String> {
    let mut read = || -> Result<(), Malformed> {
        let mut reader = Reader::new(key);
        while !reader.is_empty() {
            out.push(reader.text()?, reader.text()?);
        }
        Ok(())
    };
    read().map_err(|malformed| malformed.to_string())
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Samples that are stored. One that a part has already counts, too: that is only found out when it is read.
    pub samples: u64,
    /// Samples that were there already, with the same value or another: the first one stays.
    pub duplicates: u64,
    /// How many of both are histograms.
    pub histograms: u64,
    /// Series that hadn't been seen.
    pub new_series: u64,
    /// Exemplars that are stored.
    pub exemplars: u64,
    /// Samples that weren't taken.
    pub refused: Refused,
    /// Which they are, by their places in [`Batch::samples`], ascending.
    pub refused_samples: Vec<usize>,
    /// Exemplars that weren't: no sample is worse for it.
    pub refused_exemplars: Refused,
}

/// What wasn't taken of a batch, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    /// How many.
    pub count: u64,
    /// The same by [`Reason::name`].
    pub by_reason: BTreeMap<&'static str, u64>,
    /// The first few of them.
    pub examples: Vec<Refusal>,
}

/// A sample or an exemplar that wasn't taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The series, as far as it is known.
    pub series: String,
    /// Why, for whoever sent it.
    pub reason: Reason,
}

/// Why it wasn't taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant's words are its Display")]
pub enum Reason {
    BadLabels(String),
    BadHistogram(String),
    TooOld { timestamp_ms: i64, oldest_ms: i64 },
    TooNew { timestamp_ms: i64, newest_ms: i64 },
    SeriesLimit { limit: usize },
    SourceLimit { limit: usize },
    Memory { limit: usize },
}

impl Refused {
    const EXAMPLES_MAX: usize = 10;

    pub(crate) fn add(&mut self, reason: Reason, series: impl FnOnce() -> String) {
        self.count += 1;
        *self.by_reason.entry(reason.name()).or_default() += 1;
        if self.examples.len() < Self::EXAMPLES_MAX {
            let series = series();
            self.examples.push(Refusal { series, reason });
        }
    }
}

impl Reason {
    /// In one word, for counting.
    pub fn name(&self) -> &'static str {
        match self {
            Reason::BadLabels(_) => "labels",
            Reason::BadHistogram(_) => "histogram",
            Reason::TooOld { .. } => "too_old",
            Reason::TooNew { .. } => "too_new",
            Reason::SeriesLimit { .. } => "series_limit",
            Reason::SourceLimit { .. } => "source_limit",
            Reason::Memory { .. } => "memory",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::BadLabels(problem) => write!(out, "bad labels: {problem}"),
            Reason::BadHistogram(problem) => write!(out, "bad histogram: {problem}"),
            Reason::TooOld {
                timestamp_ms,
                oldest_ms,
            } => write!(
                out,
                "timestamp {timestamp_ms} is too old: nothing before {oldest_ms} is taken"
            ),
            Reason::TooNew {
                timestamp_ms,
                newest_ms,
            } => write!(
                out,
                "timestamp {timestamp_ms} is in the future: nothing after {newest_ms} is taken"
            ),
            Reason::SeriesLimit { limit } => {
                write!(
                    out,
                    "the store holds {limit} series, which is its limit (limits.series)"
                )
            }
            Reason::SourceLimit { limit } => write!(
                out,
                "this source has {limit} series, which is its limit (limits.source_series)"
            ),
            Reason::Memory { limit } => write!(
                out,
                "the head holds {limit} bytes, which is its limit (limits.head_bytes)"
            ),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.series, self.reason)
    }
}
