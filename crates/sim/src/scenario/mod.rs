//! Incidents as text: a production, what happens to it, and what must be decided about that and why.
//!
//! A scenario is read ([`Scenario::parse`]) and run ([`Scenario::run`]) on the real engine and interlock. It never
//! reads a file or a clock, so a run of an hour takes milliseconds and gives the same story every time. The
//! language is in `docs/scenarios.md`; it stays small: one way to say a thing, one thing a line.

mod act;
mod deeds;
mod discovery;
mod expectation;
mod failure;
mod introduce;
mod judge;
mod mistake;
mod names;
mod order;
mod parse;
mod proposal;
mod rounds;
mod run;
mod said;
mod sentence;
mod server;
mod sparing;
mod start;
mod story;
mod truth;

use std::{collections::BTreeMap, sync::Arc};

use pitcrew_model::{ObserverName, Production, Target, TargetId, Timestamp};

pub use failure::Failure;
pub use mistake::Mistake;
pub use story::{Story, StoryLine};

/// Reads a production from YAML; its mistakes at the lines and columns of the text given.
pub type ReadProduction<'a> = dyn Fn(&str) -> Result<Production, Vec<Mistake>> + 'a;

/// An incident, ready to be run as often as wanted.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The comment at the file's beginning, on one line.
    pub title: String,
    production: Arc<Production>,
    start: Timestamp,
    observers: Vec<ObserverName>,
    without: Option<said::Without>,
    /// Those that are there from the start.
    targets: BTreeMap<TargetId, Arc<Target>>,
    lines: Vec<said::Line>,
}

impl Scenario {
    /// What happened, when every expectation holds.
    ///
    /// # Errors
    /// The first expectation that does not hold, with what happened instead.
    pub fn run(&self) -> Result<Story, Box<Failure>> {
        run::run(self)
    }
}
