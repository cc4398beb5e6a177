//! Scripts of the test language: Prometheus' own where they are present, and ours in `tests/scripts`.

#![expect(clippy::print_stderr, reason = "says why a test does nothing")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use pitcrew_promql::promqltest;

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("a folder that can be read").path());
    let mut scripts: Vec<PathBuf> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "test")
        })
        .collect();
    scripts.sort();
    scripts
}

fn check(scripts: &[PathBuf]) {
    let mut failures = Vec::new();
    for script in scripts {
        let text = fs::read_to_string(script).expect("a script that can be read");
        let report =
            promqltest::run(&text).unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        assert!(
            report.passed + report.failures.len() > 0,
            "{}",
            script.display()
        );
        failures.extend(report.failures.iter().map(|failure| {
            let (line, query, reason) = (failure.line, &failure.query, &failure.reason);
            format!("{}:{line}: {query}\n    {reason}", script.display())
        }));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn our_scripts_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let found = scripts(&folder);
    assert!(!found.is_empty());
    check(&found);
}

#[test]
fn prometheus_own_scripts_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/promqltest");
    let found = scripts(&folder);
    if found.is_empty() {
        // No package has these files, so that even CI may lack them; our own scripts always run.
        eprintln!(
            "skipped: no scripts in {}: put promql/promqltest/testdata of Prometheus there",
            folder.display()
        );
        return;
    }
    check(&found);
}

#[test]
fn a_script_that_is_none_says_where() {
    for (script, problem) in [
        ("nonsense", "line 1: unknown command \"nonsense\""),
        ("load 1m\n  a{ 1", "line 2: 1:4: parse error"),
        ("clear\nload x", "line 2: bad step \"x\""),
        ("load 1m\n  a {{schema:99}}", "line 2: unknown schema 99"),
        ("eval instant 5m a", "line 1: expected: eval instant"),
        (
            "eval instant at 5m a\n  expect nothing",
            "line 2: unknown expectation",
        ),
    ] {
        let error = promqltest::run(script).unwrap_err().to_string();
        assert!(error.starts_with(problem), "{script:?}: {error}");
    }
}

#[test]
fn a_wrong_answer_is_a_failure() {
    let load = "load 1m\n  a{b=\"c\"} 1 2 3\n\n";
    for eval in [
        "eval instant at 1m a\n  a{b=\"c\"} 3",
        "eval instant at 1m a\n  a{b=\"d\"} 2",
        "eval instant at 1m a",
        "eval instant at 1m a\n  expect warn\n  a{b=\"c\"} 2",
        "eval instant at 1m a\n  expect fail",
        "eval instant at 1m rate(a[5m])\n  expect no_info\n  {b=\"c\"} 0.01",
        "eval range from 0 to 2m step 1m a\n  a{b=\"c\"} 1 2",
        "eval instant at 1m vector(1",
    ] {
        let report = promqltest::run(&format!("{load}{eval}\n")).unwrap();
        assert_eq!((report.passed, report.failures.len()), (0, 1), "{eval}");
    }
}
