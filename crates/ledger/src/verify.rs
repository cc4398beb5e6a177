//! Proving the chain: every record from a link on, and that the chain ends where its head says.
//!
//! Rows are walked in order with the hash worked out anew from the stored bytes. The first row that does not
//! fit ends the walk; only then [`tampering`] looks at what happened to it.

use std::path::Path;

use pitcrew_model::{CaseId, OrderId, TargetId, Timestamp};
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};

use crate::{
    BrokenKind, LedgerError,
    chain::{Hash, Head, Link},
    database, reader, tampering,
};

/// Rows read in one transaction: few enough that the log of a busy writer is not held up.
const ROWS_AT_ONCE: i64 = 10_000;

/// A chain found whole. Keep `last_hash` where nobody who can write the ledger can write: it is what shows
/// later that the chain was not made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub installation: String,
    pub entries: u64,
    /// 64 hex digits; of the genesis when there is no entry.
    pub last_hash: String,
}

/// A ledger's records up to one head.
pub(crate) struct Chain<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) path: &'a Path,
    pub(crate) head: Head,
}

/// Told of each proven record: the link before it, its own, and its stored bytes.
pub(crate) type Visit<'a> = dyn FnMut(Link, Link, &[u8]) -> Result<(), LedgerError> + 'a;

impl<'a> Chain<'a> {
    pub(crate) fn of(connection: &'a Connection, path: &'a Path) -> Result<Self, LedgerError> {
        let head = database::read_head(connection, path)?;
        Ok(Self {
            connection,
            path,
            head,
        })
    }

    /// Everything that can be checked: chain, ends, saved rows, and the file's own structure.
    pub(crate) fn verify(
        &self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Verified, LedgerError> {
        let entries = self.head.last.seq;
        progress(0, entries);
        self.walk(self.genesis(), &mut |_, link, _| {
            if link.seq.is_multiple_of(1_000) || link.seq == entries {
                progress(link.seq, entries);
            }
            Ok(())
        })?;
        self.nothing_beyond()?;
        reader::saved(self.connection, self.path)?;
        self.structure()?;
        Ok(Verified {
            installation: self.head.installation.to_string(),
            entries,
            last_hash: self.head.last.hash.to_string(),
        })
    }

    /// The last `records`, and that nothing follows them.
    pub(crate) fn verify_tail(&self, records: u64) -> Result<(), LedgerError> {
        let from = match self.head.last.seq.saturating_sub(records) {
            0 => self.genesis(),
            seq => Link {
                seq,
                hash: self.stored_hash(seq)?,
            },
        };
        self.walk(from, &mut |_, _, _| Ok(()))?;
        self.nothing_beyond()
    }

    pub(crate) fn genesis(&self) -> Link {
        Link::genesis(&self.head.installation)
    }

    /// From the record after `link` to the head's.
    pub(crate) fn walk(&self, mut link: Link, visit: &mut Visit<'_>) -> Result<(), LedgerError> {
        while link.seq < self.head.last.seq {
            let next = self.walk_some(link, visit)?;
            if next == link {
                return Err(self.broken(
                    link.seq + 1,
                    self.time_of(link.seq),
                    BrokenKind::Truncated,
                ));
            }
            link = next;
        }
        if link != self.head.last {
            return Err(self.broken(link.seq, self.time_of(link.seq), BrokenKind::Changed));
        }
        Ok(())
    }

    fn walk_some(&self, mut link: Link, visit: &mut Visit<'_>) -> Result<Link, LedgerError> {
        let sqlite = || LedgerError::sqlite(self.path, "read");
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT seq, hash, json, at, case_id, order_id, target FROM record
                 WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            )
            .map_err(sqlite())?;
        let mut rows = statement
            .query((link.seq.cast_signed(), ROWS_AT_ONCE))
            .map_err(sqlite())?;
        while link.seq < self.head.last.seq
            && let Some(row) = rows.next().map_err(sqlite())?
        {
            let next = self.prove(link, row)?;
            visit(link, next, database::text_bytes(row, 2).map_err(sqlite())?)?;
            link = next;
        }
        Ok(link)
    }

    /// The row must be the record after `link`.
    fn prove(&self, link: Link, row: &Row<'_>) -> Result<Link, LedgerError> {
        let sqlite = || LedgerError::sqlite(self.path, "read");
        let seq = row.get::<_, i64>(0).map_err(sqlite())?.cast_unsigned();
        let at = row
            .get::<_, i64>(3)
            .ok()
            .map(|at| Timestamp::from_millis(at.cast_unsigned()));
        if seq != link.seq + 1 {
            return Err(self.broken(link.seq + 1, at, BrokenKind::Missing));
        }
        let (Ok(hash), Ok(json)) = (row.get(1).map(Hash), database::text_bytes(row, 2)) else {
            return Err(self.broken(seq, at, BrokenKind::Changed));
        };
        let next = link.next(json);
        if next.hash != hash {
            let kind = tampering::kind_of(self, link, hash, json)?;
            return Err(self.broken(seq, at, kind));
        }
        match serde_json::from_slice::<Columns>(json) {
            Err(_) => Err(self.broken(seq, at, BrokenKind::Unreadable)),
            Ok(columns) if !columns.agree_with(row) => {
                Err(self.broken(seq, Some(columns.at), BrokenKind::Columns))
            }
            Ok(_) => Ok(next),
        }
    }

    /// No row outside the chain. One statement sees head and rows at one moment, whatever is being written.
    fn nothing_beyond(&self) -> Result<(), LedgerError> {
        let stray: Option<i64> = self
            .connection
            .query_row(
                "SELECT (SELECT seq FROM record WHERE seq < 1 OR seq > (SELECT seq FROM head) LIMIT 1)",
                [],
                |row| row.get(0),
            )
            .map_err(LedgerError::sqlite(self.path, "read"))?;
        match stray {
            None => Ok(()),
            Some(seq) => {
                let seq = u64::try_from(seq).unwrap_or(0);
                Err(self.broken(seq, self.time_of(seq), BrokenKind::Inserted))
            }
        }
    }

    /// SQLite's own check: its pages, and each index against its table.
    fn structure(&self) -> Result<(), LedgerError> {
        let answer: String = self
            .connection
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
            .map_err(LedgerError::sqlite(self.path, "check"))?;
        if answer == "ok" {
            Ok(())
        } else {
            Err(LedgerError::corrupt(self.path, answer))
        }
    }

    fn stored_hash(&self, seq: u64) -> Result<Hash, LedgerError> {
        self.connection
            .query_row(
                "SELECT hash FROM record WHERE seq = ?1",
                [seq.cast_signed()],
                |row| row.get(0).map(Hash),
            )
            .map_err(|error| match error {
                rusqlite::Error::QueryReturnedNoRows => self.broken(seq, None, BrokenKind::Missing),
                error => LedgerError::sqlite(self.path, "read")(error),
            })
    }

    /// Only to tell a person when; absent is as good as any answer.
    fn time_of(&self, seq: u64) -> Option<Timestamp> {
        self.connection
            .query_row(
                "SELECT at FROM record WHERE seq = ?1",
                [seq.cast_signed()],
                |row| row.get::<_, i64>(0),
            )
            .ok()
            .map(|at| Timestamp::from_millis(at.cast_unsigned()))
    }

    fn broken(&self, seq: u64, at: Option<Timestamp>, kind: BrokenKind) -> LedgerError {
        LedgerError::Broken {
            path: self.path.to_owned(),
            seq,
            at,
            kind,
        }
    }
}

/// The parts of a record that have a column of their own to search by.
#[derive(Deserialize)]
struct Columns {
    at: Timestamp,
    case: Option<CaseId>,
    order: Option<OrderId>,
    target: Option<TargetId>,
}

impl Columns {
    fn agree_with(&self, row: &Row<'_>) -> bool {
        let number = |column| row.get::<_, Option<i64>>(column);
        let text = row.get::<_, Option<String>>(6);
        number(3) == Ok(Some(self.at.as_millis().cast_signed()))
            && number(4) == Ok(self.case.map(|case| case.0.cast_signed()))
            && number(5) == Ok(self.order.map(|order| order.0.cast_signed()))
            && text.is_ok_and(|text| text.as_deref() == self.target.as_ref().map(TargetId::as_str))
    }
}
