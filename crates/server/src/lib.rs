//! The server: wires find, probe, engine, interlock, ledger and act into one loop, and answers over HTTP.
//!
//! One thread owns the state and decides ([`core`]); one owns the ledger and lets orders leave after the commit
//! ([`recorder`]); everything else is tasks that bring events and run errands. Nothing here decides, and
//! nothing here acts on production except through the actuators.

pub mod api;
mod chronicle;
mod clock;
mod control;
mod core;
mod errands;
mod feed;
mod fleet;
mod follower;
mod following;
mod http;
mod kept;
mod leadership;
mod metrics;
mod recorder;
mod recording;
mod remembered;
mod roster;
mod running;
mod serve;
mod settings;
mod standing;
mod stands;
mod store;
mod telemetry;
mod turns;
mod warming;

pub use fleet::AuthorityError;
pub use kept::{KeptError, kept_files};
pub use recording::RecordingError;
pub use serve::{Ready, ServeError, serve};
pub use settings::{Options, database};

/// The targets that supervised processes are, one for each instance.
#[must_use]
pub fn supervised_targets(runs: &[pitcrew_model::Run]) -> Vec<pitcrew_model::Target> {
    pitcrew_act::Supervisor::targets(runs)
}

/// Of the whole product.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
