//! `cargo xtask bench`: speed beside a peer or a physical limit, measured in the same run.
//!
//! Machines are shared and noisy, so only ratios mean much. Each section prints the figures, the goal and the
//! commands that made them; nothing here passes or fails.

mod checks;
mod figures;
mod machine;
mod peers;
mod reaction;

use std::{path::PathBuf, process::Command};

use anyhow::{Context, ensure};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these: checks, reaction, engine, simulation, ledger, agents, metrics
    sections: Vec<Section>,
    /// Seconds each measurement of the checks runs
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Series of the metrics store and its peers, once for each number; without Prometheus above 1000000
    #[arg(long, default_values_t = [10_000, 100_000, 1_000_000])]
    series: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Section {
    Checks,
    Reaction,
    Engine,
    Simulation,
    Ledger,
    Agents,
    Metrics,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    println!("{}\n", machine::describe()?);
    let wanted = |section| arguments.sections.is_empty() || arguments.sections.contains(&section);
    if wanted(Section::Checks) {
        checks::run(arguments.seconds)?;
    }
    if wanted(Section::Reaction) {
        reaction::run()?;
    }
    if wanted(Section::Engine) {
        println!("== engine: engine and interlock together on one core, up to a million targets");
        show(&figures::table(&example(
            "pitcrew-engine",
            "observations",
            &[],
        )?)?);
    }
    if wanted(Section::Simulation) {
        println!("== simulation: a day of a million targets; the goal is at most 600 seconds");
        let day = [
            "--targets",
            "1000000",
            "--services",
            "1000",
            "--hours",
            "24",
            "--seed",
            "7",
        ];
        show(&example("pitcrew-sim", "day", &day)?);
    }
    if wanted(Section::Ledger) {
        println!(
            "== ledger: decisions a second with full fsync, beside SQLite alone and the disk's own fsync"
        );
        show(&example("pitcrew-ledger", "commits", &[])?);
    }
    if wanted(Section::Agents) {
        println!("== agents: 10,000 simulated hosts over TLS around one server, and a real agent");
        let program = pitcrew("dist")?;
        show(&figures::table(&example(
            "pitcrew-agent",
            "fleet",
            &[&program],
        )?)?);
    }
    if wanted(Section::Metrics) {
        println!(
            "== metrics: the store beside Prometheus and VictoriaMetrics; CPU seconds of each server"
        );
        let program = pitcrew("release")?;
        for series in &arguments.series {
            // Beyond, Prometheus would fill the memory of a machine for development: 3.5 kB a series at a million.
            let peers: &[&str] = if *series > 1_000_000 {
                &["pitcrew", "victoria-metrics"]
            } else {
                &[]
            };
            let series = series.to_string();
            let arguments = [&[program.as_str(), &series], peers].concat();
            show(&example("pitcrew-tsdb", "peers", &arguments)?);
        }
    }
    Ok(())
}

fn show(text: &str) {
    for line in text.lines() {
        println!("   {line}");
    }
    println!();
}

/// Builds and runs an example in release; what it prints.
fn example(package: &str, name: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let program = build("release", &["--package", package, "--example", name])?;
    println!(
        "   $ cargo run --release -p {package} --example {name} -- {}",
        arguments.join(" ")
    );
    let output = Command::new(&program)
        .args(arguments)
        .output()
        .with_context(|| format!("failed to run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{name} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Builds the program itself; where it is.
fn pitcrew(profile: &str) -> anyhow::Result<String> {
    let program = build(profile, &["--package", "pitcrew"])?;
    let program = program.to_str();
    Ok(program
        .context("where the program is, is no text")?
        .to_owned())
}

/// Builds one program; where it is. Profile `dist` is what packages have.
fn build(profile: &str, what: &[&str]) -> anyhow::Result<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--profile",
            profile,
            "--locked",
            "--message-format",
            "json-render-diagnostics",
        ])
        .args(what)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("failed to run cargo build")?;
    ensure!(
        output.status.success(),
        "cargo build {} failed",
        what.join(" ")
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .with_context(|| format!("cargo build {} made no program", what.join(" ")))
}

/// User and system time of a process and the children it has waited for, in seconds.
/// `/proc/PID/stat` counts in ticks of 10 ms on Linux.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .context("failed to read a process's times")?;
    let fields: Vec<&str> = text
        .rsplit_once(')')
        .context("a malformed stat line")?
        .1
        .split_ascii_whitespace()
        .collect();
    let ticks: u32 = [11, 12]
        .iter()
        .filter_map(|at| fields.get(*at)?.parse::<u32>().ok())
        .sum();
    Ok(f64::from(ticks) / 100.0)
}
