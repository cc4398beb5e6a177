//! The same work on `pitcrew serve`, Prometheus and VictoriaMetrics, one after the other:
//! `cargo build --release -p pitcrew && cargo run --release -p pitcrew-tsdb --example peers -- target/release/pitcrew SERIES [SERVER…]`
//!
//! Each server gets the same scrapes by remote write 1.0, is asked the same questions by HTTP, is killed and started
//! again. What counts is the CPU time of its process, which other work on the machine hardly changes. The scrapes are
//! those of the example `load`.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

#[path = "../load/target.rs"]
mod target;

mod server;
mod wire;

use std::{
    path::Path,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use pitcrew_ingest::RawSeries;
use pitcrew_tsdb::{Options, Store};
use serde_json::Value;

use server::{Kind, Running};
use target::Target;
use wire::{Connection, WriteRequest, query};

const SCRAPE_S: i64 = 15;
/// Samples that all scrapes together bring, about.
const SAMPLES: usize = 16_000_000;
const ALL: &str = "sum(rate({job=\"service\"}[5m]))";
/// Prometheus 2.42 refuses rates of several metrics with the same labels; the sum of their sums is the same work.
const METRICS: &[&str] = &[
    "up",
    "app_build_info",
    "app_errors_total",
    "app_heap_bytes",
    "app_hit_ratio",
    "app_load",
    "app_pool_limit",
    "app_requests_total",
    "app_retries_total",
    "app_sent_bytes_total",
    "app_start_time_seconds",
    "http_request_duration_seconds_bucket",
    "http_request_duration_seconds_count",
    "http_request_duration_seconds_sum",
];

fn all_rates(kind: Kind) -> String {
    if kind != Kind::Prometheus {
        return ALL.to_owned();
    }
    let sums: Vec<String> = METRICS
        .iter()
        .map(|metric| format!("sum(rate({metric}[5m]))"))
        .collect();
    sums.join("+")
}

/// Beside the sum of all rates: what must be answered as Prometheus does.
const QUESTIONS: &[&str] = &[
    "count({job=\"service\"})",
    "sum by (zone) (rate(app_requests_total[2m]))",
    "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[2m])))",
    "topk(3, app_heap_bytes)",
    "avg by (job) (avg_over_time(app_load[1m]))",
    "max_over_time(app_hit_ratio{shard=\"3\",zone=\"a\"}[1m])",
    "sum(increase(http_request_duration_seconds_sum[2m])) / sum(increase(http_request_duration_seconds_count[2m]))",
    "quantile(0.5, app_sent_bytes_total) - min(app_sent_bytes_total)",
    "count by (handler) (http_request_duration_seconds_count{handler=~\".*-1.*\"} > 10)",
    "stddev_over_time(app_load{shard=~\"1|2|3\",instance=\"10.0.0.0:9100\"}[90s])",
];

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let pitcrew = args
        .next()
        .context("the path of pitcrew's program was expected")?;
    let series = args.next().context("the number of series was expected")?;
    let plan = Plan::new(series.parse().context("a number of series was expected")?)?;
    let names: Vec<String> = args.collect();
    println!(
        "{} series of {} targets, {} scrapes: {} samples",
        plan.series(),
        plan.targets,
        plan.scrapes,
        plan.series() * plan.scrapes
    );
    let mut columns = Vec::new();
    for kind in Kind::ALL {
        if names.is_empty() || names.iter().any(|name| name == kind.name()) {
            columns.push((kind, plan.measure(kind, pitcrew.as_ref())?));
        }
    }
    print_table(&columns);
    print_agreement(&columns);
    Ok(())
}

/// What is sent and asked.
struct Plan {
    targets: usize,
    scrapes: usize,
    first_s: i64,
}

/// What one server made of it.
struct Measured {
    figures: Vec<f64>,
    answers: Vec<Value>,
}

struct Figure {
    name: &'static str,
    goal: &'static str,
    decimals: usize,
}

const fn figure(name: &'static str, goal: &'static str, decimals: usize) -> Figure {
    Figure {
        name,
        goal,
        decimals,
    }
}

/// In the order in which they are measured.
const FIGURES: &[Figure] = &[
    figure("new series a CPU-second", "≥ 200000", 0),
    figure("known series, samples a CPU-second", "≥ 1200000", 0),
    figure("resident bytes a series", "≤ 600", 0),
    figure("sum of all rates, CPU-s for 16 M samples", "≤ 0.3", 2),
    figure("the same again", "≤ 0.3", 2),
    figure("restart after kill -9, s a million series", "≤ 10", 1),
    figure("of that, CPU-s", "", 1),
    figure("resident bytes a series after it", "≤ running", 0),
    figure("bytes a sample on disk, compacted", "≤ 0.6", 2),
];

impl Plan {
    fn new(series: usize) -> anyhow::Result<Self> {
        let targets = series.div_ceil(Target::SERIES).max(1);
        let scrapes = (SAMPLES / (targets * Target::SERIES)).clamp(8, 240);
        let now_s = now_ms()? / 1000;
        let last_s = now_s / SCRAPE_S * SCRAPE_S;
        Ok(Plan {
            targets,
            scrapes,
            first_s: last_s - SCRAPE_S * (i64::try_from(scrapes)? - 1),
        })
    }

    fn series(&self) -> usize {
        self.targets * Target::SERIES
    }

    fn last_s(&self) -> i64 {
        self.first_s + SCRAPE_S * (i64::try_from(self.scrapes).unwrap_or(0) - 1)
    }

    /// First and last instant of a query with about 160 steps, and the step.
    fn range(&self) -> (i64, i64, i64) {
        let (start, end) = (self.first_s + 60, self.last_s());
        (start, end, ((end - start) / 160).max(1))
    }

    /// Where all windows of five minutes are full; how far others are extrapolated Prometheus 2 decides otherwise.
    fn full_range(&self) -> Option<(i64, i64, i64)> {
        let (_, end, step) = self.range();
        let start = self.first_s + 315;
        (start < end).then_some((start, end, step))
    }

    fn measure(&self, kind: Kind, pitcrew: &Path) -> anyhow::Result<Measured> {
        let directory =
            tempfile::tempdir_in(std::env::var("BENCH_DIR").as_deref().unwrap_or("/tmp"))?;
        let directory = directory.path();
        let mut server = Running::start(kind, pitcrew, directory)?;
        server.wait_for(|port| query(port, "up", (0, 0, 1)).is_ok())?;
        let mut feed = Feed::new(self.targets);
        let series = self.series() as f64;
        let mut figures = Vec::new();
        let ((), cpu) = server.measure(|| feed.send(server.port, self.first_s))?;
        figures.push(series / cpu);
        let ((), cpu) = server.measure(|| {
            (1..self.scrapes).try_for_each(|scrape| {
                feed.send(
                    server.port,
                    self.first_s + SCRAPE_S * i64::try_from(scrape)?,
                )
            })
        })?;
        let samples = (self.series() * self.scrapes) as f64;
        figures.push((samples - series) / cpu);
        drop(feed);
        figures.push(server.resident_bytes()? / series);
        for _ in 0..2 {
            let (_, cpu) = server.measure(|| query(server.port, &all_rates(kind), self.range()))?;
            figures.push(cpu * 16e6 / samples);
        }
        let mut answers = Vec::new();
        if let Some(range) = self.full_range() {
            answers.push(query(server.port, &all_rates(kind), range)?);
            for question in QUESTIONS {
                answers.push(query(server.port, question, range)?);
            }
        }
        drop(server);
        let begun = Instant::now();
        let mut server = Running::start(kind, pitcrew, directory)?;
        server.wait_for(|port| self.has_all(port))?;
        figures.push(begun.elapsed().as_secs_f64() * 1e6 / series);
        figures.push(server.cpu_seconds()? * 1e6 / series);
        figures.push(server.resident_bytes()? / series);
        figures.push(kind.compacted(server, directory)? as f64 / samples);
        Ok(Measured { figures, answers })
    }

    /// Whether all targets of the last scrape are there.
    fn has_all(&self, port: u16) -> bool {
        let last = self.last_s() + 1;
        let answer = query(port, "count(up{job=\"service\"})", (last, last, 1)).unwrap_or_default();
        answer[0]["values"][0][1] == Value::String(self.targets.to_string())
    }
}

/// All targets, with the labels of their series as they are sent.
struct Feed {
    targets: Vec<(Target, Vec<Vec<u8>>)>,
    request: WriteRequest,
}

impl Feed {
    fn new(targets: usize) -> Self {
        let targets = (0..targets).map(|number| {
            let target = Target::new(number, false);
            let labels = target.samples(0).into_iter().map(|sample| {
                let mut pairs = Vec::new();
                let read = RawSeries::Pairs(sample.key).each_label(|name, value| {
                    pairs.push((name.to_owned(), value.to_owned()));
                });
                read.expect("a key is made of its labels");
                wire::labels(pairs.iter().map(|(name, value)| (&**name, &**value)))
            });
            let labels = labels.collect();
            (target, labels)
        });
        Feed {
            targets: targets.collect(),
            request: WriteRequest::default(),
        }
    }

    /// One scrape of all targets, two in a request: as many samples as Prometheus sends at once.
    fn send(&mut self, port: u16, at_s: i64) -> anyhow::Result<()> {
        let mut connection = Connection::open(port)?;
        for some in self.targets.chunks_mut(2) {
            for (target, labels) in some {
                target.advance();
                for (sample, labels) in target.samples(at_s * 1000).iter().zip(labels) {
                    if let pitcrew_tsdb::Value::Float(value) = sample.value {
                        self.request.add(labels, sample.timestamp_ms, value);
                    }
                }
            }
            connection.write(&self.request.compressed()?)?;
        }
        Ok(())
    }
}

fn now_ms() -> anyhow::Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_millis())?)
}

/// Seals and merges a store as a day would.
fn compact(metrics: &Path) -> anyhow::Result<()> {
    let now_ms = now_ms()?;
    let store = Store::open(Options::new(metrics), now_ms)?;
    store.seal(now_ms)?;
    while store.maintain(now_ms + 2 * 86_400_000)?.more {}
    let held = store.statistics();
    ensure!(
        held.head_samples == 0,
        "not everything was sealed: {held:?}"
    );
    Ok(())
}

fn print_table(columns: &[(Kind, Measured)]) {
    let mut head = format!("{:44}", "");
    for (kind, _) in columns {
        head.push_str(&format!("{:>18}", kind.name()));
    }
    println!("{head}  goal");
    for (index, figure) in FIGURES.iter().enumerate() {
        let mut line = format!("{:44}", figure.name);
        for (_, measured) in columns {
            let decimals = figure.decimals;
            line.push_str(&format!("{:>18.decimals$}", measured.figures[index]));
        }
        println!("{line}  {}", figure.goal);
    }
}

fn print_agreement(columns: &[(Kind, Measured)]) {
    let find = |wanted| columns.iter().find(|(kind, _)| *kind == wanted);
    let (Some((_, ours)), Some((_, theirs))) = (find(Kind::Pitcrew), find(Kind::Prometheus)) else {
        return;
    };
    let questions = [ALL].into_iter().chain(QUESTIONS.iter().copied());
    let mut agreed = 0;
    for ((question, ours), theirs) in questions.zip(&ours.answers).zip(&theirs.answers) {
        match difference(ours, theirs) {
            None => agreed += 1,
            Some(difference) => println!("DIFFERS from Prometheus: {question}: {difference}"),
        }
    }
    println!(
        "answers as Prometheus gives them: {agreed} of {}",
        theirs.answers.len()
    );
}

/// What differs between two answers: series, instants, or values from the ninth digit on: Prometheus 2.42 doesn't compensate its sums.
fn difference(ours: &Value, theirs: &Value) -> Option<String> {
    let empty = Vec::new();
    let sorted = |answer: &Value| {
        let mut series = answer.as_array().unwrap_or(&empty).clone();
        series.sort_by_key(|series| series["metric"].to_string());
        series
    };
    let (ours, theirs) = (sorted(ours), sorted(theirs));
    if ours.is_empty() || ours.len() != theirs.len() {
        return Some(format!("{} series, not {}", ours.len(), theirs.len()));
    }
    for (our, their) in ours.iter().zip(&theirs) {
        if our["metric"] != their["metric"] {
            return Some(format!("{}, not {}", our["metric"], their["metric"]));
        }
        let (values, expected) = (our["values"].as_array()?, their["values"].as_array()?);
        if values.len() != expected.len() {
            return Some(format!("{} values, not {}", values.len(), expected.len()));
        }
        for (value, expected) in values.iter().zip(expected) {
            let number =
                |point: &Value| point[1].as_str().and_then(|text| text.parse::<f64>().ok());
            let (ours, theirs) = (number(value)?, number(expected)?);
            let near = (ours - theirs).abs() <= 1e-9 * ours.abs().max(theirs.abs());
            if value[0].as_f64() != expected[0].as_f64()
                || !(near || ours.to_bits() == theirs.to_bits())
            {
                return Some(format!("{value}, not {expected}"));
            }
        }
    }
    None
}
