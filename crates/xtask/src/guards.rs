//! `cargo xtask guards`: is each guard of engine and interlock needed, and would anybody notice its absence?
//!
//! The work is done by an example of the simulator, built with the feature `switches` that nothing else turns on.

use std::process::Command;

use anyhow::{Context, ensure};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only guards whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Random productions with random mishaps, besides all scenarios
    #[arg(long, value_name = "N", default_value_t = SEEDS)]
    seeds: u64,
    /// Names everybody who notices a missing guard, not only the first
    #[arg(long)]
    all: bool,
    /// Only lists the guards and what each of them sees to
    #[arg(long)]
    list: bool,
}

/// Scenarios notice every guard, within a minute.
const SEEDS: u64 = 0;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut words = vec!["--seeds".to_owned(), arguments.seeds.to_string()];
    if let Some(only) = &arguments.only {
        words.extend(["--only".to_owned(), only.clone()]);
    }
    words.extend(arguments.all.then(|| "--all".to_owned()));
    words.extend(arguments.list.then(|| "--list".to_owned()));
    let status = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--release"])
        .args(["--package", "pitcrew-sim", "--example", "guards"])
        .args(["--features", "switches", "--"])
        .args(&words)
        .status()
        .context("failed to run cargo")?;
    ensure!(
        status.success(),
        "a guard is not missed when it is away, or something fails with all of them in place: see above"
    );
    Ok(())
}

pub(crate) fn check() -> anyhow::Result<()> {
    println!("== guards: cargo xtask guards");
    run(&Arguments {
        only: None,
        seeds: SEEDS,
        all: false,
        list: false,
    })
}
