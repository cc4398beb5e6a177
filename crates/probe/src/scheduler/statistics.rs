//! What the scheduler did, for metrics and for people.

use std::collections::BTreeMap;

use pitcrew_model::Verdict;

/// Totals since the start, and what is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Rounds that ended, by the test's kind and the verdict.
    pub rounds: BTreeMap<(&'static str, Verdict), u64>,
    /// Regular rounds that did not take place, because the one before was still under way or queued,
    /// or because this process did not run.
    pub missed_rounds: u64,
    pub jobs: usize,
    pub in_flight: usize,
    /// Due, waiting for one of the `concurrency` permits.
    pub queued: usize,
    pub lateness: Lateness,
    /// Answers that were given and never reached anybody, because the sink panicked.
    pub lost_observations: u64,
    /// The words of the panic that ended all testing. It is a bug; only a new scheduler tests again.
    pub broken: Option<String>,
}

/// How much later than due regular rounds started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    /// Rounds at most [`Lateness::BOUNDS_MS`] late, each counted once; the last counts what is later still.
    pub counts: [u64; Self::BOUNDS_MS.len() + 1],
    pub sum_ms: u64,
    pub max_ms: u64,
}

impl Lateness {
    pub const BOUNDS_MS: [u64; 8] = [1, 2, 5, 10, 50, 200, 1_000, 5_000];

    pub(super) fn add(&mut self, late_ms: u64) {
        let bucket = Self::BOUNDS_MS.partition_point(|bound| *bound < late_ms);
        self.counts[bucket] += 1;
        self.sum_ms += late_ms;
        self.max_ms = self.max_ms.max(late_ms);
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) rounds: BTreeMap<(&'static str, Verdict), u64>,
    pub(super) missed_rounds: u64,
    pub(super) lateness: Lateness,
}

impl Counters {
    pub(super) fn count(&mut self, kind: &'static str, verdict: Verdict) {
        *self.rounds.entry((kind, verdict)).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_is_counted_in_the_first_bucket_that_holds_it() {
        let mut lateness = Lateness::default();
        for late_ms in [0, 1, 3, 5_001] {
            lateness.add(late_ms);
        }
        assert_eq!(lateness.counts, [2, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert_eq!((lateness.sum_ms, lateness.max_ms), (5_005, 5_001));
    }
}
