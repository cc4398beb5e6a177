//! Which certificates of a host are good: those of its newest enrolment.
//!
//! `agents/generations/HOST.json`, as the installation keeps it: a number, which each of the host's certificates
//! bears. An enrolment makes it the next one, on the disk before the certificate is issued, and so does a person who
//! revokes the host; what bears an earlier number is then nobody's. No clock has a part in it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pitcrew_wire::HostName;

use super::authority::AuthorityError;
use crate::kept::Kept;

const FOLDER: &str = "agents/generations/";

pub(crate) struct Generations {
    kept: Kept,
    current: Mutex<BTreeMap<HostName, u64>>,
    /// Held while a file is written, so that whoever only reads waits for no disk.
    changing: Mutex<()>,
}

impl Generations {
    /// A number that can't be read is an error: with a wrong one, what was revoked would be good again.
    pub(crate) fn open(kept: &Kept) -> Result<Self, AuthorityError> {
        let mut current = BTreeMap::new();
        for (name, content) in kept.in_folder(FOLDER)? {
            let host = name.strip_prefix(FOLDER);
            let host = host.and_then(|host| host.strip_suffix(".json"));
            if let Some(host) = host.and_then(|host| HostName::new(host).ok()) {
                current.insert(host, read(&name, &content)?);
            }
        }
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

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn is_current(&self, host: &HostName, generation: u64) -> bool {
        self.lock().get(host) == Some(&generation)
    }

    /// Whatever the host has is no longer good. Gives the number that is.
    pub(crate) fn advance(&self, host: &HostName) -> Result<u64, String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.lock().get(host).map_or(1, |generation| generation + 1);
        let name = format!("{FOLDER}{host}.json");
        let number = generation.to_string();
        self.kept
            .write(&name, number.as_bytes())
            .map_err(|error| format!("{name} can't be written: {error}"))?;
        self.lock().insert(host.clone(), generation);
        Ok(generation)
    }
}

fn read(name: &str, content: &[u8]) -> Result<u64, AuthorityError> {
    let text = String::from_utf8_lossy(content);
    text.trim().parse().map_err(|error| AuthorityError::Broken {
        name: name.to_owned(),
        why: format!("{error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_enrolment_counts_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Kept::Directory(directory.path().to_owned());
        let open = || Generations::open(&kept);
        let host = HostName::new("web-1").unwrap();
        let generations = open().unwrap();
        assert!(!generations.knows(&host) && !generations.is_current(&host, 0));
        let first = generations.advance(&host).unwrap();
        let second = generations.advance(&host).unwrap();
        let generations = open().unwrap();
        assert!(generations.knows(&host));
        assert!(generations.is_current(&host, second) && !generations.is_current(&host, first));
        kept.write("agents/generations/web-1.json", b"x").unwrap();
        assert!(open().is_err());
    }
}
