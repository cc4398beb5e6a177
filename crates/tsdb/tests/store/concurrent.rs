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
