//! Trimming: the operators `</` and `>/` keep the observations on one side of a value.
//!
//! A bucket that the value cuts is divided by interpolation. An infinite bucket has no known spread, so it is
//! kept only where that is certain. The sum is estimated anew from the middles of what is left.

use super::{Bucket, BucketRange, FloatHistogram};

/// Which side is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrimSide {
    /// `</`
    Below,
    /// `>/`
    Above,
}

/// What is left of a bucket: a count and the value that stands for it.
struct Rest {
    count: f64,
    middle: f64,
}

const NOTHING: Rest = Rest {
    count: 0.0,
    middle: 0.0,
};

/// The observations on one side of `cut`.
pub(crate) fn trim(histogram: &FloatHistogram, cut: f64, side: TrimSide) -> FloatHistogram {
    let custom = histogram.has_custom_buckets();
    let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
    let mut keep = |range: BucketRange, rest: &Rest| {
        count += rest.count;
        sum += rest.middle * rest.count;
        changed |= rest.count != range.count;
        rest.count
    };
    let mut trimmed = |buckets: &[Bucket], range: &dyn Fn(&Bucket) -> BucketRange| {
        let mut left = Vec::with_capacity(buckets.len());
        for bucket in buckets {
            let range = range(bucket);
            let rest = keep(range, &rest_of_bucket(range, cut, side, custom));
            if rest != 0.0 {
                left.push(Bucket {
                    index: bucket.index,
                    count: rest,
                });
            }
        }
        left
    };
    let positive = trimmed(&histogram.positive, &|bucket| {
        histogram.positive_range(bucket)
    });
    let negative = trimmed(&histogram.negative, &|bucket| {
        histogram.negative_range(bucket)
    });
    let mut zero_count = histogram.zero_count;
    if zero_count > 0.0 {
        let zero = histogram.zero_bucket();
        zero_count = keep(zero, &rest_of_zero_bucket(histogram, cut, side));
    }
    if !changed {
        return histogram.clone();
    }
    FloatHistogram {
        zero_count,
        count,
        sum,
        positive,
        negative,
        ..histogram.clone()
    }
}

fn rest_of_bucket(range: BucketRange, cut: f64, side: TrimSide, linear: bool) -> Rest {
    let whole = Rest {
        count: range.count,
        middle: middle(range.lower, range.upper, linear),
    };
    match side {
        TrimSide::Below if range.upper <= cut => whole,
        TrimSide::Below if range.lower >= cut => NOTHING,
        TrimSide::Above if range.lower >= cut => whole,
        TrimSide::Above if range.upper <= cut => NOTHING,
        _ if range.lower.is_infinite() || range.upper.is_infinite() => {
            rest_of_infinite_bucket(range, cut, side)
        }
        TrimSide::Below => Rest {
            count: range.count * share_below(range, cut, linear),
            middle: middle(range.lower, cut, linear),
        },
        TrimSide::Above => Rest {
            count: range.count - range.count * share_below(range, cut, linear),
            middle: middle(cut, range.upper, linear),
        },
    }
}

/// The value cuts a bucket without an end. Only where a lower end of 0 can be assumed it is divided.
fn rest_of_infinite_bucket(range: BucketRange, cut: f64, side: TrimSide) -> Rest {
    if range.lower == f64::NEG_INFINITY {
        let starts_at_zero = range.upper > 0.0 && range.upper != f64::INFINITY;
        return match side {
            TrimSide::Below if cut > 0.0 && starts_at_zero => Rest {
                count: range.count * cut / range.upper,
                middle: cut / 2.0,
            },
            TrimSide::Below if range.upper <= 0.0 => Rest {
                count: range.count,
                middle: cut,
            },
            TrimSide::Above if cut >= 0.0 && starts_at_zero => Rest {
                count: range.count * (1.0 - cut / range.upper),
                middle: (cut + range.upper) / 2.0,
            },
            TrimSide::Below | TrimSide::Above => NOTHING,
        };
    }
    match side {
        TrimSide::Below => NOTHING,
        TrimSide::Above => Rest {
            count: range.count,
            middle: cut,
        },
    }
}

fn rest_of_zero_bucket(histogram: &FloatHistogram, cut: f64, side: TrimSide) -> Rest {
    let zero = histogram.zero_bucket();
    let (mut lower, mut upper) = (zero.lower, zero.upper);
    match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
        (false, true) => upper = 0.0,
        (true, false) => lower = 0.0,
        _ => {}
    }
    let part = |from: f64, to: f64| Rest {
        count: if from == lower && to == upper {
            zero.count
        } else {
            zero.count * ((to - from) / (upper - lower))
        },
        middle: (from + to) / 2.0,
    };
    match side {
        TrimSide::Below if cut <= lower => NOTHING,
        TrimSide::Below => part(lower, cut.min(upper)),
        TrimSide::Above if cut >= upper && cut > lower => NOTHING,
        TrimSide::Above => part(cut.max(lower), upper),
    }
}

fn share_below(range: BucketRange, cut: f64, linear: bool) -> f64 {
    if linear {
        return (cut - range.lower) / (range.upper - range.lower);
    }
    let (lower, upper) = (range.lower.abs().log2(), range.upper.abs().log2());
    let cut = cut.abs().log2();
    if range.lower >= 0.0 {
        (cut - lower) / (upper - lower)
    } else {
        1.0 - (cut - upper) / (lower - upper)
    }
}

fn middle(lower: f64, upper: f64, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if linear => (lower + upper) / 2.0,
        (false, false) => (lower * upper).abs().sqrt().copysign(upper),
    }
}
