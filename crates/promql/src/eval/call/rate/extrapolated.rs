//! The change in a window, extrapolated to its bounds.

use std::sync::Arc;

use super::{Kind, Noter, Resets, overlaps, started_anew};
use crate::{
    annotations::Note,
    eval::{
        row::Computed,
        window::{Samples, Window},
    },
    histogram::{FloatHistogram, ResetHint},
    number,
};

pub(super) fn extrapolated(
    noter: &mut Noter<'_>,
    kind: Kind,
    window: &Window<'_>,
    resets: &Resets,
) -> Option<Computed> {
    if !window.floats.is_empty() && !window.histograms.is_empty() {
        noter.mixed_floats();
        return None;
    }
    if window.histograms.is_empty() {
        let samples = &window.floats;
        let last = samples.len() - 1;
        let lost = resets.between(samples.first, samples.first + last);
        let mut change = change(samples.values[0], samples.values[last], lost);
        if kind.counter {
            note_overlap(noter, samples);
        }
        let extrapolation = Extrapolation::of(kind, window, samples)?;
        let first = samples.values[0];
        let factor = extrapolation.factor(kind, first, change);
        if extrapolation.begins {
            change += first;
        }
        return Some(Computed::Float(change * factor));
    }
    let samples = &window.histograms;
    let first = &samples.values[0];
    let change = if samples.len() > 1 {
        Some(histogram_change(noter, kind, samples)?)
    } else {
        None
    };
    let extrapolation = Extrapolation::of(kind, window, samples)?;
    let counted = change.as_ref().map_or(0.0, |change| change.count);
    let factor = extrapolation.factor(kind, first.count, counted);
    let change = match (change, extrapolation.begins) {
        (Some(change), true) => noter.plus(&change, first)?,
        (Some(change), false) => change,
        (None, _) => FloatHistogram::clone(first),
    };
    Some(change.scaled(factor).into())
}

/// How far the observed change reaches beyond the samples, in seconds.
#[derive(Clone, Copy)]
pub(super) struct Extrapolation {
    observed: f64,
    before: f64,
    after: f64,
    /// The length of the window.
    range: f64,
    /// The counter is known to have begun at zero within the window.
    begins: bool,
    /// By how much a change is multiplied that isn't limited by zero.
    pub(super) unlimited: f64,
}

impl Extrapolation {
    /// Nothing where there is nothing to tell a change from.
    pub(super) fn of<T>(kind: Kind, window: &Window<'_>, samples: &Samples<'_, T>) -> Option<Self> {
        let (first_ms, last_ms) = (samples.times[0], samples.times[samples.len() - 1]);
        let gaps = samples.len() - 1;
        let mut before = number::seconds(first_ms - window.start_ms);
        let mut after = number::seconds(window.end_ms - last_ms);
        let mut observed = number::seconds(last_ms - first_ms);
        let distance = if gaps > 0 {
            observed / gaps as f64
        } else {
            0.0
        };
        let near = distance * 1.1;
        let start = samples.start_of(0);
        let begins = kind.counter && start != 0 && start > window.start_ms && start < first_ms;
        if begins {
            before = 0.0;
            observed = number::seconds(last_ms - start);
        } else if gaps == 0 {
            return None;
        } else if before >= near {
            before = distance / 2.0;
        }
        if after >= near {
            after = distance / 2.0;
        }
        let mut extrapolation = Extrapolation {
            observed,
            before,
            after,
            range: number::seconds(window.end_ms - window.start_ms),
            begins,
            unlimited: 1.0,
        };
        extrapolation.unlimited = extrapolation.factor_from(kind, before);
        Some(extrapolation)
    }

    fn factor_from(&self, kind: Kind, before: f64) -> f64 {
        let factor = if self.observed == 0.0 {
            1.0
        } else {
            (self.observed + before + self.after) / self.observed
        };
        if kind.per_second {
            factor / self.range
        } else {
            factor
        }
    }

    /// A counter whose first value is more than its change times this was zero before the window began.
    pub(super) fn reach(&self) -> f64 {
        // By a little more than what rounding may do.
        self.before / self.observed * 1.000_001
    }

    /// By how much a change must be multiplied. A counter isn't extrapolated to a time before it was zero.
    pub(super) fn factor(&self, kind: Kind, first: f64, change: f64) -> f64 {
        // The product is as good as the quotient below, except where they are almost the same.
        let far_from_zero = first * self.observed > self.before * change * 1.000_001;
        if !kind.counter || self.begins || !(change > 0.0 && first >= 0.0) || far_from_zero {
            return self.unlimited;
        }
        let to_zero = self.observed * (first / change);
        if to_zero < self.before {
            self.factor_from(kind, to_zero)
        } else {
            self.unlimited
        }
    }
}

/// Between the first and the last of several floats. `lost`: the values before the resets between them.
pub(super) fn change(first: f64, last: f64, lost: &[f64]) -> f64 {
    lost.iter()
        .fold(last - first, |change, value| change + value)
}

fn note_overlap<T>(noter: &mut Noter<'_>, samples: &Samples<'_, T>) {
    if samples.starts.is_empty() {
        return;
    }
    let found = (1..samples.len()).any(|index| {
        overlaps(
            samples.starts[index - 1],
            samples.times[index - 1],
            samples.starts[index],
        )
    });
    if found {
        noter.add(|metric| Note::StartTimeOverlap { metric });
    }
}

/// Between the first and the last of several histograms.
fn histogram_change(
    noter: &mut Noter<'_>,
    kind: Kind,
    samples: &Samples<'_, Arc<FloatHistogram>>,
) -> Option<FloatHistogram> {
    let values = samples.values;
    let last = &*values[values.len() - 1];
    let is_gauge = |histogram: &FloatHistogram| histogram.reset_hint == ResetHint::Gauge;
    let anew = |index: usize, before: &FloatHistogram| {
        started_anew(
            samples.start_of(index - 1),
            samples.times[index - 1],
            samples.start_of(index),
            samples.times[index],
        ) || values[index].is_reset_after(before)
    };
    if kind.counter && values.iter().any(|value| is_gauge(value)) {
        noter.not_a_counter();
    }
    let mut first = FloatHistogram::clone(&values[0]);
    if kind.counter && anew(1, &first) {
        // What came before the reset doesn't matter, nor does its layout.
        first = FloatHistogram {
            schema: values[1].schema,
            custom_bounds: values[1].custom_bounds.clone(),
            ..FloatHistogram::default()
        };
    }
    let custom = first.has_custom_buckets();
    let fits = |histogram: &FloatHistogram| histogram.has_custom_buckets() == custom;
    if !fits(last) || (kind.counter && !values[1..].iter().all(|value| fits(value))) {
        noter.incompatible();
        return None;
    }
    let mut change = noter.minus(last, &first)?;
    if kind.counter {
        note_overlap(noter, samples);
        let mut before = &first;
        for (index, value) in values.iter().enumerate().skip(1) {
            if anew(index, before) {
                change = noter.plus(&change, before)?;
            }
            before = value;
        }
    } else if !is_gauge(&values[0]) || !is_gauge(last) {
        noter.not_a_gauge();
    }
    change.reset_hint = ResetHint::Gauge;
    Some(change)
}
