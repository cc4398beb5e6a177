//! Aggregations of one series over a window.

use std::sync::Arc;

use super::{
    super::{
        EvalError, Row,
        aggregate::{HistogramMean, HistogramTotal, Mean, quantile_of},
        row::Computed,
        window::Window,
    },
    RangeCall, note_ignored_histograms,
};
use crate::{
    annotations::{Annotations, HistogramOperation, Note},
    histogram::{FloatHistogram, Reconciled, ResetHint},
    labels::Labels,
    number::{self, Kahan},
};

pub(super) fn aggregate(
    call: &RangeCall<'_>,
    name: &str,
    notes: &mut Annotations,
) -> Result<Vec<Row>, EvalError> {
    let keeps_name = matches!(name, "last_over_time" | "first_over_time");
    match name {
        "count_over_time" => call.each_window(false, |_, window| {
            Ok(Some((window.floats.len() + window.histograms.len()) as f64))
        }),
        "present_over_time" => call.each_window(false, |_, _| Ok(Some(1.0))),
        "sum_over_time" | "avg_over_time" => call.each_window(false, |labels, window| {
            Ok(total(call, name == "avg_over_time", notes, labels, window))
        }),
        "last_over_time" | "first_over_time" => call.each_window(keeps_name, |_, window| {
            Ok(end_of(window, name == "first_over_time"))
        }),
        "ts_of_last_over_time" | "ts_of_first_over_time" => call.each_window(false, |_, window| {
            let times = [window.floats.times, window.histograms.times];
            let time = if name == "ts_of_first_over_time" {
                times.iter().filter_map(|times| times.first()).min()
            } else {
                times.iter().filter_map(|times| times.last()).max()
            };
            Ok(time.map(|time| number::seconds(*time)))
        }),
        _ => call.each_window(false, |labels, window| {
            if window.floats.is_empty() {
                return Ok(None);
            }
            note_ignored_histograms(call, notes, labels, window);
            Ok(Some(of_floats(call, name, notes, window)))
        }),
    }
}

fn of_floats(
    call: &RangeCall<'_>,
    name: &str,
    notes: &mut Annotations,
    window: &Window<'_>,
) -> f64 {
    let values = window.floats.values;
    match name {
        "min_over_time" => values[extreme(values, |now, best| now < best)],
        "max_over_time" => values[extreme(values, |now, best| now > best)],
        "ts_of_min_over_time" => {
            number::seconds(window.floats.times[extreme(values, |now, best| now <= best)])
        }
        "ts_of_max_over_time" => {
            number::seconds(window.floats.times[extreme(values, |now, best| now >= best)])
        }
        "stddev_over_time" => variance(values).sqrt(),
        "stdvar_over_time" => variance(values),
        "mad_over_time" => {
            if values.iter().any(|value| value.is_nan()) {
                return f64::NAN;
            }
            let median = quantile_of(0.5, &mut values.to_vec());
            let mut deviations: Vec<f64> =
                values.iter().map(|value| (value - median).abs()).collect();
            quantile_of(0.5, &mut deviations)
        }
        _ => {
            let quantile = call.scalars[0][window.step];
            if !(0.0..=1.0).contains(&quantile) {
                notes.add(call.first_span, Note::InvalidQuantile { quantile });
            }
            quantile_of(quantile, &mut values.to_vec())
        }
    }
}

/// The index of the value that is better than all before it; anything is better than NaN.
fn extreme(values: &[f64], better: impl Fn(f64, f64) -> bool) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if better(*value, values[best]) || values[best].is_nan() {
            best = index;
        }
    }
    best
}

/// Welford's method, compensated.
fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut squares) = (Kahan::default(), Kahan::default());
    let mut count = 0.0;
    for value in values {
        count += 1.0;
        let delta = value - (mean.sum + mean.compensation);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.sum + mean.compensation)));
    }
    (squares.sum + squares.compensation) / count
}

fn end_of(window: &Window<'_>, first: bool) -> Option<Computed> {
    let pick = |length: usize| {
        if first {
            Some(0).filter(|_| length > 0)
        } else {
            length.checked_sub(1)
        }
    };
    let float = pick(window.floats.len());
    let histogram = pick(window.histograms.len());
    let float_is_it = match (float, histogram) {
        (Some(float), Some(histogram)) => {
            let (float, histogram) = (
                window.floats.times[float],
                window.histograms.times[histogram],
            );
            if first {
                float < histogram
            } else {
                float > histogram
            }
        }
        (float, _) => float.is_some(),
    };
    if float_is_it {
        return float.map(|index| window.floats.values[index].into());
    }
    histogram.map(|index| Computed::Histogram(window.histograms.values[index].clone()))
}

fn total(
    call: &RangeCall<'_>,
    mean: bool,
    notes: &mut Annotations,
    labels: &Labels,
    window: &Window<'_>,
) -> Option<Computed> {
    let metric = || labels.metric_name().to_owned();
    if window.histograms.is_empty() {
        let values = window.floats.values;
        return Some(Computed::Float(if mean {
            let mut mean = Mean::default();
            values.iter().for_each(|value| mean.add(*value));
            mean.value()
        } else {
            let mut sum = Kahan::default();
            values.iter().for_each(|value| sum.add(*value));
            sum.total()
        }));
    }
    if !window.floats.is_empty() {
        call.note(notes, Note::MixedFloatsHistograms { metric: metric() });
        return None;
    }
    let values = window.histograms.values;
    match total_of_histograms(values, mean) {
        Ok((total, lost)) => {
            let operation = HistogramOperation::Aggregation;
            if lost.reset_collision {
                call.note(notes, Note::CounterResetCollision { operation });
            }
            if lost.custom_bounds {
                call.note(notes, Note::MismatchedCustomBuckets { operation });
            }
            Some(total.into())
        }
        Err(_) => {
            call.note(notes, Note::MixedExponentialCustom { metric: metric() });
            None
        }
    }
}

fn total_of_histograms(
    values: &[Arc<FloatHistogram>],
    mean: bool,
) -> Result<(FloatHistogram, Reconciled), crate::histogram::IncompatibleSchema> {
    let mut lost = Reconciled::default();
    let has = |hint| values.iter().any(|value| value.reset_hint == hint);
    lost.reset_collision = has(ResetHint::Reset) && has(ResetHint::NotReset);
    let value = if mean {
        let mut mean = HistogramMean::default();
        for value in values {
            lost.custom_bounds |= mean.add(value)?.custom_bounds;
        }
        mean.value()
    } else {
        let mut total = HistogramTotal::default();
        for value in values {
            lost.custom_bounds |= total.add(value)?.custom_bounds;
        }
        total.value()
    };
    Ok((value.unwrap_or_default(), lost))
}
