//! Counter resets between two histogram samples.
//!
//! A hint is believed where it is definite. Otherwise a count that fell anywhere is a reset, and so is a layout
//! that became finer, since a counter's resolution only ever gets coarser.

use super::{CUSTOM_SCHEMA, FloatHistogram, ResetHint, sum::HistogramSum};
use crate::{number::Kahan, storage::is_stale};

impl FloatHistogram {
    /// Whether the counter was reset after `previous`.
    pub fn is_reset_after(&self, previous: &FloatHistogram) -> bool {
        match self.reset_hint {
            ResetHint::Reset => true,
            ResetHint::NotReset => false,
            ResetHint::Unknown | ResetHint::Gauge => {
                self.count < previous.count || self.buckets_fell_since(previous)
            }
        }
    }

    /// What a store can say of a reset before this sample: whether the sample just before it, if there is one,
    /// makes a reset impossible. That there was one is found out again by whoever compares.
    pub fn hint_after(&self, previous: Option<&FloatHistogram>) -> ResetHint {
        if self.reset_hint == ResetHint::Gauge {
            return ResetHint::Gauge;
        }
        let Some(previous) = previous.filter(|previous| previous.reset_hint != ResetHint::Gauge)
        else {
            return ResetHint::Unknown;
        };
        let same_layout = self.schema == previous.schema
            && self.zero_threshold == previous.zero_threshold
            && self.custom_bounds == previous.custom_bounds;
        let stale = is_stale(self.sum) || is_stale(previous.sum);
        let fell = || self.count < previous.count || self.buckets_fell_since(previous);
        if same_layout && !stale && self.reset_hint != ResetHint::Reset && !fell() {
            ResetHint::NotReset
        } else {
            ResetHint::Unknown
        }
    }

    fn buckets_fell_since(&self, previous: &FloatHistogram) -> bool {
        if self.has_custom_buckets() != previous.has_custom_buckets() {
            return true;
        }
        let mut now = HistogramSum::new(self);
        let mut before = HistogramSum::new(previous);
        if self.schema != CUSTOM_SCHEMA {
            if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
                return true;
            }
            before.widen_zero_bucket(self.zero_threshold);
            if before.zero_threshold != self.zero_threshold {
                return true;
            }
            if now.zero.sum < before.zero.total() {
                return true;
            }
        }
        now.agree_on_layout(&mut before);
        any_fell(&before.positive, &now.positive) || any_fell(&before.negative, &now.negative)
    }
}

fn any_fell(before: &[(i32, Kahan)], now: &[(i32, Kahan)]) -> bool {
    before.iter().any(|(index, count)| {
        let now = now
            .binary_search_by_key(index, |(index, _)| *index)
            .map_or(0.0, |position| now[position].1.total());
        now < count.total()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(schema: i32, counts: &[f64]) -> FloatHistogram {
        FloatHistogram {
            schema,
            count: counts.iter().sum(),
            positive: FloatHistogram::buckets_from_counts(0, counts),
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn a_falling_bucket_is_a_reset() {
        let before = histogram(0, &[1.0, 2.0]);
        assert!(!histogram(0, &[1.0, 3.0]).is_reset_after(&before));
        assert!(histogram(0, &[4.0]).is_reset_after(&before));
        assert!(histogram(1, &[4.0, 4.0]).is_reset_after(&before));
    }

    #[test]
    fn a_definite_hint_is_believed() {
        let before = histogram(0, &[1.0, 2.0]);
        let mut now = histogram(0, &[9.0, 9.0]);
        now.reset_hint = ResetHint::Reset;
        assert!(now.is_reset_after(&before));
        now = histogram(0, &[0.0]);
        now.reset_hint = ResetHint::NotReset;
        assert!(!now.is_reset_after(&before));
    }
}
