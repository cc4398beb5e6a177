//! Queries while samples come in and upkeep runs: nothing that was taken is ever missing.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use pitcrew_promql::labels::Labels;
use pitcrew_tsdb::{Options, Sample, Store, Value, key_of};

use crate::world::{NOW_MS, append_samples, everything, scratch};

const SERIES: usize = 20;
const ROUNDS: i64 = 400;

#[test]
fn a_query_sees_all_that_was_taken_before_it_whatever_is_sealed_meanwhile() {
    let directory = scratch();
    let options = Options {
        seal_after_ms: 0,
        merge_spans_ms: vec![10, 100],
        ..Options::new(directory.path())
    };
    let store = Store::open(options, NOW_MS).unwrap();
    let taken = AtomicI64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                store.maintain(NOW_MS + 1_000_000).unwrap();
                store.sync().unwrap();
            }
        });
        scope.spawn(|| {
            for round in 0..ROUNDS {
                append_round(&store, round);
                taken.store(round + 1, Ordering::SeqCst);
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            let least = taken.load(Ordering::SeqCst);
            let (found, warnings) = everything(&store, &[]);
            assert_eq!(warnings, Vec::<String>::new());
            let times = found.keys().map(|(_, time)| *time - NOW_MS);
            let complete = times.filter(|time| *time < least).count();
            assert_eq!(complete, SERIES * usize::try_from(least).unwrap());
        }
    });
    assert_eq!(
        everything(&store, &[]).0.len(),
        SERIES * usize::try_from(ROUNDS).unwrap()
    );
    assert!(
        store.statistics().parts > 0,
        "something was sealed meanwhile"
    );
}

fn append_round(store: &Store, round: i64) {
    let key = |series: usize| {
        let number = series.to_string();
        key_of(&Labels::from_pairs([
            ("__name__", "x"),
            ("number", &number),
        ]))
    };
    let keys: Vec<Vec<u8>> = (0..SERIES).map(key).collect();
    let samples: Vec<Sample<'_>> = keys
        .iter()
        .map(|key| Sample {
            key,
            timestamp_ms: NOW_MS + round,
            start_ms: 0,
            value: Value::Float(round as f64),
        })
        .collect();
    let accepted = append_samples(store, &samples).expect("samples are taken");
    assert_eq!(accepted.samples, SERIES as u64);
}

/// Pods are replaced by others again and again, and some report once more after they were forgotten.
#[test]
fn series_come_and_go_while_the_catalogue_is_written_anew() {
    let directory = scratch();
    let options = || Options {
        seal_after_ms: 0,
        ..Options::new(directory.path())
    };
    let store = Store::open(options(), NOW_MS).unwrap();
    let done = AtomicBool::new(false);
    let forgotten = std::thread::scope(|scope| {
        let upkeep = scope.spawn(|| {
            let mut forgotten = 0;
            while !done.load(Ordering::SeqCst) || forgotten == 0 {
                forgotten += store.maintain(NOW_MS + 1_000_000).unwrap().forgotten_series;
                if done.load(Ordering::SeqCst) {
                    // A few more seals, should all have gone too fast.
                    append_pods(&store, 99, &[0], i64::try_from(forgotten).unwrap());
                }
            }
            forgotten
        });
        for round in 0..40 {
            let pods: Vec<usize> = (0..1200).collect();
            append_pods(&store, round, &pods, round);
            append_pods(&store, (round - 6).max(0), &[0, 500, 1199], NOW_MS + round);
        }
        done.store(true, Ordering::SeqCst);
        upkeep.join().unwrap()
    });
    assert!(forgotten > 0);
    let expected = everything(&store, &[]);
    assert!(expected.0.len() >= 40 * 1200);
    drop(store);
    let store = Store::open(options(), NOW_MS).unwrap();
    assert_eq!(store.notices(), Vec::<String>::new());
    assert_eq!(everything(&store, &[]), expected);
}

fn append_pods(store: &Store, round: i64, pods: &[usize], value: i64) {
    let key = |pod: &usize| {
        let pod = format!("{round}-{pod}");
        key_of(&Labels::from_pairs([("__name__", "x"), ("pod", &*pod)]))
    };
    let keys: Vec<Vec<u8>> = pods.iter().map(key).collect();
    let samples = keys.iter().map(|key| Sample {
        key,
        timestamp_ms: NOW_MS + value % 1_000_000,
        start_ms: 0,
        value: Value::Float(value as f64),
    });
    let samples: Vec<Sample<'_>> = samples.collect();
    append_samples(store, &samples).expect("samples are taken");
}
