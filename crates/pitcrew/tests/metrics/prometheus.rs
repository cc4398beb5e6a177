//! A real Prometheus as the writer.

use std::{
    fs,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    message::block_on,
    production::{Process, Production, free_port, has, wait_for},
    stored::Stored,
};

/// Prometheus with this configuration, in the production's directory.
pub(crate) struct Prometheus {
    _process: Process,
    port: u16,
}

impl Prometheus {
    pub(crate) fn start(production: &Production, port: u16, configuration: &str) -> Self {
        let directory = production.path().join("prometheus");
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("prometheus.yml");
        fs::write(&file, configuration).unwrap();
        let process = Process::start(
            Command::new("prometheus")
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}/data", directory.display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        Self {
            _process: process,
            port,
        }
    }

    pub(crate) fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let url = reqwest::Url::parse_with_params(&url, query).unwrap();
        block_on(async {
            let answer = reqwest::get(url).await.map_err(|error| error.to_string())?;
            let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
            match answer["status"].as_str() {
                Some("success") => Ok(answer["data"].clone()),
                _ => Err(answer.to_string()),
            }
        })
    }

    /// Times in milliseconds and values of the one series of a query such as `up[10m]`.
    fn points(&self, query: &str) -> Result<Vec<(i64, f64)>, String> {
        let data = self.get("/api/v1/query", &[("query", query)])?;
        let series = data["result"].as_array().ok_or("no result")?;
        let [series] = &series[..] else {
            return Err(format!("{} series", series.len()));
        };
        let points = series["values"].as_array().ok_or("no values")?.iter();
        let point = |pair: &Value| {
            let seconds = pair[0].as_f64()?;
            let millis = format!("{:.0}", seconds * 1_000.0).parse().ok()?;
            Some((millis, pair[1].as_str()?.parse().ok()?))
        };
        points
            .map(|pair| point(pair).ok_or_else(|| pair.to_string()))
            .collect()
    }
}

/// Samples of its own counter that a server says it has stored.
fn stored_samples(production: &Production) -> Result<u64, String> {
    let answer = production.request("GET", "/metrics", &[], "")?;
    let line = answer
        .body
        .lines()
        .find_map(|line| line.strip_prefix("pitcrew_metrics_samples_total "));
    let count = line.ok_or("no such metric")?.parse();
    count.map_err(|error| format!("{error}"))
}

#[test]
fn what_a_real_prometheus_writes_survives_kill_9_sample_by_sample() {
    if !has("prometheus", "prometheus") {
        return;
    }
    let mut production = Production::served("services: []\n");
    let port = free_port();
    let prometheus = Prometheus::start(
        &production,
        port,
        &format!(
            "
global: {{ scrape_interval: 250ms, scrape_timeout: 250ms, external_labels: {{ from: prometheus }} }}
scrape_configs:
- job_name: prometheus
  static_configs: [{{ targets: ['127.0.0.1:{port}'] }}]
remote_write:
- url: http://127.0.0.1:{}/api/v1/write
  queue_config: {{ batch_send_deadline: 200ms, min_backoff: 30ms, max_backoff: 200ms }}
",
            production.port
        ),
    );
    wait_for("samples of Prometheus", || {
        let stored = stored_samples(&production)?;
        (stored > 5_000)
            .then_some(())
            .ok_or_else(|| stored.to_string())
    });
    for _ in 0..2 {
        production.kill();
        production.serve();
        let before = stored_samples(&production).unwrap();
        wait_for("samples after the kill", || {
            let stored = stored_samples(&production)?;
            (stored > before + 2_000)
                .then_some(())
                .ok_or_else(|| stored.to_string())
        });
    }
    let queries = [
        "up",
        "prometheus_http_requests_total{handler=\"/metrics\"}",
        "go_goroutines",
    ];
    let wanted = wait_for("Prometheus' own samples", || {
        let points = queries.map(|query| prometheus.points(&format!("{query}[10m]")));
        points.into_iter().collect::<Result<Vec<_>, _>>()
    });
    // They are sent in the order of the log: what comes later is there once this is.
    let last_ms = wanted
        .iter()
        .map(|points| points[points.len() - 1].0)
        .max()
        .unwrap();
    wait_for("the last of them to be sent", || {
        let query = "prometheus_remote_storage_queue_highest_sent_timestamp_seconds";
        let sent = prometheus.points(&format!("{query}[1m]"))?;
        let sent = sent.last().map_or(0.0, |(_, seconds)| *seconds);
        // It says whole seconds.
        (sent * 1_000.0 > last_ms as f64 + 1_000.0)
            .then_some(())
            .ok_or_else(|| format!("{sent} of {last_ms}"))
    });
    assert_eq!(production.stop(), Some(0));
    let stored = Stored::of(&production);
    for (query, wanted) in queries.iter().zip(wanted) {
        let query = match query.strip_suffix('}') {
            Some(start) => format!("{start},from=\"prometheus\"}}[10m]"),
            None => format!("{query}{{from=\"prometheus\"}}[10m]"),
        };
        let found = stored.points(&query, last_ms);
        assert_eq!(found.len(), 1, "{query}");
        let found = &found[0].1;
        let missing: Vec<_> = wanted
            .iter()
            .filter(|point| !found.contains(point))
            .collect();
        assert!(
            missing.is_empty(),
            "{query} lacks {missing:?} of {}",
            wanted.len()
        );
    }
}
