//! Numbers: compensated summation, conversions that say what happens at the edges, and the spellings that Go
//! gives to floats.
//!
//! Answers must agree with Prometheus to the last digit where a value ends up in a label or a message, so its
//! spelling is part of the language. It must never hide a cast: each conversion here names its rounding.

/// Running sum by Neumaier's variant of Kahan summation: the lost low bits are kept beside the sum.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kahan {
    pub(crate) sum: f64,
    pub(crate) compensation: f64,
}

impl Kahan {
    pub(crate) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.compensation += (self.sum - total) + value;
        } else {
            self.compensation += (value - total) + self.sum;
        }
        self.sum = total;
    }

    /// The sum with what was lost on the way; an infinite sum stays as it is.
    pub(crate) fn total(self) -> f64 {
        if self.sum.is_infinite() {
            self.sum
        } else {
            self.sum + self.compensation
        }
    }
}

/// Milliseconds as seconds.
pub(crate) fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// Cuts off the fraction; what doesn't fit becomes the nearest bound and NaN becomes 0.
#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates by definition, as said above"
)]
pub(crate) fn truncated(value: f64) -> i64 {
    value as i64
}

/// As [`truncated`], for an index or a count: negative values become 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates by definition, as said above"
)]
pub(crate) fn count(value: f64) -> usize {
    value as usize
}

/// Shortest spelling without an exponent, as in a label made by `count_values`.
pub(crate) fn plain(value: f64) -> String {
    special(value).unwrap_or_else(|| value.to_string())
}

/// Shortest spelling, with an exponent outside `[1e-4, 1e6)` (Go's `%g`).
pub(crate) fn compact(value: f64) -> String {
    if let Some(text) = special(value) {
        return text;
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific
        .split_once('e')
        .expect("scientific notation has an exponent");
    let power: i32 = exponent.parse().expect("an exponent is an integer");
    if (-4..6).contains(&power) {
        value.to_string()
    } else {
        let sign = if power < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", power.abs())
    }
}

/// The spelling of the HTTP API: an exponent only below 1e-6 and from 1e21 on.
pub(crate) fn api(value: f64) -> String {
    let size = value.abs();
    if value.is_finite() && size != 0.0 && !(1e-6..1e21).contains(&size) {
        compact(value)
    } else {
        plain(value)
    }
}

/// The spelling of OpenMetrics: always recognisable as a float.
pub(crate) fn open_metrics(value: f64) -> String {
    let text = compact(value);
    if text.contains(['e', '.', 'I', 'N']) {
        text
    } else {
        text + ".0"
    }
}

fn special(value: f64) -> Option<String> {
    if value.is_nan() {
        Some("NaN".to_owned())
    } else if value.is_infinite() {
        Some(if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_agree_with_go() {
        for (value, text) in [
            (0.0, "0"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (123_456.0, "123456"),
            (0.000_01, "1e-05"),
            (0.5, "0.5"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(compact(value), text);
        }
        assert_eq!(open_metrics(1.0), "1.0");
        assert_eq!(open_metrics(0.99), "0.99");
    }

    #[test]
    fn a_compensated_sum_keeps_small_terms_beside_huge_ones() {
        let mut sum = Kahan::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.total(), 2.0);
    }
}
