//! What the tests write and what they expect: a store in a directory beside a plain list of samples.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use pitcrew_promql::{
    histogram::{Bucket, FloatHistogram},
    labels::{Labels, Matcher},
    storage::{Found, Selection, Storage},
};
use pitcrew_tsdb::{Accepted, Batch, Error, Options, Sample, Store, Value, key_of, labels_of_key};
use proptest::{prelude::*, sample::select};
use tempfile::TempDir;

/// A quiet afternoon.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// A sample of a numbered series.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) series: u8,
    pub(crate) timestamp_ms: i64,
    pub(crate) start_ms: i64,
    pub(crate) value: Kept,
}

/// A value that is compared bit by bit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kept {
    Float(u64),
    Histogram(Arc<FloatHistogram>),
}

/// By series and time: what is there and when its counter began.
pub(crate) type Truth = BTreeMap<(Labels, i64), (Kept, i64)>;

pub(crate) fn options(directory: &Path) -> Options {
    let mut options = Options::new(directory);
    options.merge_spans_ms = vec![60_000, 600_000];
    // Small enough that blocks are dropped and read again.
    options.limits.cache_bytes = 20_000;
    options
}

pub(crate) fn labels(series: u8) -> Labels {
    let number = series.to_string();
    Labels::from_pairs([
        ("__name__", ["a_total", "b", "c"][usize::from(series) % 3]),
        ("job", ["x", "y"][usize::from(series) % 2]),
        ("number", &number),
    ])
}

/// A sample of one of a few series, at one of few times, as awkward as may be.
pub(crate) fn written() -> impl Strategy<Value = Written> {
    let bits = prop_oneof![
        6 => (0u32..1000).prop_map(|value| f64::from(value).to_bits()),
        2 => (0i32..1000).prop_map(|value| (f64::from(value) / 100.0).to_bits()),
        // Staleness, the two patterns the head uses itself, other NaNs, minus zero.
        2 => select(vec![
            0x7ff0_0000_0000_0002u64,
            0x7ff8_5069_7443_0001,
            0x7ff8_5069_7443_0002,
            0x7ff8_0000_0000_0001,
            0xffff_ffff_ffff_ffff,
            0x8000_0000_0000_0000,
        ]),
        1 => any::<u64>(),
    ];
    let histogram = (0u32..50, 0u32..50).prop_map(|(count, first)| {
        Kept::Histogram(Arc::new(FloatHistogram {
            count: f64::from(count),
            sum: f64::from(first) / 7.0,
            positive: vec![Bucket {
                index: i32::try_from(first).unwrap_or(0),
                count: f64::from(count),
            }],
            ..FloatHistogram::default()
        }))
    });
    let value = prop_oneof![8 => bits.prop_map(Kept::Float), 1 => histogram];
    let start = prop_oneof![3 => Just(0), 1 => (1i64..5).prop_map(|start| NOW_MS - start)];
    (0u8..12, -40i64..10, start, value).prop_map(|(series, step, start_ms, value)| Written {
        series,
        timestamp_ms: NOW_MS + step * 15_000,
        start_ms,
        value,
    })
}

/// Appends, and keeps in mind what must be there now.
pub(crate) fn append(
    store: &Store,
    written: &[Written],
    truth: &mut Truth,
) -> Result<Accepted, Error> {
    let keys: Vec<Vec<u8>> = written
        .iter()
        .map(|sample| key_of(&labels(sample.series)))
        .collect();
    let samples: Vec<Sample<'_>> = written
        .iter()
        .zip(&keys)
        .map(|(sample, key)| Sample {
            key,
            timestamp_ms: sample.timestamp_ms,
            start_ms: sample.start_ms,
            value: match &sample.value {
                Kept::Float(bits) => Value::Float(f64::from_bits(*bits)),
                Kept::Histogram(histogram) => Value::Histogram(histogram),
            },
        })
        .collect();
    let accepted = append_samples(store, &samples)?;
    for Written {
        series,
        timestamp_ms,
        start_ms,
        value,
    } in written
    {
        truth
            .entry((labels(*series), *timestamp_ms))
            .or_insert_with(|| (value.clone(), *start_ms));
    }
    Ok(accepted)
}

pub(crate) fn append_samples(store: &Store, samples: &[Sample<'_>]) -> Result<Accepted, Error> {
    let batch = Batch {
        source: "test",
        scope: b"",
        labels_of: &labels_of_key,
        samples,
        exemplars: &[],
        metadata: &[],
    };
    store.append(&batch, NOW_MS)
}

/// Everything that a store says it has, and its warnings.
pub(crate) fn everything(store: &Store, matchers: &[Matcher]) -> (Truth, Vec<String>) {
    let (start_ms, end_ms) = (i64::MIN / 2, i64::MAX / 2);
    let selection = Selection {
        matchers,
        start_ms,
        end_ms,
    };
    let (mut found, mut warnings) = (Truth::new(), Vec::new());
    let mut add = |labels: &Labels, time: i64, value: Kept, start: i64| {
        let before = found.insert((labels.clone(), time), (value, start));
        assert!(before.is_none(), "{labels} has two samples at {time}");
    };
    store
        .select(&selection, &mut |piece| {
            match piece {
                Found::Warning(warning) => warnings.push(warning),
                Found::Holding(_) => {}
                Found::Series(series) => {
                    let floats = &series.floats;
                    assert!(floats.timestamps.is_sorted_by(|left, right| left < right));
                    for (index, time) in floats.timestamps.iter().enumerate() {
                        let start = floats.starts.get(index).copied().unwrap_or(0);
                        add(
                            &series.labels,
                            *time,
                            Kept::Float(floats.values[index].to_bits()),
                            start,
                        );
                    }
                    let histograms = &series.histograms;
                    for (index, time) in histograms.timestamps.iter().enumerate() {
                        let start = histograms.starts.get(index).copied().unwrap_or(0);
                        let value = Kept::Histogram(histograms.values[index].clone());
                        add(&series.labels, *time, value, start);
                    }
                }
            }
            ControlFlow::Continue(())
        })
        .expect("a selection is answered");
    (found, warnings)
}

/// For a list that is wanted whatever it takes.
pub(crate) fn go_on(_: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The first few differences between what is there and what must be.
pub(crate) fn differences(found: &Truth, truth: &Truth) -> Vec<String> {
    let keys: std::collections::BTreeSet<_> = found.keys().chain(truth.keys()).collect();
    let differing = keys
        .into_iter()
        .filter(|key| found.get(*key) != truth.get(*key));
    differing
        .take(3)
        .map(|key| {
            format!(
                "{key:?}: found {:?} instead of {:?}",
                found.get(key),
                truth.get(key)
            )
        })
        .collect()
}

/// A directory in memory where there is one: what is tested here is not the disk.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a directory")
}

/// Merges all that is due.
pub(crate) fn maintain(store: &Store, now_ms: i64) -> Result<(), Error> {
    while store.maintain(now_ms)?.more {}
    Ok(())
}

/// All files of a store.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if entry.file_name() != "lock" {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("within"));
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("a folder is made");
        std::fs::copy(&file, &target).expect("a file is copied");
    }
}
