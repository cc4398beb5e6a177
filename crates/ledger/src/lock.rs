//! One server per ledger: an exclusive lock on `ledger.lock`, which holds the server's process id.
//!
//! A file of its own, because closing any descriptor of the database would drop SQLite's own locks on it.
//! The kernel releases the lock when the process ends, however it ends; the file stays.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Write},
    path::Path,
};

use crate::LedgerError;

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
