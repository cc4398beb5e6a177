//! The host itself: its file systems, memory, load and failed units. Judged from plain numbers, which are
//! read in one place and weighed in another.

use std::{
    collections::BTreeSet,
    fs, io,
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use pitcrew_model::{HostTest, Left};
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::clock;
use crate::{Answer, Question, resolve};

pub(crate) async fn ask(question: &Question<'_>, test: &HostTest) -> Answer {
    if let Err(elsewhere) = resolve::on_this_host(question).await {
        return elsewhere;
    }
    match test {
        HostTest::Disk { path, left } => {
            question.progress.reached("its file system does not answer");
            disk(&question.tools.file_systems, path, *left).await
        }
        HostTest::Memory { left } => match fs::read_to_string("/proc/meminfo") {
            Ok(text) => memory(&text, *left),
            Err(error) => unreadable("/proc/meminfo", &error),
        },
        HostTest::Load {
            warn_above,
            fail_above,
        } => match fs::read_to_string("/proc/loadavg") {
            Ok(text) => {
                let cores = thread::available_parallelism().map_or(1, NonZero::get);
                load(&text, cores, *warn_above, *fail_above)
            }
            Err(error) => unreadable("/proc/loadavg", &error),
        },
        HostTest::FailedUnits => {
            question
                .progress
                .waits_elsewhere("systemd does not answer on its bus");
            question.tools.buses.failed_units().await
        }
        HostTest::ClockOffset {
            warn_above,
            fail_above,
        } => clock::ask(question.tools.reference.as_ref(), *warn_above, *fail_above),
        HostTest::KernelErrors { within } => question.tools.kernel_log.judge(*within),
    }
}

fn unreadable(path: &str, error: &io::Error) -> Answer {
    Answer::unknown(format!("{path} can't be read: {error}"))
}

/// Paths whose file system has been asked and has not answered: a dead network file system holds a thread for each
/// question, so there is never a second one.
#[derive(Clone, Default)]
pub(crate) struct FileSystems(Arc<Mutex<BTreeSet<String>>>);

impl FileSystems {
    /// `None` when an earlier question still waits.
    fn begin(&self, path: &str) -> Option<Waiting> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(path.to_owned()).then(|| Waiting {
            file_systems: self.clone(),
            path: path.to_owned(),
        })
    }
}

/// Over when it is dropped, by the thread that asked.
struct Waiting {
    file_systems: FileSystems,
    path: String,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let waiting = self.file_systems.0.lock();
        waiting
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.path);
    }
}

struct Room {
    is_read_only: bool,
    /// In percent of what ordinary users may use; `None` where a file system has no such number.
    bytes_left: Option<u8>,
    inodes_left: Option<u8>,
}

async fn disk(file_systems: &FileSystems, path: &str, left: Left) -> Answer {
    let Some(waiting) = file_systems.begin(path) else {
        return Answer::fail(format!(
            "{path}: its file system has not answered an earlier look"
        ));
    };
    let looking = tokio::task::spawn_blocking(move || {
        let found = statvfs(&*waiting.path);
        drop(waiting);
        found
    });
    match looking.await {
        Ok(Ok(found)) => {
            let used = found.f_blocks.saturating_sub(found.f_bfree);
            let room = Room {
                is_read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
                bytes_left: percent(found.f_bavail, used.saturating_add(found.f_bavail)),
                inodes_left: percent(found.f_favail, found.f_files),
            };
            judge_disk(path, &room, left)
        }
        Ok(Err(error)) => {
            let error = io::Error::from(error);
            match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
                    Answer::unknown(format!("{path}: {error}"))
                }
                _ => Answer::fail(format!("{path}: {error}")),
            }
        }
        Err(error) => Answer::unknown(format!("the look at {path} broke off: {error}")),
    }
}

/// Rounded down; `None` of nothing.
fn percent(part: u64, of: u64) -> Option<u8> {
    let percent = u128::from(part) * 100 / u128::from(Some(of).filter(|of| *of > 0)?);
    u8::try_from(percent.min(100)).ok()
}

fn judge_disk(path: &str, room: &Room, left: Left) -> Answer {
    if room.is_read_only {
        return Answer::fail(format!(
            "{path} takes no writes: its file system is read-only"
        ));
    }
    let parts = [("room", room.bytes_left), ("inodes", room.inodes_left)];
    let known = parts
        .into_iter()
        .filter_map(|(what, left)| Some((left?, what)));
    match known.min() {
        Some((least, what)) => weigh(
            least,
            left,
            &format!("{path} has {least}% of its {what} left"),
        ),
        None => Answer::pass(format!("{path} has no limit of its own")),
    }
}

fn weigh(percent: u8, left: Left, words: &str) -> Answer {
    match percent {
        percent if percent < left.fail_below => {
            Answer::fail(format!("{words}, below {}%", left.fail_below))
        }
        percent if percent < left.warn_below => {
            Answer::warn(format!("{words}, below {}%", left.warn_below))
        }
        _ => Answer::pass(words),
    }
}

/// `MemAvailable` of `MemTotal`, as proc(5) describes them.
fn memory(meminfo: &str, left: Left) -> Answer {
    let kib = |name: &str| {
        let line = meminfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line?.split_whitespace().next()?.parse::<u64>().ok()
    };
    let share = kib("MemAvailable").zip(kib("MemTotal"));
    match share.and_then(|(available, total)| percent(available, total)) {
        Some(percent) => weigh(percent, left, &format!("{percent}% of memory is available")),
        None => Answer::unknown("/proc/meminfo does not say how much memory is available"),
    }
}

/// The second number of proc(5)'s loadavg: of five minutes.
fn load(loadavg: &str, cores: usize, warn_above: u32, fail_above: u32) -> Answer {
    let average = loadavg
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse::<f64>().ok());
    let cores = u32::try_from(cores).ok().filter(|cores| *cores > 0);
    let (Some(average), Some(cores)) = (average.filter(|average| average.is_finite()), cores)
    else {
        return Answer::unknown("/proc/loadavg does not say what the load is");
    };
    let per_core = average / f64::from(cores);
    let words = format!("load {average:.2} on {cores} cores, {per_core:.2} for each");
    if per_core > f64::from(fail_above) {
        return Answer::fail(format!("{words}, above {fail_above}"));
    }
    if per_core > f64::from(warn_above) {
        return Answer::warn(format!("{words}, above {warn_above}"));
    }
    Answer::pass(words)
}

#[cfg(test)]
mod tests {
    use pitcrew_model::Verdict;
    use proptest::prelude::*;

    use super::*;

    const LEFT: Left = Left {
        warn_below: 20,
        fail_below: 10,
    };

    fn verdict(bytes_left: u8, inodes_left: Option<u8>, is_read_only: bool) -> Verdict {
        let room = Room {
            is_read_only,
            bytes_left: Some(bytes_left),
            inodes_left,
        };
        judge_disk("/", &room, LEFT).verdict
    }

    #[test]
    fn a_disk_is_as_good_as_the_scarcer_of_room_and_inodes() {
        assert_eq!(verdict(20, Some(20), false), Verdict::Pass);
        assert_eq!(verdict(19, None, false), Verdict::Warn);
        assert_eq!(verdict(90, Some(9), false), Verdict::Fail);
        assert_eq!(verdict(90, Some(90), true), Verdict::Fail);
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_holds_one_thread_and_fails() {
        let file_systems = FileSystems::default();
        let hanging = file_systems.begin("/").unwrap();
        assert_eq!(disk(&file_systems, "/", LEFT).await.verdict, Verdict::Fail);
        drop(hanging);
        let answer = disk(&file_systems, "/proc/self", LEFT).await;
        assert_ne!(answer.verdict, Verdict::Unknown, "{answer:?}");
        assert_eq!(
            disk(&file_systems, "/no/such", LEFT).await.verdict,
            Verdict::Unknown
        );
    }

    #[test]
    fn memory_is_judged_by_what_is_available() {
        let verdict = |available| {
            let text = format!("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n");
            memory(&text, LEFT).verdict
        };
        let of = [1_000, 199, 99].map(verdict);
        assert_eq!(of, [Verdict::Pass, Verdict::Warn, Verdict::Fail]);
        assert_eq!(
            memory("MemTotal: 0 kB\nMemAvailable: 0 kB", LEFT).verdict,
            Verdict::Unknown
        );
    }

    #[test]
    fn load_is_judged_for_each_core() {
        let verdict = |average| load(&format!("9.9 {average} 0.1 1/2 3"), 4, 2, 4).verdict;
        let of = ["8.0", "8.1", "16.1", "NaN"].map(verdict);
        assert_eq!(
            of,
            [
                Verdict::Pass,
                Verdict::Warn,
                Verdict::Fail,
                Verdict::Unknown
            ]
        );
    }

    proptest! {
        #[test]
        fn no_text_of_the_kernel_panics_the_readers(text in ".{0,80}") {
            memory(&text, LEFT);
            load(&text, 2, 2, 4);
        }
    }
}
