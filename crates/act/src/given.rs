//! When an order was given, by the clock of this host.
//!
//! Orders are dated by their server. Where that is another machine, its time is known here only within a round trip, and
//! what happened within that time came neither surely before the order nor surely after it.

use pitcrew_model::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    earliest: Timestamp,
    latest: Timestamp,
}

impl Given {
    /// By a server whose clock is this host's.
    #[must_use]
    pub fn exactly(at: Timestamp) -> Self {
        Self::between(at, at)
    }

    #[must_use]
    pub fn between(earliest: Timestamp, latest: Timestamp) -> Self {
        debug_assert!(earliest <= latest);
        Self { earliest, latest }
    }

    pub(crate) fn earliest(self) -> Timestamp {
        self.earliest
    }

    pub(crate) fn latest(self) -> Timestamp {
        self.latest
    }

    /// Whether the order was given before what happened at `at`; `None`: that can't be told.
    #[must_use]
    pub fn is_before(self, at: Timestamp) -> Option<bool> {
        if at >= self.latest {
            return Some(true);
        }
        (at < self.earliest).then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_within_the_uncertainty_is_neither_before_nor_after() {
        let at = Timestamp::from_millis;
        let given = Given::between(at(100), at(200));
        let told = [99, 100, 199, 200].map(|ms| given.is_before(at(ms)));
        assert_eq!(told, [Some(false), None, None, Some(true)]);
        assert_eq!(Given::exactly(at(100)).is_before(at(99)), Some(false));
    }
}
