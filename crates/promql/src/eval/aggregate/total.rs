//! Sums, means and quantiles of floats and of histograms.

use crate::{
    histogram::{FloatHistogram, HistogramSum, IncompatibleSchema, Reconciled},
    number::{self, Kahan},
};

/// A mean of floats. As long as the sum is a number, it is the sum divided, which is the most exact; once it
/// would overflow, the mean itself is carried on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    count: f64,
    sum: Kahan,
    /// Holds the mean instead of the sum.
    incremental: bool,
}

impl Mean {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.sum.sum = value;
            return;
        }
        if !self.incremental {
            let mut sum = self.sum;
            sum.add(value);
            if !sum.sum.is_infinite() {
                self.sum = sum;
                return;
            }
            self.incremental = true;
            self.sum.sum /= self.count - 1.0;
            self.sum.compensation /= self.count - 1.0;
        }
        let share = (self.count - 1.0) / self.count;
        self.sum.sum *= share;
        self.sum.compensation *= share;
        self.sum.add(value / self.count);
    }

    pub(crate) fn value(self) -> f64 {
        if self.incremental {
            return self.sum.sum + self.sum.compensation;
        }
        self.sum.sum / self.count + self.sum.compensation / self.count
    }
}

/// A sum of histograms.
#[derive(Debug, Clone, Default)]
pub(crate) struct HistogramTotal(Option<HistogramSum>);

impl HistogramTotal {
    pub(crate) fn add(&mut self, value: &FloatHistogram) -> Result<Reconciled, IncompatibleSchema> {
        match &mut self.0 {
            Some(sum) => sum.add(value),
            None => {
                self.0 = Some(HistogramSum::new(value));
                Ok(Reconciled::default())
            }
        }
    }

    pub(crate) fn value(&self) -> Option<FloatHistogram> {
        self.0.as_ref().map(HistogramSum::total)
    }
}

/// A mean of histograms, with the same care for overflow as [`Mean`].
#[derive(Debug, Clone, Default)]
pub(crate) struct HistogramMean {
    count: f64,
    sum: Option<HistogramSum>,
    incremental: bool,
}

impl HistogramMean {
    pub(crate) fn add(&mut self, value: &FloatHistogram) -> Result<Reconciled, IncompatibleSchema> {
        self.count += 1.0;
        let Some(sum) = &mut self.sum else {
            self.sum = Some(HistogramSum::new(value));
            return Ok(Reconciled::default());
        };
        if !self.incremental {
            let mut next = sum.clone();
            let reconciled = next.add(value)?;
            if !next.overflows() {
                *sum = next;
                return Ok(reconciled);
            }
            self.incremental = true;
            sum.divide(self.count - 1.0);
        }
        sum.scale((self.count - 1.0) / self.count);
        sum.add(&value.divided(self.count))
    }

    pub(crate) fn value(&self) -> Option<FloatHistogram> {
        let mut sum = self.sum.clone()?;
        if !self.incremental {
            sum.divide(self.count);
        }
        Some(sum.total())
    }
}

/// The quantile of values in any order, interpolated between its two neighbours.
pub(crate) fn quantile_of(quantile: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || quantile.is_nan() {
        return f64::NAN;
    }
    if quantile < 0.0 {
        return f64::NEG_INFINITY;
    }
    if quantile > 1.0 {
        return f64::INFINITY;
    }
    // NaN counts as the smallest value.
    values.sort_by(|left, right| match (left.is_nan(), right.is_nan()) {
        (false, false) => left.total_cmp(right),
        (left, right) => right.cmp(&left),
    });
    let last = values.len() - 1;
    let rank = quantile * last as f64;
    let lower = number::count(rank.floor()).min(last);
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_outlives_the_overflow_of_its_sum() {
        let mut mean = Mean::default();
        for _ in 0..4 {
            mean.add(f64::MAX);
        }
        assert!(mean.value() > f64::MAX * 0.999);
    }

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(quantile_of(0.5, &mut [3.0, 1.0, 2.0, 4.0]), 2.5);
        assert_eq!(quantile_of(1.0, &mut [3.0, f64::NAN]), 3.0);
        assert_eq!(quantile_of(-1.0, &mut [3.0]), f64::NEG_INFINITY);
    }
}
