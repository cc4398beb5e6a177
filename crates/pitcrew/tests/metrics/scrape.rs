//! Scraping: a real exporter beside a real Prometheus, and a page that changes.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use crate::{
    production::{Process, Production, free_port, has, wait_for},
    prometheus::Prometheus,
    stored::{Stored, now_ms},
};

/// Waits until each page of a scrape was read, and gives what the server says of it.
fn read(production: &Production) -> Value {
    production.wait_until("the page to be read", "/api/v1/scrapes", |page| {
        let first = &page["items"][0];
        match first["error"].is_null() && !first["last_at"].is_null() {
            true => Ok(first.clone()),
            false => Err(page.to_string()),
        }
    })
}

#[test]
fn a_real_exporter_gives_the_series_that_prometheus_gets_of_it() {
    if !has("prometheus", "prometheus")
        || !has("prometheus-node-exporter", "prometheus-node-exporter")
    {
        return;
    }
    let port = free_port();
    let _exporter = Process::start(
        Command::new("prometheus-node-exporter")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    let rules = "[{ source_labels: [__address__], regex: '([^:]+):.*', target_label: host }]";
    let metric_rules = "[{ source_labels: [__name__], regex: 'go_.*|process_.*', action: drop }, { source_labels: [__name__, cpu], regex: 'node_cpu_seconds_total;(.*)', target_label: core, replacement: 'core-$1' }]";
    let mut production = Production::served(&format!(
        "
find: [{{ static: [{{ targets: ['127.0.0.1:{port}'], labels: {{ role: node }} }}] }}]
metrics:
  scrape: [{{ name: node, select: {{ role: node }}, interval: 1s, relabel: {rules}, metric_relabel: {metric_rules} }}]
"
    ));
    let prometheus = Prometheus::start(
        &production,
        free_port(),
        &format!(
            "
scrape_configs:
- job_name: node
  scrape_interval: 1s
  static_configs: [{{ targets: ['127.0.0.1:{port}'], labels: {{ role: node }} }}]
  relabel_configs: {rules}
  metric_relabel_configs: {metric_rules}
"
        ),
    );
    let status = read(&production);
    assert_eq!(status["labels"]["host"], "127.0.0.1", "{status}");
    let theirs: BTreeSet<String> = wait_for("Prometheus to scrape", || {
        let series = prometheus.get("/api/v1/series", &[("match[]", "{job=\"node\"}")])?;
        let series = series.as_array().ok_or("no list")?;
        if series.len() < 300 {
            return Err(format!("{} series", series.len()));
        }
        Ok(series.iter().map(labels_of).collect())
    });
    assert_eq!(production.stop(), Some(0));
    let stored = Stored::of(&production);
    let names = |(labels, _): (String, _)| labels;
    let ours = stored.points("{job=\"node\"}[1h]", now_ms());
    let ours: BTreeSet<String> = ours.into_iter().map(names).collect();
    // A device may come or go between two scrapes; more than a few do not.
    let differing: Vec<&String> = ours.symmetric_difference(&theirs).collect();
    assert!(ours.len() > 300 && differing.len() < 10, "{differing:#?}");
    assert_eq!(stored.value("max_over_time(up{job=\"node\"}[1h])"), 1.0);
    let kept =
        stored.value("last_over_time(scrape_samples_post_metric_relabeling{job=\"node\"}[1h])");
    assert!(kept < stored.value("last_over_time(scrape_samples_scraped{job=\"node\"}[1h])"));
}

/// As the query engine writes labels.
fn labels_of(series: &Value) -> String {
    let pairs = series.as_object().unwrap().iter();
    let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
    pitcrew_promql::labels::Labels::from_pairs(pairs).to_string()
}

/// A page that a test changes; an empty one is an error 500.
#[derive(Clone)]
struct Page(Arc<Mutex<String>>);

impl Page {
    fn served(text: &str) -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let page = Self(Arc::new(Mutex::new(text.to_owned())));
        let served = page.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut head = [0; 4_096];
                let length = stream.read(&mut head).unwrap_or(0);
                assert!(String::from_utf8_lossy(&head[..length]).contains("accept: "));
                let text = served.0.lock().unwrap().clone();
                let status = if text.is_empty() {
                    "500 Broken"
                } else {
                    "200 OK"
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                    text.len()
                );
                stream.write_all(answer.as_bytes()).ok();
            }
        });
        (page, port)
    }

    fn set(&self, text: &str) {
        text.clone_into(&mut self.0.lock().unwrap());
    }
}

/// Waits until the page was read anew after now, and says how that ended.
fn next_error(production: &Production, wanted: Option<&str>) {
    production.wait_until("the page to be read again", "/api/v1/scrapes", |page| {
        let error = page["items"][0]["error"].as_str();
        let is_it = match (error, wanted) {
            (None, None) => true,
            (Some(error), Some(wanted)) => error.contains(wanted),
            _ => false,
        };
        is_it.then_some(()).ok_or_else(|| page.to_string())
    });
}

fn samples(production: &Production, wanted: u64) {
    production.wait_until("so many samples", "/api/v1/scrapes", |page| {
        let is_it = page["items"][0]["samples"] == wanted;
        is_it.then_some(()).ok_or_else(|| page.to_string())
    });
}

#[test]
fn a_series_a_page_and_a_target_that_go_end_at_once_and_are_not_carried_on() {
    let (page, port) = Page::served("a 1\nb 2\n");
    let yaml = |state: &str| {
        format!(
            "
find: [{{ static: [{{ targets: ['127.0.0.1:{port}'], labels: {{ state: {state} }} }}] }}]
metrics:
  scrape: [{{ name: page, all: true, interval: 200ms, sample_max: 3, relabel: [{{ source_labels: [state], regex: retired, action: drop }}] }}]
"
        )
    };
    let mut production = Production::served(&yaml("used"));
    samples(&production, 2);
    page.set("a 1\nb 2\na{instance=\"mine\"} 3\n");
    samples(&production, 3);
    page.set("a 1\n");
    samples(&production, 1);
    page.set("a 1\nb\n");
    next_error(&production, Some("line 2"));
    page.set("a 1\nb 1\nc 1\nd 1\n");
    next_error(&production, Some("`sample_max` 3"));
    page.set("");
    next_error(&production, Some("500"));
    page.set("a 7\n");
    next_error(&production, None);
    // Gone in the middle of its life.
    production.write("production.yaml", &yaml("retired"));
    production.wait_until("the target to go", "/api/v1/scrapes", |page| {
        let is_gone = page["items"].as_array().is_some_and(Vec::is_empty);
        is_gone.then_some(()).ok_or_else(|| page.to_string())
    });
    let gone_ms = now_ms();
    // The end of its series is written after its line has gone.
    wait_for("the end of its series", || {
        let later = now_ms() > gone_ms + 1_000;
        later.then_some(()).ok_or_else(|| "a second".to_owned())
    });
    assert_eq!(production.stop(), Some(0));
    let stored = Stored::of(&production);
    assert_eq!(stored.values("a"), [], "it ended with its target");
    assert_eq!(stored.values("up{job=\"page\"}"), []);
    let a = stored.points(&format!("a{{instance=\"127.0.0.1:{port}\"}}[1h]"), now_ms());
    // `exported_instance` has a series of its own.
    assert_eq!(a.len(), 2, "{a:?}");
    assert!(
        a.iter()
            .any(|(labels, _)| labels.contains("exported_instance=\"mine\""))
    );
    let ups: BTreeSet<String> = stored
        .points("up{job=\"page\"}[1h]", now_ms())
        .iter()
        .flat_map(|(_, points)| points.iter().map(|(_, up)| up.to_string()))
        .collect();
    assert_eq!(ups, BTreeSet::from(["0".to_owned(), "1".to_owned()]));
    let b = stored.points("b[1h]", now_ms());
    let last_b = b[0].1.last().unwrap().0;
    let answer = stored.answer("b", last_b + 60_000);
    assert!(
        format!("{:?}", answer.value).contains("Vector([])"),
        "b ended long before: {answer:?}"
    );
}
