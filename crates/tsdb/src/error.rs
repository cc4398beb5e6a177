//! What can go wrong with a store as a whole. What is wrong with single samples is told in the answer of
//! `append`.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a store can't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("failed to {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process has the store.
    #[error("{} is in use by another process: end it, or choose another directory", path.display())]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// The log can't be written, so nothing was taken.
    #[error(
        "failed to write the log of metrics {}: nothing of the request was taken, send it again",
        path.display()
    )]
    Log {
        /// The log file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The disk refused to keep some of the log.
    #[error(
        "the disk failed to keep the log of metrics in {}: what it holds is being written anew, until then a power cut may lose it",
        path.display()
    )]
    Unflushed {
        /// The store's directory.
        path: PathBuf,
    },
    /// The head is over its budget and can't be sealed fast enough.
    #[error(
        "the head of metrics takes {bytes} bytes, more than a quarter above limits.head_bytes ({limit}): nothing of the request was taken, send it again later"
    )]
    Overloaded {
        /// What it takes.
        bytes: usize,
        /// What it may take.
        limit: usize,
    },
    /// A file isn't what it should be.
    #[error("{} is damaged at byte {offset}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// A file of a version that this program doesn't know.
    #[error("{} has format {version}, this program reads {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The known one.
        known: u32,
    },
}

/// Says which action on which file failed.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
