//! kill -9 of a process that writes: everything it was told had been taken is there.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use pitcrew_promql::labels::Labels;
use pitcrew_tsdb::{Options, Sample, Store, Value, key_of};

use crate::world::{NOW_MS, append_samples, everything, scratch};

const DIRECTORY: &str = "PITCREW_TSDB_CRASH_DIRECTORY";
const SERIES: usize = 50;

fn options(directory: PathBuf) -> Options {
    Options {
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
    let store = Store::open(options(directory.into()), NOW_MS).unwrap();
    let begun = Instant::now();
    let first = store.statistics().part_samples + store.statistics().head_samples;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while begun.elapsed() < Duration::from_secs(60) {
                store.maintain(NOW_MS + 1_000_000).unwrap();
            }
        });
        for round in 0.. {
            let number = i64::try_from(first).unwrap() + round;
            let keys: Vec<Vec<u8>> = (0..SERIES).map(|series| key(series, round)).collect();
            let samples: Vec<Sample<'_>> = keys
                .iter()
                .map(|key| Sample {
                    key,
                    timestamp_ms: NOW_MS - 3_600_000 + number,
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
    let directory = scratch();
    let mut taken: Vec<i64> = Vec::new();
    for kill in 0..8 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::writer", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let rounds = 20 + kill * 37;
        let mut here = 0;
        while here < rounds {
            let line = lines.next().expect("the writer goes on").unwrap();
            if let Some(number) = line.strip_prefix("taken ") {
                taken.push(number.parse().unwrap());
                here += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let told = lines.map_while(Result::ok);
        taken.extend(told.filter_map(|line| line.strip_prefix("taken ")?.parse::<i64>().ok()));
        let store = Store::open(options(directory.path().into()), NOW_MS).unwrap();
        let (found, warnings) = everything(&store, &[]);
        assert_eq!(warnings, Vec::<String>::new(), "{:?}", store.notices());
        let mut by_time = std::collections::BTreeMap::<i64, usize>::new();
        for (_, time) in found.keys() {
            *by_time.entry(*time).or_default() += 1;
        }
        for number in &taken {
            let at = NOW_MS - 3_600_000 + number;
            assert_eq!(
                by_time.get(&at),
                Some(&SERIES),
                "round {number}, after kill {kill}"
            );
        }
    }
}
