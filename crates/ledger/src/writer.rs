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
    batch::{Batch, Chained, Kept},
    chain::Head,
    database,
    lock::{self, Lock},
    reader,
    sqlite::SqliteRows,
    verify::Chain,
};

/// How many of the last records are checked at every start; [`Reader::verify`] checks all.
pub(crate) const TAIL_RECORDS: u64 = 1_000;

pub struct Ledger {
    pub(crate) rows: SqliteRows,
    head: Head,
    _lock: Lock,
}

/// The records that a commit wrote; with none, `last_seq` is one less than `first_seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub first_seq: u64,
    pub last_seq: u64,
    /// Numbers of the commit's leading records that an earlier commit had written, whose answer was lost: they
    /// are not written again. Nearly always empty.
    pub found: Vec<u64>,
}

impl Committed {
    /// The number of the commit's record with this index, from 0.
    #[must_use]
    pub fn seq_of(&self, index: usize) -> u64 {
        let written = || index.saturating_sub(self.found.len()) as u64;
        (self.found.get(index).copied()).unwrap_or_else(|| self.first_seq + written())
    }
}

impl Ledger {
    /// Opens `directory/ledger.db` for this process alone, creating both when absent, and checks the chain's end.
    pub fn open(directory: &Path) -> Result<Self, LedgerError> {
        create_directory(directory)?;
        let lock = Lock::take(directory)?;
        let path = database::file_of(directory);
        match lock::moved_to(directory)? {
            Some(to) => Err(LedgerError::Moved { path, to }),
            None => Self::open_locked(path, lock),
        }
    }

    /// The same for a move, which may have to be repeated: there must be a ledger, and it may have been moved.
    pub fn open_to_move(directory: &Path) -> Result<Self, LedgerError> {
        let path = database::file_of(directory);
        if !path.exists() {
            return Err(LedgerError::Absent { path });
        }
        Self::open_locked(path, Lock::take(directory)?)
    }

    fn open_locked(path: PathBuf, lock: Lock) -> Result<Self, LedgerError> {
        let connection = database::open(&path)?;
        let rows = SqliteRows { connection, path };
        let chain = Chain::of(&rows)?;
        chain.verify_tail(TAIL_RECORDS)?;
        let head = chain.head;
        Ok(Self {
            rows,
            head,
            _lock: lock,
        })
    }

    /// For reading beside a running server or without one; changes nothing.
    pub fn open_read_only(directory: &Path) -> Result<Reader, LedgerError> {
        open_reader(&database::file_of(directory))
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
        database::write_head(&self.rows.connection, &head)
            .map_err(LedgerError::sqlite(&self.rows.path, "write to"))?;
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
        let batch = Batch::new(self.head.last, records, saved)?;
        let head = Head {
            last: batch.last,
            ..self.head.clone()
        };
        let path = &self.rows.path;
        write(&mut self.rows.connection, &batch, &head)
            .map_err(LedgerError::sqlite(path, "write to"))?;
        let first_seq = self.head.last.seq + 1;
        self.head = head;
        Ok(Committed {
            first_seq,
            last_seq: batch.last.seq,
            found: Vec::new(),
        })
    }

    /// The rows of state as they were last committed, ordered by key. The first one that can't be read is an
    /// error that names it: state that is lost in silence would be acted on.
    pub fn saved(&self) -> Result<Vec<Saved>, LedgerError> {
        reader::saved(&self.rows)
    }

    /// The highest numbers of a case and of an order in records and saved rows; 0 where there is none.
    pub fn highest_ids(&self) -> Result<(u64, u64), LedgerError> {
        reader::highest_ids(&self.rows)
    }

    /// A further connection, for reading on another thread.
    pub fn reader(&self) -> Result<Reader, LedgerError> {
        open_reader(&self.rows.path)
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

fn open_reader(path: &Path) -> Result<Reader, LedgerError> {
    Reader::new(SqliteRows {
        connection: database::open_read_only(path)?,
        path: path.to_owned(),
    })
}

fn write(connection: &mut Connection, batch: &Batch<'_>, head: &Head) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for chained in &batch.records {
        append(&transaction, chained)?;
    }
    for (key, kept) in &batch.saved {
        keep(&transaction, key, kept.as_ref())?;
    }
    if !batch.records.is_empty() {
        database::write_head(&transaction, head)?;
    }
    transaction.commit()
}

fn append(transaction: &Transaction<'_>, chained: &Chained<'_>) -> rusqlite::Result<()> {
    let Chained { record, link, json } = chained;
    transaction
        .prepare_cached(
            "INSERT INTO record (seq, at, case_id, order_id, target, hash, json) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute((
            link.seq.cast_signed(),
            record.at.as_millis().cast_signed(),
            record.case.map(|case| case.0.cast_signed()),
            record.order.map(|order| order.0.cast_signed()),
            record.target.as_ref().map(|target| target.as_str()),
            link.hash.0,
            json,
        ))
        .map(|_one| ())
}

fn keep(transaction: &Transaction<'_>, key: &str, kept: Option<&Kept>) -> rusqlite::Result<()> {
    let rows = match kept {
        None => transaction
            .prepare_cached("DELETE FROM saved WHERE key = ?1")?
            .execute([key]),
        Some(Kept { json, checksum }) => transaction
            .prepare_cached(
                "INSERT INTO saved (key, json, checksum) VALUES (?1, ?2, ?3)
                 ON CONFLICT (key) DO UPDATE SET json = ?2, checksum = ?3",
            )?
            .execute((key, json, checksum.0)),
    };
    rows.map(|_rows| ())
}
