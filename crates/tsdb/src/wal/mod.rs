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

use crate::error::{At, Error};
pub(crate) use log::Log;

const SEGMENT_MAGIC: [u8; 8] = *b"PitcrewW";
const CATALOGUE_MAGIC: [u8; 8] = *b"PitcrewC";

#[derive(Debug)]
pub(crate) struct Wal {
    directory: PathBuf,
    catalogue: Log,
    segment: Log,
    number: u64,
    secret: u64,
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
    /// Begins a new segment beside what is there. `catalogue`: the one that was read, with its whole length.
    pub(crate) fn begin(
        directory: &Path,
        catalogue: Option<u64>,
        number: u64,
        secret: u64,
    ) -> Result<Self, Error> {
        let path = catalogue_path(directory);
        let catalogue = match catalogue {
            Some(length) => Log::go_on(&path, length)?,
            None => Log::create(&path, CATALOGUE_MAGIC, secret)?,
        };
        let segment = Log::create(&segment_path(directory, number), SEGMENT_MAGIC, number)?;
        let mut wal = Wal {
            directory: directory.to_owned(),
            catalogue,
            segment,
            number,
            secret,
        };
        wal.sync()?;
        sync_directory(&directory.join("log"))?;
        sync_directory(directory)?;
        Ok(wal)
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

    /// Goes on in a new segment. The number of the last one before it.
    pub(crate) fn rotate(&mut self) -> Result<u64, Error> {
        self.sync()?;
        let number = self.number + 1;
        let path = segment_path(&self.directory, number);
        self.segment = Log::create(&path, SEGMENT_MAGIC, number)?;
        let before = std::mem::replace(&mut self.number, number);
        sync_directory(&self.directory.join("log"))?;
        Ok(before)
    }

    /// Deletes the segments up to a number: a part holds what they say.
    pub(crate) fn remove_through(&self, last: u64) -> Result<(), Error> {
        for number in segments(&self.directory)? {
            if number <= last {
                let path = segment_path(&self.directory, number);
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        Ok(())
    }

    /// Puts a new catalogue in place of the old one, in one step.
    pub(crate) fn replace_catalogue(&mut self, records: &[u8]) -> Result<(), Error> {
        let path = catalogue_path(&self.directory);
        let aside = path.with_extension("tmp");
        let mut log = Log::create(&aside, CATALOGUE_MAGIC, self.secret)?;
        log.append(records).at("write", &aside)?;
        if let Some(file) = log.take_unsynced() {
            file.sync_all().at("flush", &aside)?;
        }
        fs::rename(&aside, &path).at("rename", &aside)?;
        sync_directory(&self.directory)?;
        log.path = path;
        self.catalogue = log;
        Ok(())
    }

    /// Files with bytes that a power cut would lose; the catalogue first.
    pub(crate) fn take_unsynced(&mut self) -> Vec<(PathBuf, Arc<File>)> {
        [&mut self.catalogue, &mut self.segment]
            .into_iter()
            .filter_map(|log| Some((log.path.clone(), log.take_unsynced()?)))
            .collect()
    }

    pub(crate) fn not_flushed(&mut self) {
        self.catalogue.not_flushed();
        self.segment.not_flushed();
    }

    fn sync(&mut self) -> Result<(), Error> {
        for (path, file) in self.take_unsynced() {
            if let Err(source) = file.sync_data() {
                self.not_flushed();
                return Err(source).at("flush", &path);
            }
        }
        Ok(())
    }

    pub(crate) fn catalogue_bytes(&self) -> u64 {
        self.catalogue.length()
    }
}

/// Makes names in a directory survive a power cut.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = File::open(path).at("open", path)?;
    directory.sync_all().at("flush", path)
}
