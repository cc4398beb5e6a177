//! `rate`, `increase`, `delta`, `irate`, `idelta`: how fast a series changes.
//!
//! Samples rarely lie on the bounds of a window. If the outermost ones are about as near to a bound as samples
//! are to each other, the change is extrapolated to that bound, otherwise by half such a distance; a counter is
//! never extrapolated below zero, and one that is known to have begun inside of the window begins there at zero.

mod extended;
mod extrapolated;
mod instant;
mod noter;

use std::sync::Arc;

use extrapolated::{Extrapolation, change, extrapolated};
pub(super) use instant::instant;
use noter::Noter;

use super::{
    super::{
        EvalError, Row,
        row::Computed,
        window::{Bounds, Windows},
    },
    RangeCall,
};
use crate::annotations::Annotations;

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
    let mut shared: Option<(Bounds, Vec<PlainWindow>)> = None;
    source.rows(call.grid, false, &call.room, |series, windows, row| {
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
                shared = Some((windows.floats.clone(), plain_windows(kind, windows)));
            }
            let plain = shared.as_ref().map_or(&[][..], |(_, all)| all);
            fill(kind, &series.floats.values, plain, &resets, row);
            any_float = !plain.is_empty();
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

/// A window over floats of which nothing but their timestamps and values is known, with two of them or more.
struct PlainWindow {
    step: usize,
    first: usize,
    last: usize,
    extrapolation: Extrapolation,
}

fn plain_windows(kind: Kind, windows: &Windows<'_>) -> Vec<PlainWindow> {
    let plain = windows.iter().filter_map(|window| {
        let first = window.floats.first;
        Some(PlainWindow {
            step: window.step,
            first,
            last: first + window.floats.len() - 1,
            extrapolation: Extrapolation::of(kind, &window, &window.floats)?,
        })
    });
    plain.collect()
}

fn fill(kind: Kind, values: &[f64], windows: &[PlainWindow], resets: &[usize], row: &mut Row) {
    // Most series of most targets don't change at all.
    let first = values.first().copied().unwrap_or(f64::NAN);
    if first.is_finite() && values.iter().all(|value| *value == first) {
        for window in windows {
            row.floats[window.step] = 0.0;
        }
        return;
    }
    for window in windows {
        let change = if resets.is_empty() {
            values[window.last] - values[window.first]
        } else {
            let values = &values[window.first..=window.last];
            change(kind, values, window.first, resets)
        };
        let factor = window
            .extrapolation
            .factor(kind, values[window.first], change);
        row.floats[window.step] = change * factor;
    }
}

/// Most counters aren't reset within a query's time; without a way out of the loop many samples are compared at once.
fn never_falls(values: &[f64]) -> bool {
    let pairs = values.iter().zip(values.get(1..).unwrap_or_default());
    !pairs.fold(false, |falls, (before, value)| falls | (value < before))
}

/// Indices of the samples before which the counter was reset.
fn float_resets(times: &[i64], values: &[f64], starts: &[i64]) -> Vec<usize> {
    if starts.is_empty() && never_falls(values) {
        return Vec::new();
    }
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
