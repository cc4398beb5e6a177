//! What one commit writes, worked out before any database is asked: each record's bytes and link, and the
//! last row of state for each key.

use std::collections::BTreeMap;

use pitcrew_model::{Record, Saved};

use crate::{
    LedgerError,
    chain::{self, Hash, Link},
};

/// Records and saved rows larger than this are refused; real ones have about a kilobyte.
const JSON_BYTES_MAX: usize = 16 << 20;

pub(crate) struct Batch<'a> {
    pub(crate) records: Vec<Chained<'a>>,
    /// By key; without a row, what was kept is deleted.
    pub(crate) saved: BTreeMap<String, Option<Kept>>,
    /// Of the last record; where the batch began when there is none.
    pub(crate) last: Link,
}

pub(crate) struct Chained<'a> {
    pub(crate) record: &'a Record,
    pub(crate) link: Link,
    pub(crate) json: String,
}

pub(crate) struct Kept {
    pub(crate) json: String,
    pub(crate) checksum: Hash,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(
        mut last: Link,
        records: &'a [Record],
        saved: &[Saved],
    ) -> Result<Self, LedgerError> {
        let records = records
            .iter()
            .map(|record| {
                let json = to_json(record)?;
                last = last.next(json.as_bytes());
                Ok(Chained {
                    record,
                    link: last,
                    json,
                })
            })
            .collect::<Result<_, LedgerError>>()?;
        let saved = saved
            .iter()
            .map(|row| Ok((row.key(), keep(row)?)))
            .collect::<Result<_, LedgerError>>()?;
        Ok(Self {
            records,
            saved,
            last,
        })
    }
}

fn keep(row: &Saved) -> Result<Option<Kept>, LedgerError> {
    if row.is_spent() {
        return Ok(None);
    }
    let json = to_json(row)?;
    let checksum = chain::saved_checksum(&row.key(), json.as_bytes());
    Ok(Some(Kept { json, checksum }))
}

pub(crate) fn to_json(value: &impl serde::Serialize) -> Result<String, LedgerError> {
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
