//! What happened to the first row that does not fit the chain. It is broken either way; this finds the word
//! that helps a person to look in the right place, and falls back to "changed".

use rusqlite::Row;

use crate::{
    BrokenKind, LedgerError,
    chain::{Hash, Link, record_hash},
    database,
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
    let sqlite = || LedgerError::sqlite(chain.path, "read");
    let mut statement = chain
        .connection
        .prepare_cached("SELECT seq, hash FROM record WHERE seq > 0 ORDER BY seq")
        .map_err(sqlite())?;
    let mut rows = statement.query([]).map_err(sqlite())?;
    let mut before = chain.genesis().hash;
    while let Some(row) = rows.next().map_err(sqlite())? {
        let place = row.get::<_, i64>(0).map_err(sqlite())?.cast_unsigned();
        let there = row.get(1).map(Hash).map_err(sqlite())?;
        let fits = |previous| {
            let worked_out = record_hash(previous, place, json);
            worked_out == hash || worked_out == there
        };
        if place != seq && (fits(before) || fits(there)) {
            return Ok(true);
        }
        before = there;
    }
    Ok(false)
}

/// Whether the rows from here on are the right ones under wrong numbers: the head knows how many there were.
fn shifted(chain: &Chain<'_>, link: Link, hash: Hash) -> Result<BrokenKind, LedgerError> {
    let here = link.seq + 1;
    let count = chain
        .connection
        .query_row("SELECT max(seq) FROM record", [], |row| {
            row.get::<_, i64>(0)
        })
        .map_err(LedgerError::sqlite(chain.path, "read"))?
        .cast_unsigned();
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

fn next_row(chain: &Chain<'_>, seq: u64) -> Result<Option<(Hash, Vec<u8>)>, LedgerError> {
    let read = |row: &Row<'_>| Ok((Hash(row.get(0)?), database::text_bytes(row, 1)?.to_vec()));
    match chain.connection.query_row(
        "SELECT hash, json FROM record WHERE seq = ?1",
        [(seq + 1).cast_signed()],
        read,
    ) {
        Ok(next) => Ok(Some(next)),
        // A next row that is unreadable too tells nothing about this one.
        Err(rusqlite::Error::QueryReturnedNoRows | rusqlite::Error::InvalidColumnType(..)) => {
            Ok(None)
        }
        Err(error) => Err(LedgerError::sqlite(chain.path, "read")(error)),
    }
}
