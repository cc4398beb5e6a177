//! Processes of this host as `/proc` shows them.
//!
//! A process number says nothing by itself: numbers are given again. A process is its number *and* its
//! start time, and both only within one boot. Nothing here changes anything.

use std::{
    fs, io,
    io::Read as _,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pitcrew_model::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Unit of `starttime` in `/proc/PID/stat`: `USER_HZ`, 100 on every architecture that Pitcrew runs on.
const TICK: Duration = Duration::from_millis(10);

/// Environments larger than this are cut off; the markers are its first entries.
const ENVIRON_BYTES_MAX: u64 = 4 << 20;

/// One process within one boot of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Field 22 of `/proc/PID/stat`; first, so that the oldest sorts first.
    pub(crate) started_ticks: u64,
    pub(crate) pid: u32,
}

/// What of `/proc/PID/stat` is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) identity: Identity,
    /// `R`, `S`, `D`, `T`, `Z`, …
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) session: u32,
}

impl Stat {
    /// Whether it runs: what has exited and waits to be reaped doesn't.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

impl Identity {
    pub(crate) fn of(pid: u32) -> Option<Self> {
        stat(pid).map(|stat| stat.identity)
    }

    pub(crate) fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.identity == *self && stat.is_alive())
    }

    /// When it started, to about 20 ms, in the wall clock as it stands now.
    pub(crate) fn started_at(&self) -> Timestamp {
        let boot = clock_gettime(ClockId::Boottime);
        let up = Duration::new(
            u64::try_from(boot.tv_sec).unwrap_or(0),
            u32::try_from(boot.tv_nsec).unwrap_or(0),
        );
        let ticks_ms = u64::try_from(TICK.as_millis()).expect("a tick is 10 ms");
        let age = up.saturating_sub(Duration::from_millis(
            self.started_ticks.saturating_mul(ticks_ms),
        ));
        now() - age
    }
}

/// The wall clock. Processes are dated by the kernel, so this crate reads the same clock beside it.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Microseconds of the monotonic clock in the wall clock as it stands now.
pub(crate) fn wall_of_monotonic(us: u64) -> Timestamp {
    let time = clock_gettime(ClockId::Monotonic);
    let now_us = u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000;
    now() - Duration::from_micros(now_us.saturating_sub(us))
}

/// `None`: there is no such process (or it can't be seen).
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The program's name, in parentheses, may hold anything, also `)`: fields are counted after the last one.
fn parse_stat(pid: u32, text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let started_ticks = fields.nth(15)?.parse().ok()?;
    Some(Stat {
        identity: Identity { started_ticks, pid },
        state,
        parent,
        group,
        session,
    })
}

/// Every process that can be seen and is alive.
pub(crate) fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .filter(Stat::is_alive)
        .collect()
}

/// The values of `names` in the environment that the process was started with. A program that writes its
/// title over its environment (nginx, Redis, PostgreSQL do) has none.
pub(crate) fn environment<const N: usize>(pid: u32, names: [&str; N]) -> [Option<String>; N] {
    let mut bytes = Vec::new();
    let read = fs::File::open(format!("/proc/{pid}/environ"))
        .and_then(|file| file.take(ENVIRON_BYTES_MAX).read_to_end(&mut bytes));
    if read.is_err() {
        bytes.clear();
    }
    names.map(|name| {
        bytes.split(|byte| *byte == 0).find_map(|entry| {
            let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            String::from_utf8(value.to_vec()).ok()
        })
    })
}

/// The program's file. A file replaced since (by an upgrade) still counts under its name.
pub(crate) fn exe(pid: u32) -> Option<PathBuf> {
    let link = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(
        match link.to_str().and_then(|t| t.strip_suffix(" (deleted)")) {
            Some(path) => PathBuf::from(path),
            None => link,
        },
    )
}

/// Differs after each boot, so that process numbers of an earlier boot are never taken for today's.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// `roots` and everything below them, roots first.
pub(crate) fn tree(processes: &[Stat], roots: &[u32]) -> Vec<Identity> {
    let mut found: Vec<Identity> = processes
        .iter()
        .filter(|stat| roots.contains(&stat.identity.pid))
        .map(|stat| stat.identity)
        .collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        for stat in processes {
            if stat.parent == parent.pid && !found.contains(&stat.identity) {
                found.push(stat.identity);
            }
        }
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_program_calls_itself() {
        let line = "42 (a) b) (x) S 7 42 40 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 9876 1 2 3";
        let stat = parse_stat(42, line).unwrap();
        assert_eq!((stat.parent, stat.group, stat.session), (7, 42, 40));
        assert_eq!((stat.identity.started_ticks, stat.state), (9_876, 'S'));
    }

    #[test]
    fn this_process_is_alive_started_a_moment_ago_and_has_its_environment() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        let age = now().since(me.started_at());
        assert!(age < Duration::from_secs(3_600), "{age:?}");
        let [path, none] = environment(me.pid, ["PATH", "PITCREW_NO_SUCH"]);
        assert_eq!((path, none), (std::env::var("PATH").ok(), None));
        assert_eq!(exe(me.pid), std::env::current_exe().ok());
    }

    #[test]
    fn another_start_time_under_the_same_number_is_another_process() {
        let mut other = Identity::of(std::process::id()).unwrap();
        other.started_ticks += 1;
        assert!(!other.is_alive());
    }

    proptest! {
        #[test]
        fn no_stat_line_panics_the_reader(line in ".{0,200}") {
            parse_stat(1, &line);
        }
    }
}
