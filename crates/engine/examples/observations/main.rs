//! What engine and interlock cost together on one core, up to a million targets.
//!
//! `cargo run --release -p pitcrew-engine --example observations -- [SECTION…]`, of `growth`, `idle`, `latency`,
//! `capacity` and `start`; all of them by default. Prints one line of JSON for each figure: what was measured, in
//! which unit, and the goal. Costs are of the thread's processor time, so that others on the machine don't count;
//! each section runs in a process of its own, so that none inherits the memory of another.

#![expect(clippy::print_stdout, reason = "its figures are its output")]

mod capacity;
mod fleet;
mod growth;
mod idle;
mod latency;
mod queue;
mod start;

use std::{process::Command, time::Duration};

use pitcrew_model::{InvalidLabel, InvalidName};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error(transparent)]
    Label(#[from] InvalidLabel),
    #[error("failed to read /proc/self/statm or to run a section: {0}")]
    System(#[from] std::io::Error),
    #[error("there is no section `{0}`: growth, idle, latency, capacity, start")]
    Section(String),
    #[error("failed: {0}")]
    Failed(String),
}

/// Sizes that growth is shown over.
const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
pub(crate) const MILLION: usize = 1_000_000;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["growth", size] => growth::measure(size.parse().unwrap_or(MILLION)),
        ["idle"] => idle::measure(),
        ["latency"] => latency::measure(),
        ["capacity"] => capacity::measure(),
        ["start"] => start::measure(),
        [] => {
            growth_over(&SIZES)?;
            let mut sections = ["idle", "latency", "capacity", "start"].iter();
            sections.try_for_each(|section| {
                print!("{}", apart(&[section])?);
                Ok(())
            })
        }
        ["growth"] => growth_over(&SIZES),
        [other, ..] => Err(Failure::Section(other.to_owned())),
    }
}

/// Each size in a process of its own, and how the cost grows over them.
fn growth_over(sizes: &[usize]) -> Result<(), Failure> {
    let mut costs = Vec::new();
    for size in sizes {
        let printed = apart(&["growth", &size.to_string()])?;
        print!("{printed}");
        costs.extend(cost_of(&printed));
    }
    let (Some(first), Some(last)) = (costs.first(), costs.last()) else {
        return Ok(());
    };
    let unit = "times, from 1k to 1M targets";
    say("growth of an observation's cost", last / first, unit, "≤ 2");
    // A million targets are spread over more pages than a processor knows the places of.
    let largest = sizes.last().map(ToString::to_string).unwrap_or_default();
    let on_huge_pages = run(Command::new(std::env::current_exe()?)
        .args(["growth", &largest])
        .env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"))?;
    if let Some(cost) = cost_of(&on_huge_pages) {
        let unit = "times, with GLIBC_TUNABLES=glibc.malloc.hugetlb=1";
        say("the same on huge pages", cost / first, unit, "≤ 2");
    }
    Ok(())
}

fn cost_of(printed: &str) -> Option<f64> {
    printed.lines().find_map(|line| {
        let (_, rest) = line.split_once("an observation\", \"measured\": ")?;
        rest.split(',').next()?.parse().ok()
    })
}

/// What this program prints when it runs again, for one section.
fn apart(arguments: &[&str]) -> Result<String, Failure> {
    run(Command::new(std::env::current_exe()?).args(arguments))
}

fn run(command: &mut Command) -> Result<String, Failure> {
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Failure::Failed(format!("{command:?}")))
    }
}

pub(crate) fn say(figure: &str, measured: f64, unit: &str, goal: &str) {
    println!(
        "{{\"figure\": \"{figure}\", \"measured\": {measured:.2}, \"unit\": \"{unit}\", \"goal\": \"{goal}\"}}"
    );
}

/// Processor time of this thread so far.
pub(crate) fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds)
        + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
}

/// Pages are 4 KiB on the machines this is measured on.
pub(crate) fn resident_bytes() -> Result<u64, std::io::Error> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    Ok(pages * 4096)
}

/// A count as a number to divide by; exact up to 2⁵³.
pub(crate) fn number(count: usize) -> f64 {
    let (high, low) = (count / 1_000_000, count % 1_000_000);
    f64::from(u32::try_from(high).unwrap_or(u32::MAX)) * 1e6
        + f64::from(u32::try_from(low).unwrap_or(u32::MAX))
}
