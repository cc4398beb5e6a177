//! Random writes, seals, merges, restarts and backups in any order: the store says exactly what was written.

use std::path::{Path, PathBuf};

use pitcrew_promql::labels::{MatchOp, Matcher};
use pitcrew_tsdb::{Options, Store};
use proptest::{collection::vec, prelude::*};

use crate::world::{
    Kept, NOW_MS, Truth, Written, append, differences, everything, maintain, options, scratch,
    written,
};

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Append(Vec<Written>),
    Seal,
    Maintain,
    Restart,
    /// Goes on with a backup of the store.
    Backup,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => vec(written(), 1..30).prop_map(Step::Append),
        3 => Just(Step::Seal),
        1 => Just(Step::Maintain),
        1 => Just(Step::Restart),
        1 => Just(Step::Backup),
    ]
}

fn matchers() -> Vec<Vec<Matcher>> {
    let matcher = |name: &str, op, value: &str| Matcher::new(name, op, value).expect("a pattern");
    vec![
        vec![matcher("__name__", MatchOp::Equal, "b")],
        vec![matcher("job", MatchOp::NotEqual, "x")],
        vec![matcher("number", MatchOp::Matches, "1.*|2")],
        vec![
            matcher("number", MatchOp::Matches, "1|2|77"),
            matcher("job", MatchOp::NotMatches, "y.*"),
        ],
        vec![
            matcher("absent", MatchOp::Equal, ""),
            matcher("__name__", MatchOp::Matches, "a.+|c"),
        ],
        vec![matcher("number", MatchOp::NotEqual, "")],
        vec![matcher("absent", MatchOp::NotEqual, "")],
    ]
}

fn check(store: &Store, truth: &Truth) {
    let (found, warnings) = everything(store, &[]);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(differences(&found, truth), Vec::<String>::new());
    for matchers in matchers() {
        let mut expected = truth.clone();
        expected.retain(|(labels, _), _| {
            matchers
                .iter()
                .all(|matcher| matcher.matches(labels.get(matcher.name())))
        });
        let found = everything(store, &matchers).0;
        assert_eq!(
            differences(&found, &expected),
            Vec::<String>::new(),
            "{matchers:?}"
        );
    }
}

/// Goes through the steps, with a look at the store after each. The time at the end, and the store's directory.
pub(crate) fn run(
    directory: &Path,
    steps: Vec<Step>,
    options: &dyn Fn(&Path) -> Options,
    look: &dyn Fn(&Store, &Truth),
) -> (Truth, i64, PathBuf) {
    let mut path = directory.join("0");
    let mut store = Store::open(options(&path), NOW_MS).expect("a store");
    let mut truth = Truth::new();
    let mut now_ms = NOW_MS;
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Append(written) => {
                let before = truth.len() as u64;
                let count = written.len() as u64;
                let accepted = append(&store, &written, &mut truth).expect("samples are taken");
                assert_eq!(accepted.refused.count, 0);
                assert_eq!(accepted.samples + accepted.duplicates, count);
                // What is in a part already is only found out when it is read.
                assert!(accepted.samples >= truth.len() as u64 - before);
            }
            Step::Seal => {
                store.seal(now_ms).expect("a part is written");
            }
            Step::Maintain => {
                now_ms += 3_600_000;
                maintain(&store, now_ms).expect("upkeep works");
            }
            Step::Restart => {
                drop(store);
                store = Store::open(options(&path), now_ms).expect("the same store");
                assert_eq!(store.notices(), Vec::<String>::new());
            }
            Step::Backup => {
                path = directory.join((number + 1).to_string());
                store.backup(&path).expect("a backup is made");
                drop(store);
                store = Store::open(options(&path), now_ms).expect("the same store");
            }
        }
        look(&store, &truth);
    }
    (truth, now_ms, path)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_is_written_is_read_back_bit_for_bit(steps in vec(step(), 1..25)) {
        run(scratch().path(), steps, &options, &check);
    }
}

/// History as it is imported: series after series, forwards and backwards, some of it twice.
fn history() -> impl Strategy<Value = Vec<Vec<Written>>> {
    let run = (
        0u8..4,
        0i64..7_000,
        prop_oneof![Just(-1i64), Just(1), Just(9)],
    );
    vec((run, 1i64..500, 1usize..400), 1..8).prop_map(|runs| {
        let mut batches = Vec::new();
        for ((series, first, step), count, in_batch) in runs {
            let samples: Vec<Written> = (0..count)
                .map(|index| Written {
                    series,
                    timestamp_ms: NOW_MS - (first + index * step).rem_euclid(7_000) * 1_000,
                    start_ms: 0,
                    value: Kept::Float((index as f64).to_bits()),
                })
                .collect();
            batches.extend(samples.chunks(in_batch).map(<[_]>::to_vec));
        }
        batches
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn times_may_come_in_any_order_and_the_first_sample_of_an_instant_stays(batches in history()) {
        let directory = scratch();
        let store = Store::open(options(directory.path()), NOW_MS).unwrap();
        let mut truth = Truth::new();
        for batch in &batches {
            let before = truth.len() as u64;
            let accepted = append(&store, batch, &mut truth).unwrap();
            prop_assert_eq!(accepted.samples, truth.len() as u64 - before);
        }
        for _ in ["in the head", "in a part"] {
            let (found, warnings) = everything(&store, &[]);
            prop_assert_eq!(warnings, Vec::<String>::new());
            prop_assert_eq!(differences(&found, &truth), Vec::<String>::new());
            store.seal(NOW_MS).unwrap();
        }
    }
}
