//! Adding histograms: bring two layouts to one, then add count by count with compensated summation.
//!
//! Layouts are made equal by widening the zero bucket, by merging exponential buckets down to the coarser
//! schema, or by keeping only the custom bounds that both have. Nothing is ever split.

use std::{cmp::Ordering, sync::Arc};

use super::{Bucket, CUSTOM_SCHEMA, FloatHistogram, ResetHint, exponential_bound};
use crate::number::Kahan;

/// Exponential and custom buckets have no common layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot combine a histogram of exponential buckets with one of custom buckets")]
pub struct IncompatibleSchema;

/// What had to give way in an addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reconciled {
    /// One side was just after a counter reset, the other certainly not.
    pub(crate) reset_collision: bool,
    /// Custom bounds differed; only the common ones are left.
    pub(crate) custom_bounds: bool,
}

type Compensated = Vec<(i32, Kahan)>;

/// A histogram being summed up.
#[derive(Debug, Clone)]
pub(crate) struct HistogramSum {
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) zero: Kahan,
    count: Kahan,
    sum: Kahan,
    pub(super) positive: Compensated,
    pub(super) negative: Compensated,
    custom_bounds: Arc<[f64]>,
    reset_hint: ResetHint,
}

impl HistogramSum {
    pub(crate) fn new(first: &FloatHistogram) -> Self {
        let start = |value| Kahan {
            sum: value,
            compensation: 0.0,
        };
        let buckets = |buckets: &[Bucket]| {
            let buckets = buckets.iter();
            buckets
                .map(|bucket| (bucket.index, start(bucket.count)))
                .collect()
        };
        HistogramSum {
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            zero: start(first.zero_count),
            count: start(first.count),
            sum: start(first.sum),
            positive: buckets(&first.positive),
            negative: buckets(&first.negative),
            custom_bounds: first.custom_bounds.clone(),
            reset_hint: first.reset_hint,
        }
    }

    pub(crate) fn add(&mut self, other: &FloatHistogram) -> Result<Reconciled, IncompatibleSchema> {
        self.combine(other, 1.0)
    }

    pub(crate) fn subtract(
        &mut self,
        other: &FloatHistogram,
    ) -> Result<Reconciled, IncompatibleSchema> {
        self.combine(other, -1.0)
    }

    fn combine(
        &mut self,
        other: &FloatHistogram,
        sign: f64,
    ) -> Result<Reconciled, IncompatibleSchema> {
        if (self.schema == CUSTOM_SCHEMA) != other.has_custom_buckets() {
            return Err(IncompatibleSchema);
        }
        let reconciled = Reconciled {
            reset_collision: self.combine_hints(other.reset_hint),
            custom_bounds: self.custom_bounds != other.custom_bounds,
        };
        self.count.add(sign * other.count);
        self.sum.add(sign * other.sum);
        let mut other = HistogramSum::new(other);
        self.agree_on_layout(&mut other);
        self.zero.add(sign * other.zero.total());
        merge(&mut self.positive, &other.positive, sign);
        merge(&mut self.negative, &other.negative, sign);
        Ok(reconciled)
    }

    /// Brings both to a layout that loses as little as possible.
    pub(super) fn agree_on_layout(&mut self, other: &mut Self) {
        if self.schema == CUSTOM_SCHEMA {
            if self.custom_bounds != other.custom_bounds {
                let common = common_bounds(&self.custom_bounds, &other.custom_bounds);
                self.merge_to_bounds(&common);
                other.merge_to_bounds(&common);
            }
            return;
        }
        while (self.zero_threshold - other.zero_threshold).abs() > 0.0 {
            let wider = self.zero_threshold.max(other.zero_threshold);
            self.widen_zero_bucket(wider);
            other.widen_zero_bucket(wider);
        }
        let schema = self.schema.min(other.schema);
        self.reduce_resolution(schema);
        other.reduce_resolution(schema);
    }

    /// Widens the zero bucket at least to `threshold`; a populated bucket is taken in whole.
    pub(super) fn widen_zero_bucket(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold {
            return;
        }
        let mut threshold = threshold;
        let schema = self.schema;
        let bounds = move |index: i32| {
            (
                exponential_bound(index.saturating_sub(1), schema),
                exponential_bound(index, schema),
            )
        };
        loop {
            let buckets = self.positive.iter().chain(&self.negative);
            let cut = buckets
                .filter(|(_, count)| count.total() != 0.0)
                .map(|(index, _)| bounds(*index))
                .find(|(lower, upper)| *lower < threshold && *upper > threshold);
            match cut {
                Some((_, upper)) => threshold = upper,
                None => break,
            }
        }
        for buckets in [&mut self.positive, &mut self.negative] {
            buckets.retain(|(index, count)| {
                let stays = bounds(*index).0 >= threshold;
                if !stays {
                    self.zero.add(count.sum);
                    self.zero.add(count.compensation);
                }
                stays
            });
        }
        self.zero_threshold = threshold;
    }

    /// Merges exponential buckets down to a coarser schema.
    pub(super) fn reduce_resolution(&mut self, schema: i32) {
        let shift = self.schema.saturating_sub(schema).min(31);
        if shift > 0 {
            let coarser = |index: i32| (index.saturating_sub(1) >> shift).saturating_add(1);
            self.positive = regrouped(&self.positive, coarser);
            self.negative = regrouped(&self.negative, coarser);
            self.schema = schema;
        }
    }

    fn merge_to_bounds(&mut self, common: &Arc<[f64]>) {
        let own = self.custom_bounds.clone();
        let target = |index: i32| {
            let bound = usize::try_from(index).ok().and_then(|index| own.get(index));
            let target = match bound {
                Some(bound) => common.partition_point(|common| common < bound),
                None => common.len(),
            };
            i32::try_from(target).expect("fewer bounds than before")
        };
        self.positive = regrouped(&self.positive, target);
        self.custom_bounds = common.clone();
    }

    /// Says whether the hints contradict each other.
    fn combine_hints(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        let collision = matches!(
            (self.reset_hint, other),
            (Reset, NotReset) | (NotReset, Reset)
        );
        self.reset_hint = match (self.reset_hint, other) {
            (Gauge, _) | (_, Gauge) => Gauge,
            (own, other) if own == other => own,
            _ => Unknown,
        };
        collision
    }

    /// Whether any value left the range of numbers.
    pub(crate) fn overflows(&self) -> bool {
        let values = [&self.zero, &self.count, &self.sum].into_iter();
        let buckets = self.positive.iter().chain(&self.negative);
        values
            .chain(buckets.map(|(_, count)| count))
            .any(|value| value.sum.is_infinite())
    }

    /// Every value times `factor`.
    pub(crate) fn scale(&mut self, factor: f64) {
        self.each(|value| value * factor);
    }

    /// Every value divided.
    pub(crate) fn divide(&mut self, divisor: f64) {
        self.each(|value| value / divisor);
    }

    fn each(&mut self, change: impl Fn(f64) -> f64) {
        let values = [&mut self.zero, &mut self.count, &mut self.sum].into_iter();
        let buckets = self.positive.iter_mut().chain(&mut self.negative);
        for value in values.chain(buckets.map(|(_, count)| count)) {
            value.sum = change(value.sum);
            value.compensation = change(value.compensation);
        }
    }

    /// The histogram with what was lost on the way added back.
    pub(crate) fn total(&self) -> FloatHistogram {
        FloatHistogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero.total(),
            count: self.count.total(),
            sum: self.sum.total(),
            positive: totals(&self.positive),
            negative: totals(&self.negative),
            custom_bounds: self.custom_bounds.clone(),
            reset_hint: self.reset_hint,
        }
    }
}

fn totals(buckets: &Compensated) -> Vec<Bucket> {
    let buckets = buckets.iter().map(|(index, count)| Bucket {
        index: *index,
        count: count.total(),
    });
    buckets.filter(|bucket| bucket.count != 0.0).collect()
}

fn regrouped(buckets: &Compensated, target: impl Fn(i32) -> i32) -> Compensated {
    let mut groups: Compensated = Vec::new();
    for (index, count) in buckets {
        let index = target(*index);
        match groups.last_mut() {
            Some((last, total)) if *last == index => {
                total.add(count.sum);
                total.add(count.compensation);
            }
            _ => groups.push((index, *count)),
        }
    }
    groups
}

fn merge(into: &mut Compensated, other: &Compensated, sign: f64) {
    let mut merged = Vec::with_capacity(into.len().max(other.len()));
    let (mut left, mut right) = (into.iter().peekable(), other.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((left, _)), Some((right, _))) => left.cmp(right),
        };
        let mut bucket = match order {
            Ordering::Greater => (
                right.peek().map_or(0, |(index, _)| *index),
                Kahan::default(),
            ),
            Ordering::Less | Ordering::Equal => match left.next() {
                Some(bucket) => *bucket,
                None => break,
            },
        };
        if order != Ordering::Less
            && let Some((_, count)) = right.next()
        {
            bucket.1.add(sign * count.sum);
            bucket.1.add(sign * count.compensation);
        }
        merged.push(bucket);
    }
    *into = merged;
}

fn common_bounds(left: &[f64], right: &[f64]) -> Arc<[f64]> {
    left.iter()
        .filter(|bound| right.contains(bound))
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(schema: i32, offset: i32, counts: &[f64]) -> FloatHistogram {
        FloatHistogram {
            schema,
            count: counts.iter().sum(),
            positive: FloatHistogram::buckets_from_counts(offset, counts),
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn the_coarser_schema_wins() {
        let coarse = exponential(-1, 1, &[1.0]);
        let fine = exponential(0, 1, &[2.0, 2.0]);
        let (sum, _) = coarse.plus(&fine).unwrap();
        assert_eq!(sum.schema, -1);
        assert_eq!(sum.positive, FloatHistogram::buckets_from_counts(1, &[5.0]));
    }

    #[test]
    fn a_wider_zero_bucket_swallows_what_it_touches() {
        let wide = FloatHistogram {
            zero_threshold: 1.5,
            zero_count: 1.0,
            ..exponential(0, 3, &[1.0])
        };
        let (sum, _) = wide.plus(&exponential(0, 0, &[4.0, 5.0, 6.0])).unwrap();
        assert_eq!(sum.zero_threshold, 2.0);
        assert_eq!(sum.zero_count, 10.0);
        assert_eq!(
            sum.positive,
            FloatHistogram::buckets_from_counts(2, &[6.0, 1.0])
        );
    }

    #[test]
    fn only_common_custom_bounds_are_left() {
        let custom = |bounds: &[f64], counts: &[f64]| FloatHistogram {
            custom_bounds: bounds.into(),
            ..exponential(CUSTOM_SCHEMA, 0, counts)
        };
        let left = custom(&[2.0, 4.0, 6.0], &[1.0, 2.0, 5.0, 7.0]);
        let right = custom(&[1.0, 2.0, 3.0, 6.0], &[1.0, 1.0, 1.0, 1.0, 1.0]);
        let (sum, reconciled) = left.plus(&right).unwrap();
        assert!(reconciled.custom_bounds);
        assert_eq!(*sum.custom_bounds, [2.0, 6.0]);
        assert_eq!(
            sum.positive,
            FloatHistogram::buckets_from_counts(0, &[3.0, 9.0, 8.0])
        );
    }

    #[test]
    fn exponential_and_custom_buckets_do_not_mix() {
        let custom = exponential(CUSTOM_SCHEMA, 0, &[1.0]);
        assert_eq!(
            custom.plus(&exponential(0, 0, &[1.0])),
            Err(IncompatibleSchema)
        );
    }
}
