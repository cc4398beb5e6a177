//! Runs files of Prometheus' test language: `cargo run --release -p pitcrew-promql --example promqltest -- FILE…`
//!
//! Says each evaluation that gave something unexpected, a line for each file, and closes with
//! `N passed, M failed`. Fails when anything failed.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::{fs, process::ExitCode};

use anyhow::Context;
use pitcrew_promql::promqltest;

fn main() -> anyhow::Result<ExitCode> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    anyhow::ensure!(
        !files.is_empty(),
        "name at least one file of the test language"
    );
    let (mut passed, mut failed) = (0, 0);
    for file in &files {
        let script = fs::read_to_string(file).with_context(|| format!("failed to read {file}"))?;
        let report = promqltest::run(&script).with_context(|| format!("failed to run {file}"))?;
        for failure in &report.failures {
            println!("{file}:{}: {}", failure.line, failure.query);
            println!("    {}", failure.reason);
        }
        let failures = report.failures.len();
        println!("{file}: {} passed, {failures} failed", report.passed);
        passed += report.passed;
        failed += failures;
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
