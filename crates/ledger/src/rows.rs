//! Where the two databases meet what is the same for both: stored rows, as they are found.
//!
//! A store reads; what a row is worth is judged by [`crate::verify`] and [`crate::reader`]. A value of a
//! type that was never written there is [`Garbled`], not an error: it is evidence about that row.

use std::path::Path;

use crate::{
    LedgerError,
    chain::{Hash, Head},
};

/// A column holds something that can't have been written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Garbled;

/// A row of `record`.
pub(crate) struct RecordRow<'a> {
    pub(crate) seq: u64,
    pub(crate) at: Result<i64, Garbled>,
    pub(crate) case_id: Result<Option<i64>, Garbled>,
    pub(crate) order_id: Result<Option<i64>, Garbled>,
    pub(crate) target: Result<Option<&'a str>, Garbled>,
    pub(crate) hash: Result<Hash, Garbled>,
    pub(crate) json: Result<&'a [u8], Garbled>,
}

/// A row of `saved`.
pub(crate) struct SavedRow<'a> {
    pub(crate) key: &'a str,
    pub(crate) json: Result<&'a [u8], Garbled>,
    pub(crate) checksum: Result<Hash, Garbled>,
}

/// Which records, and in which order.
#[derive(Clone, Copy)]
pub(crate) enum Select<'a> {
    /// With a greater number, oldest first.
    After(u64),
    At(u64),
    OfCase(u64),
    OfOrder(u64),
    /// The newest first.
    OfTarget(&'a str),
}

pub(crate) type VisitRecord<'a> = dyn FnMut(RecordRow<'_>) -> Result<(), LedgerError> + 'a;
pub(crate) type VisitSaved<'a> = dyn FnMut(SavedRow<'_>) -> Result<(), LedgerError> + 'a;

/// A database that holds a ledger.
pub(crate) trait Rows {
    /// The file, or the database's address without its password: for errors.
    fn place(&self) -> &Path;

    /// Proven whole by its checksum.
    fn head(&self) -> Result<Head, LedgerError>;

    /// At most `limit` rows, each shown once; the first error ends it.
    fn records(
        &self,
        select: Select<'_>,
        limit: u64,
        visit: &mut VisitRecord<'_>,
    ) -> Result<(), LedgerError>;

    /// All, ordered by the bytes of their keys.
    fn saved(&self, visit: &mut VisitSaved<'_>) -> Result<(), LedgerError>;

    /// The number of a row outside the chain; head and rows are seen at one moment, whatever is being written.
    fn stray(&self) -> Result<Option<i64>, LedgerError>;

    fn highest_seq(&self) -> Result<u64, LedgerError>;

    /// The highest case and order among the records; 0 where there is none.
    fn highest_ids(&self) -> Result<(u64, u64), LedgerError>;

    /// The database's own check of its structure, where it has one.
    fn structure(&self) -> Result<(), LedgerError>;
}

/// No row has a number this large, so that a larger one may stand for it.
pub(crate) fn sql_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
