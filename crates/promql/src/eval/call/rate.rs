//! `rate`, `increase`, `delta`, `irate`, `idelta`: how fast a series changes.
//!
//! Samples rarely lie on the bounds of a window. If the outermost ones are about as near to a bound as samples
//! are to each other, the change is extrapolated to that bound, otherwise by half such a distance; a counter is
//! never extrapolated below zero, and one that is known to have begun inside of the window begins there at zero.

mod extended;
mod extrapolated;
mod instant;
mod noter;
mod resets;

use std::{borrow::Borrow, sync::Arc};

use extrapolated::{Extrapolation, change, extrapolated};
pub(super) use instant::instant;
use noter::Noter;
use resets::Resets;

use super::{
    super::{
        EvalError, Row,
        row::Computed,
        window::{Bounds, Window, Windows},
    },
    RangeCall,
};
use crate::{annotations::Annotations, labels::Labels};

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
    let siblings = &mut *call.siblings.borrow_mut();
    source.rows(call.grid, false, &call.room, |series, windows, row| {
        // Found once for the whole column: a window only looks at those that lie in it.
        let resets = if kind.counter {
            Resets::of(
                &series.floats.timestamps,
                &series.floats.values,
                &series.floats.starts,
            )
        } else {
            Resets::default()
        };
        let mut noter = Noter {
            call,
            notes,
            labels: &series.labels,
        };
        let plain = series.histograms.values.is_empty() && series.floats.starts.is_empty();
        let mut any_float = false;
        if plain && !extended {
            let plain = siblings.windows(kind, windows);
            fill(kind, &series.floats.values, plain, &resets, row);
            any_float = !plain.all.is_empty();
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
        if kind.counter && any_float && siblings.is_other_metric(&series.labels) {
            noter.doubt_counter();
        }
        Ok(())
    })
}

/// What was found out for a series and holds for its siblings, too.
#[derive(Default)]
pub(super) struct Siblings {
    /// How far to extrapolate depends on timestamps alone, which many series share.
    windows: Option<(Bounds, PlainWindows)>,
    labels: Labels,
}

impl Siblings {
    fn windows(&mut self, kind: Kind, windows: &Windows<'_>) -> &PlainWindows {
        let known = self.windows.take();
        let known = known.filter(|(bounds, _)| Arc::ptr_eq(bounds, &windows.floats));
        let found = || (windows.floats.clone(), plain_windows(kind, windows.iter()));
        &self.windows.insert(known.unwrap_or_else(found)).1
    }

    /// Whether these aren't the labels of the series before, where a storage gives only a few.
    fn is_other_metric(&mut self, labels: &Labels) -> bool {
        let is_other = !self.labels.is_at_place_of(labels);
        if is_other {
            self.labels = labels.clone();
        }
        is_other
    }
}

/// A window over floats of which nothing but their timestamps and values is known, with two of them or more.
struct PlainWindow {
    step: usize,
    first: usize,
    last: usize,
    extrapolation: Extrapolation,
}

struct PlainWindows {
    all: Vec<PlainWindow>,
    /// A counter whose value is more than its change times this is extrapolated to no time before it was zero.
    reach: f64,
}

fn plain_windows<'w, W: Borrow<Window<'w>>>(
    kind: Kind,
    windows: impl Iterator<Item = W>,
) -> PlainWindows {
    let plain = windows.filter_map(|window| {
        let window = window.borrow();
        let first = window.floats.first;
        Some(PlainWindow {
            step: window.step,
            first,
            last: first + window.floats.len() - 1,
            extrapolation: Extrapolation::of(kind, window, &window.floats)?,
        })
    });
    let all: Vec<PlainWindow> = plain.collect();
    let reaches = all.iter().map(|window| window.extrapolation.reach());
    let reach = reaches.fold(0.0, f64::max);
    PlainWindows { all, reach }
}

fn fill(kind: Kind, values: &[f64], windows: &PlainWindows, resets: &Resets, row: &mut Row) {
    let (Some(first), Some(last)) = (values.first().copied(), values.last().copied()) else {
        return;
    };
    let floats = &mut row.floats;
    let is_constant = match resets.is_rising {
        true => first == last,
        false => values.iter().all(|value| *value == first),
    };
    // Most series of most targets don't change at all.
    if is_constant && first.is_finite() {
        for window in &windows.all {
            floats[window.step] = 0.0;
        }
    // No window begins lower, and none changes more.
    } else if resets.is_rising && first > windows.reach * (last - first) {
        for window in &windows.all {
            let change = values[window.last] - values[window.first];
            floats[window.step] = change * window.extrapolation.unlimited;
        }
    } else {
        for window in &windows.all {
            let first = values[window.first];
            let lost = resets.between(window.first, window.last);
            let change = change(first, values[window.last], lost);
            let factor = window.extrapolation.factor(kind, first, change);
            floats[window.step] = change * factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        eval::window::Samples,
        histogram::FloatHistogram,
        storage::{is_stale, stale},
    };
    use proptest::{collection::vec, prelude::*, sample::select};

    const EMPTY: Samples<'static, Arc<FloatHistogram>> = Samples {
        first: 0,
        times: &[],
        values: &[],
        starts: &[],
    };

    /// Windows of five samples at most over samples 15 s apart.
    fn windows_over<'a>(times: &'a [i64], values: &'a [f64]) -> Vec<Window<'a>> {
        let windows = (0..times.len()).map(|step| {
            let end_ms = times[step] + 4_000;
            let first = step.saturating_sub(4);
            Window {
                step,
                time_ms: end_ms,
                start_ms: end_ms - 70_000,
                end_ms,
                floats: Samples {
                    first,
                    times: &times[first..=step],
                    values: &values[first..=step],
                    starts: &[],
                },
                histograms: EMPTY,
            }
        });
        windows.collect()
    }

    /// Counters near zero and far from it, with and without resets; gauges; anything.
    fn column() -> impl Strategy<Value = Vec<f64>> {
        let rising = (
            select(vec![0.0, 1.0, 30.0, 1e9, -3.0]),
            vec(0.0..10.0f64, 1..30),
        );
        let rising = rising.prop_map(|(mut value, steps)| {
            let next = |step| {
                value += step;
                value
            };
            steps.into_iter().map(next).collect()
        });
        let odd = select(vec![
            0.0,
            -0.0,
            f64::NAN,
            f64::INFINITY,
            -1e308,
            1e308,
            1e-300,
        ]);
        prop_oneof![
            4 => rising,
            1 => (any::<f64>(), 1usize..20).prop_map(|(value, count)| vec![value; count]),
            2 => vec(prop_oneof![4 => 0.0..9.0f64, 1 => odd], 1..30),
            1 => vec(any::<f64>(), 1..30),
        ]
    }

    proptest! {
        #[test]
        fn what_is_found_for_many_windows_at_once_is_what_each_alone_gives(
            values in column(),
            counter: bool,
            per_second: bool,
        ) {
            let kind = Kind { counter, per_second };
            let times: Vec<i64> = (0..).step_by(15_000).take(values.len()).collect();
            let windows = windows_over(&times, &values);
            let mut row = Row::of_floats(Labels::default(), vec![stale(); times.len()]);
            let resets = if counter { Resets::of(&times, &values, &[]) } else { Resets::default() };
            fill(kind, &values, &plain_windows(kind, windows.iter()), &resets, &mut row);
            for window in &windows {
                let found = row.floats[window.step];
                let values = window.floats.values;
                let Some(extrapolation) = Extrapolation::of(kind, window, &window.floats) else {
                    prop_assert!(is_stale(found));
                    continue;
                };
                let mut change = values[values.len() - 1] - values[0];
                for pair in values.windows(2) {
                    change += if counter && pair[1] < pair[0] { pair[0] } else { 0.0 };
                }
                let expected = change * extrapolation.factor(kind, values[0], change);
                prop_assert!(
                    found == expected || found.is_nan() && expected.is_nan(),
                    "{found} instead of {expected} at {}", window.step
                );
            }
        }
    }

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
