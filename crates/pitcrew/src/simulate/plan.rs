//! What is simulated: which fleet, for how long, and what goes wrong in it.

use std::{path::Path, sync::Arc, time::Duration};

use pitcrew_model::Production;
use pitcrew_sim::{
    Fleet, Mishap, Options, Report,
    plan::{Rates, draw},
    trace::Trace,
};

use super::files::read_trace;
use crate::{
    arguments::{Faults, SimulateOptions},
    failure::Failure,
};

const TARGETS: u32 = 1_000;
const HOURS: u32 = 24;

pub(crate) struct Plan {
    pub(crate) options: Options,
    pub(crate) mishaps: Vec<Mishap>,
}

pub(crate) fn plan(production: &Production, options: &SimulateOptions) -> Result<Plan, Failure> {
    match &options.trace {
        Some(file) => of_trace(production, options, &read_trace(file)?),
        None => of_model(production, options),
    }
}

fn of_model(production: &Production, options: &SimulateOptions) -> Result<Plan, Failure> {
    let targets = options.targets.unwrap_or(TARGETS);
    let duration = hours(options.hours.unwrap_or(HOURS));
    let (rates, name) = match options.faults {
        Faults::Calm => (Rates::calm(), "the calm model"),
        Faults::Ordinary => (Rates::default(), "the ordinary model"),
        Faults::Stormy => (Rates::stormy(), "the stormy model"),
    };
    let fleet = Fleet::generate(production, targets, options.seed).map_err(Failure::usage)?;
    let mishaps = draw(production, &fleet, options.seed, duration, &rates);
    Ok(Plan {
        options: Options {
            fleet: Some(Arc::new(fleet)),
            faults_from: name.to_owned(),
            assumptions: rates.assumptions(),
            ..Options::new(targets, duration, options.seed)
        },
        mishaps,
    })
}

fn of_trace(
    production: &Production,
    options: &SimulateOptions,
    trace: &Trace,
) -> Result<Plan, Failure> {
    let duration = options.hours.map_or_else(|| trace.span(), hours);
    let placed = trace.place(options.targets).map_err(Failure::usage)?;
    let fleet = Fleet::shaped(production, &placed.racks).map_err(Failure::usage)?;
    let targets = placed.targets();
    let mut mishaps = placed.mishaps;
    mishaps.retain(|mishap| mishap.at < duration);
    let mut assumptions = trace.assumptions().to_vec();
    assumptions.push("each node is one target, and the services share them evenly".to_owned());
    let left_out = trace.failures() - mishaps.len();
    if left_out > 0 {
        assumptions.push(format!(
            "{left_out} of {} recorded failures come later than what was simulated",
            trace.failures()
        ));
    }
    Ok(Plan {
        options: Options {
            start: trace.begins(),
            fleet: Some(Arc::new(fleet)),
            faults_from: trace.name().to_owned(),
            assumptions,
            ..Options::new(targets, duration, options.seed)
        },
        mishaps,
    })
}

fn hours(hours: u32) -> Duration {
    Duration::from_secs(3_600 * u64::from(hours))
}

/// The command that gives this report again.
pub(crate) fn command(report: &Report, options: &SimulateOptions) -> String {
    let mut command = format!(
        "pitcrew simulate {} --targets {} --hours {} --seed {}",
        quoted(&options.dir),
        report.targets,
        report.simulated_seconds / 3_600,
        report.seed
    );
    match (&options.trace, options.faults) {
        (Some(trace), _) => command.push_str(&format!(" --trace {}", quoted(trace))),
        (None, Faults::Ordinary) => {}
        (None, Faults::Calm) => command.push_str(" --faults calm"),
        (None, Faults::Stormy) => command.push_str(" --faults stormy"),
    }
    command
}

/// As a shell reads it back.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !path.is_empty() && path.chars().all(is_plain) {
        return path;
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}
