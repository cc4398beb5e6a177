//! What can be tested and repaired.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Labels, SourceName, TargetId};

/// One thing that can be tested and repaired: an instance of a service, a server, a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub id: TargetId,
    /// Where tests connect to: absent for targets without a network address.
    pub address: Option<Address>,
    pub labels: Labels,
    /// The target whose failure or reboot takes this one down with it.
    pub run_on: Option<TargetId>,
    /// What starts and stops it, so that `restart: {}` means something.
    pub runner: Option<Runner>,
    pub source: SourceName,
}

/// `host:port`, `host` or `[v6]:port`, as discovery gave it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(pub Arc<str>);

impl Address {
    /// The part before the port, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.split().0
    }

    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.split().1
    }

    fn split(&self) -> (&str, Option<u16>) {
        let text = &*self.0;
        if let Some(rest) = text.strip_prefix('[')
            && let Some((host, after)) = rest.split_once(']')
        {
            return (
                host,
                after.strip_prefix(':').and_then(|port| port.parse().ok()),
            );
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => (text, None),
            },
            _ => (text, None),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// What starts and stops a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runner {
    /// A process that Pitcrew itself keeps running: its name is the target's id.
    Supervised,
    /// A systemd unit on this host's system bus, or on the bus at `bus`.
    Unit { name: String, bus: Option<String> },
    /// A container of the Docker-compatible engine at `socket`; `None` is the engine's usual socket.
    Container {
        name: String,
        socket: Option<String>,
    },
    /// Whatever listens on `port` of this host and runs `exe`. It is stopped by signal and started as `command`.
    Listener {
        port: u16,
        exe: String,
        command: Vec<String>,
        user: Option<String>,
        directory: Option<String>,
        #[serde(with = "crate::duration_text")]
        grace: Duration,
    },
    /// Commands of the user's own; each an argument vector, never a shell.
    Command {
        start: Option<Vec<String>>,
        stop: Option<Vec<String>>,
        restart: Option<Vec<String>>,
    },
}

/// A runner as a service's configuration names it, for each of its targets: every text may hold `{label}`.
pub type RunnerTemplate = Runner;

impl Runner {
    /// This runner for one target: `{label}` in every text replaced. The error is a label that is absent.
    pub fn fill(&self, labels: &Labels) -> Result<Self, String> {
        let text = |template: &String| labels.fill(template);
        let optional = |template: &Option<String>| template.as_ref().map(text).transpose();
        let vector =
            |template: &Vec<String>| template.iter().map(text).collect::<Result<Vec<_>, _>>();
        let optional_vector =
            |template: &Option<Vec<String>>| template.as_ref().map(vector).transpose();
        Ok(match self {
            Self::Supervised => Self::Supervised,
            Self::Unit { name, bus } => Self::Unit {
                name: text(name)?,
                bus: optional(bus)?,
            },
            Self::Container { name, socket } => Self::Container {
                name: text(name)?,
                socket: optional(socket)?,
            },
            Self::Listener {
                port,
                exe,
                command,
                user,
                directory,
                grace,
            } => Self::Listener {
                port: *port,
                exe: text(exe)?,
                command: vector(command)?,
                user: optional(user)?,
                directory: optional(directory)?,
                grace: *grace,
            },
            Self::Command {
                start,
                stop,
                restart,
            } => Self::Command {
                start: optional_vector(start)?,
                stop: optional_vector(stop)?,
                restart: optional_vector(restart)?,
            },
        })
    }
}

impl fmt::Display for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supervised => f.write_str("supervised process"),
            Self::Unit { name, .. } => write!(f, "unit {name}"),
            Self::Container { name, .. } => write!(f, "container {name}"),
            Self::Listener { port, exe, .. } => write!(f, "{exe} on port {port}"),
            Self::Command { .. } => f.write_str("commands"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_split_into_host_and_port() {
        for (text, host, port) in [
            ("10.0.0.1:80", "10.0.0.1", Some(80)),
            ("[::1]:443", "::1", Some(443)),
            ("::1", "::1", None),
            ("example.org", "example.org", None),
            ("example.org:x", "example.org:x", None),
        ] {
            let address = Address(text.into());
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
        }
    }
}
