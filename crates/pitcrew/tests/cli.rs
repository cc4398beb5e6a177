//! The command line as scripts and tired people meet it: help, exit codes, errors that say what to do.

mod production;

use std::process::{Command, Output};

use production::{Production, binary, free_port};
use serde_json::Value;

fn pitcrew(arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .env_remove("PITCREW_SERVER")
        .output()
        .expect("the command runs")
}

#[track_caller]
fn check(arguments: &[&str], code: i32, stdout_has: &[&str], stderr_has: &[&str]) {
    let output = pitcrew(arguments);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}\n{stdout}\n{stderr}"
    );
    for text in stdout_has {
        assert!(
            stdout.contains(text),
            "`{text}` is not printed by {arguments:?}:\n{stdout}"
        );
    }
    for text in stderr_has {
        assert!(
            stderr.contains(text),
            "`{text}` is not said by {arguments:?}:\n{stderr}"
        );
    }
}

const COMMANDS: [&str; 23] = [
    "serve",
    "check",
    "test-policy",
    "simulate",
    "replay",
    "status",
    "targets",
    "cases",
    "orders",
    "limits",
    "explain",
    "pause",
    "resume",
    "hold",
    "release",
    "approve",
    "deny",
    "order",
    "close",
    "test",
    "ledger",
    "schema",
    "completions",
];

#[test]
fn help_names_every_command_and_the_exit_codes() {
    check(&["--help"], 0, &COMMANDS, &[]);
    check(&["--help"], 0, &["Exit codes:", "First steps:"], &[]);
    for command in COMMANDS {
        check(&[command, "--help"], 0, &["Usage: pitcrew"], &[]);
    }
}

#[test]
fn wrong_usage_is_2_and_says_what_is_expected() {
    check(&[], 2, &[], &["Usage"]);
    check(&["statsu"], 2, &[], &["status"]);
    check(&["hold", "web-1"], 2, &[], &["--for", "--why"]);
    check(
        &["hold", "web-1", "--for", "2 hours", "--why", "x"],
        2,
        &[],
        &["1h30m"],
    );
    check(&["approve", "7"], 2, &[], &["order-"]);
    check(&["targets", "--health", "well"], 2, &[], &["healthy"]);
    check(
        &["pause", "web:zone", "--why", "x", "--server", "nowhere"],
        2,
        &[],
        &["http://127.0.0.1:7400"],
    );
    check(
        &["status", "--token-file", "/nonexistent"],
        2,
        &[],
        &["/nonexistent"],
    );
}

#[test]
fn a_server_that_is_not_there_is_3_and_says_what_to_do() {
    let server = format!("http://127.0.0.1:{}", free_port());
    for command in [
        &["status"][..],
        &["explain", "web-1"],
        &["resume"],
        &["ledger", "verify"],
    ] {
        let arguments = [command, &["--server", &server]].concat();
        check(
            &arguments,
            3,
            &[],
            &[
                "can't be reached: connection refused",
                "pitcrew serve --config DIR",
                "--server URL",
            ],
        );
    }
}

#[test]
fn the_version_the_schema_and_completions_need_no_server() {
    check(&["version"], 0, &["pitcrew 0."], &[]);
    let version: Value =
        serde_json::from_slice(&pitcrew(&["version", "--json"]).stdout).expect("JSON");
    assert!(version["version"].is_string());
    let schema: Value = serde_json::from_slice(&pitcrew(&["schema"]).stdout).expect("JSON");
    assert!(schema["properties"]["services"].is_object(), "{schema}");
    for shell in ["bash", "zsh", "fish"] {
        check(&["completions", shell], 0, &["pitcrew"], &[]);
    }
}

const GOOD: &str = "
services:
  - name: web
    select: { service: web }
    autonomy: act
    runs_as: { unit: web.service }
    tests:
      - name: answers
        http: { path: / }
        interval: 1s
        timeout: 500ms
    repairs:
      - name: restart-then-person
        when: [answers]
        steps: [{ restart: {} }, { hand_over: {} }]
find:
  - static:
      - targets: ['127.0.0.1:9']
        labels: { service: web }
";

#[test]
fn a_good_configuration_is_0_and_says_what_it_would_do() {
    let production = Production::new(GOOD);
    let directory = production.configuration().display().to_string();
    check(
        &["check", &directory],
        0,
        &[
            "web",
            "answers",
            "restart-then-person",
            "1 service",
            "1 target",
        ],
        &[],
    );
    let checked: Value =
        serde_json::from_slice(&pitcrew(&["check", &directory, "--json"]).stdout).expect("JSON");
    assert_eq!(
        (&checked["ok"], &checked["services"]),
        (&true.into(), &1.into())
    );
}

#[test]
fn a_bad_configuration_is_2_and_every_error_has_its_place() {
    let production = Production::new(
        &GOOD
            .replace("path: /", "path: /, statuz: [200]")
            .replace("{ service: web }\n    autonomy", "{}\n    autonomy"),
    );
    let directory = production.configuration().display().to_string();
    check(
        &["check", &directory],
        2,
        &[],
        &[
            "statuz",
            "`status`",
            "select",
            "2 errors, nothing applied",
            "production.yaml:9",
        ],
    );
    let output = pitcrew(&["check", &directory, "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let checked: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(checked["ok"], false);
    assert_eq!(
        checked["errors"].as_array().map(Vec::len),
        Some(2),
        "{checked}"
    );
    check(&["serve", "--config", &directory], 2, &[], &["statuz"]);
}

#[test]
fn what_is_not_there_is_said_plainly() {
    check(&["check", "/nonexistent"], 2, &[], &["/nonexistent"]);
    check(
        &["serve", "--config", "/nonexistent"],
        2,
        &[],
        &["/nonexistent"],
    );
    check(
        &["ledger", "verify", "--data", "/nonexistent"],
        2,
        &[],
        &["/nonexistent"],
    );
}

#[test]
fn output_that_nobody_reads_to_its_end_is_no_error() {
    let script = format!(
        "{} --help | true; {} schema | head -c 10; echo \"${{PIPESTATUS[0]}}\"",
        binary(),
        binary()
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .output()
        .expect("bash");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        stdout.ends_with("0\n") && output.stderr.is_empty(),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn what_is_piped_has_no_colour() {
    let production = Production::new(GOOD);
    let directory = production.configuration().display().to_string();
    assert!(!pitcrew(&["check", &directory]).stdout.contains(&0x1b));
}
