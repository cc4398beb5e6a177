//! Proving the chain: every record from a link on, and that the chain ends where its head says.
//!
//! Rows are walked in order with the hash worked out anew from the stored bytes. The first row that does not
//! fit ends the walk; only then [`tampering`] looks at what happened to it.

use pitcrew_model::{CaseId, OrderId, TargetId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    BrokenKind, LedgerError,
    chain::{Hash, Head, Link},
    reader,
    rows::{RecordRow, Rows, Select},
    tampering,
};

/// Rows read in one transaction: few enough that the log of a busy writer is not held up.
const ROWS_AT_ONCE: u64 = 10_000;

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
    pub(crate) rows: &'a dyn Rows,
    pub(crate) head: Head,
}

/// Told of each proven record: the link before it, its own, its stored bytes, and the row they are from.
pub(crate) type Visit<'a> =
    dyn FnMut(Link, Link, &[u8], &RecordRow<'_>) -> Result<(), LedgerError> + 'a;

impl<'a> Chain<'a> {
    pub(crate) fn of(rows: &'a dyn Rows) -> Result<Self, LedgerError> {
        Ok(Self {
            rows,
            head: rows.head()?,
        })
    }

    /// Everything that can be checked: chain, ends, saved rows, and the file's own structure.
    pub(crate) fn verify(
        &self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Verified, LedgerError> {
        let entries = self.head.last.seq;
        progress(0, entries);
        self.walk(self.genesis(), &mut |_, link, _, _| {
            if link.seq.is_multiple_of(1_000) || link.seq == entries {
                progress(link.seq, entries);
            }
            Ok(())
        })?;
        self.nothing_beyond()?;
        reader::saved(self.rows)?;
        self.rows.structure()?;
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
        self.walk(from, &mut |_, _, _, _| Ok(()))?;
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
        let rows = ROWS_AT_ONCE.min(self.head.last.seq - link.seq);
        self.rows
            .records(Select::After(link.seq), rows, &mut |row| {
                if link.seq == self.head.last.seq {
                    return Ok(());
                }
                let (next, json) = self.prove(link, &row)?;
                visit(link, next, json, &row)?;
                link = next;
                Ok(())
            })?;
        Ok(link)
    }

    /// The row must be the record after `link`.
    fn prove<'row>(
        &self,
        link: Link,
        row: &RecordRow<'row>,
    ) -> Result<(Link, &'row [u8]), LedgerError> {
        let at = row.at.ok().map(time);
        if row.seq != link.seq + 1 {
            return Err(self.broken(link.seq + 1, at, BrokenKind::Missing));
        }
        let (Ok(hash), Ok(json)) = (row.hash, row.json) else {
            return Err(self.broken(row.seq, at, BrokenKind::Changed));
        };
        let next = link.next(json);
        if next.hash != hash {
            let kind = tampering::kind_of(self, link, hash, json)?;
            return Err(self.broken(row.seq, at, kind));
        }
        match serde_json::from_slice::<Columns>(json) {
            Err(_) => Err(self.broken(row.seq, at, BrokenKind::Unreadable)),
            Ok(columns) if !columns.agree_with(row) => {
                Err(self.broken(row.seq, Some(columns.at), BrokenKind::Columns))
            }
            Ok(_) => Ok((next, json)),
        }
    }

    /// No row outside the chain.
    fn nothing_beyond(&self) -> Result<(), LedgerError> {
        match self.rows.stray()? {
            None => Ok(()),
            Some(seq) => {
                let seq = u64::try_from(seq).unwrap_or(0);
                Err(self.broken(seq, self.time_of(seq), BrokenKind::Inserted))
            }
        }
    }

    fn stored_hash(&self, seq: u64) -> Result<Hash, LedgerError> {
        let mut hash = None;
        self.rows.records(Select::At(seq), 1, &mut |row| {
            hash = row.hash.ok();
            Ok(())
        })?;
        hash.ok_or_else(|| self.broken(seq, None, BrokenKind::Missing))
    }

    /// Only to tell a person when; absent is as good as any answer.
    fn time_of(&self, seq: u64) -> Option<Timestamp> {
        let mut at = None;
        let read = self.rows.records(Select::At(seq), 1, &mut |row| {
            at = row.at.ok().map(time);
            Ok(())
        });
        read.ok()?;
        at
    }

    fn broken(&self, seq: u64, at: Option<Timestamp>, kind: BrokenKind) -> LedgerError {
        LedgerError::Broken {
            path: self.rows.place().to_owned(),
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
    fn agree_with(&self, row: &RecordRow<'_>) -> bool {
        row.at == Ok(self.at.as_millis().cast_signed())
            && row.case_id == Ok(self.case.map(|case| case.0.cast_signed()))
            && row.order_id == Ok(self.order.map(|order| order.0.cast_signed()))
            && row.target == Ok(self.target.as_ref().map(TargetId::as_str))
    }
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis.cast_unsigned())
}
