//! Loads a store with realistic scrapes and measures it against its goals:
//! `cargo run --release -p pitcrew-tsdb --example load -- [--rounded] SERIES [SCRAPES]`
//!
//! Targets expose what a service exposes: of 1,000 series 600 belong to histograms whose handlers are busy in very
//! different measure, the others are constants, counters and gauges. Of 1,000 series 90 have fractions of full
//! precision; `--rounded` leaves them three decimals. Figures are CPU seconds of this process, all threads; the decoder and HTTP are not in them.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod measure;
mod target;

use std::{
    ops::ControlFlow,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Context;
use measure::{Meter, resident_bytes, row};
use pitcrew_promql::{
    eval::{self, Time, evaluate},
    labels::Matcher,
    parser::parse,
    storage::{Found, Selection, Storage},
};
use pitcrew_tsdb::{Batch, Options, Sample, Store, labels_of_key};
use target::Target;

const SCRAPE_MS: i64 = 15_000;
const START_MS: i64 = 1_700_000_000_000 / 86_400_000 * 86_400_000;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    if args.next_if(|arg| arg == "--restart").is_some() {
        return restart(args.next().context("a directory was expected")?.as_ref());
    }
    let rounded = args.next_if(|arg| arg == "--rounded").is_some();
    let mut number = |default: usize| -> anyhow::Result<usize> {
        args.next().map_or(Ok(default), |text| {
            text.parse().context("a number was expected")
        })
    };
    let series = number(10_000)?;
    let scrapes = number(480)?;
    let directory = tempfile::tempdir_in(std::env::var("LOAD_DIR").as_deref().unwrap_or("/tmp"))?;
    println!(
        "{series} series, {scrapes} scrapes of {} s",
        SCRAPE_MS / 1000
    );
    load(directory.path(), series, scrapes, rounded)?;
    // In a process of its own, whose memory is that of the restart alone.
    let restarted = Command::new(std::env::current_exe()?)
        .arg("--restart")
        .arg(directory.path())
        .status()?;
    anyhow::ensure!(restarted.success(), "the restart failed");
    if std::env::var("LOAD_KEEP").is_ok() {
        println!("{}", directory.keep().display());
    }
    Ok(())
}

fn options(directory: &Path) -> Options {
    let mut options = Options::new(directory);
    options.limits.source_series = usize::MAX;
    options
}

/// Scrapes all targets again and again, with upkeep as it is due.
fn load(directory: &Path, series: usize, scrapes: usize, rounded: bool) -> anyhow::Result<()> {
    let before = resident_bytes()?;
    let store = Store::open(options(directory), START_MS)?;
    let mut targets: Vec<Target> = (0..series.div_ceil(Target::SERIES))
        .map(|number| Target::new(number, rounded))
        .collect();
    let series = targets.len() * Target::SERIES;
    let of_targets = resident_bytes()?.saturating_sub(before);
    let (mut append, mut upkeep) = (Meter::default(), Meter::default());
    let mut resident = 0;
    let mut now_ms = START_MS;
    for scrape in 0..scrapes {
        now_ms = START_MS + SCRAPE_MS * i64::try_from(scrape)?;
        let mut first = Meter::default();
        for target in &mut targets {
            target.advance();
            let samples = target.samples(now_ms);
            let meter = if scrape == 0 { &mut first } else { &mut append };
            meter.measure(samples.len(), || scrape_target(&store, &samples, now_ms))?;
        }
        if scrape == 0 {
            row("new series a CPU-second", first.rate(), 200_000.0);
        }
        store.sync()?;
        // The fullest moment is just before a seal.
        resident = resident.max(resident_bytes()?);
        let sealed = upkeep.measure(0, || -> anyhow::Result<u64> {
            let mut sealed = 0;
            loop {
                let done = store.maintain(now_ms)?;
                sealed += done.sealed_samples;
                if !done.more {
                    return Ok(sealed);
                }
            }
        })?;
        upkeep.count(usize::try_from(sealed)?);
    }
    row(
        "known series, samples a CPU-second",
        append.rate(),
        3_000_000.0,
    );
    row(
        "sealed and merged, samples a CPU-second",
        upkeep.rate(),
        3_000_000.0,
    );
    let own = resident.saturating_sub(before + of_targets);
    row(
        "bytes a series in memory (goal: at most)",
        own as f64 / series as f64,
        600.0,
    );
    let estimate = store.statistics();
    println!("  {estimate:?}");
    query(&store, now_ms, series, scrapes)?;
    // What a day brings: all spans of merging are over.
    while store.maintain(now_ms + 2 * 86_400_000)?.more {}
    let merged = store.statistics();
    let per_sample = merged.part_bytes as f64 / merged.part_samples.max(1) as f64;
    row(
        "bytes a sample on disk, merged (goal: at most)",
        per_sample,
        0.6,
    );
    println!("  {merged:?}");
    query(&store, now_ms, series, scrapes)?;
    now_ms += SCRAPE_MS;
    for target in &mut targets {
        target.advance();
        scrape_target(&store, &target.samples(now_ms), now_ms)?;
    }
    pauses(&store, &targets[0], now_ms)?;
    // Those appends are a millisecond apart.
    now_ms += 10 * SCRAPE_MS;
    // Something for the log: a head that isn't sealed.
    for _ in 0..20 {
        now_ms += SCRAPE_MS;
        for target in &mut targets {
            target.advance();
            scrape_target(&store, &target.samples(now_ms), now_ms)?;
        }
    }
    Ok(())
}

/// How long appends wait while all series are sealed.
fn pauses(store: &Store, target: &Target, now_ms: i64) -> anyhow::Result<()> {
    let mut longest = Duration::ZERO;
    let mut count = 0;
    std::thread::scope(|scope| {
        let sealing = scope.spawn(|| store.seal(now_ms));
        while !sealing.is_finished() {
            count += 1;
            let begun = Instant::now();
            scrape_target(store, &target.samples(now_ms + count), now_ms)?;
            longest = longest.max(begun.elapsed());
        }
        sealing
            .join()
            .map_err(|_| anyhow::anyhow!("the seal panicked"))??;
        anyhow::Ok(())
    })?;
    println!(
        "  {count} appends while all was sealed; the longest took {:.1} ms",
        longest.as_secs_f64() * 1000.0
    );
    Ok(())
}

fn scrape_target(store: &Store, samples: &[Sample<'_>], now_ms: i64) -> anyhow::Result<()> {
    let batch = Batch {
        source: "load",
        scope: b"load",
        labels_of: &labels_of_key,
        samples,
        exemplars: &[],
        metadata: &[],
    };
    let accepted = store.append(&batch, now_ms)?;
    let kept = usize::try_from(accepted.samples)?;
    anyhow::ensure!(
        kept == samples.len(),
        "not everything was taken: {accepted:?}"
    );
    Ok(())
}

fn query(store: &Store, end_ms: i64, series: usize, scrapes: usize) -> anyhow::Result<()> {
    // 16 million samples, or all there are; 160 steps.
    let deep = (16_000_000 / series).clamp(1, scrapes);
    let start_ms = end_ms - SCRAPE_MS * i64::try_from(deep)? + SCRAPE_MS;
    let expr = parse("sum(rate({__name__=~\".+\"}[5m]))")?;
    let time = Time::Range {
        start_ms: (start_ms + 300_000).min(end_ms),
        end_ms,
        step_ms: ((end_ms - start_ms - 300_000) / 160).max(1000),
    };
    let options = eval::Options::default();
    for which in ["sum(rate({all}[5m])), first time", "the same again"] {
        let mut meter = Meter::default();
        let answer = meter.measure(0, || evaluate(store, &expr, time, &options));
        answer.with_context(|| format!("{which} failed"))?;
        let what = format!("{which}: CPU-s (goal: at most)");
        row(&what, meter.seconds(), 0.3 * (deep * series) as f64 / 16e6);
    }
    let mut meter = Meter::default();
    let matchers = [Matcher::equal("__name__", "up")];
    let selection = Selection {
        matchers: &matchers,
        start_ms,
        end_ms,
    };
    let mut samples = 0;
    meter.measure(0, || {
        store.select(&selection, &mut |found| {
            if let Found::Series(series) = found {
                samples += series.floats.values.len();
            }
            ControlFlow::Continue(())
        })
    })?;
    println!("  up: {samples} samples in {:.3} CPU-s", meter.seconds());
    let mut meter = Meter::default();
    let matchers: [Matcher; 0] = [];
    let selection = Selection {
        matchers: &matchers,
        start_ms,
        end_ms,
    };
    let mut samples = 0;
    meter.measure(0, || {
        store.select(&selection, &mut |found| {
            if let Found::Series(series) = found {
                samples += series.floats.values.len();
            }
            ControlFlow::Continue(())
        })
    })?;
    println!(
        "  all: {samples} samples read in {:.3} CPU-s",
        meter.seconds()
    );
    Ok(())
}

fn restart(directory: &Path) -> anyhow::Result<()> {
    let before = resident_bytes()?;
    let mut meter = Meter::default();
    let store = meter.measure(0, || Store::open(options(directory), START_MS))?;
    let own = resident_bytes()?.saturating_sub(before);
    let held = store.statistics();
    println!(
        "  restart with {} series and {} samples in the log: {:.2} s, {:.2} CPU-s",
        held.series,
        held.head_samples,
        meter.elapsed_seconds(),
        meter.seconds()
    );
    let million = meter.elapsed_seconds() * 1e6 / held.series as f64;
    row("restart, s a million series (goal: at most)", million, 10.0);
    let each = own as f64 / held.series as f64;
    row(
        "bytes a series after a restart (goal: at most)",
        each,
        600.0,
    );
    Ok(())
}
