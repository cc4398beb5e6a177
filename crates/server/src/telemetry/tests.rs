//! The store beside the loop: opened, refused, opened again.

use std::{
    ops::ControlFlow,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use pitcrew_promql::{
    eval::{self, SampleValue, Time, evaluate},
    labels::{Labels, Matcher},
    parser::parse,
    storage::{Found, Selection, Storage, is_stale},
};
use pitcrew_tsdb::{Sample, Value, key_of, labels_of_key};

use super::*;

pub(super) fn start(data: &Path) -> Arc<Telemetry> {
    Telemetry::start(data, &MetricsSettings::default(), None, Clock::start()).unwrap()
}

/// As after the wall clock was set back by so much.
pub(super) fn with_clock_ahead(data: &Path, ahead: Duration) -> (Arc<Telemetry>, Clock) {
    let clock = Clock::start();
    clock.move_on(ahead);
    let settings = MetricsSettings::default();
    let telemetry = Telemetry::start(data, &settings, None, clock.clone()).unwrap();
    (telemetry, clock)
}

/// What a query gives for one series now, by the wall clock.
pub(super) fn value_now(telemetry: &Telemetry, query: &str) -> Option<f64> {
    let store = telemetry.store().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = Time::Instant(millis(now));
    let expr = parse(query).unwrap();
    let answer = evaluate(&*store, &expr, now, &eval::Options::default()).unwrap();
    let eval::Value::Vector(samples) = answer.value else {
        panic!("`{query}` gives no vector");
    };
    assert!(samples.len() < 2, "{samples:?}");
    samples.first().map(|sample| match sample.value {
        SampleValue::Float(value) => value,
        SampleValue::Histogram(_) => panic!("a histogram"),
    })
}

/// All samples of a metric, a line for each series: values, and `end` where it ends.
pub(super) fn samples(telemetry: &Telemetry, name: &str) -> Vec<String> {
    let matchers = [Matcher::equal("__name__", name)];
    let selection = Selection {
        matchers: &matchers,
        start_ms: 0,
        end_ms: i64::MAX >> 2,
    };
    let mut lines = Vec::new();
    let selected = telemetry.store().unwrap().select(&selection, &mut |found| {
        let series = match found {
            Found::Series(series) => series,
            Found::Holding(_) => return ControlFlow::Continue(()),
            Found::Warning(warning) => panic!("{warning}"),
        };
        let values = series.floats.values.iter().map(|value| match value {
            value if is_stale(*value) => "end".to_owned(),
            value => value.to_string(),
        });
        let values: Vec<String> = values.collect();
        lines.push(format!("{} {}", series.labels, values.join(" ")));
        ControlFlow::Continue(())
    });
    selected.unwrap();
    lines.sort();
    lines
}

fn append_one(telemetry: &Telemetry) -> Result<Accepted, NotTaken> {
    let key = key_of(&Labels::from_pairs([("__name__", "up")]));
    let sample = Sample {
        key: &key,
        timestamp_ms: telemetry.now_ms(),
        start_ms: 0,
        value: Value::Float(1.0),
    };
    telemetry.append(&Batch {
        source: "tests",
        scope: b"",
        labels_of: &labels_of_key,
        samples: &[sample],
        exemplars: &[],
        metadata: &[],
    })
}

#[test]
fn what_was_taken_is_there_after_a_stop_and_a_start() {
    let data = tempfile::tempdir().unwrap();
    let telemetry = start(data.path());
    assert_eq!(append_one(&telemetry).unwrap().samples, 1);
    assert_eq!(telemetry.troubles(), Vec::<String>::new());
    telemetry.stop();
    assert!(matches!(
        append_one(&telemetry),
        Err(NotTaken::NoStore(NoStore::Stopping))
    ));
    let again = start(data.path());
    assert_eq!(again.store().unwrap().statistics().head_samples, 1);
    again.stop();
}

#[test]
fn a_store_that_another_has_is_opened_when_it_is_free() {
    let data = tempfile::tempdir().unwrap();
    let first = start(data.path());
    let second = start(data.path());
    let told = append_one(&second).unwrap_err().to_string();
    assert!(told.contains("in use by another process"), "{told}");
    assert_eq!(second.troubles().len(), 1);
    first.stop();
    let deadline = Instant::now() + Duration::from_secs(60);
    while append_one(&second).is_err() {
        assert!(Instant::now() < deadline, "{:?}", second.troubles());
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(second.troubles(), Vec::<String>::new());
    second.stop();
}

/// A clock that only grows would find them too old.
#[test]
fn samples_are_judged_by_the_wall_clock_also_after_it_was_set_back() {
    let data = tempfile::tempdir().unwrap();
    let (telemetry, _) = with_clock_ahead(data.path(), Duration::from_secs(3 * 3_600));
    let key = key_of(&Labels::from_pairs([("__name__", "pushed")]));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let accepted = telemetry.append(&Batch {
        source: "tests",
        scope: b"",
        labels_of: &labels_of_key,
        samples: &[Sample {
            key: &key,
            timestamp_ms: millis(now),
            start_ms: 0,
            value: Value::Float(1.0),
        }],
        exemplars: &[],
        metadata: &[],
    });
    assert_eq!(accepted.unwrap().samples, 1);
    assert_eq!(value_now(&telemetry, "pushed"), Some(1.0));
    telemetry.stop();
}
