//! The one writer.
//!
//! A commit is one transaction: records, their links, the head and the saved rows, all or nothing. The head in
//! memory moves only after the disk has it, so after any error the next commit begins where the last good one
//! ended. One race remains, and it is harmless: if the disk fails while a commit is being flushed and the
//! process dies before the next commit, that batch may still be found after the restart although its commit
//! reported an error. Its orders were never given; they are found out by probing, as any unfinished order.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use pitcrew_model::{Record, Saved};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::{
    LedgerError, Reader,
    chain::{self, Hash, Head, Link},
    database,
    lock::Lock,
    reader,
    verify::Chain,
};

/// Records and saved rows larger than this are refused; real ones have about a kilobyte.
const JSON_BYTES_MAX: usize = 16 << 20;

/// How many of the last records are checked at every start; [`Reader::verify`] checks all.
const TAIL_RECORDS: u64 = 1_000;

pub struct Ledger {
    connection: Connection,
    path: PathBuf,
    head: Head,
    _lock: Lock,
}

/// The records of one commit; with none, `last_seq` is one less than `first_seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub first_seq: u64,
    pub last_seq: u64,
}

impl Ledger {
    /// Opens `directory/ledger.db` for this process alone, creating both when absent, and checks the chain's end.
    pub fn open(directory: &Path) -> Result<Self, LedgerError> {
        create_directory(directory)?;
        let lock = Lock::take(directory)?;
        let path = database::file_of(directory);
        let connection = database::open(&path)?;
        let chain = Chain::of(&connection, &path)?;
        chain.verify_tail(TAIL_RECORDS)?;
        let head = chain.head;
        Ok(Self {
            connection,
            path,
            head,
            _lock: lock,
        })
    }

    /// For reading beside a running server or without one; changes nothing.
    pub fn open_read_only(directory: &Path) -> Result<Reader, LedgerError> {
        Reader::open(&database::file_of(directory))
    }

    /// 32 random hex digits, made with the ledger; the chain begins with them.
    #[must_use]
    pub fn installation(&self) -> &str {
        &self.head.installation
    }

    /// A number greater than every one before it, durable on return: one for each start of a server.
    pub fn next_fence(&mut self) -> Result<u64, LedgerError> {
        let mut head = self.head.clone();
        head.fence += 1;
        let doing = || LedgerError::sqlite(&self.path, "write to");
        database::write_head(&self.connection, &head).map_err(doing())?;
        self.head = head;
        Ok(self.head.fence)
    }

    /// All in one transaction, durable on return; records are chained in their order. A saved row replaces the
    /// earlier one of its key; a spent one deletes it. After an error nothing of it is there, and the same
    /// commit may be tried again.
    pub fn commit(
        &mut self,
        records: &[Record],
        saved: &[Saved],
    ) -> Result<Committed, LedgerError> {
        let sqlite = || LedgerError::sqlite(&self.path, "write to");
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(sqlite())?;
        let mut last = self.head.last;
        for record in records {
            last = append(&transaction, &self.path, last, record)?;
        }
        for row in saved {
            keep(&transaction, &self.path, row)?;
        }
        let head = Head {
            last,
            ..self.head.clone()
        };
        if !records.is_empty() {
            database::write_head(&transaction, &head).map_err(sqlite())?;
        }
        transaction.commit().map_err(sqlite())?;
        let first_seq = self.head.last.seq + 1;
        self.head = head;
        Ok(Committed {
            first_seq,
            last_seq: last.seq,
        })
    }

    /// The rows of state as they were last committed, ordered by key. The first one that can't be read is an
    /// error that names it: state that is lost in silence would be acted on.
    pub fn saved(&self) -> Result<Vec<Saved>, LedgerError> {
        reader::saved(&self.connection, &self.path)
    }

    /// The highest numbers of a case and of an order in records and saved rows; 0 where there is none.
    pub fn highest_ids(&self) -> Result<(u64, u64), LedgerError> {
        let recorded = |sql| {
            self.connection
                .query_row(sql, [], |row| row.get::<_, Option<i64>>(0))
                .map(|number| number.unwrap_or(0).cast_unsigned())
                .map_err(LedgerError::sqlite(&self.path, "read"))
        };
        let mut highest = (
            recorded("SELECT max(case_id) FROM record")?,
            recorded("SELECT max(order_id) FROM record")?,
        );
        for row in self.saved()? {
            match row {
                Saved::Case(case) => highest.0 = highest.0.max(case.id.0),
                Saved::Order(state) => highest.1 = highest.1.max(state.order.id.0),
                _ => {}
            }
        }
        Ok(highest)
    }

    /// A further connection, for reading on another thread.
    pub fn reader(&self) -> Result<Reader, LedgerError> {
        Reader::open(&self.path)
    }
}

/// Made for its owner only: the ledger tells what production consists of.
fn create_directory(directory: &Path) -> Result<(), LedgerError> {
    use std::os::unix::fs::DirBuilderExt;
    if directory.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(LedgerError::io(directory, "create"))?;
    let parent = directory
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(LedgerError::io(parent, "flush"))
}

fn append(
    transaction: &Transaction<'_>,
    path: &Path,
    last: Link,
    record: &Record,
) -> Result<Link, LedgerError> {
    let json = to_json(record)?;
    let link = last.next(json.as_bytes());
    transaction
        .prepare_cached(
            "INSERT INTO record (seq, at, case_id, order_id, target, hash, json) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .and_then(|mut insert| {
            insert.execute((
                link.seq.cast_signed(),
                record.at.as_millis().cast_signed(),
                record.case.map(|case| case.0.cast_signed()),
                record.order.map(|order| order.0.cast_signed()),
                record.target.as_ref().map(|target| target.as_str()),
                link.hash.0,
                json,
            ))
        })
        .map_err(LedgerError::sqlite(path, "write to"))?;
    Ok(link)
}

fn keep(transaction: &Transaction<'_>, path: &Path, row: &Saved) -> Result<(), LedgerError> {
    let key = row.key();
    let kept = if row.is_spent() {
        transaction
            .prepare_cached("DELETE FROM saved WHERE key = ?1")
            .and_then(|mut delete| delete.execute([key]))
    } else {
        let json = to_json(row)?;
        let Hash(checksum) = chain::saved_checksum(&key, json.as_bytes());
        transaction
            .prepare_cached(
                "INSERT INTO saved (key, json, checksum) VALUES (?1, ?2, ?3)
                 ON CONFLICT (key) DO UPDATE SET json = ?2, checksum = ?3",
            )
            .and_then(|mut upsert| upsert.execute((key, json, checksum)))
    };
    kept.map(|_rows| ())
        .map_err(LedgerError::sqlite(path, "write to"))
}

fn to_json(value: &impl serde::Serialize) -> Result<String, LedgerError> {
    let unstorable = |why| LedgerError::Unstorable { why };
    let json = serde_json::to_string(value).map_err(|error| unstorable(error.to_string()))?;
    if json.len() > JSON_BYTES_MAX {
        return Err(unstorable(format!(
            "it has {} bytes, and {JSON_BYTES_MAX} is the most",
            json.len()
        )));
    }
    Ok(json)
}
