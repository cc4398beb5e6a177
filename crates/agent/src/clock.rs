//! The server's time, as far as it can be known here.
//!
//! A beat that was sent at one moment and answered at another says that the server's time lies between: the answer's
//! own and that plus the round trip. Observations are dated by the earliest it can be, so that no answer looks as if it was
//! asked after a repair that it preceded. Orders expire by the latest it can be, so that one that lay in a frozen
//! connection is not obeyed late. Boot time counts, which goes on while the host sleeps; the host's wall clock is
//! nobody's measure.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pitcrew_model::Timestamp;
use rustix::time::{ClockId, clock_gettime};

#[derive(Default)]
pub(crate) struct ServerTime(Mutex<Option<Exchange>>);

#[derive(Clone, Copy)]
struct Exchange {
    sent_ms: u64,
    answered_ms: u64,
    server_ms: u64,
    /// The latest that was ever given out as the earliest: it never goes back.
    given_ms: u64,
}

/// Since the host was started, sleep included.
pub(crate) fn boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000
        + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}

impl ServerTime {
    fn lock(&self) -> MutexGuard<'_, Option<Exchange>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection, maybe to another server with another clock: what was given out before binds nobody.
    pub(crate) fn begin_anew(&self) {
        if let Some(known) = &mut *self.lock() {
            known.given_ms = 0;
        }
    }

    /// An answer to the beat that was sent at `sent_ms`. One that can't be is not heard.
    pub(crate) fn learn(&self, sent_ms: u64, answered_ms: u64, server: Timestamp) {
        if sent_ms > answered_ms {
            return;
        }
        let mut known = self.lock();
        let given_ms = known.map_or(0, |known| known.given_ms);
        *known = Some(Exchange {
            sent_ms,
            answered_ms,
            server_ms: server.as_millis(),
            given_ms,
        });
    }

    /// `None` before the first answer.
    pub(crate) fn earliest(&self, at_ms: u64) -> Option<Timestamp> {
        let mut known = self.lock();
        let known = known.as_mut()?;
        let ms = known.server_ms + at_ms.saturating_sub(known.answered_ms);
        known.given_ms = known.given_ms.max(ms);
        Some(Timestamp::from_millis(known.given_ms))
    }

    pub(crate) fn latest(&self, at_ms: u64) -> Option<Timestamp> {
        let known = (*self.lock())?;
        let ms = known.server_ms + at_ms.saturating_sub(known.sent_ms);
        Some(Timestamp::from_millis(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Option<Timestamp> {
        Some(Timestamp::from_millis(ms))
    }

    #[test]
    fn the_servers_time_lies_between_the_answer_and_the_round_trip_later() {
        let time = ServerTime::default();
        assert_eq!((time.earliest(0), time.latest(0)), (None, None));
        time.learn(1_000, 1_200, Timestamp::from_millis(70_000));
        assert_eq!(
            (time.earliest(1_200), time.latest(1_200)),
            (at(70_000), at(70_200))
        );
        assert_eq!(
            (time.earliest(2_200), time.latest(2_200)),
            (at(71_000), at(71_200))
        );
    }

    #[test]
    fn an_answer_that_lay_in_a_frozen_connection_makes_orders_older_not_younger() {
        let time = ServerTime::default();
        time.learn(1_000, 301_000, Timestamp::from_millis(70_000));
        assert_eq!(time.latest(301_000), at(370_000));
    }

    #[test]
    fn the_earliest_never_goes_back_within_a_connection() {
        let time = ServerTime::default();
        time.learn(0, 0, Timestamp::from_millis(9_000));
        assert_eq!(time.earliest(500), at(9_500));
        time.learn(1_000, 1_000, Timestamp::from_millis(5_000));
        assert_eq!(time.earliest(1_000), at(9_500));
        time.begin_anew();
        assert_eq!(time.earliest(1_000), at(5_000));
    }
}
