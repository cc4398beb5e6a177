//! The store: everything behind its locks.
//!
//! One writer at a time has the log; head and parts are read by any number of queries. Locks are taken in the
//! order of the fields, and none is held while the disk is waited for except the writer's own.

use std::{
    collections::hash_map::RandomState,
    fs::{self, File},
    hash::{BuildHasher, Hasher},
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    append::Writer,
    error::{At, Error},
    exemplars::{Exemplars, Families},
    head::Head,
    losses::Losses,
    options::Options,
    recover,
};

/// A store of metrics in a directory.
#[derive(Debug)]
pub struct Store {
    pub(crate) options: Options,
    /// Keys are hashed with it: random, so that nobody can send keys that collide.
    pub(crate) key_seed: u64,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) head: RwLock<Head>,
    pub(crate) exemplars: Mutex<Exemplars>,
    pub(crate) families: Mutex<Families>,
    pub(crate) losses: Mutex<Losses>,
    notices: Vec<String>,
    /// Locked as long as the store is open.
    _lock: File,
}

impl Store {
    /// Opens a store, or makes one. Reads what the log holds beyond the parts.
    pub fn open(options: Options, now_ms: i64) -> Result<Self, Error> {
        let directory = &options.directory;
        for folder in ["log", "parts", "quarantine"] {
            let path = directory.join(folder);
            fs::create_dir_all(&path).at("create", &path)?;
        }
        let path = directory.join("lock");
        let lock = File::create(&path).at("create", &path)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::InUse {
            path: directory.clone(),
        })?;
        let recovered = recover::recover(&options, random(), now_ms)?;
        Ok(Store {
            key_seed: random(),
            writer: Mutex::new(Writer::new(recovered.wal, now_ms)),
            head: RwLock::new(recovered.head),
            exemplars: Mutex::new(recovered.exemplars),
            families: Mutex::new(recovered.families),
            losses: Mutex::new(recovered.losses),
            notices: recovered.notices,
            options,
            _lock: lock,
        })
    }

    /// What was found out of order when the store was opened, and what was done about it.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Makes everything that was appended survive a power cut. Appending goes on meanwhile.
    pub fn sync(&self) -> Result<(), Error> {
        let files = lock(&self.writer).wal.take_unsynced();
        for (path, file) in files {
            if let Err(source) = file.sync_data() {
                lock(&self.writer).wal.not_flushed();
                return Err(source).at("flush", &path);
            }
        }
        Ok(())
    }
}

/// A panic elsewhere leaves data that is consistent: every change under a lock is complete or not begun.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn read<T>(shared: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    shared.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write<T>(shared: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    shared.write().unwrap_or_else(PoisonError::into_inner)
}

/// A random number of the standard library's own making, fresh for each process.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
