//! How much processor time `sum(rate())` takes over counters that are held in memory: `cargo run --release -p
//! pitcrew-promql --example sum_rate -- [SERIES]`.
//!
//! One hundred series share a scrape, as they do in a store; each has 180 samples, 15 s apart, of which 160 steps see
//! windows of five minutes. What the store needs for reading is part of it: one copy of each column.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::{fs, ops::ControlFlow, sync::Arc};

use anyhow::Context;
use pitcrew_promql::{
    eval::{Options, Time, Value, evaluate},
    labels::Labels,
    parser::parse,
    storage::{FloatColumn, Found, HistogramColumn, Selection, Series, Storage, StorageError},
};

const SCRAPE: usize = 100;
const SAMPLES: usize = 180;
const STEPS: i64 = 160;
const EVERY_MS: i64 = 15_000;
const START_MS: i64 = 1_700_000_000_000;

struct Counters(Vec<Series>);

impl Counters {
    fn new(series: usize) -> Self {
        let mut all = Vec::with_capacity(series);
        for scrape in 0..series.div_ceil(SCRAPE) {
            let offset = i64::try_from(scrape * 37 % 15_000).unwrap_or(0);
            let timestamps: Arc<[i64]> = (0..SAMPLES)
                .map(|sample| START_MS + offset + i64::try_from(sample).unwrap_or(0) * EVERY_MS)
                .collect();
            for number in 0..SCRAPE {
                let labels = Labels::from_pairs([
                    ("__name__", "requests_total".to_owned()),
                    ("instance", format!("web-{scrape:05}")),
                    ("path", format!("/{number:03}")),
                ]);
                let step = (scrape + number) % 17 + 1;
                let values = (0..SAMPLES).map(|sample| (1_000 + sample * step) as f64);
                all.push(Series {
                    labels,
                    floats: FloatColumn {
                        timestamps: timestamps.clone(),
                        values: values.collect(),
                        starts: Vec::new(),
                    },
                    histograms: HistogramColumn::default(),
                });
            }
        }
        Self(all)
    }
}

impl Storage for Counters {
    fn select(
        &self,
        _: &Selection<'_>,
        take: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        for series in &self.0 {
            if take(Found::Series(&mut series.clone())).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let series = std::env::args()
        .nth(1)
        .map_or(Ok(100_000), |text| text.parse())?;
    let counters = Counters::new(series);
    let query = parse("sum(rate(requests_total[5m]))")?;
    let end_ms = START_MS + i64::try_from(SAMPLES)? * EVERY_MS;
    let time = Time::Range {
        start_ms: end_ms - (STEPS - 1) * EVERY_MS,
        end_ms,
        step_ms: EVERY_MS,
    };
    for _ in 0..5 {
        let before = cpu_ns()?;
        let answer = evaluate(&counters, &query, time, &Options::default())?;
        let took = cpu_ns()? - before;
        let Value::Matrix(points) = &answer.value else {
            anyhow::bail!("the answer is no matrix");
        };
        println!(
            "{} series, {} steps, {:.1} M samples: {:.3} CPU-s",
            series,
            points.first().map_or(0, |series| series.points.len()),
            (series * SAMPLES) as f64 / 1e6,
            took as f64 / 1e9,
        );
    }
    Ok(())
}

fn cpu_ns() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/self/schedstat").context("failed to read schedstat")?;
    let first = text.split(' ').next().context("schedstat is empty")?;
    first.parse().context("schedstat has no number")
}
