//! [`Rows`] of a PostgreSQL database.
//!
//! Rows are fetched in pages and shown after the page has come, so that what is shown a row may ask further
//! questions on the same connection.

use std::{cell::RefCell, path::Path, time::Duration};

use tokio_postgres::{
    Row,
    types::{FromSql, ToSql},
};

use super::{
    Postgres,
    session::{ANSWER_WITHIN, Failure, Session},
    tables,
};
use crate::{
    LedgerError,
    chain::Head,
    rows::{Garbled, RecordRow, Rows, SavedRow, Select, VisitRecord, VisitSaved, sql_number},
};

const PAGE_ROWS: u64 = 1_000;

/// The highest of a column without an index of its own is a walk over the whole table.
const WALK_WITHIN: Duration = Duration::from_secs(60);

pub(super) struct PostgresRows {
    pub(super) database: Postgres,
    session: RefCell<Option<Session>>,
    /// Whether a lost session may be replaced: not while it has a transaction open.
    reconnects: bool,
}

impl PostgresRows {
    pub(super) fn new(database: Postgres) -> Self {
        Self {
            database,
            session: RefCell::new(None),
            reconnects: true,
        }
    }

    pub(super) fn on(database: Postgres, session: Session) -> Self {
        Self {
            database,
            session: RefCell::new(Some(session)),
            reconnects: true,
        }
    }

    /// On this session and no other.
    pub(super) fn pinned(database: Postgres, session: Session) -> Self {
        Self {
            reconnects: false,
            ..Self::on(database, session)
        }
    }

    pub(super) fn with<T>(
        &self,
        ask: impl FnOnce(&Session) -> Result<T, Failure>,
    ) -> Result<T, NoAnswer> {
        let mut place = self.session.borrow_mut();
        if place.is_none() && self.reconnects {
            *place = Some(Session::open(&self.database).map_err(NoAnswer::NoSession)?);
        }
        let Some(session) = &*place else {
            return Err(NoAnswer::Failure(Failure::Lost(
                "the connection was lost".to_owned(),
            )));
        };
        let answer = ask(session);
        if matches!(answer, Err(Failure::Lost(_))) {
            *place = None;
        }
        answer.map_err(NoAnswer::Failure)
    }

    /// Reads once more on a new connection when the old one turned out to be gone: reading twice is harmless.
    pub(super) fn read<T>(
        &self,
        ask: impl Fn(&Session) -> Result<T, Failure>,
    ) -> Result<T, LedgerError> {
        let had_session = self.session.borrow().is_some();
        let answer = match self.with(&ask) {
            Err(NoAnswer::Failure(Failure::Lost(_))) if had_session && self.reconnects => {
                self.with(&ask)
            }
            answer => answer,
        };
        answer.map_err(|failure| failure.into_error(&self.database, "read"))
    }

    fn page(&self, select: Select<'_>, limit: u64) -> Result<Vec<Row>, LedgerError> {
        let (condition, value): (_, Box<dyn ToSql + Sync>) = match select {
            Select::After(seq) => ("seq > $1 ORDER BY seq", Box::new(sql_number(seq))),
            Select::At(seq) => ("seq = $1", Box::new(sql_number(seq))),
            Select::OfCase(case) => ("case_id = $1 ORDER BY seq", Box::new(sql_number(case))),
            Select::OfOrder(order) => ("order_id = $1 ORDER BY seq", Box::new(sql_number(order))),
            Select::OfTarget(target) => {
                ("target = $1 ORDER BY seq DESC", Box::new(target.to_owned()))
            }
        };
        let sql = format!(
            "SELECT seq, at, case_id, order_id, target, hash, json
             FROM pitcrew.record WHERE {condition} LIMIT $2"
        );
        let limit = sql_number(limit);
        self.read(|session| {
            session.run(ANSWER_WITHIN, async |client| {
                client.query(&sql, &[&*value, &limit]).await
            })
        })
    }

    fn numbers(&self, sql: &str) -> Result<Row, LedgerError> {
        self.read(|session| {
            session.run(WALK_WITHIN, async |client| client.query_one(sql, &[]).await)
        })
    }
}

/// A failure on a session, or none could be had.
pub(super) enum NoAnswer {
    Failure(Failure),
    NoSession(LedgerError),
}

impl NoAnswer {
    pub(super) fn into_error(self, database: &Postgres, doing: &'static str) -> LedgerError {
        match self {
            Self::Failure(failure) => failure.into_error(database, doing),
            Self::NoSession(error) => error,
        }
    }
}

impl Rows for PostgresRows {
    fn place(&self) -> &Path {
        &self.database.place
    }

    fn head(&self) -> Result<Head, LedgerError> {
        let row = self.read(tables::read_head)?;
        tables::standing(row.as_ref(), &self.database).map(|standing| standing.head)
    }

    fn records(
        &self,
        select: Select<'_>,
        limit: u64,
        visit: &mut VisitRecord<'_>,
    ) -> Result<(), LedgerError> {
        let Select::After(mut seq) = select else {
            return self
                .page(select, limit)?
                .iter()
                .try_for_each(|row| visit(record_row(row)));
        };
        let mut left = limit;
        while left > 0 {
            let asked = left.min(PAGE_ROWS);
            let page = self.page(Select::After(seq), asked)?;
            for row in &page {
                let row = record_row(row);
                seq = row.seq;
                visit(row)?;
            }
            left -= asked;
            if (page.len() as u64) < asked {
                break;
            }
        }
        Ok(())
    }

    fn saved(&self, visit: &mut VisitSaved<'_>) -> Result<(), LedgerError> {
        let rows = self.read(|session| {
            session.run(WALK_WITHIN, async |client| {
                let sql = "SELECT key, json, checksum FROM pitcrew.saved ORDER BY key";
                client.query(sql, &[]).await
            })
        })?;
        rows.iter().try_for_each(|row| {
            visit(SavedRow {
                key: row.get(0),
                json: column::<&str>(row, 1).map(str::as_bytes),
                checksum: tables::hash(row, 2),
            })
        })
    }

    fn stray(&self) -> Result<Option<i64>, LedgerError> {
        let row = self.numbers(
            "SELECT coalesce((SELECT seq FROM pitcrew.record WHERE seq < 1 LIMIT 1),
                (SELECT seq FROM pitcrew.record WHERE seq > (SELECT seq FROM pitcrew.head) LIMIT 1))",
        )?;
        Ok(row.get(0))
    }

    fn highest_seq(&self) -> Result<u64, LedgerError> {
        let row = self.numbers("SELECT coalesce(max(seq), 0) FROM pitcrew.record")?;
        Ok(row.get::<_, i64>(0).cast_unsigned())
    }

    fn highest_ids(&self) -> Result<(u64, u64), LedgerError> {
        let row = self.numbers(
            "SELECT coalesce((SELECT max(case_id) FROM pitcrew.record), 0),
                    coalesce((SELECT max(order_id) FROM pitcrew.record), 0)",
        )?;
        let number = |column| row.get::<_, i64>(column).cast_unsigned();
        Ok((number(0), number(1)))
    }

    /// PostgreSQL has none that every user may run.
    fn structure(&self) -> Result<(), LedgerError> {
        Ok(())
    }
}

fn record_row(row: &Row) -> RecordRow<'_> {
    RecordRow {
        seq: row.get::<_, i64>(0).cast_unsigned(),
        at: column(row, 1),
        case_id: column(row, 2),
        order_id: column(row, 3),
        target: column(row, 4),
        hash: tables::hash(row, 5),
        json: column::<&str>(row, 6).map(str::as_bytes),
    }
}

fn column<'row, T: FromSql<'row>>(row: &'row Row, index: usize) -> Result<T, Garbled> {
    row.try_get(index).map_err(|_other_type| Garbled)
}
