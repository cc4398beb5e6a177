//! What each enrolled host last said it is and runs, kept over restarts: a host that is away is still a host.
//!
//! `agents/hosts/HOST.json`, as the installation keeps it, replaced whole.

use std::{collections::BTreeMap, path::PathBuf};

use pitcrew_model::Target;
use pitcrew_wire::HostName;

use crate::kept::{Kept, KeptError};

const HOSTS: &str = "agents/hosts/";

pub(crate) struct Inventories {
    kept: Kept,
    by_host: BTreeMap<HostName, Vec<Target>>,
}

impl Inventories {
    /// A file that can't be read is no host until its agent is back; the log says so.
    pub(crate) fn open(kept: &Kept) -> Result<Self, KeptError> {
        let mut by_host = BTreeMap::new();
        for (name, content) in kept.in_folder(HOSTS)? {
            let Some(host) = host_of(&name) else { continue };
            match serde_json::from_slice(&content) {
                Ok(targets) => {
                    by_host.insert(host, targets);
                }
                Err(error) => tracing::warn!(%error, "failed to read {name}"),
            }
        }
        Ok(Self {
            kept: kept.clone(),
            by_host,
        })
    }

    /// Of a server without agents.
    pub(crate) fn none() -> Self {
        Self {
            kept: Kept::Directory(PathBuf::new()),
            by_host: BTreeMap::new(),
        }
    }

    /// Whether it was something new.
    pub(crate) fn put(&mut self, host: &HostName, targets: Vec<Target>) -> bool {
        if self.by_host.get(host) == Some(&targets) {
            return false;
        }
        let name = format!("{HOSTS}{host}.json");
        let written = match serde_json::to_vec(&targets) {
            Ok(bytes) => self
                .kept
                .write(&name, &bytes)
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = written {
            tracing::warn!("failed to write {name}: {error}");
        }
        self.by_host.insert(host.clone(), targets);
        true
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        self.by_host.values().flatten().cloned().collect()
    }

    pub(crate) fn hosts(&self) -> impl Iterator<Item = (&HostName, usize)> {
        self.by_host
            .iter()
            .map(|(host, targets)| (host, targets.len()))
    }
}

/// `None` for a file that is none of these.
fn host_of(name: &str) -> Option<HostName> {
    let name = name.strip_prefix(HOSTS)?.strip_suffix(".json")?;
    HostName::new(name).ok()
}

/// Why these can't be what is on `host`.
pub(crate) fn objection(host: &HostName, targets: &[Target]) -> Option<String> {
    let own = host.target();
    if !targets.iter().any(|target| target.id == own) {
        return Some(format!("the host {host} itself is not among its targets"));
    }
    let foreign = targets.iter().find(|target| {
        let is_placed = match target.id == own {
            true => target.run_on.is_none(),
            false => target.run_on.as_ref() == Some(&own),
        };
        !host.may_have(&target.id) || !is_placed
    });
    foreign.map(|target| format!("{host} can't speak for {}", target.id))
}
