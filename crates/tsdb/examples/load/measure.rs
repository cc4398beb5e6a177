//! Measuring: CPU seconds of this process, elapsed seconds, resident memory.

use std::{fs, time::Instant};

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

/// Adds up what calls took.
#[derive(Default)]
pub(crate) struct Meter {
    cpu_seconds: f64,
    elapsed_seconds: f64,
    count: usize,
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

impl Meter {
    pub(crate) fn measure<T>(&mut self, count: usize, call: impl FnOnce() -> T) -> T {
        let (begun, cpu) = (Instant::now(), cpu_seconds());
        let result = call();
        self.cpu_seconds += cpu_seconds() - cpu;
        self.elapsed_seconds += begun.elapsed().as_secs_f64();
        self.count += count;
        result
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.count += count;
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.cpu_seconds
    }

    pub(crate) fn elapsed_seconds(&self) -> f64 {
        self.elapsed_seconds
    }

    /// Things a CPU second.
    pub(crate) fn rate(&self) -> f64 {
        self.count as f64 / self.cpu_seconds
    }
}

/// What this process has in memory.
pub(crate) fn resident_bytes() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: u64 = kilobytes
        .context("no VmRSS in /proc/self/status")?
        .trim()
        .parse()?;
    Ok(kilobytes * 1024)
}

/// A figure beside its goal.
pub(crate) fn row(what: &str, measured: f64, goal: f64) {
    let ratio = measured / goal;
    println!("{what:50} {measured:>14.2}   goal {goal:>10}   ratio {ratio:.2}");
}
