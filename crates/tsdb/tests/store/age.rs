//! Retention by metric and downsampling: what a plain list says should be left is left, bit for bit, and nothing is
//! written twice.

use std::{collections::BTreeMap, fs, path::Path};

use pitcrew_promql::{
    labels::{Labels, MatchOp, Matcher},
    storage::Selection,
};
use pitcrew_tsdb::{Downsample, Keep, Options, Sample, Store, Value, key_of};
use proptest::{collection::vec, prelude::*};

use crate::{
    properties::{Step, run, step},
    world::{
        Kept, NOW_MS, Truth, Written, append, append_samples, copy, differences, everything, files,
        go_on, labels, maintain, options, scratch,
    },
};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// When all parts are old enough for all rules here.
const LATE_MS: i64 = NOW_MS + 2 * DAY_MS;

fn matches(name: &str, pattern: &str) -> Vec<Matcher> {
    vec![Matcher::new(name, MatchOp::Matches, pattern).expect("a pattern")]
}

fn keep(name: &str, pattern: &str, for_ms: i64) -> Keep {
    let select = matches(name, pattern);
    Keep { select, for_ms }
}

fn every(select: Vec<Matcher>, after_ms: i64, every_ms: i64) -> Downsample {
    Downsample {
        select,
        after_ms,
        every_ms,
    }
}

/// Some rules, each with what is special.
fn with_rules(number: usize, directory: &Path) -> Options {
    let mut options = options(directory);
    options.retention_ms = 1000 * DAY_MS;
    match number {
        // Everything becomes sparser twice.
        0 => {
            options.downsample = vec![
                // Some samples are exactly where intervals meet.
                every(vec![], 3 * HOUR_MS, 250_000),
                every(vec![], HOUR_MS, 50_000),
            ];
        }
        // Some are kept for longer than the others, some for less, some of what stays becomes sparser.
        1 => {
            options.retention_ms = DAY_MS;
            options.keep = vec![
                keep("__name__", "a_.*", 100 * DAY_MS),
                keep("job", "x", 2 * HOUR_MS),
            ];
            options.downsample = vec![every(matches("number", "1.*"), 2 * HOUR_MS, 2 * MINUTE_MS)];
        }
        // Of several rules for a series that with the longest interval decides; some series go early.
        _ => {
            options.keep = vec![keep("__name__", "b", HOUR_MS)];
            options.downsample = vec![
                every(matches("job", "x"), HOUR_MS, 90_000),
                every(matches("__name__", "c"), 0, 45_000),
            ];
        }
    }
    options
}

/// What is left when all rules are in force, by a plain look at each sample.
fn left(truth: &Truth, options: &Options) -> Truth {
    let fits = |select: &[Matcher], labels: &Labels| {
        select
            .iter()
            .all(|matcher| matcher.matches(labels.get(matcher.name())))
    };
    let mut last = BTreeMap::new();
    for ((labels, time_ms), sample) in truth {
        let keep = options.keep.iter().find(|keep| fits(&keep.select, labels));
        if keep.map_or(options.retention_ms, |keep| keep.for_ms) <= DAY_MS {
            continue;
        }
        let rules = options.downsample.iter();
        let rules = rules.filter(|rule| fits(&rule.select, labels));
        let every_ms = rules.map(|rule| rule.every_ms).max().unwrap_or(1);
        // Times are ascending within a series: the last one is what stays.
        let interval = (time_ms + every_ms - 1) / every_ms;
        last.insert((labels.clone(), interval), (*time_ms, sample.clone()));
    }
    let last = last.into_iter();
    last.map(|((labels, _), (time_ms, sample))| ((labels, time_ms), sample))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_should_be_left_always_is_and_in_the_end_nothing_else(
        steps in vec(step(), 1..25),
        number in 0usize..3,
    ) {
        let directory = scratch();
        let written: Vec<Written> = steps
            .iter()
            .flat_map(|step| match step {
                Step::Append(written) => written.clone(),
                _ => Vec::new(),
            })
            .collect();
        let rules = |path: &Path| with_rules(number, path);
        let (truth, _, path) = run(directory.path(), steps, &rules, &|store, truth| {
            let (found, warnings) = everything(store, &[]);
            assert_eq!(warnings, Vec::<String>::new());
            for (key, sample) in left(truth, &rules(Path::new(""))) {
                assert_eq!(found.get(&key), Some(&sample), "{key:?}");
            }
            for ((of, time_ms), (value, start_ms)) in &found {
                let was_written = written.iter().any(|sample| {
                    (sample.timestamp_ms, sample.start_ms) == (*time_ms, *start_ms)
                        && labels(sample.series) == *of
                        && sample.value == *value
                });
                assert!(was_written, "{of} at {time_ms}: {value:?}");
            }
        });
        // All of it becomes one part, if it is not one already.
        let mut options = rules(&path);
        options.merge_spans_ms.push(3_000_000_000);
        let store = Store::open(options.clone(), LATE_MS).unwrap();
        store.seal(LATE_MS).unwrap();
        maintain(&store, LATE_MS).unwrap();
        maintain(&store, NOW_MS + 60 * DAY_MS).unwrap();
        let expected = left(&truth, &options);
        let (found, warnings) = everything(&store, &[]);
        prop_assert_eq!(warnings, Vec::<String>::new());
        prop_assert_eq!(differences(&found, &expected), Vec::<String>::new());
        prop_assert_eq!(store.statistics().parts, usize::from(!expected.is_empty()));
        // What is gone has no labels either.
        let all = Selection { matchers: &[], start_ms: i64::MIN / 2, end_ms: i64::MAX / 2 };
        let listed = store.series(&all, 1000, &mut go_on).unwrap().items.len();
        let series: std::collections::BTreeSet<_> = expected.keys().map(|(labels, _)| labels).collect();
        prop_assert_eq!(listed, series.len());
    }
}

/// Two series, two hours of samples every 15 s.
fn two_hours(store: &Store) {
    let keys = [1u8, 2].map(|series| key_of(&labels(series)));
    let samples = (0..480).flat_map(|step| {
        let sample = move |key| Sample {
            key,
            timestamp_ms: NOW_MS - step * 15_000,
            start_ms: 0,
            value: Value::Float(step as f64),
        };
        keys.iter().map(move |key| sample(key))
    });
    append_samples(store, &samples.collect::<Vec<_>>()).expect("samples are taken");
    store.seal(NOW_MS).expect("a part is written");
}

fn parts(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = files(&directory.join("parts")).into_iter();
    files
        .map(|file| (file.clone(), fs::read(file).expect("a part")))
        .collect()
}

#[test]
fn nothing_is_written_twice_and_other_rules_take_effect() {
    let directory = scratch();
    let rules = |after_ms, every_ms| {
        let mut options = Options::new(directory.path());
        options.downsample = vec![every(vec![], after_ms, every_ms)];
        options
    };
    let count = |store: &Store| everything(store, &[]).0.len();
    let store = Store::open(rules(HOUR_MS, 5 * MINUTE_MS), NOW_MS).unwrap();
    two_hours(&store);
    let now_ms = NOW_MS + HOUR_MS;
    maintain(&store, now_ms).unwrap();
    assert_eq!(
        count(&store),
        960,
        "the newest sample is not older than an hour"
    );
    maintain(&store, now_ms + 1).unwrap();
    assert_eq!(count(&store), 2 * 25);
    let before = parts(directory.path());
    for restart in 0..3 {
        assert!(!store.maintain(now_ms + 1 + restart * DAY_MS).unwrap().more);
    }
    drop(store);
    let store = Store::open(rules(HOUR_MS, 5 * MINUTE_MS), now_ms).unwrap();
    assert!(
        !store.maintain(now_ms + 1).unwrap().more,
        "it is known from the file"
    );
    assert_eq!(parts(directory.path()), before);
    drop(store);
    // A shorter interval brings nothing back, and nothing is written for it.
    let store = Store::open(rules(HOUR_MS, MINUTE_MS), now_ms).unwrap();
    maintain(&store, now_ms + 1).unwrap();
    assert_eq!(parts(directory.path()), before);
    drop(store);
    let store = Store::open(rules(HOUR_MS, 20 * MINUTE_MS), now_ms).unwrap();
    maintain(&store, now_ms + 1).unwrap();
    assert_eq!(count(&store), 2 * 7);
    assert_ne!(parts(directory.path()), before);
}

/// Keeps `b` for an hour, `c` for ten days, and all others for a day.
fn keeping(directory: &Path) -> Store {
    let mut options = Options::new(directory);
    options.retention_ms = DAY_MS;
    options.keep = vec![
        keep("__name__", "b", HOUR_MS),
        keep("__name__", "c", 10 * DAY_MS),
    ];
    Store::open(options, NOW_MS).expect("a store in a new directory")
}

#[test]
fn a_metric_of_its_own_time_goes_alone_and_a_part_without_any_left_at_once() {
    let directory = scratch();
    let store = keeping(directory.path());
    let written = |series| Written {
        series,
        timestamp_ms: NOW_MS,
        start_ms: 0,
        value: Kept::Float(1),
    };
    append(&store, &[0, 1, 2].map(written), &mut Truth::new()).unwrap();
    store.seal(NOW_MS).unwrap();
    let names_after = |age_ms: i64| -> Vec<String> {
        maintain(&store, NOW_MS + age_ms).unwrap();
        let found = everything(&store, &[]).0.into_keys();
        found
            .map(|(labels, _)| labels.metric_name().to_owned())
            .collect()
    };
    assert_eq!(names_after(HOUR_MS), ["a_total", "b", "c"]);
    assert_eq!(names_after(HOUR_MS + 1), ["a_total", "c"]);
    assert_eq!(names_after(DAY_MS), ["a_total", "c"]);
    assert_eq!(names_after(DAY_MS + 1), ["c"]);
    assert_eq!(names_after(10 * DAY_MS), ["c"]);
    assert_eq!(
        store
            .maintain(NOW_MS + 10 * DAY_MS + 1)
            .unwrap()
            .expired_parts,
        1
    );
    assert!(parts(directory.path()).is_empty());
}

#[test]
fn a_part_in_which_no_series_is_kept_goes_though_others_would_be() {
    let directory = scratch();
    let mut options = Options::new(directory.path());
    options.retention_ms = DAY_MS;
    options.keep = vec![keep("__name__", "absent", 10 * DAY_MS)];
    let store = Store::open(options, NOW_MS).unwrap();
    two_hours(&store);
    maintain(&store, NOW_MS + DAY_MS + 1).unwrap();
    assert_eq!(store.statistics().parts, 0);
    assert!(files(&directory.path().join("parts")).is_empty());
}

#[test]
fn a_float_and_a_histogram_of_one_interval_are_of_one_series() {
    let directory = scratch();
    let mut options = Options::new(directory.path());
    options.downsample = vec![every(vec![], HOUR_MS, 50_000)];
    let store = Store::open(options, NOW_MS).unwrap();
    let written = |age_ms, value| Written {
        series: 0,
        timestamp_ms: NOW_MS - age_ms,
        start_ms: 0,
        value,
    };
    let histogram = Kept::Histogram(std::sync::Arc::default());
    let samples = [
        written(20_000, Kept::Float(1)),
        written(10_000, histogram.clone()),
    ];
    append(&store, &samples, &mut Truth::new()).unwrap();
    store.seal(NOW_MS).unwrap();
    maintain(&store, NOW_MS + DAY_MS).unwrap();
    let left: Vec<_> = everything(&store, &[]).0.into_values().collect();
    assert_eq!(left, [(histogram, 0)]);
}

#[test]
fn a_part_in_which_some_series_are_floats_and_others_histograms_stays_if_nothing_would_go() {
    let directory = scratch();
    let mut options = Options::new(directory.path());
    options.downsample = vec![every(vec![], HOUR_MS, 50_000)];
    let store = Store::open(options, NOW_MS).unwrap();
    let written = |series, value| Written {
        series,
        timestamp_ms: NOW_MS,
        start_ms: 0,
        value,
    };
    let histogram = Kept::Histogram(std::sync::Arc::default());
    let samples = [written(0, Kept::Float(1)), written(1, histogram)];
    append(&store, &samples, &mut Truth::new()).unwrap();
    store.seal(NOW_MS).unwrap();
    let before = parts(directory.path());
    maintain(&store, NOW_MS + DAY_MS).unwrap();
    assert_eq!(parts(directory.path()), before);
}

#[test]
fn history_that_is_too_old_to_be_kept_defines_no_series() {
    let directory = scratch();
    let mut options = Options::new(directory.path());
    options.retention_ms = DAY_MS;
    options.keep = vec![keep("__name__", "b", HOUR_MS)];
    let store = Store::open(options, NOW_MS).unwrap();
    let [gone, kept, both] = [1u8, 2, 4].map(|series| key_of(&labels(series)));
    let aged = [(&gone, 2), (&kept, 2), (&both, 2), (&both, 1)];
    let samples = aged.map(|(key, hours)| Sample {
        key,
        timestamp_ms: NOW_MS - hours * HOUR_MS,
        start_ms: 0,
        value: Value::Float(1.0),
    });
    let batch = pitcrew_tsdb::Batch {
        source: "import",
        scope: b"",
        labels_of: &pitcrew_tsdb::labels_of_key,
        samples: &samples,
        exemplars: &[],
        metadata: &[],
    };
    let accepted = store.backfill(&batch, NOW_MS).unwrap();
    assert_eq!(accepted.refused.by_reason["too_old"], 2);
    assert_eq!((accepted.samples, accepted.new_series), (2, 2));
    assert_eq!(store.statistics().series, 2);
}

#[test]
fn history_is_taken_of_any_age_at_which_its_series_is_kept() {
    let directory = scratch();
    let store = keeping(directory.path());
    let keys = [0u8, 1, 2].map(|series| key_of(&labels(series)));
    let ages_ms = [
        HOUR_MS,
        HOUR_MS + 1,
        DAY_MS,
        DAY_MS + 1,
        10 * DAY_MS,
        10 * DAY_MS + 1,
    ];
    let samples = keys.iter().flat_map(|key| {
        ages_ms.map(|age_ms| Sample {
            key,
            timestamp_ms: NOW_MS - age_ms,
            start_ms: 0,
            value: Value::Float(1.0),
        })
    });
    let batch = pitcrew_tsdb::Batch {
        source: "import",
        scope: b"",
        labels_of: &pitcrew_tsdb::labels_of_key,
        samples: &samples.collect::<Vec<_>>(),
        exemplars: &[],
        metadata: &[],
    };
    let accepted = store.backfill(&batch, NOW_MS).unwrap();
    assert_eq!(accepted.refused.by_reason["too_old"], 3 + 5 + 1);
    let found = everything(&store, &[]).0.into_keys();
    let names: Vec<String> = found
        .map(|(labels, _)| labels.metric_name().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "a_total", "a_total", "a_total", "b", "c", "c", "c", "c", "c"
        ]
    );
}

#[test]
fn parts_of_the_version_before_are_read_and_written_anew_as_this_one() {
    let directory = scratch();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/data/version-2");
    copy(&data, directory.path());
    let expected: Truth = (0..40u8)
        .map(|step| {
            let time_ms = NOW_MS - 600_000 + i64::from(step / 5) * 15_000;
            let value = Kept::Float(f64::from(step).to_bits());
            ((labels(step % 5), time_ms), (value, 0))
        })
        .collect();
    let mut options = Options::new(directory.path());
    options.keep = vec![keep("__name__", "b", HOUR_MS)];
    let store = Store::open(options, NOW_MS).unwrap();
    assert_eq!(everything(&store, &[]).0, expected);
    maintain(&store, NOW_MS + DAY_MS).unwrap();
    let mut expected = expected;
    expected.retain(|(labels, _), _| labels.metric_name() != "b");
    assert_eq!(everything(&store, &[]).0, expected);
    let [(_, part)] = &parts(directory.path())[..] else {
        panic!("one part");
    };
    assert_eq!(part[8..12], 3u32.to_le_bytes());
}
