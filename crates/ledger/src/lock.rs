//! One server per ledger: an exclusive lock on `ledger.lock`, which holds the server's process id.
//!
//! A file of its own, because closing any descriptor of the database would drop SQLite's own locks on it.
//! The kernel releases the lock when the process ends, however it ends; the file stays.
//!
//! A ledger that was moved to a database has `ledger.moved` beside it, which says where to: two servers of one
//! installation, each with a ledger of its own, would both believe to lead.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read, Write},
    path::Path,
};

use crate::{LedgerError, Postgres};

pub(crate) const MOVED: &str = "ledger.moved";

pub(crate) struct Lock {
    _held: File,
}

impl Lock {
    pub(crate) fn take(directory: &Path) -> Result<Self, LedgerError> {
        let path = directory.join("ledger.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(LedgerError::io(&path, "open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LedgerError::Locked {
                    holder: holder(&mut file),
                    path: directory.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(LedgerError::io(&path, "lock")(error)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(LedgerError::io(&path, "write"))?;
        Ok(Self { _held: file })
    }
}

/// `None` when the other server has not written its id yet.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Where the ledger of this directory has gone.
pub(crate) fn moved_to(directory: &Path) -> Result<Option<String>, LedgerError> {
    let path = directory.join(MOVED);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LedgerError::io(&path, "read")(error)),
    }
}

/// On the disk when it returns.
pub(crate) fn mark_moved(ledger: &Path, to: &Postgres) -> Result<(), LedgerError> {
    let path = ledger.with_file_name(MOVED);
    let written = File::create(&path)
        .and_then(|mut file| writeln!(file, "{to}").and_then(|()| file.sync_all()))
        .and_then(|()| match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        });
    written.map_err(LedgerError::io(&path, "write"))
}
