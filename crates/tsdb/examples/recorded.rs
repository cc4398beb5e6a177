//! Puts scrapes that were recorded into a store and says what they take on disk:
//! `cargo run --release -p pitcrew-tsdb --example recorded -- DIRECTORY [COPIES]`
//!
//! The directory has a file for each scrape, `JOB.NUMBER.MILLISECONDS`, in the text format, as `curl` makes it of
//! `/metrics`. With copies there are as many targets of each job; they share nothing on disk but their labels. Time
//! passes as when they were recorded; then all is merged.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context;
use pitcrew_ingest::RawSeries;
use pitcrew_tsdb::{Batch, Options, RawLabels, Sample, Store, Value};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let recorded = args.next().context("a directory was expected")?;
    let copies = args.next().map_or(Ok(1), |text| text.parse())?;
    let scrapes = scrapes(recorded.as_ref())?;
    let directory = tempfile::tempdir()?;
    let (first_ms, _) = *scrapes.keys().next().context("no scrapes")?;
    let store = Store::open(Options::new(directory.path()), first_ms)?;
    let mut now_ms = first_ms;
    for ((time_ms, job), text) in &scrapes {
        now_ms = *time_ms;
        for copy in 0..copies {
            append(&store, text, job, copy, now_ms)?;
        }
        while store.maintain(now_ms)?.more {}
    }
    store.seal(now_ms)?;
    while store.maintain(now_ms + 2 * 86_400_000)?.more {}
    let held = store.statistics();
    println!(
        "{} series, {} samples: {} bytes in {} part, {:.3} a sample",
        held.series,
        held.part_samples,
        held.part_bytes,
        held.parts,
        held.part_bytes as f64 / held.part_samples as f64
    );
    Ok(())
}

/// By time and job.
fn scrapes(directory: &Path) -> anyhow::Result<BTreeMap<(i64, String), String>> {
    let mut scrapes = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut fields = name.split('.');
        let job = fields.next().context("a job was expected")?.to_owned();
        let time_ms = fields.nth(1).context("a time was expected")?.parse()?;
        scrapes.insert((time_ms, job), fs::read_to_string(&path)?);
    }
    Ok(scrapes)
}

fn append(store: &Store, text: &str, job: &str, copy: u32, now_ms: i64) -> anyhow::Result<()> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.filter_map(|line| {
        let (key, value) = line.rsplit_once(' ')?;
        Some(Sample {
            key: key.as_bytes(),
            timestamp_ms: now_ms,
            start_ms: 0,
            value: Value::Float(value.parse().ok()?),
        })
    });
    let samples: Vec<Sample<'_>> = samples.collect();
    let instance = format!("host-{copy}:9100");
    let labels_of = |key: &[u8], out: &mut RawLabels| {
        out.push("job", job);
        out.push("instance", &instance);
        let read = RawSeries::Text(key).each_label(|name, value| out.push(name, value));
        read.map_err(|error| error.to_string())
    };
    let scope = format!("{job} {instance}");
    let batch = Batch {
        source: "recorded",
        scope: scope.as_bytes(),
        labels_of: &labels_of,
        samples: &samples,
        exemplars: &[],
        metadata: &[],
    };
    let accepted = store.append(&batch, now_ms)?;
    anyhow::ensure!(
        accepted.refused.count == 0,
        "not everything was taken: {accepted:?}"
    );
    Ok(())
}
