//! What discovery knew, kept over a restart: a source that is down when Pitcrew starts keeps its targets, and one
//! that has turned empty meanwhile is not believed.
//!
//! `DATA/found.json`, replaced whole. It is a memory, not a record: when it is lost or can't be read, sources are
//! asked as if for the first time, and the log says so.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use pitcrew_find::{Roll, Snapshot};

pub(crate) struct Remembered {
    path: PathBuf,
    written: Snapshot,
}

impl Remembered {
    pub(crate) fn open(data: &Path) -> (Self, Roll) {
        let path = data.join("found.json");
        let snapshot = match read(&path) {
            Ok(snapshot) => snapshot,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Snapshot::default(),
            Err(error) => {
                tracing::warn!(%error, "failed to read {}: what sources gave before is forgotten", path.display());
                Snapshot::default()
            }
        };
        let roll = Roll::restore(snapshot.clone());
        let written = snapshot;
        (Self { path, written }, roll)
    }

    /// Writes what has changed since the last time.
    pub(crate) async fn keep(&mut self, snapshot: Snapshot) {
        if snapshot == self.written {
            return;
        }
        let path = self.path.clone();
        let writing =
            tokio::task::spawn_blocking(move || write(&path, &snapshot).map(|()| snapshot));
        match writing.await {
            Ok(Ok(snapshot)) => self.written = snapshot,
            Ok(Err(error)) => {
                tracing::warn!(%error, "failed to write {}", self.path.display());
            }
            Err(error) => tracing::warn!(%error, "writing {} broke off", self.path.display()),
        }
    }
}

fn read(path: &Path) -> io::Result<Snapshot> {
    let bytes = fs::read(path)?;
    serde_json::from_slice(&bytes).map_err(io::Error::from)
}

/// For its owner only: addresses of sources may hold credentials.
fn write(path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let new = path.with_extension("new");
    let mut file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&serde_json::to_vec(snapshot)?)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_read_is_forgotten_and_not_fatal() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("found.json"), "{\"sources\": 7").unwrap();
        let (remembered, _) = Remembered::open(directory.path());
        assert_eq!(remembered.written, Snapshot::default());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("found.json");
        let text = serde_json::json!({ "sources": [{
            "source": { "name": "s", "kind": { "static": { "targets": ["a:1"] } }, "labels": {}, "runs_as": null },
            "count": 1,
            "targets": [],
        }] });
        let snapshot: Snapshot = serde_json::from_value(text).unwrap();
        write(&path, &snapshot).unwrap();
        assert_eq!(read(&path).unwrap(), snapshot);
    }
}
