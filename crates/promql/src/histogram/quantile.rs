//! Quantiles, fractions and variance of native histograms.
//!
//! Within an exponential bucket observations are taken to be spread evenly on a logarithmic scale, within a
//! custom or zero bucket evenly. NaN observations are in no bucket: they raise the count and make the sum NaN.

use super::{BucketRange, FloatHistogram};
use crate::number::Kahan;

/// What NaN observations did to an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NanEffect {
    /// Nothing, or there were none.
    None,
    /// The rank lies among them.
    ResultIsNan,
    /// They count as the largest values.
    SkewedHigher,
    /// They are in no fraction.
    Excluded,
}

/// The value below which the fraction `q` of the observations lies.
pub(crate) fn quantile(q: f64, histogram: &FloatHistogram) -> (f64, NanEffect) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, NanEffect::None);
    }
    if q > 1.0 {
        return (f64::INFINITY, NanEffect::None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, NanEffect::None);
    }
    // From the nearer end, unless NaN observations lie beyond the upper one.
    let forward = histogram.sum.is_nan() || q < 0.5;
    let rank = if forward { q } else { 1.0 - q } * histogram.count;
    let mut ranges: Vec<BucketRange> = histogram.ranges().collect();
    if !forward {
        ranges.reverse();
    }
    let mut found = None;
    let mut count = 0.0;
    for (position, range) in ranges.iter().enumerate().filter(|(_, r)| r.count != 0.0) {
        count += range.count;
        found = Some((position, *range));
        if count >= rank {
            break;
        }
    }
    let Some((position, mut bucket)) = found else {
        return match (histogram.sum.is_nan(), rank > 0.0) {
            (true, true) => (f64::NAN, NanEffect::ResultIsNan),
            (false, true) => (0.0, NanEffect::None),
            (_, false) => (f64::NAN, NanEffect::None),
        };
    };
    if histogram.has_custom_buckets() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, NanEffect::None);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, NanEffect::None);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        bucket = one_sided(bucket, histogram);
    }
    count = count.min(histogram.count);
    if count < rank {
        return if histogram.sum.is_nan() {
            (f64::NAN, NanEffect::ResultIsNan)
        } else {
            (bucket.upper, NanEffect::None)
        };
    }
    let within = if forward {
        rank - (count - bucket.count)
    } else {
        count - rank
    };
    let mut effect = NanEffect::None;
    if histogram.sum.is_nan() {
        let rest: f64 = ranges[position + 1..].iter().map(|range| range.count).sum();
        if count + rest < histogram.count {
            effect = NanEffect::SkewedHigher;
        }
    }
    let part = within / bucket.count;
    let value = if histogram.has_custom_buckets() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        bucket.lower + (bucket.upper - bucket.lower) * part
    } else {
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        if bucket.lower > 0.0 {
            (lower + (upper - lower) * part).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - part)).exp2()
        }
    };
    (value, effect)
}

/// The zero bucket of a histogram with observations on one side only lies on that side, too.
fn one_sided(bucket: BucketRange, histogram: &FloatHistogram) -> BucketRange {
    match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
        (true, false) => BucketRange {
            lower: 0.0,
            ..bucket
        },
        (false, true) => BucketRange {
            upper: 0.0,
            ..bucket
        },
        _ => bucket,
    }
}

/// The fraction of the observations between two values.
pub(crate) fn fraction(lower: f64, upper: f64, histogram: &FloatHistogram) -> (f64, NanEffect) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, NanEffect::None);
    }
    if lower >= upper {
        return (0.0, NanEffect::None);
    }
    let (mut rank, mut lower_rank, mut upper_rank) = (0.0, None, None);
    for mut bucket in histogram.ranges() {
        let mut linear = histogram.has_custom_buckets();
        if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            linear = true;
            bucket = one_sided(bucket, histogram);
        }
        for (bound, found) in [(lower, &mut lower_rank), (upper, &mut upper_rank)] {
            if found.is_some() {
                continue;
            }
            if bucket.lower >= bound {
                *found = Some(rank);
            } else if bucket.upper > bound {
                *found = Some(rank + below(bound, &bucket, linear, rank));
            }
        }
        rank += bucket.count;
    }
    let count = if histogram.sum.is_nan() {
        rank
    } else {
        histogram.count
    };
    let effect = if histogram.sum.is_nan() && rank < histogram.count {
        NanEffect::Excluded
    } else {
        NanEffect::None
    };
    let capped = |rank: Option<f64>| rank.unwrap_or(count).min(count);
    let between = capped(upper_rank) - capped(lower_rank);
    (between / histogram.count, effect)
}

/// How many of a bucket's observations are below `bound`, which lies inside.
fn below(bound: f64, bucket: &BucketRange, linear: bool, rank: f64) -> f64 {
    if bucket.lower == f64::NEG_INFINITY {
        // Nothing is known about the spread in an infinite bucket: all of it is below.
        return bucket.count - rank;
    }
    if linear {
        return bucket.count * (bound - bucket.lower) / (bucket.upper - bucket.lower);
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    let value = bound.abs().log2();
    let part = if bound > 0.0 {
        (value - lower) / (upper - lower)
    } else {
        1.0 - (value - upper) / (lower - upper)
    };
    bucket.count * part
}

/// The variance of the observations, each taken to be at its bucket's middle.
pub(crate) fn variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.mean();
    let mut squares = Kahan::default();
    for bucket in histogram.ranges() {
        let middle = if histogram.has_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let distance = middle - mean;
        squares.add(bucket.count * distance * distance);
    }
    squares.total() / histogram.count
}
