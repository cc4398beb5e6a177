//! The SQLite file: how it is opened, its tables, and the small reads that reader and writer share.
//!
//! Schema changes are steps in [`MIGRATIONS`], each run once in its own transaction; `user_version` counts
//! them. A step that was released is never edited.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior};

use crate::{
    LedgerError,
    chain::{self, Hash, Head, Link},
};

/// "PtCw", so that tools and we ourselves can tell a ledger from any other database.
const APPLICATION_ID: i64 = 0x5074_4377;

/// How long to wait for somebody else's lock, such as a person's SQLite shell.
const BUSY_WAIT: Duration = Duration::from_secs(5);

const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE record (
        seq INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        case_id INTEGER,
        order_id INTEGER,
        target TEXT,
        hash BLOB NOT NULL,
        json TEXT NOT NULL
    ) STRICT;
    CREATE INDEX record_case ON record (case_id) WHERE case_id IS NOT NULL;
    CREATE INDEX record_order ON record (order_id) WHERE order_id IS NOT NULL;
    CREATE INDEX record_target ON record (target) WHERE target IS NOT NULL;
    CREATE TABLE saved (
        key TEXT PRIMARY KEY,
        json TEXT NOT NULL,
        checksum BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE head (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        installation TEXT NOT NULL,
        fence INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        hash BLOB NOT NULL,
        checksum BLOB NOT NULL
    ) STRICT;
"];

const KNOWN_VERSION: i64 = 1;
const _: () = assert!(
    MIGRATIONS.len() == 1 && KNOWN_VERSION == 1,
    "they count the same"
);

pub(crate) fn file_of(directory: &Path) -> PathBuf {
    directory.join("ledger.db")
}

/// Opens for writing and creates what is missing.
pub(crate) fn open(path: &Path) -> Result<Connection, LedgerError> {
    let sqlite = |doing| LedgerError::sqlite(path, doing);
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(sqlite("open"))?;
    guard(&connection).map_err(sqlite("open"))?;
    let version = version(&connection, path)?;
    if version == 0 {
        must_be_empty(&connection, path)?;
    }
    make_durable(&connection, path)?;
    for (at, migration) in (1..).zip(MIGRATIONS) {
        if at > version {
            migrate(&mut connection, migration, at).map_err(sqlite("set up"))?;
        }
    }
    Ok(connection)
}

/// Opens for reading, beside a running server or without one, also on a disk that can't be written.
pub(crate) fn open_read_only(path: &Path) -> Result<Connection, LedgerError> {
    if !fs::exists(path).map_err(LedgerError::io(path, "look at"))? {
        return Err(LedgerError::Absent {
            path: path.to_owned(),
        });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        guard(&connection)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    });
    let connection = match opened {
        Ok(connection) => connection,
        // The index of the write-ahead log can't be made here. Without a log there is nothing in it to miss.
        Err(error) if cannot_make_index(&error) && !log_holds_anything(path) => {
            let uri = format!("file:{}?immutable=1", percent_encoded(path));
            let connection = Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
                .map_err(LedgerError::sqlite(path, "open"))?;
            guard(&connection).map_err(LedgerError::sqlite(path, "open"))?;
            connection
        }
        Err(error) => return Err(LedgerError::sqlite(path, "open")(error)),
    };
    if version(&connection, path)? == 0 {
        return Err(LedgerError::NotALedger {
            path: path.to_owned(),
            why: "it is empty".to_owned(),
        });
    }
    Ok(connection)
}

fn log_holds_anything(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    fs::metadata(log).is_ok_and(|metadata| metadata.len() > 0)
}

fn cannot_make_index(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
    )
}

fn percent_encoded(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str()
        .as_bytes()
        .iter()
        .map(|byte| match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                char::from(*byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// What keeps a damaged or hostile file from leading SQLite astray.
fn guard(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)
}

/// The format's version; 0 for a file without any table.
fn version(connection: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let pragma = |name| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map_err(LedgerError::sqlite(path, "read"))
    };
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    if version > KNOWN_VERSION && application == APPLICATION_ID {
        return Err(LedgerError::Newer {
            path: path.to_owned(),
            found: version,
            known: KNOWN_VERSION,
        });
    }
    if (version, application) != (0, 0)
        && (application != APPLICATION_ID || !(1..=KNOWN_VERSION).contains(&version))
    {
        return Err(LedgerError::NotALedger {
            path: path.to_owned(),
            why: "it is a database of another program".to_owned(),
        });
    }
    Ok(version)
}

fn must_be_empty(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(LedgerError::sqlite(path, "read"))?;
    if tables > 0 {
        return Err(LedgerError::NotALedger {
            path: path.to_owned(),
            why: "it is a database of another program".to_owned(),
        });
    }
    Ok(())
}

fn make_durable(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    let sqlite = |doing| LedgerError::sqlite(path, doing);
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(sqlite("set up"))?;
    if mode != "wal" {
        return Err(LedgerError::Io {
            path: path.to_owned(),
            doing: "keep a write-ahead log beside",
            source: std::io::Error::other(
                "this file system lacks shared memory or locks; use a local disk for `data`",
            ),
        });
    }
    for (name, value) in [
        // Every commit waits for the disk.
        ("synchronous", "FULL"),
        // Pages (4 KiB): about 4 MiB of log, then it is copied into the database and used again.
        ("wal_autocheckpoint", "1000"),
        // Bytes: should a slow reader have made the log grow, it is cut back to this.
        ("journal_size_limit", "16777216"),
    ] {
        connection
            .pragma_update(None, name, value)
            .map_err(sqlite("set up"))?;
    }
    Ok(())
}

fn migrate(connection: &mut Connection, migration: &str, version: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(migration)?;
    if version == 1 {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        let installation = chain::new_installation()
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let head = Head {
            last: Link::genesis(&installation),
            installation: installation.into(),
            fence: 0,
        };
        write_head(&transaction, &head)?;
    }
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

pub(crate) fn write_head(connection: &Connection, head: &Head) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO head (id, installation, fence, seq, hash, checksum) VALUES (1, ?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO UPDATE SET fence = ?2, seq = ?3, hash = ?4, checksum = ?5",
        )?
        .execute((
            &*head.installation,
            head.fence.cast_signed(),
            head.last.seq.cast_signed(),
            head.last.hash.0,
            head.checksum().0,
        ))
        .map(|_one| ())
}

/// The head, proven whole by its checksum.
pub(crate) fn read_head(connection: &Connection, path: &Path) -> Result<Head, LedgerError> {
    let read = |row: &Row<'_>| {
        let head = Head {
            installation: row.get(0)?,
            fence: row.get::<_, i64>(1)?.cast_unsigned(),
            last: Link {
                seq: row.get::<_, i64>(2)?.cast_unsigned(),
                hash: Hash(row.get(3)?),
            },
        };
        Ok((head, Hash(row.get(4)?)))
    };
    let (head, checksum) = connection
        .query_row(
            "SELECT installation, fence, seq, hash, checksum FROM head WHERE id = 1",
            [],
            read,
        )
        .optional()
        .map_err(LedgerError::sqlite(path, "read"))?
        .ok_or_else(|| LedgerError::corrupt(path, "the head of its chain is gone"))?;
    if head.checksum() != checksum || i64::try_from(head.last.seq).is_err() {
        return Err(LedgerError::corrupt(
            path,
            "the head of its chain was changed",
        ));
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A killed process loses nothing either way; only a power cut would show the difference.
    #[test]
    fn every_commit_waits_for_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open(&file_of(directory.path())).unwrap();
        let pragma = |name| {
            connection
                .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
                .unwrap()
        };
        assert_eq!(pragma("synchronous"), 2.into(), "FULL");
        assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
    }
}
