//! Annotations: what a reader of an answer should know although the query succeeded.
//!
//! Words and positions are Prometheus' own, since dashboards and rules match them. The same annotation at the
//! same place is kept once.

use std::{collections::BTreeMap, fmt};

use crate::{
    number,
    parser::{Span, position},
};

/// How much an annotation matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The answer may not be what was meant.
    Warning,
    /// A habit that often means a mistake.
    Info,
}

/// Everything that can be said about an answer.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant's words are its Display")]
pub enum Note {
    InvalidQuantile {
        quantile: f64,
    },
    InvalidRatio {
        ratio: f64,
        capped_to: f64,
    },
    BadBucketLabel {
        metric: String,
        value: String,
    },
    MixedFloatsHistograms {
        metric: String,
    },
    MixedFloatsHistogramsInAggregation,
    MixedClassicNative {
        metric: String,
    },
    NotACounter {
        metric: String,
    },
    NotAGauge {
        metric: String,
    },
    MixedExponentialCustom {
        metric: String,
    },
    IncompatibleBuckets {
        operator: &'static str,
    },
    CounterResetCollision {
        operation: HistogramOperation,
    },
    StartTimeOverlap {
        metric: String,
    },
    Storage {
        message: String,
    },
    PossibleNonCounter {
        metric: String,
    },
    PossibleNonCounterType {
        metric: String,
        kind: String,
    },
    ForcedMonotonicity {
        metric: String,
        detail: Monotonicity,
    },
    IncompatibleTypes {
        left: &'static str,
        operator: &'static str,
        right: &'static str,
    },
    HistogramIgnoredInAggregation {
        aggregation: &'static str,
    },
    HistogramIgnoredInMixedRange {
        metric: String,
    },
    QuantileOfNaNs {
        metric: String,
    },
    QuantileSkewedByNaNs {
        metric: String,
    },
    FractionExcludesNaNs {
        metric: String,
    },
    MismatchedCustomBuckets {
        operation: HistogramOperation,
    },
}

/// What was done with two histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistogramOperation {
    /// `+`
    Addition,
    /// `-`
    Subtraction,
    /// `sum`, `avg` and the like.
    Aggregation,
}

/// Where the buckets of a classic histogram decreased, and by how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Monotonicity {
    /// Lowest bound at which a count was raised.
    pub from_bound: f64,
    /// Highest such bound.
    pub to_bound: f64,
    /// Largest decrease.
    pub difference: f64,
    /// First evaluation that saw it, in milliseconds.
    pub first_ms: i64,
    /// Last evaluation that saw it.
    pub last_ms: i64,
    /// How many did.
    pub times: u64,
}

impl Note {
    /// Warning or info.
    pub fn severity(&self) -> Severity {
        match self {
            Note::InvalidQuantile { .. }
            | Note::InvalidRatio { .. }
            | Note::BadBucketLabel { .. }
            | Note::MixedFloatsHistograms { .. }
            | Note::MixedFloatsHistogramsInAggregation
            | Note::MixedClassicNative { .. }
            | Note::NotACounter { .. }
            | Note::NotAGauge { .. }
            | Note::MixedExponentialCustom { .. }
            | Note::IncompatibleBuckets { .. }
            | Note::CounterResetCollision { .. }
            | Note::StartTimeOverlap { .. }
            | Note::Storage { .. } => Severity::Warning,
            Note::PossibleNonCounter { .. }
            | Note::PossibleNonCounterType { .. }
            | Note::ForcedMonotonicity { .. }
            | Note::IncompatibleTypes { .. }
            | Note::HistogramIgnoredInAggregation { .. }
            | Note::HistogramIgnoredInMixedRange { .. }
            | Note::QuantileOfNaNs { .. }
            | Note::QuantileSkewedByNaNs { .. }
            | Note::FractionExcludesNaNs { .. }
            | Note::MismatchedCustomBuckets { .. } => Severity::Info,
        }
    }

    /// What makes two notes the same: their words, but without figures that vary from step to step.
    fn key(&self) -> String {
        match self {
            Note::ForcedMonotonicity { metric, .. } => format!("monotonicity {metric}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for HistogramOperation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            HistogramOperation::Addition => "addition",
            HistogramOperation::Subtraction => "subtraction",
            HistogramOperation::Aggregation => "aggregation",
        })
    }
}

/// `for metric name "x"`, or nothing where the name is gone.
struct For<'a>(&'a str);

impl fmt::Display for For<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(out, " for metric name {:?}", self.0)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match (self, self.severity()) {
            (Note::Storage { .. }, _) => "",
            (_, Severity::Warning) => "PromQL warning: ",
            (_, Severity::Info) => "PromQL info: ",
        })?;
        match self {
            Note::InvalidQuantile { quantile } => {
                let quantile = number::compact(*quantile);
                write!(
                    out,
                    "quantile value should be between 0 and 1, got {quantile}"
                )
            }
            Note::InvalidRatio { ratio, capped_to } => write!(
                out,
                "ratio value should be between -1 and 1, got {}, capping to {}",
                number::compact(*ratio),
                number::compact(*capped_to)
            ),
            Note::BadBucketLabel { metric, value } => write!(
                out,
                "bucket label \"le\" is missing or has a malformed value of {value:?}{}",
                For(metric)
            ),
            Note::MixedFloatsHistograms { metric } => write!(
                out,
                "encountered a mix of histograms and floats for metric name {metric:?}"
            ),
            Note::MixedFloatsHistogramsInAggregation => {
                out.write_str("encountered a mix of histograms and floats for aggregation")
            }
            Note::MixedClassicNative { metric } => write!(
                out,
                "vector contains a mix of classic and native histograms{}",
                For(metric)
            ),
            Note::NotACounter { metric } => write!(
                out,
                "this native histogram metric is not a counter: {metric:?}"
            ),
            Note::NotAGauge { metric } => {
                write!(
                    out,
                    "this native histogram metric is not a gauge: {metric:?}"
                )
            }
            Note::MixedExponentialCustom { metric } => write!(
                out,
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {metric:?}"
            ),
            Note::IncompatibleBuckets { operator } => write!(
                out,
                "incompatible bucket layout encountered for binary operator {operator}"
            ),
            Note::CounterResetCollision { operation } => {
                write!(
                    out,
                    "conflicting counter resets during histogram {operation}"
                )
            }
            Note::StartTimeOverlap { metric } => write!(
                out,
                "sample has start time that overlaps with previous sample timestamp for metric {metric:?}"
            ),
            Note::Storage { message } => out.write_str(message),
            Note::PossibleNonCounter { metric } => write!(
                out,
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}"
            ),
            Note::PossibleNonCounterType { metric, kind } => write!(
                out,
                "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {kind:?}: {metric:?}"
            ),
            Note::ForcedMonotonicity { metric, detail } => write!(
                out,
                "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}{detail}",
                For(metric)
            ),
            Note::IncompatibleTypes {
                left,
                operator,
                right,
            } => write!(
                out,
                "incompatible sample types encountered for binary operator {operator:?}: {left} {operator} {right}"
            ),
            Note::HistogramIgnoredInAggregation { aggregation } => {
                write!(out, "ignored histogram in {aggregation} aggregation")
            }
            Note::HistogramIgnoredInMixedRange { metric } => write!(
                out,
                "ignored histograms in a range containing both floats and histograms for metric name {metric:?}"
            ),
            Note::QuantileOfNaNs { metric } => write!(
                out,
                "input to histogram_quantile has NaN observations, result is NaN{}",
                For(metric)
            ),
            Note::QuantileSkewedByNaNs { metric } => write!(
                out,
                "input to histogram_quantile has NaN observations, result is skewed higher{}",
                For(metric)
            ),
            Note::FractionExcludesNaNs { metric } => write!(
                out,
                "input to histogram_fraction has NaN observations, which are excluded from all fractions{}",
                For(metric)
            ),
            Note::MismatchedCustomBuckets { operation } => write!(
                out,
                "mismatched custom buckets were reconciled during {operation}"
            ),
        }
    }
}

impl fmt::Display for Monotonicity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            number::compact(self.from_bound),
            number::compact(self.to_bound),
            number::compact(self.difference),
            self.times,
            number::plain(number::seconds(self.first_ms)),
            number::plain(number::seconds(self.last_ms)),
        )
    }
}

/// The notes on one answer, in the order of their places in the query.
#[derive(Debug, Clone, Default)]
pub struct Annotations(BTreeMap<(Severity, Span, String), Note>);

impl Annotations {
    /// Adds a note about the part of the query at `span`.
    pub fn add(&mut self, span: Span, note: Note) {
        let key = (note.severity(), span, note.key());
        match (self.0.get_mut(&key), note) {
            (
                Some(Note::ForcedMonotonicity { detail: seen, .. }),
                Note::ForcedMonotonicity { detail, .. },
            ) => seen.merge(detail),
            (Some(_), _) => {}
            (None, note) => {
                self.0.insert(key, note);
            }
        }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The notes with their places.
    pub fn iter(&self) -> impl Iterator<Item = (Span, &Note)> {
        self.0.iter().map(|((_, span, _), note)| (*span, note))
    }

    /// The notes of one severity, each with line and column in `query`.
    pub fn texts(&self, severity: Severity, query: &str) -> Vec<String> {
        self.iter()
            .filter(|(_, note)| note.severity() == severity)
            .map(|(span, note)| format!("{note} ({})", position(query, span.start)))
            .collect()
    }
}

impl Monotonicity {
    fn merge(&mut self, other: Monotonicity) {
        self.from_bound = self.from_bound.min(other.from_bound);
        self.to_bound = self.to_bound.max(other.to_bound);
        self.difference = self.difference.max(other.difference);
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
        self.times += other.times;
    }
}
