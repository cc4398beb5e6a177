//! `cargo xtask soak`: random productions in storms of mishaps, until one has a flaw or the seeds are through.
//!
//! The work is done by an example of the simulator, built for speed. A flaw is told with the shortest plan found
//! that still shows it and the command that shows it again.

use std::process::Command;

use anyhow::{Context, ensure};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many seeds to try
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, value_name = "S", default_value_t = 0)]
    from: u64,
    /// Only this one, as a failure names it
    #[arg(long, value_name = "S", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Go on for so long, however many seeds that takes
    #[arg(long, value_name = "M", conflicts_with_all = ["seeds", "seed"])]
    minutes: Option<u64>,
    /// Name every seed with a flaw instead of stopping at the first
    #[arg(long)]
    all: bool,
    /// Print the whole plan instead of making it shorter first
    #[arg(long)]
    full: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (from, seeds) = match (arguments.seed, arguments.minutes) {
        (Some(seed), _) => (seed, 1),
        (None, Some(_)) => (arguments.from, u64::MAX),
        (None, None) => (arguments.from, arguments.seeds),
    };
    let mut words = vec![
        "--from".to_owned(),
        from.to_string(),
        "--seeds".to_owned(),
        seeds.to_string(),
    ];
    if let Some(minutes) = arguments.minutes {
        words.extend(["--minutes".to_owned(), minutes.to_string()]);
    }
    words.extend(arguments.all.then(|| "--all".to_owned()));
    words.extend(arguments.full.then(|| "--full".to_owned()));
    let status = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--release"])
        .args(["--package", "pitcrew-sim", "--example", "soak", "--"])
        .args(&words)
        .status()
        .context("failed to run cargo")?;
    ensure!(
        status.success(),
        "a seed has a flaw; it is named above with the command that shows it again"
    );
    Ok(())
}
