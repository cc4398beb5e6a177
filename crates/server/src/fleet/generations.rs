//! Which certificates of a host are good: those of its newest enrolment.
//!
//! `agents/generations/HOST.json` in the data directory: a number, which each of the host's certificates
//! bears. An enrolment makes it the next one, on the disk before the certificate is issued, and so does a person who
//! revokes the host; what bears an earlier number is then nobody's. No clock has a part in it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use pitcrew_act::write_durably;
use pitcrew_wire::HostName;

use super::authority::AuthorityError;

pub(crate) struct Generations {
    directory: PathBuf,
    current: Mutex<BTreeMap<HostName, u64>>,
    /// Held while a file is written, so that whoever only reads waits for no disk.
    changing: Mutex<()>,
}

impl Generations {
    /// A number that can't be read is an error: with a wrong one, what was revoked would be good again.
    pub(crate) fn open(directory: PathBuf) -> Result<Self, AuthorityError> {
        let file = |source| AuthorityError::File {
            path: directory.clone(),
            source,
        };
        fs::create_dir_all(&directory).map_err(file)?;
        let mut current = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(file)? {
            let entry = entry.map_err(file)?;
            // What was cut off while it was written, `HOST.json.new`, is nobody's yet.
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
            if let Some(host) = name.and_then(|name| HostName::new(name).ok()) {
                current.insert(host, read(&entry.path())?);
            }
        }
        Ok(Self {
            directory,
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
        let file = self.directory.join(format!("{host}.json"));
        write_durably(&file, generation.to_string().as_bytes())
            .map_err(|error| format!("{} can't be written: {error}", file.display()))?;
        self.lock().insert(host.clone(), generation);
        Ok(generation)
    }
}

fn read(path: &Path) -> Result<u64, AuthorityError> {
    let text = fs::read_to_string(path).map_err(|source| AuthorityError::File {
        path: path.to_owned(),
        source,
    })?;
    text.trim().parse().map_err(|error| AuthorityError::Broken {
        path: path.to_owned(),
        why: format!("{error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_enrolment_counts_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Generations::open(directory.path().to_owned());
        let host = HostName::new("web-1").unwrap();
        let generations = open().unwrap();
        assert!(!generations.knows(&host) && !generations.is_current(&host, 0));
        let first = generations.advance(&host).unwrap();
        let second = generations.advance(&host).unwrap();
        let generations = open().unwrap();
        assert!(generations.knows(&host));
        assert!(generations.is_current(&host, second) && !generations.is_current(&host, first));
        fs::write(directory.path().join("web-1.json"), "x").unwrap();
        assert!(open().is_err());
    }
}
