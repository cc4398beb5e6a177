//! Tests of this host and of what runs on it: plugins, supervised processes, units, disks, memory, load,
//! the clock, the kernel's log.

mod clock;
mod exit_status;
pub(crate) mod host;
pub(crate) mod kernel_log;
pub(crate) mod nagios;
pub(crate) mod overload;
mod perfdata;
mod plugin;
pub(crate) mod process;
pub(crate) mod unit;

pub use perfdata::{AlertRange, Perfdata};
