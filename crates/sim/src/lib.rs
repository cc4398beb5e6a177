//! A production that exists only in memory: the real engine and interlock decide in it, and a hidden truth says
//! whether they were right.
//!
//! Pure, as they are: time is an argument, randomness comes from a seed, and whoever calls does the reading and
//! writing of files. So the same seed gives the same bytes on every machine.

mod audit;
mod brain;
mod mishap;
pub mod plan;
pub mod random;
pub mod record;
pub mod replay;
mod report;
pub mod scenario;
mod simulate;
pub mod trace;
pub mod trial;
mod world;

pub use audit::Auditor;
pub use brain::{Brain, Ledger, stopping};
pub use mishap::{
    Discovery, Fault, FaultKind, Hand, Link, Mishap, Network, ServerTrouble, Sick, Side,
    TargetIndex, What,
};
pub use report::{Broken, Disruption, FaultTally, Report, ServiceTally, Timeline, Unavailable};
pub use simulate::{Options, Progress, SimulateError, simulate, simulate_and_look};
pub use world::fleet::{Fleet, FleetError, Level};

/// False only in a build in which guards of engine or interlock can be switched off: none that users get.
pub const GUARDS_ALWAYS_HOLD: bool =
    pitcrew_engine::guards::ALWAYS_HOLD && pitcrew_interlock::guards::ALWAYS_HOLD;
