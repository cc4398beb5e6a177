//! `anchored` and `smoothed`: the change between the window's very bounds.
//!
//! An anchored window begins with the last sample before it; a smoothed one has interpolated values at both
//! bounds. Nothing is extrapolated.

use std::sync::Arc;

use super::{Kind, Noter};
use crate::{
    annotations::Note,
    eval::{
        row::Computed,
        window::{
            Samples, Window,
            extended::{between, between_histograms},
        },
    },
    histogram::{FloatHistogram, IncompatibleSchema, ResetHint},
    number,
    parser::Extension,
};

pub(super) fn rate(noter: &mut Noter<'_>, kind: Kind, window: &Window<'_>) -> Option<Computed> {
    if !window.floats.is_empty() && !window.histograms.is_empty() {
        noter.mixed_floats();
        return None;
    }
    let smoothed = noter.call.source.extension == Some(Extension::Smoothed);
    let seconds = number::seconds(window.end_ms - window.start_ms);
    if window.histograms.is_empty() {
        let change = float_change(kind, window, smoothed)?;
        return Some(
            if kind.per_second {
                change / seconds
            } else {
                change
            }
            .into(),
        );
    }
    let mut change = histogram_change(noter, kind, window, smoothed)?;
    if kind.per_second {
        change = change.divided(seconds);
    }
    change.reset_hint = ResetHint::Gauge;
    Some(change.into())
}

/// Indices of the first and the last sample that matter.
fn ends<T>(
    samples: &Samples<'_, T>,
    window: &Window<'_>,
    smoothed: bool,
) -> Option<(usize, usize)> {
    let mut last = samples.len() - 1;
    let first = samples.times[..last].partition_point(|time| *time <= window.start_ms);
    let first = first.saturating_sub(1);
    if smoothed {
        last = samples.times[..last].partition_point(|time| *time < window.end_ms);
    }
    let before_window = samples.times[last] <= window.start_ms;
    let after_window = smoothed && samples.times[first] > window.end_ms;
    (!before_window && !after_window).then_some((first, last))
}

fn float_change(kind: Kind, window: &Window<'_>, smoothed: bool) -> Option<f64> {
    let samples = &window.floats;
    let (mut first, mut last) = ends(samples, window, smoothed)?;
    let point = |index: usize| (samples.times[index], samples.values[index]);
    let left = if smoothed && samples.times[first] < window.start_ms {
        between(
            point(first),
            point(first + 1),
            window.start_ms,
            kind.counter,
        )
    } else {
        samples.values[first]
    };
    let right = if smoothed && last > 0 && samples.times[last] > window.end_ms {
        between(point(last - 1), point(last), window.end_ms, kind.counter)
    } else {
        samples.values[last]
    };
    let mut change = right - left;
    if kind.counter {
        if samples.times[first] <= window.start_ms {
            first += 1;
        }
        // Counting from one beyond, since the window may hold nothing between its bounds.
        last += usize::from(samples.times[last] < window.end_ms);
        let mut before = left;
        for value in samples.values.get(first..last).unwrap_or_default() {
            if *value < before {
                change += before;
            }
            before = *value;
        }
        if right < before {
            change += before;
        }
    }
    Some(change)
}

fn histogram_change(
    noter: &mut Noter<'_>,
    kind: Kind,
    window: &Window<'_>,
    smoothed: bool,
) -> Option<FloatHistogram> {
    let samples = &window.histograms;
    let (first, last) = ends(samples, window, smoothed)?;
    let values = &samples.values[first..=last];
    let custom = values[0].has_custom_buckets();
    if values
        .iter()
        .any(|value| value.has_custom_buckets() != custom)
    {
        noter.incompatible();
        return None;
    }
    let gauge = |histogram: &FloatHistogram| histogram.reset_hint == ResetHint::Gauge;
    if kind.counter && values.iter().any(|value| gauge(value)) {
        noter.not_a_counter();
    }
    let interpolates_left = smoothed && samples.times[first] < window.start_ms;
    let left = if interpolates_left {
        interpolated(noter, kind, samples, first, window.start_ms)?
    } else {
        FloatHistogram::clone(&samples.values[first])
    };
    let right = if smoothed && last > 0 && samples.times[last] > window.end_ms {
        interpolated(noter, kind, samples, last - 1, window.end_ms)?
    } else {
        FloatHistogram::clone(&samples.values[last])
    };
    let mut change = noter.minus(&right, &left)?;
    if !kind.counter {
        if !gauge(&left) || !gauge(&right) {
            noter.not_a_gauge();
        }
    } else {
        for lost in lost_in_resets(
            samples.values,
            (first, last),
            &left,
            &right,
            interpolates_left,
        ) {
            change = noter.plus(&change, lost)?;
        }
    }
    Some(change)
}

/// The values just before each reset between two bounds.
fn lost_in_resets<'a>(
    values: &'a [Arc<FloatHistogram>],
    (first, last): (usize, usize),
    left: &'a FloatHistogram,
    right: &FloatHistogram,
    interpolates_left: bool,
) -> Vec<&'a FloatHistogram> {
    let mut from = first + 1;
    let mut before = left;
    if interpolates_left && values[from].is_reset_after(&values[first]) {
        // The left bound was interpolated across this reset and has accounted for it.
        before = &values[from];
        from += 1;
    }
    if from > last {
        return Vec::new();
    }
    let mut lost = Vec::new();
    for value in &values[from..last] {
        if value.is_reset_after(before) {
            lost.push(before);
        }
        before = value;
    }
    // The last sample is the right bound itself, or has lent it its hint.
    if right.is_reset_after(before) {
        lost.push(before);
    }
    lost
}

fn interpolated(
    noter: &mut Noter<'_>,
    kind: Kind,
    samples: &Samples<'_, Arc<FloatHistogram>>,
    index: usize,
    at_ms: i64,
) -> Option<FloatHistogram> {
    let point = |index: usize| (samples.times[index], &*samples.values[index]);
    let (from, to) = (point(index), point(index + 1));
    let mut lost = Vec::new();
    let value = between_histograms(from, to, at_ms, kind.counter, |operation| {
        lost.push(operation);
    });
    for operation in lost {
        noter.add(|_| Note::MismatchedCustomBuckets { operation });
    }
    match value {
        Ok(value) => Some(value),
        Err(IncompatibleSchema) => {
            noter.incompatible();
            None
        }
    }
}
