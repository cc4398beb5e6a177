//! Aggregations of a group to one value: `sum`, `avg`, `max` and the like.

use super::{
    super::{
        Evaluator, Grid, Row,
        row::{Cell, Computed},
    },
    Group, HistogramMean, HistogramTotal, Mean, quantile_of,
    running::Running,
};
use crate::{
    annotations::{HistogramOperation, Note},
    histogram::ResetHint,
    number::Kahan,
    parser::{AggregateOp, Span},
};

/// Histograms of one group at one step.
#[derive(Default)]
struct Histograms {
    total: HistogramTotal,
    mean: HistogramMean,
    seen_reset: bool,
    seen_not_reset: bool,
    reconciled: bool,
    incompatible: bool,
}

impl Evaluator<'_> {
    pub(super) fn fold(
        &mut self,
        op: AggregateOp,
        params: &[f64],
        rows: &[Row],
        group: &Group,
        span: Span,
        grid: &Grid,
    ) -> Row {
        let members: Vec<&Row> = group.members.iter().map(|index| &rows[*index]).collect();
        let with_histograms = members.iter().any(|row| row.has_histograms());
        let mut folded = Row::empty(group.labels.clone(), grid.steps);
        if !with_histograms && let Some(mut running) = Running::new(op, grid.steps) {
            members.iter().for_each(|row| running.add(&row.floats));
            folded.floats = running.floats();
            return folded;
        }
        for step in 0..grid.steps {
            let cells: Vec<Cell<'_>> = members.iter().filter_map(|row| row.get(step)).collect();
            if cells.is_empty() {
                continue;
            }
            let value = match op {
                AggregateOp::Sum | AggregateOp::Avg => {
                    self.total(op, &cells, members[0].labels.metric_name(), span)
                }
                AggregateOp::Count => Some((cells.len() as f64).into()),
                AggregateOp::Group => Some(1.0.into()),
                _ => {
                    let quantile = params.get(step).copied().unwrap_or(f64::NAN);
                    self.of_floats(op, quantile, &cells, span).map(Into::into)
                }
            };
            if let Some(value) = value {
                folded.set(step, value);
            }
        }
        folded
    }

    /// Of the floats alone; that histograms were left out is worth a note.
    fn of_floats(
        &mut self,
        op: AggregateOp,
        quantile: f64,
        cells: &[Cell<'_>],
        span: Span,
    ) -> Option<f64> {
        let mut values: Vec<f64> = cells.iter().filter_map(|cell| float_of(*cell)).collect();
        if values.len() < cells.len() {
            let aggregation = op.name();
            self.note(span, Note::HistogramIgnoredInAggregation { aggregation });
        }
        if values.is_empty() {
            return None;
        }
        Some(match op {
            AggregateOp::Min => extreme(&values, |now, best| now < best),
            AggregateOp::Max => extreme(&values, |now, best| now > best),
            AggregateOp::Stddev => variance(&values).sqrt(),
            AggregateOp::Stdvar => variance(&values),
            _ => quantile_of(quantile, &mut values),
        })
    }

    fn total(
        &mut self,
        op: AggregateOp,
        cells: &[Cell<'_>],
        metric: &str,
        span: Span,
    ) -> Option<Computed> {
        let mut histograms = Histograms::default();
        let (mut sum, mut mean) = (Kahan::default(), Mean::default());
        let (mut floats, mut others) = (0, 0);
        for cell in cells {
            match cell {
                Cell::Float(value) => {
                    floats += 1;
                    sum.add(*value);
                    mean.add(*value);
                }
                Cell::Histogram(value) => {
                    others += 1;
                    histograms.seen_reset |= value.reset_hint == ResetHint::Reset;
                    histograms.seen_not_reset |= value.reset_hint == ResetHint::NotReset;
                    let added = if op == AggregateOp::Sum {
                        histograms.total.add(value)
                    } else {
                        histograms.mean.add(value)
                    };
                    match added {
                        Ok(lost) => histograms.reconciled |= lost.custom_bounds,
                        Err(_) => histograms.incompatible = true,
                    }
                }
            }
        }
        if others == 0 {
            let value = if op == AggregateOp::Sum {
                sum.total()
            } else {
                mean.value()
            };
            return Some(value.into());
        }
        if floats > 0 {
            self.note(span, Note::MixedFloatsHistogramsInAggregation);
            return None;
        }
        self.note_histograms(&histograms, metric, span);
        if histograms.incompatible {
            return None;
        }
        let value = if op == AggregateOp::Sum {
            histograms.total.value()
        } else {
            histograms.mean.value()
        };
        value.map(Into::into)
    }

    fn note_histograms(&mut self, histograms: &Histograms, metric: &str, span: Span) {
        let operation = HistogramOperation::Aggregation;
        if histograms.incompatible {
            let metric = metric.to_owned();
            self.note(span, Note::MixedExponentialCustom { metric });
        }
        if histograms.seen_reset && histograms.seen_not_reset {
            self.note(span, Note::CounterResetCollision { operation });
        }
        if histograms.reconciled {
            self.note(span, Note::MismatchedCustomBuckets { operation });
        }
    }
}

fn float_of(cell: Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Float(value) => Some(value),
        Cell::Histogram(_) => None,
    }
}

/// The value that is better than all others; anything is better than NaN.
fn extreme(values: &[f64], better: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = values[0];
    for value in &values[1..] {
        if better(*value, best) || best.is_nan() {
            best = *value;
        }
    }
    best
}

/// Welford's method.
fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        squares += delta * (value - mean);
    }
    squares / count
}
