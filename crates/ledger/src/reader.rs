//! Reading: entries after a number, or of one case, order or target, and the whole chain for export.
//!
//! Every call reads a bounded part in a short transaction of its own, so that no reader keeps the writer's log
//! from being used again.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use pitcrew_model::{CaseId, OrderId, Record, Saved, TargetId};
use rusqlite::{Connection, Params, Row};
use serde::Serialize;

use crate::{
    BrokenKind, LedgerError,
    chain::{self, Hash},
    database,
    verify::{Chain, Verified},
};

/// A connection that only reads. It can move to another thread, and many may be open.
pub struct Reader {
    connection: Connection,
    path: PathBuf,
    installation: Arc<str>,
}

/// One record where it stands in the chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// From 1, without gaps.
    pub seq: u64,
    /// Of this record and all before it, 64 hex digits.
    pub hash: String,
    pub record: Record,
}

/// What [`Reader::export`] wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    pub entries: u64,
    /// 64 hex digits; of the genesis when there is no entry.
    pub last_hash: String,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        let connection = database::open_read_only(path)?;
        let installation = database::read_head(&connection, path)?.installation;
        Ok(Self {
            connection,
            path: path.to_owned(),
            installation,
        })
    }

    /// 32 random hex digits, made with the ledger.
    #[must_use]
    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// At most `limit` entries with a number greater than `seq`, oldest first.
    pub fn after(&self, seq: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        self.entries(
            "SELECT seq, hash, json FROM record WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            (sql_number(seq), sql_limit(limit)),
        )
    }

    /// All entries of a case, oldest first.
    pub fn of_case(&self, case: CaseId) -> Result<Vec<Entry>, LedgerError> {
        self.entries(
            "SELECT seq, hash, json FROM record WHERE case_id = ?1 ORDER BY seq",
            [sql_number(case.0)],
        )
    }

    /// All entries of an order, oldest first.
    pub fn of_order(&self, order: OrderId) -> Result<Vec<Entry>, LedgerError> {
        self.entries(
            "SELECT seq, hash, json FROM record WHERE order_id = ?1 ORDER BY seq",
            [sql_number(order.0)],
        )
    }

    /// The newest `limit` entries of a target, oldest of them first.
    pub fn of_target(&self, target: &TargetId, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        let mut entries = self.entries(
            "SELECT seq, hash, json FROM record WHERE target = ?1 ORDER BY seq DESC LIMIT ?2",
            (target.as_str(), sql_limit(limit)),
        )?;
        entries.reverse();
        Ok(entries)
    }

    /// Number of the newest entry; 0 when there is none.
    pub fn last_seq(&self) -> Result<u64, LedgerError> {
        Ok(database::read_head(&self.connection, &self.path)?.last.seq)
    }

    /// The saved rows, as [`crate::Ledger::saved`] gives them.
    pub fn saved(&self) -> Result<Vec<Saved>, LedgerError> {
        saved(&self.connection, &self.path)
    }

    /// Checks every record against the chain, the chain against its head, the saved rows against their
    /// checksums and the file's own structure; the first thing that is wrong is the error. `progress` is told
    /// how many records are done, of how many.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified, LedgerError> {
        Chain::of(&self.connection, &self.path)?.verify(progress)
    }

    /// Writes the chain as JSON lines, `{"seq":…,"hash":…,"previous":…,"record":{…}}`, oldest first. The bytes
    /// of each record are those that its hash covers, and each is checked as it is written: an export that ends
    /// well is an unbroken chain.
    pub fn export(&self, write: &mut dyn Write) -> Result<Exported, LedgerError> {
        let chain = Chain::of(&self.connection, &self.path)?;
        let io = || LedgerError::io(Path::new("the export"), "write");
        chain.walk(chain.genesis(), &mut |previous, link, json| {
            write!(
                write,
                "{{\"seq\":{},\"hash\":\"{}\",\"previous\":\"{}\",\"record\":",
                link.seq, link.hash, previous.hash
            )
            .and_then(|()| write.write_all(json))
            .and_then(|()| write.write_all(b"}\n"))
            .map_err(io())
        })?;
        write.flush().map_err(io())?;
        Ok(Exported {
            entries: chain.head.last.seq,
            last_hash: chain.head.last.hash.to_string(),
        })
    }

    fn entries(&self, sql: &str, params: impl Params) -> Result<Vec<Entry>, LedgerError> {
        let sqlite = || LedgerError::sqlite(&self.path, "read");
        let mut statement = self.connection.prepare_cached(sql).map_err(sqlite())?;
        let mut rows = statement.query(params).map_err(sqlite())?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next().map_err(sqlite())? {
            entries.push(self.entry(row)?);
        }
        Ok(entries)
    }

    fn entry(&self, row: &Row<'_>) -> Result<Entry, LedgerError> {
        let sqlite = || LedgerError::sqlite(&self.path, "read");
        let seq = row.get::<_, i64>(0).map_err(sqlite())?.cast_unsigned();
        let hash = Hash(row.get(1).map_err(sqlite())?).to_string();
        let json = database::text_bytes(row, 2).map_err(sqlite())?;
        let record = serde_json::from_slice(json).map_err(|_| LedgerError::Broken {
            path: self.path.clone(),
            seq,
            at: None,
            kind: BrokenKind::Unreadable,
        })?;
        Ok(Entry { seq, hash, record })
    }
}

/// No row has a number this large, so that a larger one may stand for it.
fn sql_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(crate) fn saved(connection: &Connection, path: &Path) -> Result<Vec<Saved>, LedgerError> {
    let sqlite = || LedgerError::sqlite(path, "read");
    let mut statement = connection
        .prepare_cached("SELECT key, json, checksum FROM saved ORDER BY key")
        .map_err(sqlite())?;
    let mut rows = statement.query([]).map_err(sqlite())?;
    let mut saved = Vec::new();
    while let Some(row) = rows.next().map_err(sqlite())? {
        let key: String = row.get(0).map_err(sqlite())?;
        let read = |why: &str| LedgerError::SavedRow {
            path: path.to_owned(),
            key: key.clone(),
            why: why.to_owned(),
        };
        let json = database::text_bytes(row, 1).map_err(|error| read(&error.to_string()))?;
        let checksum = Hash(row.get(2).map_err(|error| read(&error.to_string()))?);
        if chain::saved_checksum(&key, json) != checksum {
            return Err(read("it was changed after it was written"));
        }
        let state: Saved =
            serde_json::from_slice(json).map_err(|error| read(&error.to_string()))?;
        if state.key() != key {
            return Err(read("it is the state of something else"));
        }
        saved.push(state);
    }
    Ok(saved)
}
