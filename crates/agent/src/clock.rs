//! The server's time, as far as it can be known here.
//!
//! A beat that was sent at one moment and answered at another says that the server's time lies between: the answer's
//! own and that plus the round trip. Observations are dated by the earliest it can be, so that no answer looks as if it was
//! asked after a repair that it preceded. Orders expire by the latest it can be, so that one that lay in a frozen
//! connection is not obeyed late. Boot time counts, which goes on while the host sleeps; the host's wall clock is
//! nobody's measure.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use pitcrew_act::Given;
use pitcrew_model::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The year 5138: nobody's clock, and still far from the end of numbers.
const SERVER_MS_MAX: u64 = 100_000_000_000_000;

#[derive(Debug, Default)]
pub(crate) struct ServerTime(Mutex<Option<Exchange>>);

/// A beat and its answer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Exchange {
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

    pub(crate) fn exchange(&self) -> Option<Exchange> {
        *self.lock()
    }

    /// The same from another process of this boot, which may say anything.
    pub(crate) fn learn_exchange(&self, said: Exchange) {
        if said.answered_ms <= boot_ms() && said.server_ms <= SERVER_MS_MAX {
            let server = Timestamp::from_millis(said.server_ms);
            self.learn(said.sent_ms, said.answered_ms, server);
        }
    }

    /// `None` before the first answer.
    pub(crate) fn earliest(&self, at_ms: u64) -> Option<Timestamp> {
        let mut known = self.lock();
        let known = known.as_mut()?;
        let ms = known.server_ms + at_ms.saturating_sub(known.answered_ms);
        known.given_ms = known.given_ms.max(ms);
        Some(Timestamp::from_millis(known.given_ms))
    }

    /// When the server's clock showed `server`, by this host's own clock as it stands now.
    pub(crate) fn here(&self, server: Timestamp) -> Option<Given> {
        let ((earliest, latest), wall) = (self.now()?, wall_now());
        let here = |now: Timestamp| wall - now.since(server);
        Some(Given::between(here(latest), here(earliest)))
    }

    /// The earliest and the latest that the server's clock can show now.
    pub(crate) fn now(&self) -> Option<(Timestamp, Timestamp)> {
        let known = (*self.lock())?;
        let at_ms = boot_ms();
        let shown =
            |beat_ms| Timestamp::from_millis(known.server_ms + at_ms.saturating_sub(beat_ms));
        Some((shown(known.answered_ms), shown(known.sent_ms)))
    }

    pub(crate) fn latest(&self, at_ms: u64) -> Option<Timestamp> {
        let known = (*self.lock())?;
        let ms = known.server_ms + at_ms.saturating_sub(known.sent_ms);
        Some(Timestamp::from_millis(ms))
    }
}

/// By this host's own clock.
pub(crate) fn wall_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    Timestamp::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
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
    fn the_servers_moments_are_found_on_this_hosts_clock_however_far_the_two_are_apart() {
        let (time, now) = (ServerTime::default(), boot_ms());
        // A server in 1970, asked ten seconds ago and heard a second later.
        let server = Timestamp::from_millis(70_000);
        time.learn(
            now.saturating_sub(10_000),
            now.saturating_sub(9_000),
            server,
        );
        let before = wall_now();
        let given = time.here(server).unwrap();
        let after = wall_now();
        let at = |seconds, wall| wall - std::time::Duration::from_secs(seconds);
        assert_eq!(given.is_before(at(8, before)), Some(true));
        assert_eq!(given.is_before(at(11, after)), Some(false));
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
