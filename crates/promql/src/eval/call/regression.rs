//! Trends: least squares, and double exponential smoothing.

use super::{
    super::{EvalError, Row},
    RangeCall, note_ignored_histograms,
};
use crate::{
    annotations::Annotations,
    number::{self, Kahan},
};

pub(super) fn trend(
    call: &RangeCall<'_>,
    name: &str,
    notes: &mut Annotations,
) -> Result<Vec<Row>, EvalError> {
    call.each_window(false, |labels, window| {
        let floats = &window.floats;
        if name == "double_exponential_smoothing" {
            let (smoothing, trend) = (call.scalars[0][window.step], call.scalars[1][window.step]);
            check_factor("smoothing", "sf", smoothing)?;
            check_factor("trend", "tf", trend)?;
            if !floats.is_empty() {
                note_ignored_histograms(call, notes, labels, window);
            }
            return Ok((floats.len() > 1).then(|| smooth(floats.values, smoothing, trend)));
        }
        if !floats.is_empty() {
            note_ignored_histograms(call, notes, labels, window);
        }
        if floats.len() < 2 {
            return Ok(None);
        }
        Ok(Some(if name == "deriv" {
            // Seconds are counted from the first sample: times since the epoch would cost digits.
            line(floats.times, floats.values, floats.times[0]).0
        } else {
            let (slope, now) = line(floats.times, floats.values, window.time_ms);
            slope * call.scalars[0][window.step] + now
        }))
    })
}

fn check_factor(name: &str, short: &str, factor: f64) -> Result<(), EvalError> {
    if factor > 0.0 && factor < 1.0 || factor.is_nan() {
        return Ok(());
    }
    Err(EvalError::BadArgument(format!(
        "invalid {name} factor. Expected: 0 < {short} < 1, got: {factor:.6}"
    )))
}

/// Slope by seconds, and the value at `origin_ms`.
fn line(times: &[i64], values: &[f64], origin_ms: i64) -> (f64, f64) {
    let first = values[0];
    if values.iter().all(|value| *value == first) {
        return if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        };
    }
    let [mut x_sum, mut y_sum, mut xy_sum, mut xx_sum] = [Kahan::default(); 4];
    for (time, y) in times.iter().zip(values) {
        let x = number::seconds(time - origin_ms);
        x_sum.add(x);
        y_sum.add(*y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    let n = values.len() as f64;
    let (x, y) = (plain(x_sum), plain(y_sum));
    let covariance = plain(xy_sum) - x * y / n;
    let variance = plain(xx_sum) - x * x / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}

fn plain(sum: Kahan) -> f64 {
    sum.sum + sum.compensation
}

/// The smoothed value at the end, with a trend that is smoothed, too (Holt's linear method).
fn smooth(values: &[f64], smoothing: f64, trend_factor: f64) -> f64 {
    let mut level = values[0];
    let mut level_before = 0.0;
    let mut trend = values[1] - values[0];
    for (index, value) in values.iter().enumerate().skip(1) {
        if index > 1 {
            trend = trend_factor * (level - level_before) + (1.0 - trend_factor) * trend;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + trend);
        level_before = level;
        level = next;
    }
    level
}
