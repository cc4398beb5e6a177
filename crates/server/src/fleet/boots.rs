//! Which boot each host runs, as its agent says with each connection: a new boot id is the only proof that a host went
//! down and came back, whatever a controller or the host itself said before.
//!
//! `agents/boots.json` in the data directory, replaced whole: a server that was restarted while a host was down must
//! still know which boot it was to end.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use pitcrew_act::write_durably;
use pitcrew_model::Timestamp;
use pitcrew_wire::HostName;
use serde::{Deserialize, Serialize};

use super::authority::AuthorityError;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boot {
    pub(crate) id: String,
    /// When the server first heard of it.
    pub(crate) since: Timestamp,
    /// The one before; `None`: the host was not known before.
    pub(crate) before: Option<String>,
}

pub(crate) struct Boots {
    /// `None`: of a server without agents.
    file: Option<PathBuf>,
    by_host: BTreeMap<HostName, Boot>,
}

impl Boots {
    /// What can't be read is not known; the next boot of each host then proves nothing yet.
    pub(crate) fn open(file: PathBuf) -> Result<Self, AuthorityError> {
        let by_host = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "{} is broken and begun anew", file.display());
                BTreeMap::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(AuthorityError::File { path: file, source }),
        };
        let file = Some(file);
        Ok(Self { file, by_host })
    }

    pub(crate) fn none() -> Self {
        Self {
            file: None,
            by_host: BTreeMap::new(),
        }
    }

    /// The host is connected and says that it runs this boot.
    pub(crate) fn note(&mut self, host: &HostName, id: &str, now: Timestamp) {
        let known = self.by_host.get(host);
        if known.is_some_and(|boot| boot.id == id) {
            return;
        }
        let boot = Boot {
            id: id.to_owned(),
            since: now,
            before: known.map(|boot| boot.id.clone()),
        };
        self.by_host.insert(host.clone(), boot);
        if let Some(file) = &self.file
            && let Err(error) = self.write(file)
        {
            tracing::warn!(%error, "failed to write {}", file.display());
        }
    }

    fn write(&self, file: &Path) -> io::Result<()> {
        write_durably(file, &serde_json::to_vec(&self.by_host)?)
    }

    pub(crate) fn of(&self, host: &HostName) -> Option<&Boot> {
        self.by_host.get(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_of_before_is_known_after_a_restart_of_the_server() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("boots.json");
        let host = HostName::new("web-7").unwrap();
        let at = Timestamp::from_millis;
        let mut boots = Boots::open(file.clone()).unwrap();
        boots.note(&host, "a", at(1));
        boots.note(&host, "a", at(2));
        assert_eq!(boots.of(&host).unwrap().before, None);
        let mut boots = Boots::open(file).unwrap();
        boots.note(&host, "b", at(3));
        let boot = boots.of(&host).unwrap();
        assert_eq!((&*boot.id, boot.since), ("b", at(3)));
        assert_eq!(boot.before.as_deref(), Some("a"));
    }

    #[test]
    fn a_broken_file_proves_nothing_and_is_begun_anew() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("boots.json");
        fs::write(&file, "{").unwrap();
        let host = HostName::new("web-7").unwrap();
        let mut boots = Boots::open(file).unwrap();
        boots.note(&host, "b", Timestamp::ZERO);
        assert_eq!(boots.of(&host).unwrap().before, None);
    }
}
