//! What discovery knew, kept over a restart: a source that is down when Pitcrew starts keeps its targets, and one
//! that has turned empty meanwhile is not believed.
//!
//! `found.json`, as the installation keeps it, replaced whole. It is a memory, not a record: when it is lost or can't be read, sources are
//! asked as if for the first time, and the log says so.

use std::io;

use pitcrew_find::{Roll, Snapshot};

use crate::kept::{Kept, KeptError};

pub(crate) const FOUND: &str = "found.json";

pub(crate) struct Remembered {
    kept: Kept,
    written: Snapshot,
}

impl Remembered {
    pub(crate) fn open(kept: Kept) -> (Self, Roll) {
        let snapshot = read(&kept).unwrap_or_else(|error| {
            tracing::warn!(
                "failed to read {FOUND}: {error}; what sources gave before is forgotten"
            );
            Snapshot::default()
        });
        let roll = Roll::restore(snapshot.clone());
        let written = snapshot;
        (Self { kept, written }, roll)
    }

    /// Writes what has changed since the last time.
    pub(crate) async fn keep(&mut self, snapshot: Snapshot) {
        if snapshot == self.written {
            return;
        }
        let kept = self.kept.clone();
        let writing =
            tokio::task::spawn_blocking(move || write(&kept, &snapshot).map(|()| snapshot));
        match writing.await {
            Ok(Ok(snapshot)) => self.written = snapshot,
            Ok(Err(error)) => tracing::warn!("failed to write {FOUND}: {error}"),
            Err(error) => tracing::warn!(%error, "writing {FOUND} broke off"),
        }
    }
}

/// Empty where there is none.
pub(crate) fn read(kept: &Kept) -> Result<Snapshot, KeptError> {
    let Some(bytes) = kept.read(FOUND)? else {
        return Ok(Snapshot::default());
    };
    serde_json::from_slice(&bytes).map_err(unreadable)
}

fn write(kept: &Kept, snapshot: &Snapshot) -> Result<(), KeptError> {
    kept.write(FOUND, &serde_json::to_vec(snapshot).map_err(unreadable)?)
}

fn unreadable(error: serde_json::Error) -> KeptError {
    KeptError::File {
        path: FOUND.into(),
        source: io::Error::from(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_read_is_forgotten_and_not_fatal() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FOUND), "{\"sources\": 7").unwrap();
        let (remembered, _) = Remembered::open(Kept::Directory(directory.path().to_owned()));
        assert_eq!(remembered.written, Snapshot::default());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Kept::Directory(directory.path().to_owned());
        let text = serde_json::json!({ "sources": [{
            "source": { "name": "s", "kind": { "static": { "targets": ["a:1"] } }, "labels": {}, "runs_as": null },
            "count": 1,
            "targets": [],
        }] });
        let snapshot: Snapshot = serde_json::from_value(text).unwrap();
        write(&kept, &snapshot).unwrap();
        assert_eq!(read(&kept).unwrap(), snapshot);
    }
}
