//! The store beside the loop: opened, refused, opened again.

use std::time::Instant;

use pitcrew_promql::labels::Labels;
use pitcrew_tsdb::{Sample, Value, key_of, labels_of_key};

use super::*;

fn start(data: &Path) -> Arc<Telemetry> {
    Telemetry::start(data, &MetricsSettings::default(), None, Clock::start()).unwrap()
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
