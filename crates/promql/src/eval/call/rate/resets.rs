//! Where a counter began anew, found once for a whole column: windows overlap, and each looks at what lies in it.

use super::started_anew;

#[derive(Default)]
pub(super) struct Resets {
    /// Each value is known to be at least the one before.
    pub(super) is_rising: bool,
    /// For each sample how many resets there are up to it; empty where there are none at all.
    counts: Vec<usize>,
    /// The value before each of them.
    lost: Vec<f64>,
}

impl Resets {
    /// `starts`: when each value's counter began; empty where that isn't known.
    pub(super) fn of(times: &[i64], values: &[f64], starts: &[i64]) -> Self {
        if starts.is_empty() {
            if is_rising(values) {
                return Resets {
                    is_rising: true,
                    ..Resets::default()
                };
            }
            return Self::at(values, |index| values[index] < values[index - 1]);
        }
        Self::at(values, |index| {
            let before = index - 1;
            values[index] < values[before]
                || started_anew(starts[before], times[before], starts[index], times[index])
        })
    }

    fn at(values: &[f64], is_reset: impl Fn(usize) -> bool) -> Self {
        let mut resets = Resets {
            is_rising: false,
            counts: vec![0; values.len()],
            lost: vec![0.0; values.len()],
        };
        let mut count = 0;
        // Without branches: a gauge falls as often as it rises.
        for index in 1..values.len() {
            resets.lost[count] = values[index - 1];
            count += usize::from(is_reset(index));
            resets.counts[index] = count;
        }
        resets.lost.truncate(count);
        resets
    }

    /// The values before the resets between two samples.
    pub(super) fn between(&self, first: usize, last: usize) -> &[f64] {
        let count = |sample: usize| self.counts.get(sample).copied().unwrap_or(0);
        &self.lost[count(first)..count(last)]
    }
}

/// Most counters aren't reset within a query's time; without a way out of the loop many samples are compared at once.
fn is_rising(values: &[f64]) -> bool {
    let pairs = values.iter().zip(values.get(1..).unwrap_or_default());
    pairs.fold(true, |rises, (before, value)| rises & (value >= before))
}
