//! What is refused, forgotten, expired and listed.

use std::cell::Cell;

use pitcrew_promql::{
    histogram::FloatHistogram,
    labels::{Labels, Matcher},
    storage::Selection,
};
use pitcrew_tsdb::{
    Accepted, Batch, Error, IncomingExemplar, Metadata, Options, RawLabels, Sample, Store, Value,
    key_of, labels_of_key,
};
use tempfile::TempDir;

use crate::world::{NOW_MS, everything, files, go_on, maintain, scratch};

fn store(change: impl FnOnce(&mut Options)) -> (TempDir, Store) {
    let directory = scratch();
    let mut options = Options::new(directory.path());
    change(&mut options);
    let store = Store::open(options, NOW_MS).expect("a store");
    (directory, store)
}

/// Lines of `name,label=value,…`; what isn't one is an error.
fn labels_of_text(key: &[u8], out: &mut RawLabels) -> Result<(), String> {
    let text = std::str::from_utf8(key).map_err(|_| "no UTF-8".to_owned())?;
    let (name, labels) = text.split_once(',').unwrap_or((text, ""));
    out.push("__name__", name);
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (name, value) = label
            .split_once('=')
            .ok_or_else(|| format!("no = in {label:?}"))?;
        out.push(name, value);
    }
    Ok(())
}

fn append(
    store: &Store,
    source: &str,
    samples: &[(&str, i64)],
    now_ms: i64,
) -> Result<Accepted, Error> {
    let samples: Vec<Sample<'_>> = samples
        .iter()
        .map(|(key, timestamp_ms)| Sample {
            key: key.as_bytes(),
            timestamp_ms: *timestamp_ms,
            start_ms: 0,
            value: Value::Float(1.0),
        })
        .collect();
    let batch = Batch {
        source,
        scope: b"text",
        labels_of: &labels_of_text,
        samples: &samples,
        exemplars: &[],
        metadata: &[],
    };
    store.append(&batch, now_ms)
}

/// Everybody waits while labels are read: neither one long key nor its many samples, nor its many labels, may take that time.
#[test]
fn of_what_can_never_be_stored_no_more_is_read_than_it_takes_to_know() {
    let (_directory, store) = store(|options| {
        options.limits.labels = 4;
        options.limits.label_name_bytes = 10;
        options.limits.label_value_bytes = 10;
    });
    let (reads, most) = (Cell::new(0), 2 * 4 * (10 + 10 + 8));
    let refused = |key: &[u8]| {
        reads.set(0);
        let sample = |timestamp_ms| Sample {
            key,
            timestamp_ms,
            start_ms: 0,
            value: Value::Float(1.0),
        };
        let samples: Vec<Sample<'_>> = (0..1_000).map(|age_ms| sample(NOW_MS - age_ms)).collect();
        let accepted = store.append(
            &Batch {
                source: "a",
                scope: b"",
                labels_of: &|key, out| {
                    reads.set(reads.get() + 1);
                    labels_of_text(key, out)
                },
                samples: &samples,
                exemplars: &[],
                metadata: &[],
            },
            NOW_MS,
        );
        let accepted = accepted.unwrap();
        assert_eq!(accepted.refused_samples, Vec::from_iter(0..1_000));
        accepted.refused.examples[0].to_string()
    };
    let told = refused("x".repeat(most + 1).as_bytes());
    assert!(
        told.ends_with("they take 225 bytes, more than 224"),
        "{told}"
    );
    assert_eq!(reads.get(), 0);
    let many: String = (0..20).map(|number| format!(",l{number}=v")).collect();
    let told = refused(format!("x{many}").as_bytes());
    assert!(
        told.ends_with("more than 4 labels (limits.labels)"),
        "{told}"
    );
    assert!(told.contains("l3=") && !told.contains("l4="), "{told}");
    // Once to refuse it, and for ten examples.
    assert_eq!(reads.get(), 1 + 10);
}

#[test]
fn one_bad_series_spoils_no_other() {
    let (_directory, store) = store(|options| options.limits.label_value_bytes = 10);
    let accepted = append(
        &store,
        "a",
        &[
            ("good,a=b", NOW_MS),
            ("twice,a=b,a=c", NOW_MS),
            ("nothing", NOW_MS),
            ("broken,a", NOW_MS),
            ("long,a=12345678901", NOW_MS),
            ("nameless,=b", NOW_MS),
            ("good,a=b", NOW_MS - 10_000_000),
            ("good,a=b", NOW_MS + 4_000_000),
            ("good,b=,a=b", NOW_MS - 1),
        ],
        NOW_MS,
    )
    .unwrap();
    let refused: Vec<String> = accepted
        .refused
        .examples
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        r#"{__name__="twice", a="c"}: bad labels: label "a" is there twice"#,
        r#"broken,a: bad labels: no = in "a""#,
        r#"{__name__="long", a="12345678901"}: bad labels: the value of label "a" has 11 bytes, more than 10"#,
        r#"{="b", __name__="nameless"}: bad labels: a label without a name has the value "b""#,
        r#"{__name__="good", a="b"}: timestamp 1699990000000 is too old: nothing before 1699992800000 is taken"#,
        r#"{__name__="good", a="b"}: timestamp 1700004000000 is in the future: nothing after 1700003600000 is taken"#,
    ];
    assert_eq!(refused, expected);
    // A label with an empty value is absent: the last one is the first one's series.
    assert_eq!(
        (
            accepted.samples,
            accepted.new_series,
            accepted.refused.count
        ),
        (3, 2, 6)
    );
}

#[test]
fn many_spellings_are_one_series() {
    let (directory, store) = store(|_| {});
    let spellings: Vec<String> = (0..3000)
        .map(|empty| format!("x,b=1,a=2,c{empty}="))
        .collect();
    for (step, spelling) in (0..).zip(spellings.iter().chain(&spellings)) {
        append(
            &store,
            "a",
            &[(spelling, NOW_MS - step), ("y", NOW_MS - step)],
            NOW_MS,
        )
        .unwrap();
    }
    assert_eq!(store.statistics().series, 2);
    assert_eq!(everything(&store, &[]).0.len(), 12_000);
    drop(store);
    let store = Store::open(Options::new(directory.path()), NOW_MS).unwrap();
    append(&store, "a", &[("x,a=2,b=1", NOW_MS + 1)], NOW_MS).unwrap();
    assert_eq!(store.statistics().series, 2);
}

#[test]
fn the_first_of_two_samples_of_an_instant_stays() {
    let (_directory, store) = store(|_| {});
    let key = key_of(&Labels::from_pairs([("__name__", "x")]));
    let sample = |value| Sample {
        key: &key,
        timestamp_ms: NOW_MS,
        start_ms: 0,
        value: Value::Float(value),
    };
    let samples = [sample(1.0), sample(2.0), sample(1.0)];
    let accepted = crate::world::append_samples(&store, &samples).unwrap();
    assert_eq!((accepted.samples, accepted.duplicates), (1, 2));
    let values: Vec<_> = everything(&store, &[]).0.into_values().collect();
    assert_eq!(values, [(crate::world::Kept::Float(1f64.to_bits()), 0)]);
}

#[test]
fn a_source_over_its_limit_harms_no_other_and_answers_say_what_was_dropped() {
    let (_directory, store) = store(|options| options.limits.source_series = 2);
    let explosion: Vec<String> = (0..50).map(|number| format!("x,id={number}")).collect();
    let samples: Vec<(&str, i64)> = explosion.iter().map(|key| (key.as_str(), NOW_MS)).collect();
    let accepted = append(&store, "greedy", &samples, NOW_MS).unwrap();
    assert_eq!((accepted.samples, accepted.refused.count), (2, 48));
    assert_eq!(
        append(&store, "modest", &[("y", NOW_MS)], NOW_MS)
            .unwrap()
            .samples,
        1
    );
    let (found, warnings) = everything(&store, &[]);
    assert_eq!(found.len(), 3);
    assert_eq!(
        warnings,
        [
            "series of source \"greedy\" were dropped: this source has 2 series, which is its limit (limits.source_series) (48 times)"
        ]
    );
}

#[test]
fn memory_over_budget_refuses_new_series_first_and_then_samples() {
    let (_directory, store) = store(|options| options.limits.head_bytes = 100_000);
    let mut refused = 0;
    for round in 0..100 {
        let explosion: Vec<String> = (0..50)
            .map(|number| format!("x,id={round}-{number}"))
            .collect();
        let samples: Vec<(&str, i64)> =
            explosion.iter().map(|key| (key.as_str(), NOW_MS)).collect();
        refused += append(&store, "a", &samples, NOW_MS).unwrap().refused.count;
    }
    assert!(refused > 4000, "{refused}");
    let error = (0..100_000)
        .find_map(|step| append(&store, "a", &[("x,id=0-0", NOW_MS - step)], NOW_MS).err());
    assert!(
        matches!(error, Some(Error::Overloaded { limit: 100_000, .. })),
        "{error:?}"
    );
    // A seal makes room again.
    maintain(&store, NOW_MS).unwrap();
    append(&store, "a", &[("x,id=0-0", NOW_MS + 1)], NOW_MS).unwrap();
}

#[test]
fn bad_histograms_are_refused_by_name() {
    let (_directory, store) = store(|_| {});
    let histogram = FloatHistogram {
        schema: 77,
        ..FloatHistogram::default()
    };
    let key = key_of(&Labels::from_pairs([("__name__", "h")]));
    let value = Value::Histogram(&histogram);
    let sample = Sample {
        key: &key,
        timestamp_ms: NOW_MS,
        start_ms: 0,
        value,
    };
    let accepted = crate::world::append_samples(&store, &[sample]).unwrap();
    assert_eq!(
        accepted.refused.examples[0].to_string(),
        r#"{__name__="h"}: bad histogram: unknown schema 77"#
    );
}

#[test]
fn series_that_report_no_more_are_forgotten_but_their_past_stays() {
    let (directory, store) = store(|_| {});
    let gone: Vec<String> = (0..2000).map(|number| format!("x,pod={number}")).collect();
    let mut samples: Vec<(&str, i64)> = gone.iter().map(|key| (key.as_str(), NOW_MS)).collect();
    samples.push(("stays", NOW_MS));
    append(&store, "a", &samples, NOW_MS).unwrap();
    let mut now_ms = NOW_MS;
    let mut forgotten = 0;
    for _ in 0..4 {
        append(&store, "a", &[("stays", now_ms)], now_ms).unwrap();
        now_ms += 300_000;
        forgotten += store.maintain(now_ms).unwrap().forgotten_series;
    }
    assert_eq!((forgotten, store.statistics().series), (2000, 1));
    assert_eq!(everything(&store, &[]).0.len(), 2004);
    // Their numbers are given to others, which nothing on disk confuses with them.
    let new: Vec<String> = (0..1500)
        .map(|number| format!("new,pod={number}"))
        .collect();
    let samples: Vec<(&str, i64)> = new.iter().map(|key| (key.as_str(), now_ms)).collect();
    append(&store, "a", &samples, now_ms).unwrap();
    let expected = everything(&store, &[]);
    assert_eq!(expected.0.len(), 3504);
    drop(store);
    let store = Store::open(Options::new(directory.path()), now_ms).unwrap();
    assert_eq!(store.statistics().series, 1501);
    assert_eq!(everything(&store, &[]), expected);
}

#[test]
fn a_head_is_sealed_in_time_also_after_the_clock_was_set_back() {
    let (_directory, store) = store(|_| {});
    append(&store, "a", &[("x", NOW_MS)], NOW_MS).unwrap();
    assert_eq!(store.maintain(NOW_MS - 1_000).unwrap().sealed_samples, 0);
    let sealed = store.maintain(NOW_MS - 3_600_000).unwrap().sealed_samples;
    assert_eq!(sealed, 1);
}

#[test]
fn parts_go_by_age_and_by_size() {
    let (directory, store) = store(|options| {
        options.retention_ms = 100_000_000;
        options.merge_spans_ms.clear();
    });
    let mut now_ms = NOW_MS;
    for _ in 0..5 {
        append(&store, "a", &[("x", now_ms)], now_ms).unwrap();
        store.seal(now_ms).unwrap();
        now_ms += 40_000_000;
    }
    maintain(&store, now_ms).unwrap();
    assert_eq!(store.statistics().parts, 2);
    assert_eq!(files(&directory.path().join("parts")).len(), 2);
    drop(store);
    let mut options = Options::new(directory.path());
    options.retention_bytes = files(&directory.path().join("parts"))[0]
        .metadata()
        .unwrap()
        .len()
        + 100;
    options.merge_spans_ms.clear();
    let store = Store::open(options, now_ms).unwrap();
    assert_eq!(store.maintain(now_ms).unwrap().expired_parts, 1);
    let left: Vec<i64> = everything(&store, &[])
        .0
        .into_keys()
        .map(|(_, time)| time)
        .collect();
    assert_eq!(left, [NOW_MS + 160_000_000], "the oldest goes first");
}

#[test]
fn lists_come_from_head_and_parts() {
    let (_directory, store) = store(|_| {});
    append(
        &store,
        "a",
        &[("old,zone=a", NOW_MS), ("old,zone=b", NOW_MS)],
        NOW_MS,
    )
    .unwrap();
    store.seal(NOW_MS).unwrap();
    append(&store, "a", &[("new,zone=c,rack=1", NOW_MS + 1000)], NOW_MS).unwrap();
    let all = Selection {
        matchers: &[],
        start_ms: NOW_MS,
        end_ms: NOW_MS + 1000,
    };
    assert_eq!(
        store.label_names(&all, 10, &mut go_on).unwrap().items,
        ["__name__", "rack", "zone"]
    );
    assert_eq!(
        store
            .label_values("zone", &all, 10, &mut go_on)
            .unwrap()
            .items,
        ["a", "b", "c"]
    );
    let few = store.label_values("zone", &all, 2, &mut go_on).unwrap();
    assert_eq!((few.items.len(), few.truncated), (2, true));
    let old = [Matcher::equal("__name__", "old")];
    let old = Selection {
        matchers: &old,
        ..all
    };
    assert_eq!(
        store
            .label_values("zone", &old, 10, &mut go_on)
            .unwrap()
            .items,
        ["a", "b"]
    );
    assert_eq!(
        store.label_names(&old, 10, &mut go_on).unwrap().items,
        ["__name__", "zone"]
    );
    let labels: Vec<String> = store
        .series(&old, 10, &mut go_on)
        .unwrap()
        .items
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        labels,
        [
            r#"{__name__="old", zone="a"}"#,
            r#"{__name__="old", zone="b"}"#
        ]
    );
    let later = Selection {
        matchers: &[],
        start_ms: NOW_MS + 500,
        end_ms: NOW_MS + 1000,
    };
    assert_eq!(store.series(&later, 10, &mut go_on).unwrap().items.len(), 1);
}

#[test]
fn exemplars_and_metadata_survive_seals_and_restarts() {
    let (directory, store) = store(|_| {});
    let key = key_of(&Labels::from_pairs([("__name__", "x")]));
    let trace = Labels::from_pairs([("trace_id", "abc")]);
    let exemplar = IncomingExemplar {
        key: &key,
        labels: &trace,
        value: 0.5,
        timestamp_ms: NOW_MS,
    };
    let help = Metadata {
        family: "x".to_owned(),
        kind: "counter".to_owned(),
        unit: String::new(),
        help: "All of them.".to_owned(),
    };
    let sample = Sample {
        key: &key,
        timestamp_ms: NOW_MS,
        start_ms: 0,
        value: Value::Float(1.0),
    };
    let batch = Batch {
        source: "a",
        scope: b"",
        labels_of: &labels_of_key,
        samples: &[sample],
        exemplars: &[exemplar],
        metadata: std::slice::from_ref(&help),
    };
    assert_eq!(store.append(&batch, NOW_MS).unwrap().exemplars, 1);
    assert_eq!(
        store.append(&batch, NOW_MS).unwrap().exemplars,
        0,
        "scrapes repeat them"
    );
    store.seal(NOW_MS).unwrap();
    drop(store);
    let store = Store::open(Options::new(directory.path()), NOW_MS).unwrap();
    let all = Selection {
        matchers: &[],
        start_ms: NOW_MS,
        end_ms: NOW_MS,
    };
    let found = store.exemplars(&all);
    assert_eq!((found.len(), &found[0].1[0].labels), (1, &trace));
    assert_eq!(store.metadata(Some("x"), 10), [help]);
}

#[test]
fn an_exemplar_is_never_anothers_after_a_restart() {
    let (directory, store) = store(|_| {});
    let gone: Vec<String> = (0..1_000).map(|number| format!("x,pod={number}")).collect();
    let samples: Vec<(&str, i64)> = gone.iter().map(|key| (key.as_str(), NOW_MS)).collect();
    append(&store, "a", &samples, NOW_MS).unwrap();
    let trace = Labels::from_pairs([("trace_id", "abc")]);
    let exemplars: Vec<IncomingExemplar<'_>> = gone
        .iter()
        .map(|key| IncomingExemplar {
            key: key.as_bytes(),
            labels: &trace,
            value: 0.5,
            timestamp_ms: NOW_MS,
        })
        .collect();
    let batch = Batch {
        source: "a",
        scope: b"",
        labels_of: &labels_of_text,
        samples: &[],
        exemplars: &exemplars,
        metadata: &[],
    };
    assert_eq!(store.append(&batch, NOW_MS).unwrap().exemplars, 1_000);
    let mut now_ms = NOW_MS;
    let mut forgotten = 0;
    for _ in 0..4 {
        append(&store, "a", &[("stays", now_ms)], now_ms).unwrap();
        now_ms += 300_000;
        forgotten += store.maintain(now_ms).unwrap().forgotten_series;
        if forgotten > 0 {
            break;
        }
    }
    assert_eq!(forgotten, 1_000);
    let new: Vec<String> = (0..1_000).map(|number| format!("new,n={number}")).collect();
    let samples: Vec<(&str, i64)> = new.iter().map(|key| (key.as_str(), now_ms)).collect();
    append(&store, "a", &samples, now_ms).unwrap();
    drop(store);
    let store = Store::open(Options::new(directory.path()), now_ms).unwrap();
    let all = Selection {
        matchers: &[],
        start_ms: 0,
        end_ms: now_ms,
    };
    assert_eq!(store.statistics().series, 1_001);
    assert_eq!(store.exemplars(&all), []);
}

#[test]
fn a_store_has_one_owner() {
    let (directory, store) = store(|_| {});
    let error = Store::open(Options::new(directory.path()), NOW_MS).unwrap_err();
    assert!(
        error.to_string().contains("is in use by another process"),
        "{error}"
    );
    drop(store);
    Store::open(Options::new(directory.path()), NOW_MS).unwrap();
}
