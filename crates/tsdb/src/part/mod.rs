//! Parts: samples that no longer change, as one immutable file with its own index.
//!
//! Series that have samples at exactly the same instants form a cluster: one column of timestamps for all, and
//! no cell is empty. A series is as many times in a part as it is in clusters of it (when it has floats and
//! histograms). Everything is read by blocks that carry checksums, decoded blocks through a cache; a bad block
//! fails what asked for it and nothing else.

pub(crate) mod block;
pub(crate) mod chunk;
mod column;
mod decimals;
pub(crate) mod footer;
mod numbers;
mod packed;
mod pattern;
pub(crate) mod read;
pub(crate) mod terms;
pub(crate) mod write;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    bytes::{Malformed, Reader},
    cache::{Cache, Decoded},
    error::Error,
};
use block::BlockFile;
use footer::{Clusters, Footer};

/// What a part's file name says: enough to tell what is missing when nothing of the file can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartName {
    pub(crate) number: u64,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
}

impl PartName {
    pub(crate) fn path(&self, directory: &Path) -> PathBuf {
        let PartName {
            number,
            min_ms,
            max_ms,
        } = self;
        directory
            .join("parts")
            .join(format!("{number:010}_{min_ms}_{max_ms}.part"))
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut fields = name.strip_suffix(".part")?.split('_');
        let name = PartName {
            number: fields.next()?.parse().ok()?,
            min_ms: fields.next()?.parse().ok()?,
            max_ms: fields.next()?.parse().ok()?,
        };
        fields.next().is_none().then_some(name)
    }
}

#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: PartName,
    pub(crate) footer: Footer,
    pub(crate) file: BlockFile,
    /// Something of it couldn't be read.
    damaged: AtomicBool,
}

impl Part {
    /// Reads no more than the footer.
    pub(crate) fn open(path: &Path, name: PartName) -> Result<Self, Error> {
        let file = BlockFile::open(path)?;
        let least = (footer::HEADER + footer::TRAILER) as u64;
        if file.length < least {
            return Err(file.damaged(0, "the file is too short to be a part"));
        }
        let header = file.raw(0, footer::HEADER)?;
        let (magic, version) = header.split_at(footer::MAGIC.len());
        if magic != footer::MAGIC {
            return Err(file.damaged(0, "the file doesn't begin as a part"));
        }
        let version = Reader::new(version).u32();
        let version = version.map_err(|malformed| file.damaged(0, malformed))?;
        if !(footer::VERSION_LEAST..=footer::VERSION).contains(&version) {
            return Err(Error::Version {
                path: path.to_owned(),
                version,
                known: footer::VERSION,
            });
        }
        let end = file.length - footer::TRAILER as u64;
        let trailer = file.raw(end, footer::TRAILER)?;
        let place = footer::read_trailer(&trailer);
        let place = place.map_err(|malformed| file.damaged(end, malformed))?;
        let footer = file.decode(place, |bytes| Footer::decode(bytes, version))?;
        Ok(Part {
            name,
            footer,
            file,
            damaged: AtomicBool::new(false),
        })
    }

    pub(crate) fn mark_damaged(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    pub(crate) fn overlaps(&self, start_ms: i64, end_ms: i64) -> bool {
        self.footer.min_ms <= end_ms && self.footer.max_ms >= start_ms
    }

    /// What a block holds.
    pub(crate) fn decoded<T: Decoded>(
        &self,
        cache: &Cache,
        place: u64,
        decode: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<Arc<T>, Error> {
        cache.get((self.name.number, place), || {
            self.file.decode(place, decode)
        })
    }

    pub(crate) fn clusters(&self, cache: &Cache) -> Result<Arc<Clusters>, Error> {
        self.decoded(cache, self.footer.places.clusters, Clusters::decode)
    }
}
