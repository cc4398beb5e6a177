//! `smoothed` instant selectors, and interpolation between two samples.

use crate::{
    annotations::{HistogramOperation, Note},
    eval::{EvalError, Evaluator, Grid, Row, plan::SelectorPlan},
    histogram::{FloatHistogram, IncompatibleSchema, ResetHint},
    parser::Span,
    storage::{Series, is_stale},
};

/// Between two floats; a counter that fell started again from 0.
pub(crate) fn between(
    (from_ms, from): (i64, f64),
    (to_ms, to): (i64, f64),
    at_ms: i64,
    counter: bool,
) -> f64 {
    let from = if counter && to < from { 0.0 } else { from };
    from + (to - from) * (at_ms - from_ms) as f64 / (to_ms - from_ms) as f64
}

/// Between two histograms; a counter that was reset started again from nothing. Says which bounds were lost
/// on the way to `reconciled`.
pub(crate) fn between_histograms(
    (from_ms, from): (i64, &FloatHistogram),
    (to_ms, to): (i64, &FloatHistogram),
    at_ms: i64,
    counter: bool,
    mut reconciled: impl FnMut(HistogramOperation),
) -> Result<FloatHistogram, IncompatibleSchema> {
    if at_ms == from_ms {
        return Ok(from.clone());
    }
    if at_ms == to_ms {
        return Ok(to.clone());
    }
    let part = (at_ms - from_ms) as f64 / (to_ms - from_ms) as f64;
    if counter && to.is_reset_after(from) {
        return Ok(to.scaled(part));
    }
    let (difference, lost) = to.minus(from)?;
    if lost.custom_bounds {
        reconciled(HistogramOperation::Subtraction);
    }
    let (value, lost) = difference.scaled(part).plus(from)?;
    if lost.custom_bounds {
        reconciled(HistogramOperation::Addition);
    }
    Ok(value)
}

impl Evaluator<'_> {
    /// Values interpolated to the time of each step; after the last sample it is carried on for the lookback.
    pub(in crate::eval) fn smoothed_selector(
        &mut self,
        selector: &SelectorPlan,
        span: Span,
        grid: &Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let lookback = self.options.lookback_ms;
        let series = self.select(selector, span, grid, lookback, lookback)?;
        let mut rows = Vec::new();
        for series in series {
            let mut row = Row::empty(series.labels.clone(), grid.steps);
            for (step, time) in grid.times().enumerate() {
                let at = selector.when.data_time(time);
                self.smoothed_at(&series, span, at, step, &mut row);
            }
            if !row.is_empty() {
                self.hold(row.size())?;
                rows.push(row);
            }
        }
        Ok(rows)
    }

    fn smoothed_at(&mut self, series: &Series, span: Span, at: i64, step: usize, row: &mut Row) {
        let lookback = self.options.lookback_ms;
        let (from, to) = (at.saturating_sub(lookback), at.saturating_add(lookback));
        let within = |timestamps: &[i64]| {
            let low = timestamps.partition_point(|time| *time <= from);
            low..timestamps.partition_point(|time| *time <= to)
        };
        let floats: Vec<(i64, f64)> = within(&series.floats.timestamps)
            .map(|index| (series.floats.timestamps[index], series.floats.values[index]))
            .filter(|(_, value)| !is_stale(*value))
            .collect();
        let histograms: Vec<(i64, &FloatHistogram)> = within(&series.histograms.timestamps)
            .map(|index| {
                let histogram = &series.histograms;
                (histogram.timestamps[index], &*histogram.values[index])
            })
            .filter(|(_, value)| !is_stale(value.sum))
            .collect();
        let metric = series.labels.metric_name().to_owned();
        if !floats.is_empty() && !histograms.is_empty() {
            self.note(span, Note::MixedFloatsHistograms { metric });
            return;
        }
        let next = floats.partition_point(|(time, _)| *time < at);
        match (
            next.checked_sub(1).map(|index| floats[index]),
            floats.get(next),
        ) {
            (_, Some((time, value))) if *time == at => row.set(step, (*value).into()),
            (Some(before), Some(after)) => {
                row.set(step, between(before, *after, at, false).into());
            }
            (Some((_, value)), None) => row.set(step, value.into()),
            (None, _) => {}
        }
        let next = histograms.partition_point(|(time, _)| *time < at);
        let before = next.checked_sub(1).map(|index| histograms[index]);
        match (before, histograms.get(next)) {
            (_, Some((time, value))) if *time == at => row.set(step, (*value).clone().into()),
            (Some(before), Some(after)) => {
                let gauge = |histogram: &FloatHistogram| histogram.reset_hint == ResetHint::Gauge;
                let counter = !(gauge(before.1) && gauge(after.1));
                let notes = &mut self.notes;
                let value = between_histograms(before, *after, at, counter, |operation| {
                    notes.add(span, Note::MismatchedCustomBuckets { operation });
                });
                let mixed = before.1.has_custom_buckets() != after.1.has_custom_buckets();
                match value {
                    Ok(value) if !mixed => row.set(step, value.into()),
                    _ => self.note(span, Note::MixedExponentialCustom { metric }),
                }
            }
            (Some((_, value)), None) => {
                // The hint tells of neighbours that this value no longer has.
                let mut carried = value.clone();
                carried.reset_hint = ResetHint::Unknown;
                row.set(step, carried.into());
            }
            (None, _) => {}
        }
    }
}
