//! kill -9 of a process that writes: everything it was told had been taken is there.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use pitcrew_promql::labels::{Labels, MatchOp, Matcher};
use pitcrew_tsdb::{Downsample, Keep, Options, Sample, Store, Value, key_of};

use tempfile::TempDir;

use crate::world::{NOW_MS, append_samples, everything, maintain, scratch};

const DIRECTORY: &str = "PITCREW_TSDB_CRASH_DIRECTORY";
const FIRST: &str = "PITCREW_TSDB_CRASH_FIRST";
/// Whether all that is sealed is at once old enough to be thinned out.
const AGING: &str = "PITCREW_TSDB_CRASH_AGING";
const SERIES: usize = 50;
/// Of so many rounds the last one stays.
const EVERY: i64 = 10;
const FIRST_MS: i64 = NOW_MS - 3_600_000;

fn options(directory: PathBuf, aging: bool) -> Options {
    let select = Matcher::new("series", MatchOp::Matches, "1.").expect("a pattern");
    let keep = Keep {
        select: vec![select],
        for_ms: 1,
    };
    let downsample = Downsample {
        select: Vec::new(),
        after_ms: 0,
        every_ms: EVERY,
    };
    Options {
        keep: aging.then_some(keep).into_iter().collect(),
        downsample: aging.then_some(downsample).into_iter().collect(),
        // Sealed all the time, so that kills come at any moment of it.
        seal_after_ms: 0,
        merge_spans_ms: vec![10],
        ..Options::new(directory)
    }
}

/// Writes until it is killed, and says each round's number once it was taken.
#[test]
#[ignore = "started by the test below, to be killed"]
fn writer() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    let aging = env::var_os(AGING).is_some();
    let store = Store::open(options(directory.into(), aging), NOW_MS).unwrap();
    let begun = Instant::now();
    let first: i64 = env::var(FIRST).unwrap().parse().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while begun.elapsed() < Duration::from_secs(60) {
                store.maintain(NOW_MS + 1_000_000).unwrap();
            }
        });
        for round in 0.. {
            let number = first + round;
            let keys: Vec<Vec<u8>> = (0..SERIES).map(|series| key(series, round)).collect();
            let samples: Vec<Sample<'_>> = keys
                .iter()
                .map(|key| Sample {
                    key,
                    timestamp_ms: FIRST_MS + number,
                    start_ms: 0,
                    value: Value::Float(number as f64),
                })
                .collect();
            append_samples(&store, &samples).unwrap();
            // A parent that is gone ends this, too.
            if writeln!(std::io::stdout(), "taken {number}").is_err()
                || begun.elapsed() > Duration::from_secs(60)
            {
                std::process::exit(1);
            }
        }
    });
}

/// Some series come and go.
fn key(series: usize, round: i64) -> Vec<u8> {
    let generation = if series < SERIES / 2 { 0 } else { round / 20 };
    let (series, generation) = (series.to_string(), generation.to_string());
    key_of(&Labels::from_pairs([
        ("__name__", "written"),
        ("series", &series),
        ("generation", &generation),
    ]))
}

#[test]
fn a_killed_writer_loses_nothing_that_was_taken() {
    kill_again_and_again(false, |found, taken, told| {
        for number in taken {
            assert_eq!(count(found, *number), SERIES, "round {number}, {told}");
        }
    });
}

#[test]
fn a_killed_writer_loses_nothing_that_stays_as_it_ages() {
    let (directory, taken) = kill_again_and_again(true, |found, taken, told| {
        let last_ones = taken.iter().filter(|number| **number % EVERY == 0);
        for number in last_ones {
            // Ten of the series may be gone.
            let of_kept = found.get(number).into_iter().flatten();
            let of_kept = of_kept.filter(|series| series.len() == 1 || !series.starts_with('1'));
            assert_eq!(of_kept.count(), SERIES - 10, "round {number}, {told}");
        }
    });
    let store = Store::open(options(directory.path().into(), true), NOW_MS).unwrap();
    store.seal(NOW_MS).unwrap();
    maintain(&store, NOW_MS + 1_000_000).unwrap();
    let left = everything(&store, &[]).0.len();
    assert!(
        left < taken.len() * (SERIES - 10),
        "{left} are more than stay of all"
    );
}

/// The series that have a sample of a round.
type Found = BTreeMap<i64, Vec<String>>;

fn count(found: &Found, round: i64) -> usize {
    found.get(&round).map_or(0, Vec::len)
}

/// `look` sees what is found after each kill and the rounds that were taken.
fn kill_again_and_again(aging: bool, look: impl Fn(&Found, &[i64], &str)) -> (TempDir, Vec<i64>) {
    let directory = scratch();
    let mut taken: Vec<i64> = Vec::new();
    for kill in 0..8usize {
        let rounds = 20 + kill * 37;
        taken.extend(write_and_kill(
            directory.path(),
            aging,
            kill * 10_000,
            rounds,
        ));
        let options = options(directory.path().into(), aging);
        let store = Store::open(options, NOW_MS).expect("a store after a kill");
        let (samples, warnings) = everything(&store, &[]);
        assert_eq!(warnings, Vec::<String>::new(), "{:?}", store.notices());
        let mut found = Found::new();
        for (labels, time_ms) in samples.keys() {
            let series = labels.get("series").to_owned();
            found.entry(time_ms - FIRST_MS).or_default().push(series);
        }
        look(&found, &taken, &format!("after kill {kill}"));
    }
    (directory, taken)
}

/// The rounds that were taken until the kill, at least so many, numbered from `first` on.
fn write_and_kill(directory: &Path, aging: bool, first: usize, rounds: usize) -> Vec<i64> {
    let mut command = Command::new(env::current_exe().expect("this test"));
    command
        .args(["--exact", "crash::writer", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped());
    if aging {
        command.env(AGING, "1");
    }
    let mut child = command.spawn().expect("a process");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut numbers = lines.map_while(Result::ok).filter_map(|line| {
        let number = line.strip_prefix("taken ")?;
        number.parse::<i64>().ok()
    });
    let mut taken: Vec<i64> = numbers.by_ref().take(rounds).collect();
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert_eq!(taken.len(), rounds, "the writer went on");
    taken.extend(numbers);
    taken
}
