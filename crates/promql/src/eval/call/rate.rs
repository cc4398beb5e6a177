//! `rate`, `increase`, `delta`, `irate`, `idelta`: how fast a series changes.
//!
//! Samples rarely lie on the bounds of a window. If the outermost ones are about as near to a bound as samples
//! are to each other, the change is extrapolated to that bound, otherwise by half such a distance; a counter is
//! never extrapolated below zero, and one that is known to have begun inside of the window begins there at zero.

mod extended;

use std::sync::Arc;

use super::{
    super::{
        EvalError, Row,
        row::Computed,
        window::{Bounds, Samples, Window, Windows},
    },
    RangeCall,
};
use crate::{
    annotations::{Annotations, HistogramOperation, Note},
    histogram::{FloatHistogram, IncompatibleSchema, Reconciled, ResetHint},
    labels::{Labels, METRIC_TYPE},
    number,
};

/// Whether a counter began anew between two samples, by what is known of its beginnings.
///
/// A beginning at the sample before is that of a delta, unless the one before had no known beginning: then it is
/// OpenTelemetry's way to say that a cumulative series' beginning is unknown.
pub(super) fn started_anew(before_start: i64, before: i64, start: i64, now: i64) -> bool {
    if start == 0 || start >= now || start < before {
        return false;
    }
    start > before || (before_start != 0 && before_start < before)
}

/// A beginning before the last sample that isn't the same as that sample's can't be true.
fn overlaps(before_start: i64, before: i64, start: i64) -> bool {
    start != 0 && start < before && start != before_start
}

/// What `rate` and its like are asked for.
#[derive(Clone, Copy)]
struct Kind {
    counter: bool,
    per_second: bool,
}

pub(super) fn rate(
    call: &RangeCall<'_>,
    name: &str,
    notes: &mut Annotations,
) -> Result<Vec<Row>, EvalError> {
    let kind = Kind {
        counter: name != "delta",
        per_second: name == "rate",
    };
    let extended = call.source.extension.is_some();
    let source = call.source;
    let mut shared: Option<(Bounds, Vec<Option<Extrapolation>>)> = None;
    source.rows(call.grid, false, call.cancelled, |series, windows, row| {
        // Found once for the whole column: a window only looks at those that lie in it.
        let resets = if kind.counter {
            float_resets(
                &series.floats.timestamps,
                &series.floats.values,
                &series.floats.starts,
            )
        } else {
            Vec::new()
        };
        let mut noter = Noter {
            call,
            notes,
            labels: &series.labels,
        };
        let plain = series.histograms.values.is_empty() && series.floats.starts.is_empty();
        let mut any_float = false;
        if plain && !extended {
            // How far to extrapolate depends on timestamps alone, which many series share.
            if shared
                .as_ref()
                .is_none_or(|(bounds, _)| !Arc::ptr_eq(bounds, &windows.floats))
            {
                let all = extrapolations(kind, windows, call.grid.steps);
                shared = Some((windows.floats.clone(), all));
            }
            let extrapolations = shared.as_ref().map_or(&[][..], |(_, all)| all);
            let values = &series.floats.values;
            any_float = fill(kind, values, &windows.floats, extrapolations, &resets, row);
        } else {
            for window in windows.iter() {
                let value = if extended {
                    extended::rate(&mut noter, kind, &window)
                } else {
                    extrapolated(&mut noter, kind, &window, &resets)
                };
                if let Some(value) = value {
                    any_float |= matches!(value, Computed::Float(_));
                    row.set(window.step, value);
                }
            }
        }
        if kind.counter && any_float {
            noter.doubt_counter();
        }
        Ok(())
    })
}

/// For each step how far to extrapolate a series of floats.
fn extrapolations(kind: Kind, windows: &Windows<'_>, steps: usize) -> Vec<Option<Extrapolation>> {
    let mut all: Vec<Option<Extrapolation>> = vec![None; steps];
    for window in windows.iter() {
        all[window.step] = Extrapolation::of(kind, &window, &window.floats);
    }
    all
}

/// The rates of floats of which nothing but their timestamps and values is known.
fn fill(
    kind: Kind,
    values: &[f64],
    bounds: &[(usize, usize)],
    extrapolations: &[Option<Extrapolation>],
    resets: &[usize],
    row: &mut Row,
) -> bool {
    let mut any = false;
    let steps = row.floats.iter_mut().zip(bounds).zip(extrapolations);
    for ((rate, bounds), extrapolation) in steps {
        let Some(extrapolation) = extrapolation else {
            continue;
        };
        let window = &values[bounds.0..bounds.1];
        let change = change(kind, window, bounds.0, resets);
        *rate = change * extrapolation.factor(kind, window[0], change);
        any = true;
    }
    any
}

/// Notes about one series.
struct Noter<'a> {
    call: &'a RangeCall<'a>,
    notes: &'a mut Annotations,
    labels: &'a Labels,
}

impl Noter<'_> {
    fn add(&mut self, note: impl FnOnce(String) -> Note) {
        let metric = self.labels.metric_name().to_owned();
        self.call.note(self.notes, note(metric));
    }

    fn mixed_floats(&mut self) {
        self.add(|metric| Note::MixedFloatsHistograms { metric });
    }

    fn not_a_counter(&mut self) {
        self.add(|metric| Note::NotACounter { metric });
    }

    fn not_a_gauge(&mut self) {
        self.add(|metric| Note::NotAGauge { metric });
    }

    fn incompatible(&mut self) {
        self.add(|metric| Note::MixedExponentialCustom { metric });
    }

    fn reconciled(&mut self, lost: Reconciled, operation: HistogramOperation) {
        if lost.custom_bounds {
            self.add(|_| Note::MismatchedCustomBuckets { operation });
        }
    }

    /// The sum, or nothing and a note where the layouts don't fit.
    fn plus(&mut self, left: &FloatHistogram, right: &FloatHistogram) -> Option<FloatHistogram> {
        self.noted(left.plus(right), HistogramOperation::Addition)
    }

    fn minus(&mut self, left: &FloatHistogram, right: &FloatHistogram) -> Option<FloatHistogram> {
        self.noted(left.minus(right), HistogramOperation::Subtraction)
    }

    fn noted(
        &mut self,
        result: Result<(FloatHistogram, Reconciled), IncompatibleSchema>,
        operation: HistogramOperation,
    ) -> Option<FloatHistogram> {
        match result {
            Ok((histogram, lost)) => {
                self.reconciled(lost, operation);
                Some(histogram)
            }
            Err(IncompatibleSchema) => {
                self.incompatible();
                None
            }
        }
    }

    fn doubt_counter(&mut self) {
        let metric = self.labels.metric_name();
        if metric.is_empty() {
            return;
        }
        if self.call.type_labels {
            let kind = self.labels.get(METRIC_TYPE).to_owned();
            if kind != "counter" && kind != "histogram" {
                self.add(|metric| Note::PossibleNonCounterType { metric, kind });
            }
            return;
        }
        let counter = ["_total", "_sum", "_count", "_bucket"];
        if !counter.iter().any(|suffix| metric.ends_with(suffix)) {
            self.add(|metric| Note::PossibleNonCounter { metric });
        }
    }
}

/// Indices of the samples before which the counter was reset.
fn float_resets(times: &[i64], values: &[f64], starts: &[i64]) -> Vec<usize> {
    let fell = |index: &usize| {
        let index = *index;
        values[index] < values[index - 1]
            || (!starts.is_empty()
                && started_anew(
                    starts[index - 1],
                    times[index - 1],
                    starts[index],
                    times[index],
                ))
    };
    (1..values.len()).filter(fell).collect()
}

fn extrapolated(
    noter: &mut Noter<'_>,
    kind: Kind,
    window: &Window<'_>,
    resets: &[usize],
) -> Option<Computed> {
    if !window.floats.is_empty() && !window.histograms.is_empty() {
        noter.mixed_floats();
        return None;
    }
    if window.histograms.is_empty() {
        let samples = &window.floats;
        let mut change = change(kind, samples.values, samples.first, resets);
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
struct Extrapolation {
    observed: f64,
    before: f64,
    after: f64,
    /// The length of the window.
    range: f64,
    /// The counter is known to have begun at zero within the window.
    begins: bool,
    /// By how much a change is multiplied that isn't limited by zero.
    unlimited: f64,
}

impl Extrapolation {
    /// Nothing where there is nothing to tell a change from.
    fn of<T>(kind: Kind, window: &Window<'_>, samples: &Samples<'_, T>) -> Option<Self> {
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

    /// By how much a change must be multiplied. A counter isn't extrapolated to a time before it was zero.
    fn factor(&self, kind: Kind, first: f64, change: f64) -> f64 {
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

/// Between the first and the last of several floats. `offset`: the index of the first one in its column.
fn change(kind: Kind, values: &[f64], offset: usize, resets: &[usize]) -> f64 {
    let mut change = values[values.len() - 1] - values[0];
    if !kind.counter || resets.is_empty() {
        return change;
    }
    let from = resets.partition_point(|index| *index <= offset);
    let end = offset + values.len();
    for index in resets[from..].iter().take_while(|index| **index < end) {
        change += values[index - 1 - offset];
    }
    change
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

/// `irate` and `idelta`: between the last two samples.
pub(super) fn instant(
    call: &RangeCall<'_>,
    is_rate: bool,
    notes: &mut Annotations,
) -> Result<Vec<Row>, EvalError> {
    call.each_window(false, |labels, window| {
        let mut noter = Noter {
            call,
            notes: &mut *notes,
            labels,
        };
        Ok(last_two(&mut noter, is_rate, window))
    })
}

fn last_two(noter: &mut Noter<'_>, is_rate: bool, window: &Window<'_>) -> Option<Computed> {
    use super::super::row::Cell;
    let samples = window.mixed();
    let [.., before, now] = samples.as_slice() else {
        return None;
    };
    let seconds = number::seconds(now.time_ms - before.time_ms);
    let anew = started_anew(before.start_ms, before.time_ms, now.start_ms, now.time_ms);
    match (before.cell, now.cell) {
        (Cell::Float(before), Cell::Float(now)) => {
            let reset = is_rate && (now < before || anew);
            let change = if reset { now } else { now - before };
            Some(if is_rate { change / seconds } else { change }.into())
        }
        (Cell::Histogram(before), Cell::Histogram(now)) => {
            let gauges = [before, now].map(|value| value.reset_hint == ResetHint::Gauge);
            if is_rate && gauges != [false, false] {
                noter.not_a_counter();
            }
            if !is_rate && gauges != [true, true] {
                noter.not_a_gauge();
            }
            let reset = is_rate && (anew || now.is_reset_after(before));
            let mut change = if reset {
                FloatHistogram::clone(now)
            } else {
                noter.minus(now, before)?
            };
            change.reset_hint = ResetHint::Gauge;
            Some(
                if is_rate {
                    change.divided(seconds)
                } else {
                    change
                }
                .into(),
            )
        }
        _ => {
            noter.mixed_floats();
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_after_the_last_sample_is_a_reset() {
        // start of the one before, its time, start of this one, its time
        for (before_start, before, start, now, anew) in [
            (0, 10, 0, 20, false),
            (5, 10, 5, 20, false),
            (5, 10, 15, 20, true),
            (5, 10, 10, 20, true),
            (0, 10, 10, 20, false),
            (10, 10, 10, 20, false),
            (15, 10, 10, 20, false),
            (5, 10, 20, 20, false),
        ] {
            assert_eq!(started_anew(before_start, before, start, now), anew);
        }
    }
}
