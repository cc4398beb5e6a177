//! What can go wrong with the ledger, each kind with the file, and what a person can do about it.

use std::{fmt, io, path::PathBuf};

use pitcrew_model::Timestamp;
use rusqlite::ErrorCode;

use crate::{lock, postgres};

/// `path` is the file, or the database's address without its password.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("the ledger {} is in use by {}; stop that server first, or give this one another `data` directory",
        path.display(), holder.map_or_else(|| "another program".to_owned(), |pid| format!("process {pid}")))]
    Locked { path: PathBuf, holder: Option<u32> },
    #[error("the ledger {} was written by a newer Pitcrew: its format is {found}, this program knows up to {known}; run the newer one", path.display())]
    Newer {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error("there is no ledger at {}; a server makes it when it first starts there", path.display())]
    Absent { path: PathBuf },
    #[error("{} is not a ledger: {why}; it is left untouched", path.display())]
    NotALedger { path: PathBuf, why: String },
    #[error("no room for the ledger {}: make room on its disk; nothing was half-written and it goes on by itself", path.display())]
    Full { path: PathBuf },
    #[error("the ledger {} is damaged: {why}; keep it as evidence, check the disk, and restore a backup or begin a new `data` directory", path.display())]
    Corrupt { path: PathBuf, why: String },
    #[error("the ledger {} is broken at record {seq}{}: {kind}; keep it as evidence and compare it with an export or a backup",
        path.display(), at.map_or_else(String::new, |at| format!(" ({at})")))]
    Broken {
        path: PathBuf,
        seq: u64,
        /// When that record was written; for a missing one, when the nearest one that is left was.
        at: Option<Timestamp>,
        kind: BrokenKind,
    },
    #[error("the saved state `{key}` in the ledger {} can't be read: {why}; keep the file as evidence, then restore a backup or begin a new `data` directory", path.display())]
    SavedRow {
        path: PathBuf,
        key: String,
        why: String,
    },
    #[error("a record can't be kept in the ledger: {why}")]
    Unstorable { why: String },
    #[error("failed to {doing} {}: {source}", path.display())]
    Io {
        path: PathBuf,
        doing: &'static str,
        source: io::Error,
    },
    #[error("failed to {doing} the ledger {}: {source}", path.display())]
    Sqlite {
        path: PathBuf,
        doing: &'static str,
        source: rusqlite::Error,
    },
    #[error("the address of the ledger's database can't be used: {why}")]
    Address { why: String },
    #[error("the ledger {} can't be reached: {why}; it goes on by itself when the database answers again", path.display())]
    Unreachable { path: PathBuf, why: String },
    #[error("failed to {doing} the ledger {}: {}", path.display(), postgres::words(source))]
    Postgres {
        path: PathBuf,
        doing: &'static str,
        source: tokio_postgres::Error,
    },
    #[error("the ledger {} is led by {leader} with fence {fence}: this server has fence {own} and can write nothing more", path.display())]
    Deposed {
        path: PathBuf,
        own: u64,
        fence: u64,
        leader: String,
    },
    #[error("the ledger {} was moved to {to}: give the server that database in `server.state.postgres`; to begin here anew, remove {}",
        path.display(), path.with_file_name(lock::MOVED).display())]
    Moved { path: PathBuf, to: String },
    #[error("the database {} holds a ledger already, of the installation {installation} with {entries} records: give an empty one, nothing was changed", path.display())]
    Occupied {
        path: PathBuf,
        installation: String,
        entries: u64,
    },
}

/// How the chain is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenKind {
    /// The record or its hash was changed after it was written.
    Changed,
    /// One or more records from here on are gone, and later ones are there.
    Missing,
    /// The record that stands here was written elsewhere in the chain.
    Reordered,
    /// A record that was never written stands here.
    Inserted,
    /// The chain ends here, before the last record that was written.
    Truncated,
    /// The columns that searches use don't agree with the record.
    Columns,
    /// The chain holds, but these bytes are not a record.
    Unreadable,
}

impl fmt::Display for BrokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Changed => "it was changed after it was written",
            Self::Missing => "it is missing",
            Self::Reordered => "the record that stands there was written at another place",
            Self::Inserted => "a record that was never written stands there",
            Self::Truncated => "the ledger was cut off there",
            Self::Columns => "its time, case, order or target was changed beside the record",
            Self::Unreadable => "it is not a record",
        })
    }
}

impl LedgerError {
    pub(crate) fn corrupt(path: &std::path::Path, why: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            why: why.into(),
        }
    }

    /// Whether trying again later can help, without a person.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Locked { .. }
            | Self::Full { .. }
            | Self::Io { .. }
            | Self::Sqlite { .. }
            | Self::Unreachable { .. }
            | Self::Postgres { .. }
            | Self::Absent { .. }
            | Self::Deposed { .. } => true,
            Self::Newer { .. }
            | Self::NotALedger { .. }
            | Self::Corrupt { .. }
            | Self::Broken { .. }
            | Self::SavedRow { .. }
            | Self::Unstorable { .. }
            | Self::Address { .. }
            | Self::Moved { .. }
            | Self::Occupied { .. } => false,
        }
    }

    /// For `map_err` after a call to SQLite.
    pub(crate) fn sqlite(
        path: &std::path::Path,
        doing: &'static str,
    ) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| {
            let path = path.to_owned();
            match &source {
                rusqlite::Error::SqliteFailure(failure, message) => match failure.code {
                    ErrorCode::DiskFull => Self::Full { path },
                    // The index beside the write-ahead log could not grow.
                    _ if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => {
                        Self::Full { path }
                    }
                    ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                        Self::Locked { path, holder: None }
                    }
                    ErrorCode::NotADatabase => Self::NotALedger {
                        path,
                        why: "it is not an SQLite database".to_owned(),
                    },
                    ErrorCode::DatabaseCorrupt => Self::corrupt(
                        &path,
                        message
                            .clone()
                            .unwrap_or_else(|| "SQLite can't make sense of it".to_owned()),
                    ),
                    _ => Self::Sqlite {
                        path,
                        doing,
                        source,
                    },
                },
                // A value of another type than the column holds, or a row that must be there is not.
                rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::QueryReturnedNoRows
                | rusqlite::Error::Utf8Error(..) => Self::corrupt(&path, source.to_string()),
                _ => Self::Sqlite {
                    path,
                    doing,
                    source,
                },
            }
        }
    }

    /// For `map_err` after a call to the operating system.
    pub(crate) fn io(
        path: &std::path::Path,
        doing: &'static str,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let path = path.to_owned();
            if source.kind() == io::ErrorKind::StorageFull {
                Self::Full { path }
            } else {
                Self::Io {
                    path,
                    doing,
                    source,
                }
            }
        }
    }
}
