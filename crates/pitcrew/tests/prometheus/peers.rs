//! Debian's Prometheus and promtool beside Pitcrew: the same answers to the same queries, reading from here and scraping
//! from here.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    chance::Chance,
    history::{History, ask, data, seconds},
    production::{Process, Production, free_port, has, wait_for},
};

struct Prometheus {
    _process: Process,
    port: u16,
}

impl Prometheus {
    fn start(directory: &Path, configuration: &str) -> Self {
        let port = free_port();
        let file = directory.join("prometheus.yml");
        fs::write(&file, configuration).expect("the configuration is written");
        let log = fs::File::create(directory.join("prometheus.log")).expect("a log");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(log);
        let process = Process::start(&mut command);
        wait_for(
            "Prometheus to be ready",
            || match crate::production::request(port, "GET", "/-/ready", &[], "") {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!(
                    "{other:?} {}",
                    fs::read_to_string(directory.join("prometheus.log")).unwrap_or_default()
                )),
            },
        );
        Self {
            _process: process,
            port,
        }
    }
}

/// Queries whose meaning hasn't changed since Prometheus 2.42.
const QUERIES: &[&str] = &[
    "temperature",
    r#"http_requests_total{code=~"2..",instance!="b"}"#,
    r#"{__name__=~"latency_seconds_(sum|count)"}"#,
    "rate(http_requests_total[2m])",
    "irate(http_requests_total[2m])",
    "increase(http_requests_total[5m])",
    "delta(temperature[3m])",
    "idelta(temperature[3m])",
    "deriv(temperature[3m])",
    "predict_linear(temperature[3m], 600)",
    "resets(http_requests_total[25m])",
    "changes(temperature[10m])",
    "avg_over_time(temperature[4m])",
    "min_over_time(temperature[4m])",
    "max_over_time(temperature[4m])",
    "sum_over_time(temperature[4m])",
    "count_over_time(temperature[4m])",
    "last_over_time(temperature[4m])",
    "present_over_time(temperature[4m])",
    "stddev_over_time(temperature[4m])",
    "stdvar_over_time(temperature[4m])",
    "quantile_over_time(0.3, temperature[4m])",
    "absent_over_time(nothing{a=\"b\"}[4m])",
    "absent(nothing{a=\"b\"})",
    "histogram_quantile(0.9, rate(latency_seconds_bucket[5m]))",
    "histogram_quantile(0.5, sum by (le) (latency_seconds_bucket))",
    "sum(rate(http_requests_total[5m]))",
    "sum by (code) (rate(http_requests_total[5m]))",
    "sum without (code) (http_requests_total)",
    "avg(temperature)",
    "min(temperature)",
    "max by (room) (temperature)",
    "count(http_requests_total)",
    "group by (code) (http_requests_total)",
    "stddev(http_requests_total)",
    "stdvar(http_requests_total)",
    "quantile(0.7, http_requests_total)",
    "topk(2, http_requests_total)",
    "bottomk(1, http_requests_total)",
    r#"count_values("value", http_requests_total > bool 100)"#,
    "http_requests_total / ignoring(code) group_left sum without (code) (http_requests_total)",
    r#"http_requests_total{code="500"} / on(instance) http_requests_total{code="200"}"#,
    "http_requests_total > 200",
    "http_requests_total == bool 99",
    r#"http_requests_total and on(instance) http_requests_total{instance="a"}"#,
    r#"http_requests_total unless on(instance) http_requests_total{instance="a"}"#,
    r#"temperature{room="attic"} or temperature"#,
    "temperature ^ 2 % 7",
    "-temperature",
    "2 * 3 - 1 / 3",
    "http_requests_total offset 5m",
    "http_requests_total offset -1m",
    "rate(http_requests_total[2m] offset 3m)",
    "temperature @ start()",
    "rate(http_requests_total[3m] @ end())",
    "max_over_time(rate(http_requests_total[1m])[10m:1m])",
    "sum_over_time(temperature[10m:20s])",
    "abs(temperature)",
    "ceil(temperature)",
    "floor(temperature)",
    "round(temperature, 0.5)",
    "sqrt(temperature)",
    "ln(http_requests_total)",
    "exp(temperature)",
    "log2(http_requests_total)",
    "sgn(temperature)",
    "clamp(temperature, 0, 10)",
    "clamp_min(temperature, 0)",
    "timestamp(temperature)",
    "time()",
    "vector(time())",
    "scalar(sum(temperature))",
    "minute(timestamp(temperature))",
    "day_of_week()",
    r#"label_replace(temperature, "floor", "$1-$2", "room", "(.)(.*)")"#,
    r#"label_join(http_requests_total, "both", "/", "instance", "code")"#,
    "sort_desc(http_requests_total)",
    "rad(temperature) + pi()",
    r#"sum by (job) (rate(latency_seconds_sum[5m])) / sum by (job) (rate(latency_seconds_count[5m]))"#,
];

fn with_history(directory: &Path, production: &Production, history: &History) {
    let created = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
        .arg(history.file(production))
        .arg(directory.join("tsdb"))
        .output()
        .expect("promtool runs");
    assert!(
        created.status.success(),
        "{}",
        String::from_utf8_lossy(&created.stderr)
    );
}

#[test]
fn the_same_queries_over_the_same_samples_have_prometheus_answers() {
    if !has("prometheus", "prometheus") {
        return;
    }
    let (history, production) = History::served();
    let directory = tempfile::tempdir().unwrap();
    with_history(directory.path(), &production, &history);
    let prometheus = Prometheus::start(directory.path(), "{}");
    let differing = differences(&history, production.port, prometheus.port);
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// `QUERIES_FROM` is the seed of the first of `QUERIES` queries.
#[test]
fn queries_by_chance_have_prometheus_answers() {
    if !has("prometheus", "prometheus") {
        return;
    }
    let set = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (from, count) = (
        set("QUERIES_FROM").unwrap_or(1),
        set("QUERIES").unwrap_or(150),
    );
    let (history, production) = History::served();
    let directory = tempfile::tempdir().unwrap();
    with_history(directory.path(), &production, &history);
    let prometheus = Prometheus::start(directory.path(), "{}");
    let mut differing = Vec::new();
    let mut found = 0;
    for seed in from..from + count {
        let query = Chance::new(seed).vector(4);
        for (path, parameters) in history.questions(&query) {
            let parameters: Vec<(&str, &str)> = parameters
                .iter()
                .map(|(name, value)| (*name, &**value))
                .collect();
            let [ours, theirs] =
                [production.port, prometheus.port].map(|port| ask(port, path, &parameters).json());
            // Newer versions miss the grouping even where a comparison lets none of the many through, as Pitcrew does.
            let stricter = ours["error"].as_str().unwrap_or_default();
            if stricter.starts_with("multiple matches for labels") {
                continue;
            }
            let [ours, theirs] = [ours, theirs].map(|mut answer| sorted(answer["data"].take()));
            found += ours["result"].as_array().map_or(0, Vec::len);
            if !alike(&ours, &theirs) {
                differing.push(format!(
                    "seed {seed}: {query} {parameters:?}\n  here: {ours}\n  there: {theirs}"
                ));
            }
        }
    }
    assert!(found > 2, "the queries find little: {found} series");
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn a_prometheus_that_reads_from_here_answers_alike() {
    if !has("prometheus", "prometheus") {
        return;
    }
    let (history, production) = History::served();
    let directory = tempfile::tempdir().unwrap();
    let configuration = format!(
        "remote_read: [{{ url: 'http://127.0.0.1:{}/api/v1/read', read_recent: true }}]\n",
        production.port
    );
    let prometheus = Prometheus::start(directory.path(), &configuration);
    let differing = differences(&history, production.port, prometheus.port);
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// A request for everything of half a day around a history, chunks preferred: protocol buffers by hand.
fn read_request(history: &History) -> Vec<u8> {
    fn put(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend([field << 3 | 2, u8::try_from(bytes.len()).expect("short")]);
        out.extend(bytes);
    }
    let mut query = Vec::new();
    for (field, at_ms) in [
        (1, history.start_ms - 21_600_000),
        (2, history.start_ms + 21_600_000),
    ] {
        query.push(field << 3);
        let mut rest = at_ms.cast_unsigned();
        while rest >= 0x80 {
            query.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        query.push(rest.to_le_bytes()[0]);
    }
    let mut matcher = vec![1 << 3, 2];
    put(2, b"__name__", &mut matcher);
    put(
        3,
        b"http_requests_total|temperature|latency.*",
        &mut matcher,
    );
    put(3, &matcher, &mut query);
    let mut request = Vec::new();
    put(1, &query, &mut request);
    put(2, &[1, 0], &mut request);
    let packed = snap::raw::Encoder::new().compress_vec(&request);
    packed.expect("a request is short")
}

/// Frames, checksums, series and the bits of each chunk.
#[test]
fn streamed_chunks_are_those_of_a_prometheus_byte_for_byte() {
    if !has("prometheus", "prometheus") {
        return;
    }
    let history = History::within_one_block();
    let production = history.imported();
    let directory = tempfile::tempdir().unwrap();
    with_history(directory.path(), &production, &history);
    let prometheus = Prometheus::start(directory.path(), "{}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let read = |port| {
        let url = format!("http://127.0.0.1:{port}/api/v1/read");
        let request = reqwest::Client::new()
            .post(url)
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-read-version", "0.1.0")
            .body(read_request(&history));
        runtime.block_on(async {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let kind = answer.headers()["content-type"].clone();
            (kind, answer.bytes().await.unwrap())
        })
    };
    let [(kind, ours), (their_kind, theirs)] = [production.port, prometheus.port].map(read);
    assert_eq!(kind, their_kind);
    assert!(ours.len() > 3_000, "{} bytes", ours.len());
    assert_eq!(ours, theirs);
}

fn differences(history: &History, ours: u16, theirs: u16) -> Vec<String> {
    let mut differing = Vec::new();
    let mut series = 0;
    for query in QUERIES {
        for (path, parameters) in history.questions(query) {
            let parameters: Vec<(&str, &str)> = parameters
                .iter()
                .map(|(name, value)| (*name, &**value))
                .collect();
            let [ours, theirs] = [ours, theirs].map(|port| sorted(data(port, path, &parameters)));
            series += ours["result"].as_array().map_or(0, Vec::len);
            if !alike(&ours, &theirs) {
                differing.push(format!(
                    "{query} {parameters:?}\n  here: {ours}\n  there: {theirs}"
                ));
            }
        }
    }
    assert!(series > 500, "the queries find little: {series} series");
    differing
}

/// The order of series is no part of an answer.
fn sorted(mut data: Value) -> Value {
    if let Some(series) = data["result"].as_array_mut() {
        series.sort_by_cached_key(|series| series["metric"].to_string());
    }
    data
}

/// The same, but for the last digits of numbers: sums are made in another order.
fn alike(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| alike(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(name, value)| right.get(name).is_some_and(|other| alike(value, other)))
        }
        (Value::String(left), Value::String(right)) if left != right => {
            let [Ok(left), Ok(right)] = [left, right].map(|text| text.parse::<f64>()) else {
                return false;
            };
            (left - right).abs() <= 1e-9 * left.abs().max(right.abs())
        }
        _ => left == right,
    }
}

#[test]
fn promtool_asks_as_it_asks_prometheus() {
    if !has("promtool", "prometheus") {
        return;
    }
    let (history, production) = History::served();
    let url = production.url();
    let asked = |arguments: &[&str]| {
        let output = Command::new("promtool")
            .arg("query")
            .args(arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap() + &errors,
        )
    };
    let (start, end) = (seconds(history.start_ms), seconds(history.end_ms()));
    let at = format!("--time={end}");
    for (arguments, says) in [
        (
            vec!["instant", &at, &url, r#"temperature{room="attic"}"#],
            r#"temperature{room="attic"} => 29.75 @["#,
        ),
        (
            vec![
                "range",
                "--start",
                &start,
                "--end",
                &end,
                "--step=10m",
                &url,
                "count(http_requests_total)",
            ],
            "{} =>\n4 @[",
        ),
        (
            vec![
                "series",
                "--match",
                r#"http_requests_total{code="200"}"#,
                &url,
            ],
            r#"{__name__="http_requests_total", code="200", instance="a", job="web"}"#,
        ),
        (
            vec!["labels", "--match", "http_requests_total", &url, "instance"],
            "a\nb\n",
        ),
    ] {
        let (succeeded, told) = asked(&arguments);
        assert!(succeeded && told.contains(says), "{arguments:?}: {told}");
    }
    let (succeeded, told) = asked(&["instant", &url, "sum("]);
    assert!(!succeeded && told.contains("parse error"), "{told}");
    let (succeeded, told) = asked(&[
        "instant",
        &url,
        "http_requests_total + on(job) http_requests_total offset 1s",
    ]);
    assert!(succeeded || told.contains("execution"), "{told}");
}

#[test]
fn a_prometheus_scrapes_what_is_federated() {
    if !has("prometheus", "prometheus") {
        return;
    }
    let (history, production) = History::served();
    let directory = tempfile::tempdir().unwrap();
    let configuration = format!(
        "scrape_configs:\n\
         - job_name: federate\n  \
           scrape_interval: 1s\n  \
           honor_labels: true\n  \
           metrics_path: /federate\n  \
           params: {{ 'match[]': ['{{job=\"web\"}}', 'temperature'] }}\n  \
           static_configs: [{{ targets: ['127.0.0.1:{}'] }}]\n",
        production.port
    );
    let prometheus = Prometheus::start(directory.path(), &configuration);
    let at = seconds(history.end_ms());
    let of = |port, query: &str| {
        sorted(data(
            port,
            "/api/v1/query",
            &[("query", query), ("time", &at)],
        ))
    };
    // What has no job gets the scrape's, as from a Prometheus.
    let temperature = "max without (job) (temperature)";
    for query in ["http_requests_total", "latency_seconds_bucket", temperature] {
        wait_for(&format!("{query} to be scraped"), || {
            let [ours, theirs] = [production.port, prometheus.port].map(|port| of(port, query));
            match ours == theirs && ours["result"] != Value::Array(Vec::new()) {
                true => Ok(()),
                false => Err(format!("{ours}\n{theirs}")),
            }
        });
    }
}
