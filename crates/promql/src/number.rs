//! Numbers: compensated summation, conversions that say what happens at the edges, and the spellings that Go
//! gives to floats.
//!
//! Answers must agree with Prometheus to the last digit where a value ends up in a label or a message, so its
//! spelling is part of the language. It must never hide a cast: each conversion here names its rounding.

use crate::storage::is_stale;

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

/// Many such sums side by side, to which rows are added.
#[derive(Debug, Clone)]
pub(crate) struct KahanSums {
    sums: Vec<f64>,
    compensations: Vec<f64>,
    /// No sum is near the end of all numbers, or beyond it.
    are_tame: bool,
}

impl KahanSums {
    /// Numbers below this can be added without an overflow on the way.
    const TAME: f64 = 1e300;

    pub(crate) fn new(count: usize) -> Self {
        KahanSums {
            sums: vec![0.0; count],
            compensations: vec![0.0; count],
            are_tame: true,
        }
    }

    /// Adds a value to each sum; none where the stale marker stands.
    pub(crate) fn add(&mut self, values: &[f64]) {
        let all =
            |holds: fn(f64) -> bool| values.iter().fold(true, |all, value| all & holds(*value));
        // Most series of most targets don't change. A sum is never minus zero, so that nothing changes it by a bit.
        if values.first() == Some(&0.0) && all(|value| value == 0.0) {
            return;
        }
        if self.are_tame && all(Self::is_tame) {
            self.add_tame(values);
        } else {
            self.add_each(values);
        }
        let sums = self.sums.iter();
        self.are_tame = sums.fold(true, |all, sum| all & Self::is_tame(*sum));
    }

    /// Not of infinities and NaNs, and so not of the stale marker.
    fn is_tame(value: f64) -> bool {
        value.abs() < Self::TAME
    }

    /// What is lost by an addition can be told exactly, by Neumaier's comparison and by Knuth's six operations: the
    /// same number either way, but these need no branches, so that the compiler does several at once.
    fn add_tame(&mut self, values: &[f64]) {
        let sums = self.sums.iter_mut().zip(&mut self.compensations);
        for ((sum, compensation), value) in sums.zip(values) {
            let total = *sum + value;
            let added = total - *sum;
            *compensation += (*sum - (total - added)) + (value - added);
            *sum = total;
        }
    }

    fn add_each(&mut self, values: &[f64]) {
        let sums = self.sums.iter_mut().zip(&mut self.compensations);
        for ((sum, compensation), value) in sums.zip(values) {
            if !is_stale(*value) {
                let mut kahan = Kahan {
                    sum: *sum,
                    compensation: *compensation,
                };
                kahan.add(*value);
                (*sum, *compensation) = (kahan.sum, kahan.compensation);
            }
        }
    }

    pub(crate) fn total(&self, index: usize) -> f64 {
        let (sum, compensation) = (self.sums[index], self.compensations[index]);
        Kahan { sum, compensation }.total()
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
    use crate::storage::stale;
    use proptest::{collection::vec, prelude::*, sample::select};

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

    proptest! {
        #[test]
        fn many_sums_are_the_same_as_each_alone(rows in vec(vec(float(), 3), 0..20), quiet in vec(vec(-10.0..10.0, 3), 0..20)) {
            let mut sums = KahanSums::new(3);
            let mut each = [Kahan::default(); 3];
            for row in quiet.iter().chain(&rows) {
                sums.add(row);
                for (sum, value) in each.iter_mut().zip(row) {
                    if !is_stale(*value) {
                        sum.add(*value);
                    }
                }
            }
            for (index, sum) in each.iter().enumerate() {
                let (found, expected) = (sums.total(index), sum.total());
                prop_assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan());
            }
        }
    }

    fn float() -> impl Strategy<Value = f64> {
        let odd = select(vec![
            0.0,
            -0.0,
            1e300,
            -1e300,
            f64::MAX,
            f64::INFINITY,
            -f64::INFINITY,
            f64::NAN,
            stale(),
        ]);
        prop_oneof![4 => any::<f64>(), 4 => -10.0..10.0, 1 => odd]
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
