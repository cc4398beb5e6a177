//! The write-ahead log: a catalogue of series and numbered segments of samples.
//!
//! A sample is in a segment before it is in the head. A segment goes away when a part holds all it says; the
//! catalogue stays, so that series needn't be defined again with each segment, and is written anew when most of
//! it speaks of series that are gone. At a start both are read, and what can't be read is put aside and named.

pub(crate) mod frame;
mod log;
pub(crate) mod record;
pub(crate) mod replay;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::{At, Error},
    part::block::Unfinished,
};
pub(crate) use log::Log;

const SEGMENT_MAGIC: [u8; 8] = *b"PitcrewW";
const CATALOGUE_MAGIC: [u8; 8] = *b"PitcrewC";

#[derive(Debug)]
pub(crate) struct Wal {
    directory: PathBuf,
    catalogue: Log,
    segment: Log,
    /// Segments before it that aren't flushed yet.
    unflushed: Vec<(PathBuf, Arc<File>)>,
    number: u64,
    secret: u64,
    doubts: Doubts,
}

/// What a power cut may lose though nothing is left to be flushed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Doubts {
    pub(crate) catalogue: bool,
    /// The last one.
    pub(crate) segments: Option<u64>,
}

/// Path of the catalogue in a store's directory.
pub(crate) fn catalogue_path(directory: &Path) -> PathBuf {
    directory.join("catalogue")
}

/// Path of a segment in a store's directory.
pub(crate) fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join("log").join(format!("{number:012}"))
}

/// Numbers of the segments there are, ascending.
pub(crate) fn segments(directory: &Path) -> Result<Vec<u64>, Error> {
    let folder = directory.join("log");
    let mut numbers = Vec::new();
    for entry in fs::read_dir(&folder).at("read", &folder)? {
        let name = entry.at("read", &folder)?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

impl Wal {
    /// Begins a new segment beside what is there, which the next sync flushes: whoever wrote it may have died before
    /// that. `catalogue`: the one that was read, with its whole length.
    pub(crate) fn begin(
        directory: &Path,
        catalogue: Option<u64>,
        number: u64,
        secret: u64,
    ) -> Result<Self, Error> {
        let mut unflushed = Vec::new();
        for before in segments(directory)? {
            let path = segment_path(directory, before);
            let file = File::open(&path).at("open", &path)?;
            unflushed.push((path, Arc::new(file)));
        }
        let path = catalogue_path(directory);
        let catalogue = match catalogue {
            Some(length) => Log::go_on(&path, length)?,
            None => {
                let mut new = Log::create(&path, CATALOGUE_MAGIC, secret)?;
                new.flush()?;
                new
            }
        };
        let next = NextSegment {
            directory: directory.to_owned(),
            number,
        };
        let segment = next.create(&[])?;
        sync_directory(directory)?;
        Ok(Wal {
            directory: directory.to_owned(),
            catalogue,
            segment,
            unflushed,
            number,
            secret,
            doubts: Doubts::default(),
        })
    }

    /// Writes what defines series before the samples that use them.
    pub(crate) fn append(&mut self, catalogue: &[u8], segment: &[u8]) -> Result<(), Error> {
        for (log, bytes) in [
            (&mut self.catalogue, catalogue),
            (&mut self.segment, segment),
        ] {
            log.append(bytes).map_err(|source| Error::Log {
                path: log.path.clone(),
                source,
            })?;
        }
        Ok(())
    }

    /// What the next segment will be; it may be made while this one is still written.
    pub(crate) fn next_segment(&self) -> NextSegment {
        NextSegment {
            directory: self.directory.clone(),
            number: self.number + 1,
        }
    }

    /// Goes on in a segment that was made. The number of the last one before it, which the next sync flushes.
    pub(crate) fn rotate(&mut self, next: Log) -> u64 {
        let mut last = std::mem::replace(&mut self.segment, next);
        let path = last.path.clone();
        self.unflushed
            .extend(last.take_unsynced().map(|file| (path, file)));
        self.number += 1;
        self.number - 1
    }

    /// A catalogue beside the one there is, to be filled and put in its place.
    pub(crate) fn begin_catalogue(&self) -> Result<NewCatalogue, Error> {
        let aside = Unfinished(catalogue_path(&self.directory).with_extension("tmp"));
        Ok(NewCatalogue {
            log: Log::create(&aside.0, CATALOGUE_MAGIC, self.secret)?,
            taken: self.catalogue.length(),
            aside,
        })
    }

    /// Puts a new catalogue in place of the old one, in one step, with what the old one got meanwhile and `more`.
    pub(crate) fn replace_catalogue(
        &mut self,
        new: NewCatalogue,
        more: &[u8],
    ) -> Result<(), Error> {
        let NewCatalogue {
            mut log,
            taken,
            aside,
        } = new;
        let meanwhile = self.catalogue.read_from(taken)?;
        log.add(&meanwhile)?;
        log.add(more)?;
        log.flush()?;
        let path = catalogue_path(&self.directory);
        fs::rename(&aside.0, &path).at("rename", &aside.0)?;
        log.path = path;
        // The old one has no name any more: whatever follows belongs into this one.
        self.catalogue = log;
        self.doubts.catalogue = true;
        sync_directory(&self.directory)?;
        self.doubts.catalogue = false;
        Ok(())
    }

    /// Files with bytes that a power cut would lose; the catalogue first.
    pub(crate) fn take_unsynced(&mut self) -> Vec<(PathBuf, Arc<File>)> {
        let log = |log: &mut Log| Some((log.path.clone(), log.take_unsynced()?));
        let catalogue = log(&mut self.catalogue);
        let segment = log(&mut self.segment);
        let unflushed = std::mem::take(&mut self.unflushed);
        catalogue
            .into_iter()
            .chain(unflushed)
            .chain(segment)
            .collect()
    }

    /// Says that a file couldn't be flushed. The kernel may have dropped its bytes and tells so only once: flushing it
    /// again would succeed and prove nothing. So it is in doubt until what it holds was written elsewhere.
    pub(crate) fn doubt(&mut self, path: &Path) {
        if *path == self.catalogue.path {
            self.doubts.catalogue = true;
        } else {
            self.doubts.segments = Some(self.number);
        }
    }

    pub(crate) fn doubts(&self) -> Doubts {
        self.doubts
    }

    /// Parts hold what the segments up to this one say.
    pub(crate) fn sealed(&mut self, segment: u64) {
        self.doubts.segments = self.doubts.segments.filter(|doubted| *doubted > segment);
    }

    /// Catalogue and segment.
    #[cfg(test)]
    pub(crate) fn logs(&mut self) -> [&mut Log; 2] {
        [&mut self.catalogue, &mut self.segment]
    }

    pub(crate) fn catalogue_bytes(&self) -> u64 {
        self.catalogue.length()
    }
}

/// A segment that isn't written to yet.
pub(crate) struct NextSegment {
    directory: PathBuf,
    number: u64,
}

impl NextSegment {
    /// Makes the file, with these records, and flushes it.
    pub(crate) fn create(&self, records: &[u8]) -> Result<Log, Error> {
        let path = segment_path(&self.directory, self.number);
        let mut log = Log::create(&path, SEGMENT_MAGIC, self.number)?;
        log.add(records)?;
        log.flush()?;
        sync_directory(&self.directory.join("log"))?;
        Ok(log)
    }
}

/// A catalogue that isn't used yet.
pub(crate) struct NewCatalogue {
    pub(crate) log: Log,
    /// How much of the old one it knows.
    taken: u64,
    aside: Unfinished,
}

/// Deletes the segments up to a number: a part holds what they say.
pub(crate) fn remove_through(directory: &Path, last: u64) -> Result<(), Error> {
    for number in segments(directory)? {
        if number <= last {
            let path = segment_path(directory, number);
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(())
}

/// Makes names in a directory survive a power cut.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    #[cfg(test)]
    testing::may_sync(path)?;
    let directory = File::open(path).at("open", path)?;
    directory.sync_all().at("flush", path)
}

/// Directories that can't be flushed.
#[cfg(test)]
pub(crate) mod testing {
    use std::{cell::RefCell, io, path::Path};

    use super::{At, Error};

    thread_local! {
        static SICK: RefCell<Option<std::path::PathBuf>> = const { RefCell::new(None) };
    }

    pub(super) fn may_sync(path: &Path) -> Result<(), Error> {
        let is_sick = SICK.with_borrow(|sick| sick.as_deref() == Some(path));
        let result = if is_sick {
            Err(io::Error::other("a sick disk"))
        } else {
            Ok(())
        };
        result.at("flush", path)
    }

    /// Does something while a directory can't be flushed.
    pub(crate) fn while_sick<T>(path: &Path, run: impl FnOnce() -> T) -> T {
        SICK.set(Some(path.to_owned()));
        let done = run();
        SICK.set(None);
        done
    }
}
