//! Reading: entries after a number, or of one case, order or target, and the whole chain for export.
//!
//! Every call reads a bounded part in a short transaction of its own, so that no reader keeps the writer's log
//! from being used again.

use std::{io::Write, path::Path, sync::Arc};

use pitcrew_model::{CaseId, OrderId, Record, Saved, TargetId};
use serde::Serialize;

use crate::{
    BrokenKind, LedgerError, chain,
    rows::{Garbled, RecordRow, Rows, Select},
    verify::{Chain, Verified},
};

/// A connection that only reads. It can move to another thread, and many may be open.
pub struct Reader {
    rows: Box<dyn Rows + Send>,
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
    pub(crate) fn new(rows: impl Rows + Send + 'static) -> Result<Self, LedgerError> {
        let installation = rows.head()?.installation;
        Ok(Self {
            rows: Box::new(rows),
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
        self.entries(Select::After(seq), limit)
    }

    /// All entries of a case, oldest first.
    pub fn of_case(&self, case: CaseId) -> Result<Vec<Entry>, LedgerError> {
        self.entries(Select::OfCase(case.0), usize::MAX)
    }

    /// All entries of an order, oldest first.
    pub fn of_order(&self, order: OrderId) -> Result<Vec<Entry>, LedgerError> {
        self.entries(Select::OfOrder(order.0), usize::MAX)
    }

    /// The newest `limit` entries of a target, oldest of them first.
    pub fn of_target(&self, target: &TargetId, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        let mut entries = self.entries(Select::OfTarget(target.as_str()), limit)?;
        entries.reverse();
        Ok(entries)
    }

    /// Number of the newest entry; 0 when there is none.
    pub fn last_seq(&self) -> Result<u64, LedgerError> {
        Ok(self.rows.head()?.last.seq)
    }

    /// The saved rows, as [`crate::Ledger::saved`] gives them.
    pub fn saved(&self) -> Result<Vec<Saved>, LedgerError> {
        saved(&*self.rows)
    }

    /// The highest numbers of a case and of an order in records and saved rows; 0 where there is none.
    pub fn highest_ids(&self) -> Result<(u64, u64), LedgerError> {
        highest_ids(&*self.rows)
    }

    /// Checks every record against the chain, the chain against its head, the saved rows against their
    /// checksums and the file's own structure; the first thing that is wrong is the error. `progress` is told
    /// how many records are done, of how many.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified, LedgerError> {
        Chain::of(&*self.rows)?.verify(progress)
    }

    /// Writes the chain as JSON lines, `{"seq":…,"hash":…,"previous":…,"record":{…}}`, oldest first. The bytes
    /// of each record are those that its hash covers, and each is checked as it is written: an export that ends
    /// well is an unbroken chain.
    pub fn export(&self, write: &mut dyn Write) -> Result<Exported, LedgerError> {
        let chain = Chain::of(&*self.rows)?;
        let io = || LedgerError::io(Path::new("the export"), "write");
        chain.walk(chain.genesis(), &mut |previous, link, json, _| {
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

    fn entries(&self, select: Select<'_>, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let mut entries = Vec::new();
        self.rows.records(select, limit, &mut |row| {
            entries.push(self.entry(&row)?);
            Ok(())
        })?;
        Ok(entries)
    }

    fn entry(&self, row: &RecordRow<'_>) -> Result<Entry, LedgerError> {
        let (Ok(hash), Ok(json)) = (row.hash, row.json) else {
            let why = format!("record {} was changed after it was written", row.seq);
            return Err(LedgerError::corrupt(self.rows.place(), why));
        };
        let record = serde_json::from_slice(json).map_err(|_| LedgerError::Broken {
            path: self.rows.place().to_owned(),
            seq: row.seq,
            at: None,
            kind: BrokenKind::Unreadable,
        })?;
        Ok(Entry {
            seq: row.seq,
            hash: hash.to_string(),
            record,
        })
    }
}

pub(crate) fn saved(rows: &dyn Rows) -> Result<Vec<Saved>, LedgerError> {
    let mut saved = Vec::new();
    rows.saved(&mut |row| {
        let unreadable = |why: &str| LedgerError::SavedRow {
            path: rows.place().to_owned(),
            key: row.key.to_owned(),
            why: why.to_owned(),
        };
        let changed = |_| unreadable("it was changed after it was written");
        let json = row.json.map_err(changed)?;
        if chain::saved_checksum(row.key, json) != row.checksum.map_err(changed)? {
            return Err(changed(Garbled));
        }
        let state: Saved =
            serde_json::from_slice(json).map_err(|error| unreadable(&error.to_string()))?;
        if state.key() != row.key {
            return Err(unreadable("it is the state of something else"));
        }
        saved.push(state);
        Ok(())
    })?;
    Ok(saved)
}

/// The highest numbers of a case and of an order in records and saved rows; 0 where there is none.
pub(crate) fn highest_ids(rows: &dyn Rows) -> Result<(u64, u64), LedgerError> {
    let mut highest = rows.highest_ids()?;
    for row in saved(rows)? {
        match row {
            Saved::Case(case) => highest.0 = highest.0.max(case.id.0),
            Saved::Order(state) => highest.1 = highest.1.max(state.order.id.0),
            _ => {}
        }
    }
    Ok(highest)
}
