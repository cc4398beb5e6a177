//! Seeds without end: each in a random production with a storm of mishaps, on all cores, until one has a flaw.
//!
//! `cargo xtask soak` builds and starts it. The only things here that are not pure are threads, the clock that
//! measures speed, and what is printed.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a tool: it prints, measures and uses all cores"
)]

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use pitcrew_sim::trial::{Flaw, Trial};

/// Trials to find a shorter plan: a few minutes at most.
const RUNS_MAX: u32 = 2_000;

struct Arguments {
    seeds: u64,
    from: u64,
    minutes: Option<u64>,
    /// Go on after a flaw, to see how many seeds have one.
    all: bool,
    full: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut read = Arguments {
        seeds: 1_000,
        from: 0,
        minutes: None,
        all: false,
        full: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words
                .next()
                .ok_or_else(|| format!("{word} needs a number"))?;
            text.parse::<u64>()
                .map_err(|error| format!("{word} {text}: {error}"))
        };
        match word.as_str() {
            "--seeds" => read.seeds = number()?,
            "--from" => read.from = number()?,
            "--minutes" => read.minutes = Some(number()?),
            "--all" => read.all = true,
            "--full" => read.full = true,
            _ => {
                return Err(format!(
                    "`{word}` is none of --seeds N, --from S, --minutes M, --all, --full"
                ));
            }
        }
    }
    Ok(read)
}

fn main() -> ExitCode {
    match arguments() {
        Ok(arguments) => soak(&arguments),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn soak(arguments: &Arguments) -> ExitCode {
    let started = Instant::now();
    let stop_at = arguments
        .minutes
        .map(|minutes| started + Duration::from_secs(minutes * 60));
    let end = arguments.from.saturating_add(arguments.seeds);
    let (next, done, orders) = (
        AtomicU64::new(arguments.from),
        AtomicU64::new(0),
        AtomicU64::new(0),
    );
    let stop = AtomicBool::new(false);
    let found: Mutex<Vec<(u64, Flaw)>> = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && stop_at.is_none_or(|at| Instant::now() < at)
                {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let flaw = match Trial::of(seed).and_then(|trial| trial.run()) {
                        Ok(verdict) => {
                            let given: u64 = verdict.report.orders.values().sum();
                            orders.fetch_add(given, Ordering::Relaxed);
                            verdict.flaws.into_iter().next()
                        }
                        Err(error) => panic!("seed {seed} could not be simulated: {error}"),
                    };
                    done.fetch_add(1, Ordering::Relaxed);
                    if let Some(flaw) = flaw {
                        if arguments.all {
                            println!("seed {seed}: {flaw}");
                        }
                        stop.store(!arguments.all, Ordering::Relaxed);
                        found
                            .lock()
                            .unwrap_or_else(|dead| dead.into_inner())
                            .push((seed, flaw));
                    }
                }
            });
        }
    });
    let (done, seconds) = (done.into_inner(), started.elapsed().as_secs_f64());
    println!(
        "{done} seeds in {seconds:.0} s, {:.1} a second on {cores} cores; {} orders",
        f64::from(u32::try_from(done).unwrap_or(u32::MAX)) / seconds,
        orders.into_inner()
    );
    let mut found = found.into_inner().unwrap_or_else(|dead| dead.into_inner());
    found.sort_by_key(|(seed, _)| *seed);
    match found.first() {
        None => ExitCode::SUCCESS,
        Some((seed, flaw)) => {
            if !arguments.all || found.len() == 1 {
                tell(*seed, flaw, arguments.full);
            } else {
                println!("{} seeds have a flaw", found.len());
            }
            ExitCode::FAILURE
        }
    }
}

fn tell(seed: u64, flaw: &Flaw, full: bool) {
    println!("seed {seed}: {flaw}");
    let plan = Trial::of(seed).and_then(|trial| {
        if full {
            Ok(trial.plan)
        } else {
            trial.minimise(flaw, RUNS_MAX)
        }
    });
    match plan {
        Ok(plan) => {
            println!("with these {} mishaps:", plan.len());
            for mishap in plan {
                println!("  {:?} {:?}", mishap.at, mishap.what);
            }
        }
        Err(error) => println!("its plan could not be made shorter: {error}"),
    }
    println!("again with: cargo xtask soak --seed {seed}");
}
