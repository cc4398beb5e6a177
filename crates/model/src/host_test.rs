//! What is asked of a host itself, from inside.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostTest {
    /// The file system that `path` is on: it takes writes, and has room and inodes left.
    Disk { path: String, left: Left },
    /// Memory that programs could still get, as the kernel estimates it.
    Memory { left: Left },
    /// Load average of five minutes for each core.
    Load { warn_above: u32, fail_above: u32 },
    /// Units that systemd says have failed.
    FailedUnits,
    /// How far the host's clock is from the server's.
    ClockOffset {
        #[serde(with = "crate::duration_text")]
        warn_above: Duration,
        #[serde(with = "crate::duration_text")]
        fail_above: Duration,
    },
    /// Errors that the kernel has logged lately.
    KernelErrors {
        #[serde(with = "crate::duration_text")]
        within: Duration,
    },
}

/// Shares in percent of what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    pub warn_below: u8,
    pub fail_below: u8,
}

impl HostTest {
    /// The key that names it in a configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Disk { .. } => "disk",
            Self::Memory { .. } => "memory",
            Self::Load { .. } => "load",
            Self::FailedUnits => "failed_units",
            Self::ClockOffset { .. } => "clock_offset",
            Self::KernelErrors { .. } => "kernel_errors",
        }
    }
}
