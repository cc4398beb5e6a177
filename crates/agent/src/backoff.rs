//! How long to wait before the next attempt: longer after each failure, bounded, and never the same on two hosts, so
//! that a server that comes back is not met by all of them at once. The first wait after a connection is as the server said
//! when it was there, since it alone knows how many they are.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// A server that says more is not believed.
const RETURN_MAX: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
    return_within: Option<Duration>,
}

impl Backoff {
    pub fn succeeded(&mut self, return_within: Duration) {
        self.failures = 0;
        self.return_within = Some(return_within.clamp(FIRST, RETURN_MAX));
    }

    /// From a fifth of the current length to all of it; the first time after a success anything up to what the server
    /// said.
    pub fn next_wait(&mut self) -> Duration {
        self.next_below(LONGEST)
    }

    /// The same where something is known to come sooner.
    pub(crate) fn next_below(&mut self, longest: Duration) -> Duration {
        let random = u32::try_from(RandomState::new().hash_one(()) % 1_000).unwrap_or(0);
        self.next_at(f64::from(random) / 1_000.0, longest)
    }

    /// Whether the next wait is the one that the server named.
    pub(crate) fn is_returning(&self) -> bool {
        self.return_within.is_some()
    }

    fn next_at(&mut self, chance: f64, longest: Duration) -> Duration {
        if let Some(return_within) = self.return_within.take() {
            return return_within.mul_f64(chance);
        }
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
        backoff.succeeded(Duration::ZERO);
        assert_eq!(backoff.next_at(1.0, LONGEST), FIRST);
        backoff.succeeded(Duration::from_secs(40));
        let halfway = [backoff.next_at(0.5, LONGEST), backoff.next_at(1.0, LONGEST)];
        assert_eq!(halfway, [Duration::from_secs(20), FIRST]);
    }
}
