//! Tests of what runs on this host: plugins, supervised processes, units.

mod exit_status;
pub(crate) mod nagios;
mod perfdata;
mod plugin;
pub(crate) mod process;
pub(crate) mod unit;

pub use perfdata::{AlertRange, Perfdata};
