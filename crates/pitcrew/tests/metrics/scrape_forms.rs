//! Pages with parameters and in other forms than text: a real blackbox exporter, a real Prometheus, native histograms.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Command, Stdio},
    thread,
};

use serde_json::Value;

use crate::{
    message::Message,
    production::{Process, Production, free_port, has},
    prometheus::Prometheus,
    stored::{Stored, now_ms},
};

/// Answers every request, whose head it is given, with a type and a body.
fn served(answer: impl Fn(&str) -> (&'static str, Vec<u8>) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4_096];
            let length = stream.read(&mut head).unwrap_or(0);
            let (kind, body) = answer(&String::from_utf8_lossy(&head[..length]));
            let length = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            let written = stream.write_all(head.as_bytes());
            written.and_then(|()| stream.write_all(&body)).ok();
        }
    });
    port
}

/// The value of a query that gives one series, as text.
fn value(production: &Production, query: &str) -> String {
    let url = reqwest::Url::parse_with_params("http://here/api/v1/query", [("query", query)]);
    let url = url.unwrap();
    let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    production.wait_until(query, &path, |answer| {
        let value = answer["data"]["result"][0]["value"][1].as_str();
        value.map(str::to_owned).ok_or_else(|| answer.to_string())
    })
}

#[test]
fn a_blackbox_exporter_is_asked_about_each_target_with_the_module_that_params_says() {
    if !has(
        "prometheus-blackbox-exporter",
        "prometheus-blackbox-exporter",
    ) {
        return;
    }
    let well = served(|_| ("text/plain", b"well".to_vec()));
    let ill = free_port();
    let exporter = free_port();
    let mut production = Production::new(&format!(
        "
find: [{{ static: [{{ targets: ['127.0.0.1:{well}', '127.0.0.1:{ill}'] }}] }}]
metrics:
  scrape:
    - name: probes
      all: true
      path: /probe
      interval: 1s
      params: {{ module: [http_ok] }}
      relabel:
        - {{ source_labels: [__address__], target_label: __param_target }}
        - {{ source_labels: [__param_target], target_label: instance }}
        - {{ source_labels: [__param_module], target_label: module }}
        - {{ target_label: __address__, replacement: '127.0.0.1:{exporter}' }}
"
    ));
    let modules = production.path().join("blackbox.yml");
    let ok = "modules: { http_ok: { prober: http, http: { preferred_ip_protocol: ip4 } } }";
    fs::write(&modules, ok).unwrap();
    let _exporter = Process::start(
        Command::new("prometheus-blackbox-exporter")
            .arg(format!("--config.file={}", modules.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{exporter}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    production.serve();
    for (port, success) in [(well, "1"), (ill, "0")] {
        let query = format!(
            "probe_success{{job=\"probes\", module=\"http_ok\", instance=\"127.0.0.1:{port}\"}}"
        );
        assert_eq!(value(&production, &query), success);
    }
}

#[test]
fn a_real_program_says_the_same_in_protocol_buffers_as_in_text() {
    if !has("prometheus", "prometheus") {
        return;
    }
    let port = free_port();
    let mut production = Production::served(&format!(
        "
find: [{{ static: [{{ targets: ['127.0.0.1:{port}'] }}] }}]
metrics:
  scrape:
    - {{ name: text, all: true, interval: 500ms }}
    - {{ name: families, all: true, interval: 500ms, native_histograms: true }}
"
    ));
    let _prometheus = Prometheus::start(&production, port, "");
    production.wait_until("both to say as much", "/api/v1/scrapes", |page| {
        let samples = |number: usize| page["items"][number]["samples"].as_u64();
        match (samples(0), samples(1)) {
            (Some(one), Some(other)) if one == other && one > 200 => Ok(()),
            _ => Err(page.to_string()),
        }
    });
    assert_eq!(production.stop(), Some(0));
    let stored = Stored::of(&production);
    let series = |job: &str| -> BTreeSet<String> {
        let found = stored.points(&format!("{{job=\"{job}\"}}[1h]"), now_ms());
        let labels = found.into_iter().map(|(labels, _)| labels);
        // Its text is the older one, with le="1" for le="1.0".
        let alike = |labels: String| labels.replace(job, "").replace(".0\"", "\"");
        labels.map(alike).collect()
    };
    let (text, families) = (series("text"), series("families"));
    // What is new between two pages is in one of them.
    let differing: Vec<&String> = text.symmetric_difference(&families).collect();
    assert!(
        families.len() > 200 && differing.len() < 10,
        "{differing:#?}"
    );
    assert!(families.iter().any(|labels| labels.contains("le=\"+Inf\"")));
}

/// Three observations, between 1 and 2, and a classic bucket that says less.
fn page_of_a_histogram() -> Vec<u8> {
    let zigzag = |number: u64| number << 1;
    let span = Message::default().number(1, zigzag(1)).number(2, 1);
    let bucket = Message::default().number(1, 3).double(2, f64::INFINITY);
    let histogram = Message::default()
        .number(1, 3)
        .double(2, 4.5)
        .bytes(3, &bucket.0)
        .double(6, 0.001)
        .bytes(12, &span.0)
        .number(13, zigzag(3));
    let metric = Message::default().bytes(7, &histogram.0);
    let family = Message::default().bytes(1, b"request_seconds");
    let family = family.number(3, 4).bytes(4, &metric.0);
    let mut page = vec![u8::try_from(family.0.len()).unwrap()];
    page.extend(family.0);
    page
}

#[test]
fn a_native_histogram_is_scraped_where_it_is_asked_for() {
    const FAMILIES: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    let port = served(|head| {
        let accepts = head
            .lines()
            .find_map(|line| line.strip_prefix("accept: "))
            .unwrap_or_default();
        if accepts.starts_with("application/vnd.google.protobuf;") {
            (FAMILIES, page_of_a_histogram())
        } else {
            assert!(!accepts.contains("protobuf"), "{accepts}");
            ("text/plain", b"request_seconds_count 3\n".to_vec())
        }
    });
    let production = Production::served(&format!(
        "
find: [{{ static: [{{ targets: ['127.0.0.1:{port}'] }}] }}]
metrics:
  scrape:
    - {{ name: text, all: true, interval: 500ms }}
    - {{ name: families, all: true, interval: 500ms, native_histograms: true }}
"
    ));
    for (query, expected) in [
        ("histogram_count(request_seconds{job=\"families\"})", "3"),
        ("histogram_sum(request_seconds{job=\"families\"})", "4.5"),
        (
            "histogram_fraction(1, 2, request_seconds{job=\"families\"})",
            "1",
        ),
        ("request_seconds_count{job=\"text\"}", "3"),
        // Its classic buckets are the same again.
        ("count({job=\"families\", __name__=~\"request.*\"})", "1"),
    ] {
        assert_eq!(value(&production, query), expected, "{query}");
    }
    let metadata = production.get("/api/v1/metadata").unwrap();
    let family: &Value = &metadata["data"]["request_seconds"][0];
    assert_eq!(family["type"], "histogram", "{metadata}");
}
