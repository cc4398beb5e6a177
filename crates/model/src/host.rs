//! What a host's own configuration says: what runs there, and what may be done to it whatever a server orders.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Address, Labels, Rate, Run, Runner};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSettings {
    /// Where others reach the host: tests of what listens there connect to it.
    pub address: Option<String>,
    /// Of the host and of everything on it.
    pub labels: Labels,
    /// Units and containers.
    pub things: Vec<HostThing>,
    /// Processes that the agent keeps running.
    pub runs: Vec<Run>,
    pub commands: Vec<HostCommand>,
    /// Programs that a `nagios` test may run here, as the test names them.
    pub plugins: Vec<String>,
    pub limits: HostLimits,
    /// Where systemd is asked to reboot the host, instead of on the system's bus.
    pub reboot_bus: Option<String>,
}

/// Something on the host that is a target `NAME@HOST`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostThing {
    pub name: String,
    pub runner: Runner,
    pub address: Option<Address>,
    pub labels: Labels,
}

/// A command that a server may ask for by its name, and no more than that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCommand {
    pub name: String,
    /// An argument vector, never a shell; `{target}`, `{address}` and `{label}` are replaced.
    pub command: Vec<String>,
    #[serde(with = "crate::duration_text")]
    pub timeout: Duration,
}

/// Kept by the host itself, so that no server can exceed them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLimits {
    /// Disruptive orders on everything of this host.
    pub disruptive: Rate,
    /// Of those, reboots of the host itself.
    pub reboots: Rate,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            disruptive: Rate {
                count: 6,
                per: Duration::from_secs(3_600),
            },
            reboots: Rate {
                count: 2,
                per: Duration::from_secs(86_400),
            },
        }
    }
}
