//! Classic histograms: one cumulative counter per upper bound.
//!
//! Scrapes aren't atomic and sums of floats aren't exact, so counts may decrease from bound to bound; they are
//! raised to the last count before, and that is reported where it is more than noise.

/// Relative differences below this are noise of floating-point sums.
const NOISE: f64 = 1e-12;

/// Observations up to a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ClassicBucket {
    pub(crate) bound: f64,
    pub(crate) count: f64,
}

/// Where counts had to be raised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Raised {
    pub(crate) from_bound: f64,
    pub(crate) to_bound: f64,
    pub(crate) difference: f64,
}

/// The value below which the fraction `q` of the observations lies, by linear interpolation.
pub(crate) fn bucket_quantile(q: f64, buckets: &[ClassicBucket]) -> (f64, Option<Raised>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    let Some(mut buckets) = sorted(buckets) else {
        return (f64::NAN, None);
    };
    let raised = make_monotonic(&mut buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, raised);
    }
    let rank = q * observations;
    let reached = |bucket: &ClassicBucket| bucket.count >= rank;
    let position = buckets[..last].iter().position(reached).unwrap_or(last);
    if position == last {
        return (buckets[last - 1].bound, raised);
    }
    let bucket = buckets[position];
    if position == 0 {
        let value = if bucket.bound <= 0.0 {
            bucket.bound
        } else {
            bucket.bound * (rank / bucket.count)
        };
        return (value, raised);
    }
    let before = buckets[position - 1];
    let part = (rank - before.count) / (bucket.count - before.count);
    let value = before.bound + (bucket.bound - before.bound) * part;
    (value, raised)
}

/// The fraction of the observations between two values, by linear interpolation.
pub(crate) fn bucket_fraction(lower: f64, upper: f64, buckets: &[ClassicBucket]) -> f64 {
    let Some(buckets) = sorted(buckets) else {
        return f64::NAN;
    };
    let count = buckets.last().map_or(0.0, |bucket| bucket.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let (mut rank, mut lower_rank, mut upper_rank) = (0.0, None, None);
    let mut start = if buckets[0].bound <= 0.0 {
        f64::NEG_INFINITY
    } else {
        0.0
    };
    for bucket in &buckets {
        for (bound, found) in [(lower, &mut lower_rank), (upper, &mut upper_rank)] {
            if found.is_some() {
                continue;
            }
            if start >= bound {
                *found = Some(rank);
            } else if bucket.bound > bound {
                *found = Some(if start == f64::NEG_INFINITY {
                    bucket.count
                } else {
                    rank + (bucket.count - rank) * (bound - start) / (bucket.bound - start)
                });
            }
        }
        rank = bucket.count;
        start = bucket.bound;
    }
    let capped = |rank: Option<f64>| rank.unwrap_or(count).min(count);
    (capped(upper_rank) - capped(lower_rank)) / count
}

/// Ascending by bound, equal bounds added up; nothing where the last bound isn't infinite.
fn sorted(buckets: &[ClassicBucket]) -> Option<Vec<ClassicBucket>> {
    let mut sorted = buckets.to_vec();
    sorted.sort_by(|left, right| left.bound.total_cmp(&right.bound));
    if sorted.last()?.bound != f64::INFINITY {
        return None;
    }
    let mut merged: Vec<ClassicBucket> = Vec::with_capacity(sorted.len());
    for bucket in sorted {
        match merged.last_mut() {
            Some(last) if last.bound == bucket.bound => last.count += bucket.count,
            _ => merged.push(bucket),
        }
    }
    Some(merged)
}

fn make_monotonic(buckets: &mut [ClassicBucket]) -> Option<Raised> {
    let mut raised: Option<Raised> = None;
    let mut previous = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if is_noise(previous, bucket.count) {
            bucket.count = previous;
        } else if bucket.count < previous {
            let seen = raised.get_or_insert(Raised {
                from_bound: bucket.bound,
                to_bound: bucket.bound,
                difference: 0.0,
            });
            seen.to_bound = bucket.bound;
            seen.difference = seen.difference.max(previous - bucket.count);
            bucket.count = previous;
        } else {
            previous = bucket.count;
        }
    }
    raised
}

fn is_noise(left: f64, right: f64) -> bool {
    if left == right {
        return true;
    }
    let size = left.abs() + right.abs();
    let difference = (left - right).abs();
    if left == 0.0 || right == 0.0 || size < f64::MIN_POSITIVE {
        difference < NOISE * f64::MIN_POSITIVE
    } else {
        difference / size.min(f64::MAX) < NOISE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<ClassicBucket> {
        let pairs = pairs.iter();
        pairs
            .map(|(bound, count)| ClassicBucket {
                bound: *bound,
                count: *count,
            })
            .collect()
    }

    #[test]
    fn the_rank_is_interpolated_within_its_bucket() {
        let buckets = buckets(&[(1.0, 2.0), (2.0, 4.0), (f64::INFINITY, 4.0)]);
        assert_eq!(bucket_quantile(0.75, &buckets).0, 1.5);
        assert_eq!(bucket_fraction(0.5, 1.5, &buckets), 0.5);
    }

    #[test]
    fn decreasing_counts_are_raised_and_reported() {
        let buckets = buckets(&[(1.0, 4.0), (2.0, 2.0), (f64::INFINITY, 8.0)]);
        let (_, raised) = bucket_quantile(0.5, &buckets);
        assert_eq!(raised.map(|raised| raised.difference), Some(2.0));
    }

    #[test]
    fn without_an_infinite_bound_there_is_no_answer() {
        assert!(bucket_quantile(0.5, &buckets(&[(1.0, 1.0)])).0.is_nan());
        assert!(bucket_quantile(0.5, &[]).0.is_nan());
    }
}
