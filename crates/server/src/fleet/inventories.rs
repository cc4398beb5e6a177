//! What each enrolled host last said it is and runs, kept over restarts: a host that is away is still a host.
//!
//! `agents/hosts/HOST.json` in the data directory, replaced whole.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use pitcrew_act::write_durably;
use pitcrew_model::Target;
use pitcrew_wire::HostName;

use super::authority::AuthorityError;

pub(crate) struct Inventories {
    directory: PathBuf,
    by_host: BTreeMap<HostName, Vec<Target>>,
}

impl Inventories {
    /// A file that can't be read is no host until its agent is back; the log says so.
    pub(crate) fn open(directory: PathBuf) -> Result<Self, AuthorityError> {
        let file = |source| AuthorityError::File {
            path: directory.clone(),
            source,
        };
        fs::create_dir_all(&directory).map_err(file)?;
        let mut by_host = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(file)? {
            let path = entry.map_err(file)?.path();
            match read(&path) {
                Ok(Some((host, targets))) => {
                    by_host.insert(host, targets);
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "failed to read {}", path.display()),
            }
        }
        Ok(Self { directory, by_host })
    }

    /// Of a server without agents.
    pub(crate) fn none() -> Self {
        Self {
            directory: PathBuf::new(),
            by_host: BTreeMap::new(),
        }
    }

    /// Whether it was something new.
    pub(crate) fn put(&mut self, host: &HostName, targets: Vec<Target>) -> bool {
        if self.by_host.get(host) == Some(&targets) {
            return false;
        }
        let path = self.directory.join(format!("{host}.json"));
        let written = serde_json::to_vec(&targets)
            .map_err(io::Error::from)
            .and_then(|bytes| write_durably(&path, &bytes));
        if let Err(error) = written {
            tracing::warn!(%error, "failed to write {}", path.display());
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
fn read(path: &Path) -> io::Result<Option<(HostName, Vec<Target>)>> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.and_then(|name| name.strip_suffix(".json"));
    let Some(host) = name.and_then(|name| HostName::new(name).ok()) else {
        return Ok(None);
    };
    let targets = serde_json::from_slice(&fs::read(path)?)?;
    Ok(Some((host, targets)))
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
