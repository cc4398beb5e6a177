//! Native histograms: counts in exponential or custom buckets, as one sample.
//!
//! Only populated buckets are kept, sorted by index, so that two histograms are equal when they say the same
//! and merging is one walk over two lists. A bucket's index is Prometheus' own: with an exponential schema `s`,
//! bucket `i` holds `(2^((i-1)/2^s), 2^(i/2^s)]`; with custom bounds it holds `(bounds[i-1], bounds[i]]`.

mod classic;
mod quantile;
mod reset;
mod sum;
mod trim;

use std::{fmt, sync::Arc};

pub(crate) use classic::{ClassicBucket, bucket_fraction, bucket_quantile};
pub(crate) use quantile::{NanEffect, fraction, quantile, variance};
pub use sum::IncompatibleSchema;
pub(crate) use sum::{HistogramSum, Reconciled};
pub(crate) use trim::{TrimSide, trim};

use crate::number;

/// The schema of histograms with custom bounds.
pub const CUSTOM_SCHEMA: i32 = -53;

/// The finest exponential schema: 2^8 buckets for each power of two.
pub const SCHEMA_MAX: i32 = 8;
/// The coarsest exponential schema: one bucket for 2^4 powers of two.
pub const SCHEMA_MIN: i32 = -4;

/// What is known about a counter reset just before this sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetHint {
    /// Has to be found out by comparing.
    #[default]
    Unknown,
    /// There was one.
    Reset,
    /// There was none.
    NotReset,
    /// The histogram goes up and down freely.
    Gauge,
}

/// One populated bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Which one, see the module's description.
    pub index: i32,
    /// Observations in it, not cumulative.
    pub count: f64,
}

/// One histogram sample with float counts.
#[derive(Debug, Clone, Default)]
pub struct FloatHistogram {
    /// Resolution: -4 to 8, or [`CUSTOM_SCHEMA`].
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations, NaN included.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Buckets above zero, or all custom buckets; ascending by index, none empty.
    pub positive: Vec<Bucket>,
    /// Buckets below zero, by the index of their mirror image.
    pub negative: Vec<Bucket>,
    /// Upper bounds of custom buckets without the last, infinite one.
    pub custom_bounds: Arc<[f64]>,
    /// What is known about a reset before it.
    pub reset_hint: ResetHint,
}

/// Same observations; what is known about resets doesn't count. Sums are compared bit by bit, since NaN is
/// a possible sum.
impl PartialEq for FloatHistogram {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && self.zero_count == other.zero_count
            && self.count == other.count
            && self.sum.to_bits() == other.sum.to_bits()
            && self.positive == other.positive
            && self.negative == other.negative
            && self.custom_bounds == other.custom_bounds
    }
}

/// A bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BucketRange {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether the lower bound itself belongs to it.
    pub lower_inclusive: bool,
    /// Whether the upper bound itself belongs to it.
    pub upper_inclusive: bool,
    /// Observations in it.
    pub count: f64,
}

impl FloatHistogram {
    /// Whether the buckets have custom bounds.
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// From consecutive counts, the first of them in bucket `offset`; empty buckets may be among them.
    pub fn buckets_from_counts(offset: i32, counts: &[f64]) -> Vec<Bucket> {
        let indices = (0..).map(|index| offset.saturating_add(index));
        let buckets = indices.zip(counts).map(|(index, count)| Bucket {
            index,
            count: *count,
        });
        buckets.filter(|bucket| bucket.count != 0.0).collect()
    }

    /// Every count and the sum times `factor`; a negative factor makes it a gauge.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        self.each_value(factor < 0.0, |value| value * factor)
    }

    /// Every count and the sum divided; dividing by zero leaves no bucket.
    #[must_use]
    pub fn divided(&self, divisor: f64) -> Self {
        let mut quotient = self.each_value(divisor < 0.0, |value| value / divisor);
        if divisor == 0.0 {
            quotient.positive.clear();
            quotient.negative.clear();
        }
        quotient
    }

    fn each_value(&self, becomes_gauge: bool, change: impl Fn(f64) -> f64) -> Self {
        let changed = |buckets: &[Bucket]| {
            let buckets = buckets.iter().map(|bucket| Bucket {
                index: bucket.index,
                count: change(bucket.count),
            });
            buckets.filter(|bucket| bucket.count != 0.0).collect()
        };
        FloatHistogram {
            zero_count: change(self.zero_count),
            count: change(self.count),
            sum: change(self.sum),
            positive: changed(&self.positive),
            negative: changed(&self.negative),
            custom_bounds: self.custom_bounds.clone(),
            reset_hint: if becomes_gauge {
                ResetHint::Gauge
            } else {
                self.reset_hint
            },
            ..*self
        }
    }

    /// `self + other`, at the coarser resolution of the two.
    pub(crate) fn plus(&self, other: &Self) -> Result<(Self, Reconciled), IncompatibleSchema> {
        let mut sum = HistogramSum::new(self);
        let reconciled = sum.add(other)?;
        Ok((sum.total(), reconciled))
    }

    /// `self - other`, at the coarser resolution of the two. The hint is that of an addition: whoever
    /// subtracts as an operator makes it a gauge.
    pub(crate) fn minus(&self, other: &Self) -> Result<(Self, Reconciled), IncompatibleSchema> {
        let mut sum = HistogramSum::new(self);
        let reconciled = sum.subtract(other)?;
        Ok((sum.total(), reconciled))
    }

    /// Mean of the observations.
    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.count
    }

    /// All populated buckets, ascending by value; where one overlaps the zero bucket it is cut there.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = BucketRange> {
        let zero = (self.zero_count > 0.0).then(|| self.zero_bucket());
        let threshold = self.zero_threshold;
        let negative = self.negative.iter().rev().map(move |bucket| {
            let mut range = self.negative_range(bucket);
            if range.upper < 0.0 && range.upper > -threshold {
                range.upper = -threshold;
            }
            range
        });
        let positive = self.positive.iter().map(move |bucket| {
            let mut range = self.positive_range(bucket);
            if range.lower > 0.0 && range.lower < threshold {
                range.lower = threshold;
            }
            range
        });
        negative.chain(zero).chain(positive)
    }

    fn zero_bucket(&self) -> BucketRange {
        BucketRange {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    fn positive_range(&self, bucket: &Bucket) -> BucketRange {
        let lower = self.bound(bucket.index.saturating_sub(1));
        BucketRange {
            lower,
            upper: self.bound(bucket.index),
            lower_inclusive: self.has_custom_buckets() && bucket.index == 0,
            upper_inclusive: true,
            count: bucket.count,
        }
    }

    fn negative_range(&self, bucket: &Bucket) -> BucketRange {
        BucketRange {
            lower: -self.bound(bucket.index),
            upper: -self.bound(bucket.index.saturating_sub(1)),
            lower_inclusive: true,
            upper_inclusive: false,
            count: bucket.count,
        }
    }

    /// Upper bound of a bucket.
    fn bound(&self, index: i32) -> f64 {
        if !self.has_custom_buckets() {
            return exponential_bound(index, self.schema);
        }
        match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(index) => self
                .custom_bounds
                .get(index)
                .copied()
                .unwrap_or(f64::INFINITY),
        }
    }
}

/// `2^(index / 2^schema)`, but the last bucket ends at the largest number instead of infinity.
fn exponential_bound(index: i32, schema: i32) -> f64 {
    // No other schema exists; one that a store gives all the same must not panic.
    let schema = schema.clamp(SCHEMA_MIN, SCHEMA_MAX);
    if schema <= 0 {
        let power = i64::from(index) << -schema;
        return if power == 1024 {
            f64::MAX
        } else {
            2f64.powi(i32::try_from(power.clamp(-5000, 5000)).expect("clamped"))
        };
    }
    let per_power = 1 << schema;
    let (whole, part) = (index >> schema, index & (per_power - 1));
    if whole == 1024 && part == 0 {
        return f64::MAX;
    }
    (f64::from(part) / f64::from(per_power)).exp2() * 2f64.powi(whole)
}

impl fmt::Display for BucketRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}{},{}{}:{}",
            if self.lower_inclusive { '[' } else { '(' },
            number::compact(self.lower),
            number::compact(self.upper),
            if self.upper_inclusive { ']' } else { ')' },
            number::compact(self.count)
        )
    }
}

impl fmt::Display for FloatHistogram {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, sum) = (number::compact(self.count), number::compact(self.sum));
        write!(out, "{{count:{count}, sum:{sum}")?;
        let zero = (self.zero_count != 0.0).then(|| self.zero_bucket());
        let negative = self.negative.iter().rev();
        let negative = negative.map(|bucket| self.negative_range(bucket));
        let positive = self.positive.iter();
        let positive = positive.map(|bucket| self.positive_range(bucket));
        for range in negative.chain(zero).chain(positive) {
            write!(out, ", {range}")?;
        }
        out.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_named_by_their_bounds() {
        let histogram = FloatHistogram {
            count: 20.0,
            sum: 10.0,
            zero_count: 2.0,
            zero_threshold: 0.001,
            positive: FloatHistogram::buckets_from_counts(0, &[1.0, 2.0]),
            negative: FloatHistogram::buckets_from_counts(0, &[1.0, 2.0]),
            ..FloatHistogram::default()
        };
        assert_eq!(
            histogram.to_string(),
            "{count:20, sum:10, [-2,-1):2, [-1,-0.5):1, [-0.001,0.001]:2, (0.5,1]:1, (1,2]:2}"
        );
    }

    #[test]
    fn bounds_follow_the_schema() {
        for (index, schema, bound) in [
            (1, 0, 2.0),
            (-1, 0, 0.5),
            (1, -1, 4.0),
            (1, 1, std::f64::consts::SQRT_2),
            (2, 1, 2.0),
            (1024, 0, f64::MAX),
            (64, -4, f64::MAX),
        ] {
            assert_eq!(exponential_bound(index, schema), bound, "{index} {schema}");
        }
    }
}
