//! Answers: what a query yields, with the names gone that no longer fit.

use std::sync::Arc;

use super::{
    EvalError, Grid, NodeKind, Row, Size, Values,
    plan::Node,
    row::{Cell, Computed, merge_same_labels},
};
use crate::{annotations::Annotations, histogram::FloatHistogram, labels::Labels};

/// A query's value and what should be known about it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// Warnings and infos.
    pub annotations: Annotations,
    /// What it took.
    pub statistics: Statistics,
}

/// What a query took. A histogram counts once for each of its buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Samples that were read from the store.
    pub samples_read: u64,
    /// Samples that were held at once.
    pub samples_peak: usize,
}

/// What a query can yield.
#[derive(Debug, Clone)]
pub enum Value {
    /// One number.
    Scalar {
        /// When, in milliseconds since the epoch.
        time_ms: i64,
        /// The number.
        value: f64,
    },
    /// A string; bytes that are no UTF-8 are replaced.
    Text {
        /// When, in milliseconds since the epoch.
        time_ms: i64,
        /// The string.
        value: String,
    },
    /// One sample for each series, in the order that the query asks for.
    Vector(Vec<Sample>),
    /// Samples over time for each series, by labels where the query is one of a range.
    Matrix(Vec<Points>),
}

/// A float or a histogram.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// A series at one instant.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The series.
    pub labels: Labels,
    /// When, in milliseconds since the epoch.
    pub time_ms: i64,
    /// Its value.
    pub value: SampleValue,
}

/// A series over time.
#[derive(Debug, Clone)]
pub struct Points {
    /// The series.
    pub labels: Labels,
    /// Times in milliseconds since the epoch, ascending, with values.
    pub points: Vec<(i64, SampleValue)>,
}

impl From<Computed> for SampleValue {
    fn from(value: Computed) -> Self {
        match value {
            Computed::Float(value) => SampleValue::Float(value),
            Computed::Histogram(histogram) => SampleValue::Histogram(histogram),
        }
    }
}

impl From<Cell<'_>> for SampleValue {
    fn from(cell: Cell<'_>) -> Self {
        cell.owned().into()
    }
}

pub(super) fn text(node: &Node, time_ms: i64) -> Value {
    let bytes: &[u8] = match &node.kind {
        NodeKind::Text(bytes) => bytes,
        _ => &[],
    };
    Value::Text {
        time_ms,
        value: String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// What the answer takes beside the values it is made from, its text included.
pub(super) fn size(values: &Values) -> Size {
    let series = match values {
        Values::Scalar(_) => 1,
        Values::Vector(rows) => rows.len(),
    };
    answer_size(series, values.size().samples)
}

/// The same of the samples of a window, which are the answer as they are.
pub(super) fn size_of_range(value: &Value) -> Size {
    match value {
        Value::Matrix(series) => {
            let samples = series.iter().map(|series| series.points.len()).sum();
            answer_size(series.len(), samples)
        }
        Value::Scalar { .. } | Value::Text { .. } | Value::Vector(_) => Size::default(),
    }
}

fn answer_size(series: usize, samples: usize) -> Size {
    const SAMPLE_TEXT_BYTES: usize = 32;
    const SERIES_TEXT_BYTES: usize = 128;
    let of_series = series.saturating_mul(size_of::<Points>() + SERIES_TEXT_BYTES);
    let of_samples = samples.saturating_mul(size_of::<(i64, SampleValue)>() + SAMPLE_TEXT_BYTES);
    Size {
        samples: 0,
        bytes: of_series.saturating_add(of_samples),
    }
}

pub(super) fn instant(values: Values, grid: &Grid) -> Result<Value, EvalError> {
    let time_ms = grid.start_ms;
    match values {
        Values::Scalar(values) => Ok(Value::Scalar {
            time_ms,
            value: values.first().copied().unwrap_or(f64::NAN),
        }),
        Values::Vector(rows) => {
            let rows = finished(rows)?;
            let samples = rows.into_iter().filter_map(|row| {
                let value = row.get(0)?.into();
                Some(Sample {
                    labels: row.labels,
                    time_ms,
                    value,
                })
            });
            Ok(Value::Vector(samples.collect()))
        }
    }
}

pub(super) fn range(values: Values, grid: &Grid) -> Result<Value, EvalError> {
    let rows = match values {
        Values::Scalar(values) => vec![Row::of_floats(Labels::default(), values)],
        Values::Vector(rows) => finished(rows)?,
    };
    let points = rows.into_iter().map(|row| Points {
        points: row
            .cells()
            .map(|(step, cell)| (grid.time(step), cell.into()))
            .collect(),
        labels: row.labels,
    });
    let mut points: Vec<Points> = points.filter(|series| !series.points.is_empty()).collect();
    points.sort_by(|left, right| left.labels.cmp(&right.labels));
    Ok(Value::Matrix(points))
}

fn finished(mut rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    for row in &mut rows {
        if row.name_dropped {
            row.labels = row.labels.without_metadata();
            row.name_dropped = false;
        }
    }
    merge_same_labels(rows)
}
