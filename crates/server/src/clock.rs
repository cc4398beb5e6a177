//! Wall time that never goes back within one run, and the notice when it can't be trusted.
//!
//! [`Clock::now`] is one reading of the wall clock plus the monotonic clock since. [`PauseDetector`] compares
//! the clocks: a gap between two heartbeats (the process was stopped), boot time running away from monotonic
//! time (the machine slept) or wall time running away from both (somebody set it). After a sleep or a step
//! forward the clock is moved on; a step back is not followed, because deadlines of orders and holds would come
//! alive again: the clock stays ahead until the next start, and the log says so. What other programs date, metrics
//! above all, goes by [`wall`], which is the wall clock wherever it was set.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pitcrew_model::Timestamp;
use rustix::time::{ClockId, clock_gettime};

#[derive(Clone, Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// Wall time at `started`, moved on by every step.
    base_ms: Arc<AtomicU64>,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            base_ms: Arc::new(AtomicU64::new(wall_ms())),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.base_ms.load(Ordering::Relaxed)) + self.started.elapsed()
    }

    /// By how much it is ahead of the wall clock since somebody set that back.
    pub(crate) fn ahead(&self) -> Duration {
        self.now().since(wall())
    }

    pub(crate) fn move_on(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.base_ms.fetch_add(millis, Ordering::Relaxed);
    }
}

/// What the wall clock says.
pub(crate) fn wall() -> Timestamp {
    Timestamp::from_millis(wall_ms())
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// One reading of every clock there is, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Reading {
    monotonic_ms: u64,
    boot_ms: u64,
    wall_ms: u64,
}

impl Reading {
    fn take() -> Self {
        let millis = |id| {
            let time = clock_gettime(id);
            u64::try_from(time.tv_sec).unwrap_or(0) * 1_000
                + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
        };
        Self {
            monotonic_ms: millis(ClockId::Monotonic),
            boot_ms: millis(ClockId::Boottime),
            wall_ms: wall_ms(),
        }
    }
}

/// What two readings say about the time between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gap {
    /// Without this process running, or by a step of the wall clock.
    paused_ms: u64,
    /// Behind the wall clock by now.
    behind_ms: u64,
    /// The wall clock was set back by this much.
    back_ms: u64,
}

/// A pause longer than this may hide anything.
const PAUSE_MS: u64 = 5_000;
/// NTP slews below half a second; more is a step.
const STEP_MS: u64 = 1_000;

fn gap(before: Reading, after: Reading) -> Gap {
    let monotonic_ms = after.monotonic_ms.saturating_sub(before.monotonic_ms);
    let boot_ms = after.boot_ms.saturating_sub(before.boot_ms);
    // Two clocks are never read in the same instant: a difference of a millisecond is none.
    let slept_ms = boot_ms.saturating_sub(monotonic_ms);
    let slept_ms = if slept_ms > STEP_MS { slept_ms } else { 0 };
    let wall_forward_ms = after.wall_ms.saturating_sub(before.wall_ms);
    let stepped_ms = wall_forward_ms.saturating_sub(boot_ms);
    let expected_wall_ms = before.wall_ms + boot_ms;
    let back_ms = expected_wall_ms.saturating_sub(after.wall_ms);
    let stepped_ms = if stepped_ms > STEP_MS { stepped_ms } else { 0 };
    let back_ms = if back_ms > STEP_MS { back_ms } else { 0 };
    let paused_ms = if boot_ms > PAUSE_MS { boot_ms } else { 0 };
    Gap {
        paused_ms: paused_ms.max(stepped_ms).max(back_ms),
        behind_ms: slept_ms + stepped_ms,
        back_ms,
    }
}

/// Told of every heartbeat of the engine's thread, which beats at least once a second.
pub(crate) struct PauseDetector {
    clock: Clock,
    last: Reading,
}

impl PauseDetector {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            last: Reading::take(),
        }
    }

    /// How long the process was away since the last heartbeat, if that is long enough to matter.
    pub(crate) fn heartbeat(&mut self) -> Option<Duration> {
        let reading = Reading::take();
        let gap = gap(self.last, reading);
        self.last = reading;
        if gap.behind_ms > 0 {
            self.clock.move_on(Duration::from_millis(gap.behind_ms));
        }
        if gap.back_ms > 0 {
            tracing::warn!(
                back_ms = gap.back_ms,
                "the wall clock was set back; times shown stay ahead of it until the next start"
            );
        }
        (gap.paused_ms > 0).then(|| Duration::from_millis(gap.paused_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Reading = Reading {
        monotonic_ms: 1_000,
        boot_ms: 50_000,
        wall_ms: 9_000_000,
    };

    fn after(monotonic_ms: u64, boot_ms: u64, wall_ms: u64) -> Gap {
        gap(
            BEFORE,
            Reading {
                monotonic_ms: BEFORE.monotonic_ms + monotonic_ms,
                boot_ms: BEFORE.boot_ms + boot_ms,
                wall_ms: BEFORE.wall_ms + wall_ms,
            },
        )
    }

    #[test]
    fn a_second_between_heartbeats_is_no_pause() {
        assert_eq!(after(1_000, 1_000, 1_000), Gap::default());
        assert_eq!(after(4_900, 4_900, 4_700), Gap::default());
    }

    #[test]
    fn a_stopped_process_was_away_but_its_clock_is_right() {
        let stopped = after(60_000, 60_000, 60_000);
        assert_eq!((stopped.paused_ms, stopped.behind_ms), (60_000, 0));
    }

    #[test]
    fn after_the_machine_slept_the_clock_is_moved_on() {
        let slept = after(500, 3_600_500, 3_600_500);
        assert_eq!((slept.paused_ms, slept.behind_ms), (3_600_500, 3_600_000));
    }

    #[test]
    fn a_step_forward_is_followed_and_a_step_back_is_not() {
        let forward = after(1_000, 1_000, 61_000);
        assert_eq!((forward.paused_ms, forward.behind_ms), (60_000, 60_000));
        let back = gap(
            BEFORE,
            Reading {
                monotonic_ms: 2_000,
                boot_ms: 51_000,
                wall_ms: 8_000_000,
            },
        );
        assert_eq!((back.paused_ms, back.behind_ms), (1_001_000, 0));
    }

    #[test]
    fn time_only_grows() {
        let clock = Clock::start();
        let first = clock.now();
        clock.move_on(Duration::from_secs(10));
        assert!(clock.now().since(first) >= Duration::from_secs(10));
    }
}
