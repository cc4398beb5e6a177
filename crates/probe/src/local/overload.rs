//! Whether the host of the observer itself is overloaded, so that testing doesn't add to it.
//!
//! Then every second round of each test is not asked, and its answer is unknown and says so: late answers would be
//! held against targets, and none at all would look as if nobody watched. The other rounds are asked, because a host that is
//! overloaded by something that hangs needs to be seen.

use std::{
    fs,
    num::NonZero,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::Answer;

/// Load average of one minute for each core: a process waits seven times as long as it runs.
const LOAD_MAX: f64 = 8.0;
/// Share of ten seconds in which nothing at all could run for want of memory, in percent.
const MEMORY_STALL_MAX: f64 = 20.0;
/// Reading it costs as much as a small test.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Overload(Mutex<Option<Read>>);

struct Read {
    at: Instant,
    why: Option<String>,
}

impl Overload {
    /// The answer to a round that is not asked; `number` counts the test's rounds.
    pub(crate) fn spared(&self, number: u64) -> Option<Answer> {
        if number.is_multiple_of(2) {
            return None;
        }
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = match &mut *read {
            Some(read) if read.at.elapsed() < EVERY => read,
            outdated => outdated.insert(Read {
                at: Instant::now(),
                why: look(),
            }),
        };
        let why = read.why.as_ref()?;
        Some(Answer::unknown(format!(
            "not asked: the observer's host is overloaded ({why}), every second round is left out"
        )))
    }
}

fn look() -> Option<String> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    // What can't be read says nothing of an overload.
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    judge(
        &read("/proc/loadavg"),
        cores,
        &read("/proc/pressure/memory"),
    )
}

/// The first number of proc(5)'s loadavg, and `avg10` of `full` in Documentation/accounting/psi.rst of the kernel.
fn judge(loadavg: &str, cores: usize, pressure: &str) -> Option<String> {
    let first = loadavg.split_whitespace().next();
    let load = first.and_then(|word| word.parse::<f64>().ok());
    let cores = f64::from(u32::try_from(cores).ok()?.max(1));
    if let Some(load) = load.filter(|load| load / cores >= LOAD_MAX) {
        return Some(format!("load {load:.0} on {cores:.0} cores"));
    }
    let full = pressure.lines().find_map(|line| line.strip_prefix("full "));
    let mut averages = full?.split_whitespace();
    let average = averages.find_map(|word| word.strip_prefix("avg10=")?.parse::<f64>().ok())?;
    (average >= MEMORY_STALL_MAX)
        .then(|| format!("it stood still for want of memory {average:.0} % of the time"))
}

#[cfg(test)]
mod tests {
    use pitcrew_model::Verdict;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_host_is_overloaded_by_its_run_queue_or_by_want_of_memory() {
        let idle =
            "some avg10=90.00 avg60=1 avg300=1 total=1\nfull avg10=0.00 avg60=0 avg300=0 total=0";
        let thrashing = "some avg10=90.00 total=1\nfull avg10=35.50 avg60=0 avg300=0 total=0";
        assert_eq!(judge("15.9 1 1 1/2 3", 2, idle), None);
        assert!(judge("16.0 1 1 1/2 3", 2, idle).is_some());
        assert!(judge("0.1 1 1 1/2 3", 2, thrashing).is_some());
        assert_eq!(judge("", 2, ""), None);
    }

    #[test]
    fn every_second_round_is_left_out_and_says_why() {
        let overload = Overload(Mutex::new(Some(Read {
            at: Instant::now() + Duration::from_secs(3_600),
            why: Some("load 99 on 2 cores".to_owned()),
        })));
        assert_eq!(overload.spared(2), None);
        let answer = overload.spared(3).unwrap();
        assert_eq!(answer.verdict, Verdict::Unknown);
        assert!(answer.evidence.as_str().contains("load 99"));
    }

    proptest! {
        #[test]
        fn no_text_of_the_kernel_panics_the_reader(load in ".{0,40}", pressure in "(full )?.{0,40}") {
            judge(&load, 2, &pressure);
        }
    }
}
