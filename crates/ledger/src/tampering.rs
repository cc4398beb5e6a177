//! What happened to the first row that does not fit the chain. It is broken either way; this finds the word
//! that helps a person to look in the right place, and falls back to "changed".

use crate::{
    BrokenKind, LedgerError,
    chain::{Hash, Link, record_hash},
    rows::Select,
    verify::Chain,
};

/// The row after `link` holds `hash` and `json`, and its hash is not the one worked out from them.
pub(crate) fn kind_of(
    chain: &Chain<'_>,
    link: Link,
    hash: Hash,
    json: &[u8],
) -> Result<BrokenKind, LedgerError> {
    if belongs_elsewhere(chain, link.seq + 1, hash, json)? {
        return Ok(BrokenKind::Reordered);
    }
    shifted(chain, link, hash)
}

/// Whether this record fits the chain at another row: with that row's hash, or with its own carried along. The
/// hash before it is in the row before, or, when two neighbours changed places, in that row itself.
fn belongs_elsewhere(
    chain: &Chain<'_>,
    seq: u64,
    hash: Hash,
    json: &[u8],
) -> Result<bool, LedgerError> {
    let mut before = chain.genesis().hash;
    let mut found = false;
    chain.rows.records(Select::After(0), u64::MAX, &mut |row| {
        let Ok(there) = row.hash else {
            return Ok(());
        };
        let fits = |previous| {
            let worked_out = record_hash(previous, row.seq, json);
            worked_out == hash || worked_out == there
        };
        found |= row.seq != seq && (fits(before) || fits(there));
        before = there;
        Ok(())
    })?;
    Ok(found)
}

/// Whether the rows from here on are the right ones under wrong numbers: the head knows how many there were.
fn shifted(chain: &Chain<'_>, link: Link, hash: Hash) -> Result<BrokenKind, LedgerError> {
    let here = link.seq + 1;
    let count = chain.rows.highest_seq()?;
    let written = chain.head.last.seq;
    let next = next_row(chain, here)?;
    let next_fits = |previous, seq| {
        next.as_ref()
            .is_some_and(|(hash, json)| record_hash(previous, seq, json) == *hash)
    };
    if count < written {
        let is_last = next.is_none() && hash == chain.head.last.hash;
        if is_last || next_fits(hash, here + 1 + (written - count)) {
            return Ok(BrokenKind::Missing);
        }
    }
    if count > written && next_fits(link.hash, here) {
        return Ok(BrokenKind::Inserted);
    }
    Ok(BrokenKind::Changed)
}

/// `None` also for one that is unreadable: it tells nothing about this one.
fn next_row(chain: &Chain<'_>, seq: u64) -> Result<Option<(Hash, Vec<u8>)>, LedgerError> {
    let mut next = None;
    chain.rows.records(Select::After(seq), 1, &mut |row| {
        if let (true, Ok(hash), Ok(json)) = (row.seq == seq + 1, row.hash, row.json) {
            next = Some((hash, json.to_vec()));
        }
        Ok(())
    })?;
    Ok(next)
}
