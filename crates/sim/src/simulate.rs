//! Simulating a production: what is asked for, how far it is, and the one call that does it.

use std::{sync::Arc, time::Duration};

use pitcrew_engine::Engine;
use pitcrew_model::{Production, Timestamp};

use crate::{Fleet, FleetError, Mishap, Report, world::World};

/// Plays `plan`, sorted by time, on a fleet of `production` and reports what engine and interlock made of it.
/// The same arguments give the same report, byte by byte. It takes about as much memory as the server would.
pub fn simulate(
    production: &Production,
    options: &Options,
    plan: &[Mishap],
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, SimulateError> {
    simulate_and_look(production, options, plan, progress, &mut |_, _| ())
}

/// The same, with a look at the engine at each of the timeline's steps and at the end: at what is not finished.
/// Absent: the server is down.
pub fn simulate_and_look(
    production: &Production,
    options: &Options,
    plan: &[Mishap],
    progress: &mut dyn FnMut(Progress),
    look: &mut dyn FnMut(Timestamp, Option<&Engine>),
) -> Result<Report, SimulateError> {
    World::new(production, options, plan)?.run(progress, look)
}

#[derive(Clone, Debug)]
pub struct Options {
    /// Instances of the production's services; the hosts that they run on come on top.
    pub targets: u32,
    pub duration: Duration,
    pub seed: u64,
    /// Wall time at the simulation's beginning.
    pub start: Timestamp,
    /// How many observers test every target: more than one, or a lying one is believed.
    pub observers: u16,
    /// Instead of a generated one: `targets` is not read then.
    pub fleet: Option<Arc<Fleet>>,
    /// Where the plan's faults come from, for the report: `model` or the trace's name.
    pub faults_from: String,
    /// Sentences of whoever drew the plan, for the report.
    pub assumptions: Vec<String>,
}

impl Options {
    /// Three observers, from the first of January 2026 on.
    #[must_use]
    pub fn new(targets: u32, duration: Duration, seed: u64) -> Self {
        Self {
            targets,
            duration,
            seed,
            start: Timestamp::from_millis(1_767_225_600_000),
            observers: 3,
            fleet: None,
            faults_from: "model".to_owned(),
            assumptions: Vec::new(),
        }
    }
}

/// How far a simulation is; told often enough for a bar that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub simulated: Duration,
    pub of: Duration,
    pub cases: u64,
    pub orders: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimulateError {
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error("a simulation needs at least one observer and a duration of at least a second")]
    Nothing,
    #[error("mishap {number} of the plan is about target {target}, but the fleet has {targets}")]
    NoSuchTarget {
        number: usize,
        target: u32,
        targets: u32,
    },
    #[error("mishap {number} of the plan begins before the one in front of it")]
    Unsorted { number: usize },
    #[error("from {at:?} on it goes on without end: messages cause more messages than any storm")]
    WithoutEnd { at: Duration },
}
