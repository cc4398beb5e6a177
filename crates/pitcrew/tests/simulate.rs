//! `simulate` as scripts and people meet it: the same bytes for the same seed, and what bad input is told.

mod production;

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use production::binary;
use serde_json::Value;
use tempfile::TempDir;

const PRODUCTION: &str = "
services:
  - name: web
    select: { service: web }
    domains: [zone, rack]
    autonomy: act
    runs_as: { unit: web.service }
    tests:
      - name: answers
        http: { path: / }
        interval: 10s
        timeout: 2s
    repairs:
      - name: restart-then-person
        when: [answers]
        steps:
          - restart: {}
            tries: 2
            settle: 60s
          - hand_over: {}
";

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(TempDir::new().expect("a directory"));
        fs::create_dir(files.path("production")).expect("a directory");
        files.write("production/web.yaml", PRODUCTION);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("the file")
    }

    /// `pitcrew simulate` in the directory of these files.
    fn simulate(&self, arguments: &str) -> Output {
        Command::new(binary())
            .arg("simulate")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .expect("the command runs")
    }

    #[track_caller]
    fn report(&self, arguments: &str) -> Value {
        let output = self.simulate(&format!("{arguments} --json"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments}\n{stderr}\n{stdout:.600}"
        );
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    #[track_caller]
    fn check_refused(&self, arguments: &str, said: &[&str]) {
        let output = self.simulate(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}\n{stderr}");
        assert!(output.stdout.is_empty(), "{arguments}");
        for said in said {
            assert!(stderr.contains(said), "`{said}` is not said:\n{stderr}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_gives_others() {
    let files = Files::new();
    let run = |seed: u8, html: &str| {
        let output = files.simulate(&format!(
            "production --targets 60 --hours 2 --seed {seed} --faults stormy --json --html {html}"
        ));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "seed {seed}: {stderr}");
        (output.stdout, files.read(html))
    };
    let (first, again, other) = (run(7, "a.html"), run(7, "b.html"), run(8, "c.html"));
    assert!(first == again, "the same seed gave other bytes");
    assert_ne!(first.0, other.0);
    assert_ne!(first.1, other.1);
}

#[test]
fn the_report_counts_what_happened_and_nothing_forbidden() {
    let files = Files::new();
    let report = files.report("production --targets 60 --hours 4 --faults stormy");
    assert_eq!(report["wrong_targets"], 0, "{report:#}");
    assert_eq!(report["broken_invariants"], 0, "{report:#}");
    assert_eq!(report["seed"], 1);
    assert_eq!(report["simulated_seconds"], 14_400);
    assert!(report["cases"].as_u64() > Some(0), "{report:#}");
    assert!(report["ended"]["cured"].as_u64() > Some(0), "{report:#}");
    let minutes = &report["unavailable_target_minutes"];
    assert!(
        minutes["with"].as_u64() < minutes["without"].as_u64(),
        "{minutes}"
    );
}

#[test]
fn the_table_says_first_whether_it_is_safe_and_useful_and_ends_without_colour() {
    let files = Files::new();
    let output = files.simulate("production --targets 60 --hours 2 --faults stormy");
    let table = String::from_utf8(output.stdout).expect("text");
    let mut lines = table.lines();
    let first = lines.next().unwrap_or_default();
    assert!(
        first.starts_with("safe ") && first.ends_with("0 wrong targets, 0 broken invariants"),
        "{table}"
    );
    assert!(
        lines.next().is_some_and(|line| line.starts_with("useful ")),
        "{table}"
    );
    for part in [
        "people called",
        "60 targets",
        "2 h",
        "seed 1",
        "cases",
        "orders",
        "limit most used",
        "assumed",
    ] {
        assert!(table.contains(part), "`{part}` is not in\n{table}");
    }
    assert!(!table.contains('\u{1b}'), "{table:?}");
}

#[test]
fn a_configuration_that_only_observes_does_nothing_and_says_why() {
    let files = Files::new();
    files.write(
        "production/web.yaml",
        &PRODUCTION.replace("autonomy: act", "autonomy: observe"),
    );
    let report = files.report("production --targets 60 --hours 2 --faults stormy");
    assert_eq!(
        report["orders"].as_object().map(serde_json::Map::len),
        Some(0),
        "{report:#}"
    );
    let output = files.simulate("production --targets 60 --hours 6 --html page.html");
    let table = String::from_utf8(output.stdout).expect("text");
    assert!(
        table.contains("Nothing may act: autonomy is `observe` everywhere"),
        "{table}"
    );
    assert!(files.read("page.html").contains("Nothing may act"));
}

#[test]
fn every_example_can_be_simulated() {
    let files = Files::new();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for example in ["databases-and-queues", "one-machine", "prometheus-estate"] {
        let directory = examples.join(example);
        let report = files.report(&format!("{} --targets 200 --hours 6", directory.display()));
        assert_eq!(report["wrong_targets"], 0, "{example}: {report:#}");
        assert_eq!(report["broken_invariants"], 0, "{example}: {report:#}");
    }
}

#[test]
fn bad_input_is_2_and_says_what_to_do() {
    let files = Files::new();
    files.write(
        "trace.csv",
        "time,node\n2018-01-02 03:04:05,a\nyesterday,b\n",
    );
    files.write("names.csv", "when,machine\n1,a\n");
    fs::write(files.path("bytes.csv"), b"time,node\n1,\xff\n").expect("the file");
    files.write("few.csv", "time,node\n1,a\n2,b\n3,c\n");
    fs::create_dir(files.path("none")).expect("a directory");
    fs::create_dir(files.path("wrong")).expect("a directory");
    files.write(
        "wrong/web.yaml",
        &PRODUCTION.replace("autonomy:", "autonmy:"),
    );
    for (arguments, said) in [
        ("nowhere", vec!["nowhere"]),
        ("none", vec!["none"]),
        (
            "wrong",
            vec!["autonmy", "did you mean `autonomy`", "web.yaml"],
        ),
        ("production --trace nowhere.csv", vec!["nowhere.csv"]),
        ("production --trace production", vec!["production"]),
        (
            "production --trace trace.csv",
            vec!["trace.csv:3:1: `yesterday` is not a time"],
        ),
        (
            "production --trace names.csv",
            vec![
                "names.csv:1:1: no column for time",
                "no column for node",
                "the header has when, machine",
            ],
        ),
        (
            "production --trace bytes.csv",
            vec!["bytes.csv:2", "not UTF-8"],
        ),
        (
            "production --trace few.csv --targets 2",
            vec!["2 targets are fewer than the 3 nodes"],
        ),
        (
            "production --trace few.csv --faults stormy",
            vec!["--faults", "--trace"],
        ),
        (
            "production --html nowhere/page.html",
            vec!["nowhere/page.html can't be written"],
        ),
        ("production --html production", vec!["it is a directory"]),
        ("production --targets 0", vec!["--targets"]),
        ("production --hours 0", vec!["--hours"]),
        ("production --faults windy", vec!["calm, ordinary, stormy"]),
    ] {
        files.check_refused(arguments, &said);
    }
}

#[test]
fn a_small_trace_is_played_as_it_is_written() {
    let files = Files::new();
    let mut trace = "timestamp,host,rack,zone\r\n".to_owned();
    for node in 0..12 {
        trace.push_str(&format!(
            "2020-05-01T{:02}:00:00Z,n{node},r{},z{}\r\n",
            2 + node,
            node % 4,
            node % 2
        ));
    }
    files.write("trace.csv", &trace);
    let report = files.report("production --trace trace.csv");
    assert_eq!(report["faults_from"], "trace.csv");
    assert_eq!(report["targets"], 12);
    assert_eq!(report["simulated_seconds"], 86_400);
    assert_eq!(report["faults"]["permanent"]["targets"], 12, "{report:#}");
    assert!(report["people_called"].as_u64() > Some(0), "{report:#}");
    let shorter = files.report("production --trace trace.csv --hours 6 --targets 40");
    assert_eq!(shorter["targets"], 40);
    assert_eq!(shorter["faults"]["permanent"]["targets"], 4, "{shorter:#}");
    let said = shorter["assumptions"].to_string();
    assert!(
        said.contains("8 of 12 recorded failures come later"),
        "{said}"
    );
}

/// Two days of it; the whole year takes a minute or two in a debug build.
#[test]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn a_recorded_year_says_what_the_policy_would_have_done() {
    let trace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/failures/drive-failures-2018.csv");
    if !trace.exists() {
        assert!(
            std::env::var_os("CI").is_none(),
            "{} is missing",
            trace.display()
        );
        eprintln!("skipped: {} is not there", trace.display());
        return;
    }
    let files = Files::new();
    let report = files.report(&format!(
        "production --hours 48 --trace {}",
        trace.display()
    ));
    assert_eq!(report["targets"], 238_595);
    assert_eq!(report["wrong_targets"], 0, "{report:#}");
    assert_eq!(report["broken_invariants"], 0, "{report:#}");
    assert!(report["cases"].as_u64() > Some(0));
    let said = report["assumptions"].to_string();
    assert!(
        said.contains("estimated from 4384 different ids up to 238542"),
        "{said}"
    );
}

#[test]
fn whoever_reads_may_have_enough_after_one_line() {
    let files = Files::new();
    let mut child = Command::new(binary())
        .args([
            "simulate",
            "production",
            "--targets",
            "30",
            "--hours",
            "2",
            "--json",
        ])
        .current_dir(files.0.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    drop(child.stdout.take());
    let status = child.wait().expect("its end");
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().expect("standard error");
    pipe.read_to_string(&mut stderr).expect("text");
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
}
