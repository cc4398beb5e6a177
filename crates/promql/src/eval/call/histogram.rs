//! Functions of histograms, native and classic.

use std::collections::BTreeMap;

use super::super::{
    EvalError, Evaluator, Grid, Node, Row,
    row::{Cell, merge_same_labels},
};
use crate::{
    annotations::{Monotonicity, Note},
    histogram::{
        ClassicBucket, FloatHistogram, NanEffect, bucket_fraction, bucket_quantile, fraction,
        quantile, variance,
    },
    labels::{BUCKET_BOUND, Labels, LabelsBuilder},
    number,
    parser::Span,
};

/// What is estimated from the buckets.
enum Estimate {
    Quantile {
        values: Vec<f64>,
        /// The label that says which quantile, where there may be several.
        label: Option<String>,
    },
    Fraction {
        lower: Vec<f64>,
        upper: Vec<f64>,
    },
}

/// Rows that belong to one histogram.
#[derive(Default)]
struct Parts {
    /// The bound and the row of each classic bucket.
    classic: Vec<(f64, usize)>,
    /// Rows with native histograms.
    native: Vec<usize>,
}

impl Evaluator<'_> {
    /// `histogram_count`, `histogram_sum` and the like.
    pub(super) fn histogram_statistic(
        &mut self,
        name: &str,
        arg: &Node,
        grid: &Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let statistic: fn(&FloatHistogram) -> f64 = match name {
            "histogram_count" => |histogram| histogram.count,
            "histogram_sum" => |histogram| histogram.sum,
            "histogram_avg" => FloatHistogram::mean,
            "histogram_stddev" => |histogram| variance(histogram).sqrt(),
            "histogram_stdvar" => variance,
            _ => return Err(EvalError::BadArgument(format!("unknown function {name:?}"))),
        };
        let rows = self.vector(arg, grid)?;
        let rows = rows.iter().filter(|row| row.has_histograms()).map(|row| {
            let mut row = row.mapped(|_, cell| match cell {
                Cell::Histogram(histogram) => Some(statistic(histogram).into()),
                Cell::Float(_) => None,
            });
            row.name_dropped = true;
            row
        });
        Ok(rows.filter(|row| !row.is_empty()).collect())
    }

    /// `histogram_quantile`, `histogram_quantiles` and `histogram_fraction`.
    pub(super) fn histogram_estimate(
        &mut self,
        name: &str,
        args: &[Node],
        grid: &Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let (vector, estimates) = match name {
            "histogram_quantile" => {
                let values = self.quantiles(&args[0], grid)?;
                let label = None;
                (&args[1], vec![Estimate::Quantile { values, label }])
            }
            "histogram_quantiles" => {
                let label = super::labels::name(&args[1], "quantile", name)?;
                let mut estimates = Vec::new();
                for arg in &args[2..] {
                    let values = self.quantiles(arg, grid)?;
                    let label = Some(label.clone());
                    estimates.push(Estimate::Quantile { values, label });
                }
                (&args[0], estimates)
            }
            _ => {
                let lower = self.scalar(&args[0], grid)?;
                let upper = self.scalar(&args[1], grid)?;
                (&args[2], vec![Estimate::Fraction { lower, upper }])
            }
        };
        let mut rows = self.vector(vector, grid)?;
        let histograms = self.parts(&rows, vector.span);
        self.drop_mixed(&histograms, &mut rows, vector.span);
        let mut estimated = Vec::new();
        for estimate in &estimates {
            for (labels, parts) in &histograms {
                for row in &parts.native {
                    self.native(estimate, &rows[*row], vector.span, &mut estimated);
                }
                if !parts.classic.is_empty() {
                    let frame = Row::empty(labels.clone(), grid.steps);
                    let classic = (&parts.classic[..], &rows[..], &frame);
                    self.classic(estimate, classic, vector.span, grid, &mut estimated);
                }
            }
        }
        for row in &mut estimated {
            row.name_dropped = true;
        }
        estimated.retain(|row| !row.is_empty());
        merge_same_labels(estimated)
    }

    fn quantiles(&mut self, arg: &Node, grid: &Grid) -> Result<Vec<f64>, EvalError> {
        let values = self.scalar(arg, grid)?;
        for quantile in &values {
            if !(0.0..=1.0).contains(quantile) {
                let quantile = *quantile;
                self.note(arg.span, Note::InvalidQuantile { quantile });
            }
        }
        Ok(values)
    }

    /// Which rows belong together, in the order of labels.
    fn parts(&mut self, rows: &[Row], span: Span) -> BTreeMap<Labels, Parts> {
        let mut histograms: BTreeMap<Labels, Parts> = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            let value = row.labels.get(BUCKET_BOUND);
            let group = row.labels.without(&[BUCKET_BOUND.to_owned()]);
            if row.has_histograms() {
                histograms
                    .entry(group.clone())
                    .or_default()
                    .native
                    .push(index);
            }
            let has_floats = (0..row.floats.len()).any(|step| row.float(step).is_some());
            if !has_floats {
                continue;
            }
            match value.parse::<f64>() {
                Ok(bound) => {
                    let parts = histograms.entry(group).or_default();
                    parts.classic.push((bound, index));
                }
                _ => {
                    let metric = row.labels.metric_name().to_owned();
                    let value = value.to_owned();
                    self.note(span, Note::BadBucketLabel { metric, value });
                }
            }
        }
        histograms
    }

    /// Where a histogram is both native and classic at a step, it is neither.
    fn drop_mixed(&mut self, histograms: &BTreeMap<Labels, Parts>, rows: &mut [Row], span: Span) {
        for parts in histograms.values() {
            for native in &parts.native {
                for step in 0..rows[*native].floats.len() {
                    let is_native = matches!(rows[*native].get(step), Some(Cell::Histogram(_)));
                    let mut classic = parts.classic.iter();
                    if !is_native || !classic.any(|(_, row)| rows[*row].float(step).is_some()) {
                        continue;
                    }
                    let metric = rows[*native].labels.metric_name().to_owned();
                    self.note(span, Note::MixedClassicNative { metric });
                    rows[*native].clear(step);
                    for (_, row) in &parts.classic {
                        rows[*row].clear(step);
                    }
                }
            }
        }
    }

    fn native(&mut self, estimate: &Estimate, row: &Row, span: Span, estimated: &mut Vec<Row>) {
        let metric = || row.labels.metric_name().to_owned();
        for (step, cell) in row.cells() {
            let Cell::Histogram(histogram) = cell else {
                continue;
            };
            let (value, effect) = match estimate {
                Estimate::Quantile { values, .. } => quantile(values[step], histogram),
                Estimate::Fraction { lower, upper } => {
                    fraction(lower[step], upper[step], histogram)
                }
            };
            match effect {
                NanEffect::None => {}
                NanEffect::ResultIsNan => {
                    self.note(span, Note::QuantileOfNaNs { metric: metric() })
                }
                NanEffect::SkewedHigher => {
                    self.note(span, Note::QuantileSkewedByNaNs { metric: metric() });
                }
                NanEffect::Excluded => {
                    self.note(span, Note::FractionExcludesNaNs { metric: metric() });
                }
            }
            put(estimate, row, step, value, estimated);
        }
    }

    fn classic(
        &mut self,
        estimate: &Estimate,
        (parts, rows, frame): (&[(f64, usize)], &[Row], &Row),
        span: Span,
        grid: &Grid,
        estimated: &mut Vec<Row>,
    ) {
        for step in 0..grid.steps {
            let buckets: Vec<ClassicBucket> = parts
                .iter()
                .filter_map(|(bound, row)| {
                    let count = rows[*row].float(step)?;
                    Some(ClassicBucket {
                        bound: *bound,
                        count,
                    })
                })
                .collect();
            if buckets.is_empty() {
                continue;
            }
            let value = match estimate {
                Estimate::Quantile { values, .. } => {
                    let (value, raised) = bucket_quantile(values[step], &buckets);
                    if let Some(raised) = raised {
                        let detail = Monotonicity {
                            from_bound: raised.from_bound,
                            to_bound: raised.to_bound,
                            difference: raised.difference,
                            first_ms: grid.time(step),
                            last_ms: grid.time(step),
                            times: 1,
                        };
                        let metric = frame.labels.metric_name().to_owned();
                        self.note(span, Note::ForcedMonotonicity { metric, detail });
                    }
                    value
                }
                Estimate::Fraction { lower, upper } => {
                    bucket_fraction(lower[step], upper[step], &buckets)
                }
            };
            put(estimate, frame, step, value, estimated);
        }
    }
}

/// Puts a value under the labels of its histogram, with the quantile where that is asked for.
fn put(estimate: &Estimate, of: &Row, step: usize, value: f64, estimated: &mut Vec<Row>) {
    let labels = match estimate {
        Estimate::Quantile {
            values,
            label: Some(label),
        } => {
            let quantile = number::open_metrics(values[step]);
            LabelsBuilder::from_labels(&of.labels)
                .set(label, &quantile)
                .build()
        }
        Estimate::Quantile { .. } | Estimate::Fraction { .. } => of.labels.clone(),
    };
    match estimated.last_mut() {
        Some(row) if row.labels == labels && !row.has(step) => row.set(step, value.into()),
        _ => {
            let mut row = Row::empty(labels, of.floats.len());
            row.set(step, value.into());
            estimated.push(row);
        }
    }
}
