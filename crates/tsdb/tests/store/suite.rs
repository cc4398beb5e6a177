//! Prometheus' own scripts of queries, run against this store: in the head, after a restart, from parts.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use pitcrew_promql::{
    eval::SampleValue,
    labels::Labels,
    promqltest::{self, TestStore},
    storage::{Found, Selection, Storage, StorageError},
};
use pitcrew_tsdb::{Batch, Options, Sample, Store, Value, key_of, labels_of_key};
use tempfile::TempDir;

use crate::world::scratch;

/// What is done between loading samples and asking for them.
#[derive(Debug, Clone, Copy)]
enum Between {
    Nothing,
    Restart,
    /// Each load becomes a part; all are merged.
    Seal,
}

struct OnDisk {
    store: Option<Store>,
    directory: TempDir,
    between: Between,
    samples: Vec<(Vec<u8>, i64, SampleValue, i64)>,
}

impl OnDisk {
    fn empty(between: Between) -> Self {
        let directory = scratch();
        OnDisk {
            store: Some(open(directory.path())),
            directory,
            between,
            samples: Vec::new(),
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("open between any two calls")
    }
}

fn open(directory: &Path) -> Store {
    let options = Options {
        // The scripts' samples are of 1970 and far from each other.
        past_ms: i64::MAX / 4,
        future_ms: i64::MAX / 4,
        retention_ms: i64::MAX / 4,
        ..Options::new(directory)
    };
    Store::open(options, 0).expect("a store")
}

impl TestStore for OnDisk {
    fn add(&mut self, labels: &Labels, time_ms: i64, value: SampleValue, start_ms: i64) {
        // As in the store in memory the last value of an instant counts; this store keeps the first.
        self.samples
            .retain(|(key, time, ..)| *time != time_ms || *key != key_of(labels));
        self.samples
            .push((key_of(labels), time_ms, value, start_ms));
    }

    fn commit(&mut self) {
        let samples: Vec<Sample<'_>> = self
            .samples
            .iter()
            .map(|(key, timestamp_ms, value, start_ms)| Sample {
                key,
                timestamp_ms: *timestamp_ms,
                start_ms: *start_ms,
                value: match value {
                    SampleValue::Float(value) => Value::Float(*value),
                    SampleValue::Histogram(value) => Value::Histogram(value),
                },
            })
            .collect();
        let batch = Batch {
            source: "script",
            scope: b"",
            labels_of: &labels_of_key,
            samples: &samples,
            exemplars: &[],
            metadata: &[],
        };
        let accepted = self.store().append(&batch, 0).expect("samples are taken");
        assert_eq!(accepted.refused.count, 0, "{accepted:?}");
        self.samples.clear();
        match self.between {
            Between::Nothing => {}
            Between::Restart => {
                self.store = None;
                self.store = Some(open(self.directory.path()));
            }
            Between::Seal => {
                self.store().seal(0).expect("a part is written");
                while self
                    .store()
                    .maintain(i64::MAX / 8)
                    .expect("parts are merged")
                    .more
                {}
            }
        }
    }
}

impl Storage for OnDisk {
    fn select(
        &self,
        selection: &Selection<'_>,
        take: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.store().select(selection, take)
    }

    fn select_for(
        &self,
        selection: &Selection<'_>,
        labels: &[&str],
        take: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.store().select_for(selection, labels, take)
    }
}

fn scripts(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "test")
        })
        .collect()
}

fn check(between: Between) {
    let mut scripts = scripts("../../../shared/data/promqltest");
    if scripts.is_empty() {
        // No package has these files, so that even CI may lack them; our own scripts always run.
        eprintln!("no scripts of Prometheus beside the project: only our own are run");
    }
    scripts.extend(self::scripts("../promql/tests/scripts"));
    let mut failures = Vec::new();
    let mut passed = 0;
    for script in scripts {
        let text = fs::read_to_string(&script).expect("a script that can be read");
        let report = promqltest::run_against(&text, &mut || OnDisk::empty(between))
            .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        passed += report.passed;
        failures.extend(report.failures.iter().map(|failure| {
            let (line, query, reason) = (failure.line, &failure.query, &failure.reason);
            format!("{}:{line}: {query}\n    {reason}", script.display())
        }));
    }
    eprintln!("{between:?}: {passed} evaluations passed");
    assert!(
        failures.is_empty(),
        "{} failed\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn queries_agree_with_prometheus_on_the_head() {
    check(Between::Nothing);
}

#[test]
fn queries_agree_with_prometheus_after_a_restart() {
    check(Between::Restart);
}

#[test]
fn queries_agree_with_prometheus_on_merged_parts() {
    check(Between::Seal);
}
