//! What CI runs, the dependency rule, the benchmarks and the lab: `cargo xtask --help`.
//!
//! The one place in the workspace that calls cargo, apt-get and other tools.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is its purpose"
)]

mod bench;
mod ci;
mod deb;
mod guards;
mod lab;
mod rules;
mod soak;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks and measures Pitcrew")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what the tests need, then checks format, lints and the dependency rule and runs every test
    Ci,
    /// Checks which crate depends on which
    Rules,
    /// Takes each guard of engine and interlock away in turn and shows which scenarios and seeds notice
    Guards(guards::Arguments),
    /// Tries random productions in storms of mishaps, seed by seed, for flaws of engine and interlock
    Soak(soak::Arguments),
    /// Measures speed against peers and physical limits, in one run on this machine
    Bench(bench::Arguments),
    /// Makes the Debian package
    Deb(deb::Arguments),
    /// Real hosts on this machine, each with systemd, for tests
    Lab(lab::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Ci => ci::run(),
        Task::Rules => rules::check(),
        Task::Guards(arguments) => guards::run(&arguments),
        Task::Soak(arguments) => soak::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Deb(arguments) => deb::run(&arguments),
        Task::Lab(arguments) => lab::run(&arguments),
    }
}
