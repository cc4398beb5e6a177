//! Which certificates of a host are good: those of its newest enrolment.
//!
//! `agents/generations.json`, as the installation keeps it: a number for each host, which each of its certificates bears. An
//! enrolment makes it the next one, on the disk before the certificate is issued, and so does a person who revokes
//! the host; what bears an earlier number is then nobody's. No clock has a part in it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pitcrew_wire::HostName;

use super::authority::AuthorityError;
use crate::kept::Kept;

const GENERATIONS: &str = "agents/generations.json";

pub(crate) struct Generations {
    kept: Kept,
    current: Mutex<BTreeMap<HostName, u64>>,
    /// Held while the file is written, so that whoever only reads waits for no disk.
    changing: Mutex<()>,
}

impl Generations {
    pub(crate) fn open(kept: &Kept) -> Result<Self, AuthorityError> {
        let current = match kept.read(GENERATIONS)? {
            Some(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| AuthorityError::Broken {
                    name: GENERATIONS.to_owned(),
                    why: error.to_string(),
                })?
            }
            None => BTreeMap::new(),
        };
        Ok(Self {
            kept: kept.clone(),
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
        self.kept
            .write(GENERATIONS, &bytes)
            .map_err(|error| format!("{GENERATIONS} can't be written: {error}"))?;
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
        let kept = Kept::Directory(directory.path().to_owned());
        let host = HostName::new("web-1").unwrap();
        let generations = Generations::open(&kept).unwrap();
        assert!(!generations.knows(&host) && !generations.is_current(&host, 0));
        let first = generations.advance(&host).unwrap();
        let second = generations.advance(&host).unwrap();
        let generations = Generations::open(&kept).unwrap();
        assert!(generations.knows(&host));
        assert!(generations.is_current(&host, second) && !generations.is_current(&host, first));
    }
}
