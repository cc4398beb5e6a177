//! Tests of the host itself: plugins, supervised processes, units.

pub(crate) mod nagios;
pub(crate) mod process;
pub(crate) mod unit;
