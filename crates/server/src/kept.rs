//! Files that belong to the installation, not to one server: with several servers they are in the database, so that
//! whoever leads next has the same authority, tokens, hosts and targets.
//!
//! A name is a path below the data directory, in both places.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use pitcrew_act::write_durably;
use pitcrew_ledger::{LedgerError, Postgres, SharedFiles};

#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error("failed to use {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

#[derive(Clone)]
pub(crate) enum Kept {
    Directory(PathBuf),
    /// Of a server that follows and needs none of it.
    Nowhere,
    Shared(Arc<Mutex<SharedFiles>>),
}

impl Kept {
    /// `fence` of the server that leads; without it nothing can be written.
    pub(crate) fn shared(database: &Postgres, fence: Option<u64>) -> Self {
        Self::Shared(Arc::new(Mutex::new(database.files(fence))))
    }

    /// `None` where there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, KeptError> {
        let directory = match self {
            Self::Nowhere => return Ok(None),
            Self::Shared(files) => return ask(files, |files| files.read(name)),
            Self::Directory(directory) => directory,
        };
        let path = directory.join(name);
        match fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(KeptError::File { path, source }),
        }
    }

    /// Replaces it whole, for its owner only; durable on return.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<(), KeptError> {
        let directory = match self {
            Self::Nowhere => unreachable!("a server that follows writes nothing"),
            Self::Shared(files) => return ask(files, |files| files.write(name, content)),
            Self::Directory(directory) => directory,
        };
        let path = directory.join(name);
        let folder = path.parent().unwrap_or(directory);
        fs::create_dir_all(folder)
            .and_then(|()| write_durably(&path, content))
            .map_err(|source| KeptError::File { path, source })
    }

    /// All whose name begins with `folder`, which ends with a slash.
    pub(crate) fn in_folder(&self, folder: &str) -> Result<Vec<(String, Vec<u8>)>, KeptError> {
        match self {
            Self::Nowhere => Ok(Vec::new()),
            Self::Shared(files) => ask(files, |files| files.beginning_with(folder)),
            Self::Directory(directory) => files_in(directory, folder),
        }
    }
}

/// Also from a thread of the runtime, which others of its tasks then leave.
fn ask<T>(
    files: &Mutex<SharedFiles>,
    ask: impl FnOnce(&SharedFiles) -> Result<T, LedgerError>,
) -> Result<T, KeptError> {
    tokio::task::block_in_place(|| {
        let files = files.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&files).map_err(KeptError::from)
    })
}

fn files_in(directory: &Path, folder: &str) -> Result<Vec<(String, Vec<u8>)>, KeptError> {
    let path = directory.join(folder);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KeptError::File { path, source }
    };
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&path)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed(&path))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        // A half-written one is left by a crash; it never was.
        if !name.ends_with(".new") && path.is_file() {
            let content = fs::read(&path).map_err(failed(&path))?;
            files.push((format!("{folder}{name}"), content));
        }
    }
    files.sort();
    Ok(files)
}

/// Names of all that a data directory may hold of these: for moving them into a database.
const FOLDERS: [&str; 3] = ["agents/", "agents/generations/", "agents/hosts/"];
const FILES: [&str; 1] = [crate::remembered::FOUND];

/// Everything of this kind in a data directory.
pub fn kept_files(data: &Path) -> Result<Vec<(String, Vec<u8>)>, KeptError> {
    let kept = Kept::Directory(data.to_owned());
    let mut files = Vec::new();
    for folder in FOLDERS {
        files.extend(kept.in_folder(folder)?);
    }
    for name in FILES {
        files.extend(kept.read(name)?.map(|content| (name.to_owned(), content)));
    }
    Ok(files)
}
