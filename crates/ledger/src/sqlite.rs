//! [`Rows`] of an SQLite file.

use std::path::{Path, PathBuf};

use rusqlite::{
    Connection, OptionalExtension, Row, ToSql,
    types::{FromSql, ValueRef},
};

use crate::{
    LedgerError,
    chain::{Hash, Head},
    database,
    rows::{Garbled, RecordRow, Rows, SavedRow, Select, VisitRecord, VisitSaved, sql_number},
};

pub(crate) struct SqliteRows {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
}

impl SqliteRows {
    fn number(&self, sql: &str) -> Result<Option<i64>, LedgerError> {
        self.connection
            .query_row(sql, [], |row| row.get(0))
            .optional()
            .map(Option::flatten)
            .map_err(LedgerError::sqlite(&self.path, "read"))
    }
}

impl Rows for SqliteRows {
    fn place(&self) -> &Path {
        &self.path
    }

    fn head(&self) -> Result<Head, LedgerError> {
        database::read_head(&self.connection, &self.path)
    }

    fn records(
        &self,
        select: Select<'_>,
        limit: u64,
        visit: &mut VisitRecord<'_>,
    ) -> Result<(), LedgerError> {
        let number;
        let (condition, value): (&str, &dyn ToSql) = match &select {
            Select::After(seq) => {
                number = sql_number(*seq);
                ("seq > ?1 ORDER BY seq", &number)
            }
            Select::At(seq) => {
                number = sql_number(*seq);
                ("seq = ?1", &number)
            }
            Select::OfCase(case) => {
                number = sql_number(*case);
                ("case_id = ?1 ORDER BY seq", &number)
            }
            Select::OfOrder(order) => {
                number = sql_number(*order);
                ("order_id = ?1 ORDER BY seq", &number)
            }
            Select::OfTarget(target) => ("target = ?1 ORDER BY seq DESC", target),
        };
        let sqlite = || LedgerError::sqlite(&self.path, "read");
        let mut statement = self
            .connection
            .prepare_cached(&format!(
                "SELECT seq, at, case_id, order_id, target, hash, json FROM record WHERE {condition} LIMIT ?2"
            ))
            .map_err(sqlite())?;
        let mut rows = statement
            .query((value, sql_number(limit)))
            .map_err(sqlite())?;
        while let Some(row) = rows.next().map_err(sqlite())? {
            visit(RecordRow {
                seq: row.get::<_, i64>(0).map_err(sqlite())?.cast_unsigned(),
                at: column(row, 1),
                case_id: column(row, 2),
                order_id: column(row, 3),
                target: text(row, 4),
                hash: column(row, 5).map(Hash),
                json: bytes(row, 6),
            })?;
        }
        Ok(())
    }

    fn saved(&self, visit: &mut VisitSaved<'_>) -> Result<(), LedgerError> {
        let sqlite = || LedgerError::sqlite(&self.path, "read");
        let mut statement = self
            .connection
            .prepare_cached("SELECT key, json, checksum FROM saved ORDER BY key")
            .map_err(sqlite())?;
        let mut rows = statement.query([]).map_err(sqlite())?;
        while let Some(row) = rows.next().map_err(sqlite())? {
            let key: String = row.get(0).map_err(sqlite())?;
            visit(SavedRow {
                key: &key,
                json: bytes(row, 1),
                checksum: column(row, 2).map(Hash),
            })?;
        }
        Ok(())
    }

    fn stray(&self) -> Result<Option<i64>, LedgerError> {
        self.number("SELECT seq FROM record WHERE seq < 1 OR seq > (SELECT seq FROM head) LIMIT 1")
    }

    fn highest_seq(&self) -> Result<u64, LedgerError> {
        let highest = self.number("SELECT max(seq) FROM record")?;
        Ok(highest.unwrap_or(0).cast_unsigned())
    }

    fn highest_ids(&self) -> Result<(u64, u64), LedgerError> {
        let highest = |sql| Ok(self.number(sql)?.unwrap_or(0).cast_unsigned());
        Ok((
            highest("SELECT max(case_id) FROM record")?,
            highest("SELECT max(order_id) FROM record")?,
        ))
    }

    fn structure(&self) -> Result<(), LedgerError> {
        let answer: String = self
            .connection
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
            .map_err(LedgerError::sqlite(&self.path, "check"))?;
        if answer == "ok" {
            Ok(())
        } else {
            Err(LedgerError::corrupt(&self.path, answer))
        }
    }
}

fn column<T: FromSql>(row: &Row<'_>, index: usize) -> Result<T, Garbled> {
    row.get(index).map_err(|_other_type| Garbled)
}

/// Whether or not it is still UTF-8.
fn bytes<'row>(row: &'row Row<'_>, index: usize) -> Result<&'row [u8], Garbled> {
    match row.get_ref(index) {
        Ok(ValueRef::Text(bytes)) => Ok(bytes),
        _ => Err(Garbled),
    }
}

fn text<'row>(row: &'row Row<'_>, index: usize) -> Result<Option<&'row str>, Garbled> {
    let value = row.get_ref(index).map_err(|_no_such_column| Garbled)?;
    value.as_str_or_null().map_err(|_other_type| Garbled)
}
