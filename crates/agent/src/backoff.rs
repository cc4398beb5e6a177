//! How long to wait before the next attempt: longer after each failure, bounded, and never the same on two hosts, so
//! that a server that comes back is not met by all of them at once.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// From a fifth of the current length to all of it.
    pub(crate) fn next(&mut self) -> Duration {
        self.next_below(LONGEST)
    }

    /// The same where something is known to come sooner.
    pub(crate) fn next_below(&mut self, longest: Duration) -> Duration {
        let random = u32::try_from(RandomState::new().hash_one(()) % 1_000).unwrap_or(0);
        self.next_at(f64::from(random) / 1_000.0, longest)
    }

    fn next_at(&mut self, chance: f64, longest: Duration) -> Duration {
        let longest = FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(longest);
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(0.2 + 0.8 * chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_grows_to_a_bound_and_begins_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let seconds: Vec<u64> = (0..8)
            .map(|_| backoff.next_at(1.0, LONGEST).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(backoff.next_at(0.0, LONGEST), Duration::from_secs(6));
        backoff.succeeded();
        assert_eq!(backoff.next_at(1.0, LONGEST), FIRST);
    }
}
