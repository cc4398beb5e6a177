//! Prometheus itself as the reference: it and we find the same targets with the same labels in the same files.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use pitcrew_find::Asker;
use pitcrew_model::{Labels, SourceKind};
use support::source;

mod support;

type Found = BTreeMap<String, BTreeMap<String, String>>;

const FILES: [(&str, &str); 4] = [
    (
        "nodes.yaml",
        "# by hand\n- targets: ['10.0.0.1:9100', \"10.0.0.2:9100\"]\n  labels: &labels\n    job: node\n    zone: a\n    __meta_rack: r1\n    empty: ''\n- labels: *labels\n  targets:\n  - 10.0.0.3:9100\n",
    ),
    (
        "more.yml",
        "- targets: [web.example.org]\n- targets: []\n- labels: {unused: x}\n",
    ),
    (
        "made.json",
        r#"[{"targets":["[2001:db8::1]:80"],"labels":{"job":"web","note":"a \"quoted\" ünïcode, {brace}"}}]"#,
    ),
    ("none.json", "[]"),
];

struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start(directory: &Path, port: u16) -> Option<Prometheus> {
    let configuration = directory.join("prometheus.yml");
    fs::write(
        &configuration,
        format!(
            "scrape_configs:\n- job_name: unset\n  file_sd_configs:\n  - files: ['{0}/targets/*.yaml', '{0}/targets/*.yml', '{0}/targets/*.json']\n",
            directory.display()
        ),
    )
    .unwrap();
    let started = Command::new("prometheus")
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!("--storage.tsdb.path={}/data", directory.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match started {
        Ok(process) => Some(Prometheus(process)),
        Err(error) => {
            eprintln!("skipped: prometheus does not start ({error}): apt-get install prometheus");
            assert!(std::env::var_os("CI").is_none(), "CI must have prometheus");
            None
        }
    }
}

/// `None` until it answers and has found something.
async fn found_by_prometheus(port: u16) -> Option<Found> {
    let url = format!("http://127.0.0.1:{port}/api/v1/targets?state=active");
    let answer: serde_json::Value = reqwest::get(url).await.ok()?.json().await.ok()?;
    let targets = answer["data"]["activeTargets"].as_array()?;
    let found: Found = targets
        .iter()
        .map(|target| {
            let labels: BTreeMap<String, String> =
                serde_json::from_value(target["discoveredLabels"].clone()).unwrap();
            (labels["__address__"].clone(), shown(labels))
        })
        .collect();
    (!found.is_empty()).then_some(found)
}

/// Without what is internal, and without the name that Prometheus gives to the job itself.
fn shown(labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels
        .into_iter()
        .filter(|(name, value)| !name.starts_with("__") && !value.is_empty() && value != "unset")
        .collect()
}

async fn found_by_us(directory: &Path, paths: &[&str]) -> Found {
    let kind = SourceKind::File {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        refresh: Duration::from_secs(60),
    };
    let mut source = source("file-1", kind);
    source.labels = Labels::default();
    let answer = Asker::new(source, directory).ask().await.unwrap();
    assert!(answer.problems.is_empty(), "{}", answer.problems);
    answer
        .targets
        .into_iter()
        .map(|target| (target.id.to_string(), target.labels.into()))
        .collect()
}

const PATHS: [&str; 3] = ["targets/*.yaml", "targets/*.yml", "targets/*.json"];

#[tokio::test]
async fn prometheus_and_we_find_the_same() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("targets")).unwrap();
    for (name, text) in FILES {
        fs::write(directory.path().join("targets").join(name), text).unwrap();
    }
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let Some(_prometheus) = start(directory.path(), port) else {
        return;
    };
    let ours = found_by_us(directory.path(), &PATHS).await;
    assert_eq!(ours.len(), 5);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let theirs = found_by_prometheus(port).await;
        if theirs.as_ref() == Some(&ours) {
            return;
        }
        assert!(Instant::now() < deadline, "{theirs:?}\n{ours:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_example_of_a_prometheus_estate_loads() {
    let directory = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/prometheus-estate"
    ));
    let found = found_by_us(&directory, &["targets/*.json", "targets/*.yaml"]).await;
    assert_eq!(found.len(), 6);
}
