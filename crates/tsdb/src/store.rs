//! The store: everything behind its locks.
//!
//! One writer at a time has the log; head and parts are read by any number of queries. Locks are taken in the
//! order of the fields, and none is held while the disk is waited for except the writer's own.

use std::{
    collections::{BTreeSet, hash_map::RandomState},
    fs::{self, File},
    hash::{BuildHasher, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    append::Writer,
    cache::Cache,
    error::{At, Error},
    exemplars::{Exemplars, Families},
    head::Head,
    losses::Losses,
    maintain::Upkeep,
    options::Options,
    part::Part,
    recover,
    wal::Doubts,
};

/// A store of metrics in a directory.
#[derive(Debug)]
pub struct Store {
    pub(crate) options: Options,
    /// Keys are hashed with it: random, so that nobody can send keys that collide.
    pub(crate) key_seed: u64,
    pub(crate) upkeep: Mutex<Upkeep>,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) head: RwLock<Head>,
    /// Ascending by order.
    pub(crate) parts: RwLock<Arc<Vec<Arc<Part>>>>,
    pub(crate) exemplars: Mutex<Exemplars>,
    pub(crate) families: Mutex<Families>,
    pub(crate) losses: Mutex<Losses>,
    /// What of the parts couldn't be read.
    pub(crate) damage: Mutex<BTreeSet<String>>,
    pub(crate) cache: Cache,
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
            writer: Mutex::new(Writer::new(recovered.wal, options.limits.labels, now_ms)),
            head: RwLock::new(recovered.head),
            exemplars: Mutex::new(recovered.exemplars),
            families: Mutex::new(recovered.families),
            losses: Mutex::new(recovered.losses),
            damage: Mutex::default(),
            cache: Cache::new(options.limits.cache_bytes),
            parts: RwLock::new(Arc::new(recovered.parts)),
            upkeep: Mutex::new(Upkeep::new(recovered.next_part, recovered.secret)),
            notices: recovered.notices,
            options,
            _lock: lock,
        })
    }

    /// What was found out of order when the store was opened, and what was done about it.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// What of the parts couldn't be read since the store was opened.
    pub fn damage(&self) -> Vec<String> {
        lock(&self.damage).iter().cloned().collect()
    }

    /// How much there is.
    pub fn statistics(&self) -> Statistics {
        let parts = read(&self.parts).clone();
        let head = read(&self.head);
        let frozen = head
            .frozen
            .as_ref()
            .map_or(0, |frozen| frozen.filling.samples);
        Statistics {
            series: head.table.len(),
            head_samples: head.filling.samples + frozen,
            head_bytes: head.bytes(),
            parts: parts.len(),
            part_samples: parts.iter().map(|part| part.footer.samples).sum(),
            part_bytes: parts.iter().map(|part| part.file.length).sum(),
        }
    }

    /// Makes everything that was appended survive a power cut. Appending goes on meanwhile. After a failure it fails
    /// until [`Store::maintain`] has written what is in doubt anew, from memory.
    pub fn sync(&self) -> Result<(), Error> {
        let files = lock(&self.writer).wal.take_unsynced();
        let mut result = Ok(());
        for (path, file) in &files {
            if let Err(source) = file.sync_data() {
                lock(&self.writer).wal.doubt(path);
                result = result.and_then(|()| Err(source).at("flush", path));
            }
        }
        result?;
        match lock(&self.writer).wal.doubts() {
            Doubts {
                catalogue: false,
                segments: None,
            } => Ok(()),
            _ => Err(Error::Unflushed {
                path: self.options.directory.clone(),
            }),
        }
    }
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Series that report.
    pub series: usize,
    /// Samples that aren't in a part yet.
    pub head_samples: u64,
    /// An estimate of what series and samples take in memory.
    pub head_bytes: usize,
    /// Files of sealed samples.
    pub parts: usize,
    /// Their samples; one that is in two of them counts twice.
    pub part_samples: u64,
    /// Their bytes, index included.
    pub part_bytes: u64,
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

#[cfg(test)]
mod tests {
    use std::{ops::ControlFlow, path::PathBuf};

    use pitcrew_promql::{labels::Labels, storage::Selection};

    use super::*;
    use crate::{Batch, Sample, Value, key_of, labels_of_key, wal};

    const NOW_MS: i64 = 1_700_000_000_000;

    fn append(store: &Store, name: &str) {
        let sample = Sample {
            key: &key_of(&Labels::from_pairs([("__name__", name)])),
            timestamp_ms: NOW_MS,
            start_ms: 0,
            value: Value::Float(1.0),
        };
        let batch = Batch {
            source: "test",
            scope: b"",
            labels_of: &labels_of_key,
            samples: &[sample],
            exemplars: &[],
            metadata: &[],
        };
        store.append(&batch, NOW_MS).expect("samples are taken");
    }

    #[test]
    fn a_doubt_about_what_parts_hold_already_ends_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(directory.path()), NOW_MS).unwrap();
        append(&store, "first");
        store.seal(NOW_MS).unwrap();
        lock(&store.writer).wal.doubt(directory.path());
        store.sync().unwrap_err();
        store.maintain(NOW_MS).unwrap();
        store.sync().unwrap();
    }

    #[test]
    fn what_could_not_be_flushed_once_is_in_doubt_until_it_was_written_anew() {
        for log in [0, 1] {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(Options::new(directory.path()), NOW_MS).unwrap();
            append(&store, "first");
            store.sync().unwrap();
            append(&store, "second");
            // A flush fails, what it was about is lost, and the kernel says so no second time.
            let unflushable = Arc::new(File::open("/dev/null").unwrap());
            let own = lock(&store.writer).wal.logs()[log].swap_file(unflushable);
            store.sync().unwrap_err();
            own.set_len(20).unwrap();
            lock(&store.writer).wal.logs()[log].swap_file(own);
            append(&store, "third");
            for _ in 0..3 {
                let told = store.sync().unwrap_err().to_string();
                assert!(told.contains("written anew"), "{told}");
            }
            while store.maintain(NOW_MS + 1).unwrap().more {}
            store.sync().unwrap();
            drop(store);
            let store = Store::open(Options::new(directory.path()), NOW_MS).unwrap();
            assert_eq!(store.notices(), Vec::<String>::new());
            let all = Selection {
                matchers: &[],
                start_ms: NOW_MS,
                end_ms: NOW_MS,
            };
            let mut go_on = |_| ControlFlow::Continue(());
            assert_eq!(store.series(&all, 10, &mut go_on).unwrap().items.len(), 3);
        }
    }

    /// What a sync would flush.
    fn unsynced(store: &Store) -> Vec<PathBuf> {
        let files = lock(&store.writer).wal.take_unsynced();
        files.into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn what_a_dead_process_wrote_is_flushed_by_the_first_sync() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let log = |number| wal::segment_path(directory, number);
        for runs in 1..3 {
            let store = Store::open(Options::new(directory), NOW_MS).unwrap();
            append(&store, "x");
            drop(store);
            let store = Store::open(Options::new(directory), NOW_MS).unwrap();
            let mut written = vec![wal::catalogue_path(directory)];
            written.extend((1..=runs * 2 - 1).map(log));
            let unsynced = unsynced(&store);
            assert!(unsynced.starts_with(&written), "{unsynced:?}");
        }
    }

    #[test]
    fn the_log_stays_until_the_names_of_parts_are_flushed() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(directory.path()), NOW_MS).unwrap();
        append(&store, "x");
        let segments = || wal::segments(directory.path()).unwrap();
        let (parts, before) = (directory.path().join("parts"), segments());
        let names = || std::fs::read_dir(&parts).unwrap().count();
        wal::testing::while_sick(&parts, || store.seal(NOW_MS)).unwrap_err();
        assert_eq!(names(), 0, "the next try makes another part");
        assert!(segments().starts_with(&before));
        store.seal(NOW_MS).unwrap();
        assert_eq!(names(), 1);
        drop(store);
        let before = segments();
        let open = || Store::open(Options::new(directory.path()), NOW_MS);
        wal::testing::while_sick(&parts, open).unwrap_err();
        assert_eq!(segments(), before);
        open().unwrap();
    }

    #[test]
    fn a_catalogue_whose_name_could_not_be_flushed_is_in_doubt() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(directory.path()), NOW_MS).unwrap();
        let names: Vec<String> = (0..1_000).map(|number| format!("x{number}")).collect();
        names.iter().for_each(|name| append(&store, name));
        for _ in 0..2 {
            store.seal(NOW_MS).unwrap();
            append(&store, "stays");
        }
        let maintained =
            wal::testing::while_sick(directory.path(), || store.maintain(NOW_MS + 10_000_000));
        maintained.unwrap_err();
        assert_eq!(store.statistics().series, 1_001, "none is forgotten");
        store.sync().unwrap_err();
        // Whoever is killed now has lost nothing either.
        append(&store, "x7");
        drop(store);
        let store = Store::open(Options::new(directory.path()), NOW_MS).unwrap();
        assert_eq!(store.notices(), Vec::<String>::new());
        assert_eq!(store.statistics().series, 1_001);
    }

    #[test]
    fn a_catalogue_that_was_not_put_in_place_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(directory.path()), NOW_MS).unwrap();
        let aside = directory.path().join("catalogue.tmp");
        let new = lock(&store.writer).wal.begin_catalogue().unwrap();
        assert!(aside.exists());
        drop(new);
        assert!(!aside.exists());
    }
}
