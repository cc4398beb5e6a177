//! Which certificates of a host are good: those of its newest enrolment.
//!
//! `agents/generations.json` in the data directory: a number for each host, which each of its certificates bears. An
//! enrolment makes it the next one, on the disk before the certificate is issued, and so does a person who revokes
//! the host; what bears an earlier number is then nobody's. No clock has a part in it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use pitcrew_act::write_durably;
use pitcrew_wire::HostName;

use super::authority::AuthorityError;

pub(crate) struct Generations {
    file: PathBuf,
    current: Mutex<BTreeMap<HostName, u64>>,
    /// Held while the file is written, so that whoever only reads waits for no disk.
    changing: Mutex<()>,
}

impl Generations {
    pub(crate) fn open(directory: &Path) -> Result<Self, AuthorityError> {
        let file = directory.join("generations.json");
        let current = match fs::read(&file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| AuthorityError::Broken {
                    path: file.clone(),
                    why: error.to_string(),
                })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(AuthorityError::File { path: file, source }),
        };
        Ok(Self {
            file,
            current: Mutex::new(current),
            changing: Mutex::new(()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<HostName, u64>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn knows(&self, host: &HostName) -> bool {
        self.lock().contains_key(host)
    }

    pub(crate) fn is_current(&self, host: &HostName, generation: u64) -> bool {
        self.lock().get(host) == Some(&generation)
    }

    /// Whatever the host has is no longer good. Gives the number that is.
    pub(crate) fn advance(&self, host: &HostName) -> Result<u64, String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = self.lock().clone();
        let generation = changed.entry(host.clone()).or_insert(0);
        *generation += 1;
        let generation = *generation;
        let bytes = serde_json::to_vec(&changed).map_err(|error| error.to_string())?;
        write_durably(&self.file, &bytes)
            .map_err(|error| format!("{} can't be written: {error}", self.file.display()))?;
        *self.lock() = changed;
        Ok(generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_enrolment_counts_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let host = HostName::new("web-1").unwrap();
        let generations = Generations::open(directory.path()).unwrap();
        assert!(!generations.knows(&host) && !generations.is_current(&host, 0));
        let first = generations.advance(&host).unwrap();
        let second = generations.advance(&host).unwrap();
        let generations = Generations::open(directory.path()).unwrap();
        assert!(generations.knows(&host));
        assert!(generations.is_current(&host, second) && !generations.is_current(&host, first));
    }
}
