//! Puts samples into a store in several orders of time, reads all, and seals them:
//! `cargo run --release -p pitcrew-tsdb --example disorder -- [SERIES] [SAMPLES]`
//!
//! The series have neither job nor instance and no timestamp in common, as history from elsewhere may. Figures are
//! nanoseconds of this process' CPU for each sample.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::ops::ControlFlow;

use pitcrew_promql::{
    labels::Labels,
    storage::{Found, Selection, Storage},
};
use pitcrew_tsdb::{Batch, Options, Sample, Store, Value, key_of, labels_of_key};
use rustix::time::{ClockId, clock_gettime};

const NOW_MS: i64 = 1_700_000_000_000;

/// Series and time of samples, in the order in which they come.
type Order = Vec<(usize, i64)>;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut number = |default| args.next().map_or(Ok(default), |text| text.parse());
    let (series, samples): (usize, usize) = (number(200)?, number(500)?);
    let at = |series_number: usize, sample: usize| {
        let step = i64::try_from(sample * series + series_number).expect("few samples");
        (series_number, NOW_MS - 7_000_000 + step)
    };
    let by_time: Order = (0..samples)
        .flat_map(|sample| (0..series).map(move |series| at(series, sample)))
        .collect();
    let by_series: Order = (0..series)
        .flat_map(|series| (0..samples).map(move |sample| at(series, sample)))
        .collect();
    let descending: Order = by_time.iter().rev().copied().collect();
    println!("{series} series, {samples} samples each");
    for (name, order, in_batch) in [
        ("by time, 1,000 a batch", &by_time, 1_000),
        ("by series, a batch each", &by_series, samples),
        ("descending, 1,000 a batch", &descending, 1_000),
        ("descending, one a batch", &descending, 1),
    ] {
        measure(name, series, order, in_batch)?;
    }
    Ok(())
}

fn measure(name: &str, series: usize, order: &Order, in_batch: usize) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let store = Store::open(Options::new(directory.path()), NOW_MS)?;
    let key = |number: usize| {
        let number = number.to_string();
        key_of(&Labels::from_pairs([
            ("__name__", "x"),
            ("number", &number),
        ]))
    };
    let keys: Vec<Vec<u8>> = (0..series).map(key).collect();
    let begun = cpu_nanoseconds();
    for batch in order.chunks(in_batch) {
        let samples = batch.iter().map(|(series, timestamp_ms)| Sample {
            key: &keys[*series],
            timestamp_ms: *timestamp_ms,
            start_ms: 0,
            value: Value::Float(1.0),
        });
        store.append(
            &Batch {
                source: "example",
                scope: b"",
                labels_of: &labels_of_key,
                samples: &samples.collect::<Vec<_>>(),
                exemplars: &[],
                metadata: &[],
            },
            NOW_MS,
        )?;
    }
    let appended = cpu_nanoseconds();
    let all = Selection {
        matchers: &[],
        start_ms: 0,
        end_ms: NOW_MS,
    };
    let mut found = 0;
    store.select(&all, &mut |piece| {
        if let Found::Series(series) = piece {
            found += series.floats.values.len();
        }
        ControlFlow::Continue(())
    })?;
    anyhow::ensure!(found == order.len(), "samples are missing");
    let read = cpu_nanoseconds();
    let sealed = store.seal(NOW_MS)?;
    anyhow::ensure!(sealed == order.len() as u64, "samples are missing");
    let seal = cpu_nanoseconds() - read;
    let each = |nanoseconds: f64| nanoseconds / order.len() as f64;
    let [append, read, seal] = [appended - begun, read - appended, seal].map(each);
    println!("{name:28} append {append:8.0} ns   read {read:8.0} ns   seal {seal:8.0} ns");
    Ok(())
}

fn cpu_nanoseconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
