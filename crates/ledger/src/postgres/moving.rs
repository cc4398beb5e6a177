//! Moving a ledger from SQLite to PostgreSQL: all of it, or nothing.
//!
//! One transaction copies every record, row of state, shared file and the head, each proven as it is read, then proves the
//! whole chain again from what PostgreSQL gives back, and only then commits. A cut anywhere leaves the database
//! empty, and the move may simply be repeated. The SQLite file is only read, and kept from any server meanwhile and, by a
//! file beside it, afterwards.

use tokio_postgres::{Client, types::ToSql};

use super::{
    Postgres,
    rows::PostgresRows,
    session::{ANSWER_WITHIN, Session},
    tables,
};
use crate::{
    Ledger, LedgerError, Verified,
    chain::{self, Head, Link},
    lock,
    rows::{RecordRow, Rows as _},
    verify::Chain,
};

const RECORDS_AT_ONCE: usize = 1_000;

impl Postgres {
    /// Copies `source`, whose server must be stopped, and these `files` of its data directory into this database,
    /// which must not hold another ledger.
    /// `progress` is told how many records are copied, of how many. Ends well without writing anything where
    /// the very same ledger is there already.
    pub fn move_from(
        &self,
        source: &Ledger,
        files: &[(String, Vec<u8>)],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Verified, LedgerError> {
        let chain = Chain::of(&source.rows)?;
        let here = chain.verify(&mut |_, _| {})?;
        let session = Session::open(self)?;
        tables::set_up(&session, self)?;
        let rows = PostgresRows::pinned(self.clone(), session);
        // No server can begin to lead before the move has ended.
        ask(&rows, async |client| {
            client
                .batch_execute("BEGIN; SELECT 1 FROM pitcrew.head WHERE id = 1 FOR UPDATE")
                .await
        })?;
        let there = rows.head()?;
        let is_done =
            there.last == chain.head.last && there.installation == chain.head.installation;
        if !is_done {
            self.must_be_empty(&rows, &there)?;
            copy_records(&chain, &rows, progress)?;
            copy_saved(&chain, &rows)?;
            copy_files(files, &rows)?;
            copy_head(&chain.head, &rows)?;
        }
        let there = Chain::of(&rows)?.verify(&mut |_, _| {})?;
        if here != there {
            return Err(LedgerError::corrupt(
                rows.place(),
                "it does not give back what was copied; nothing of it was kept",
            ));
        }
        ask(&rows, async |client| client.batch_execute("COMMIT").await)?;
        lock::mark_moved(&source.rows.path, self)?;
        Ok(there)
    }

    fn must_be_empty(&self, rows: &PostgresRows, there: &Head) -> Result<(), LedgerError> {
        let mut is_empty = there.fence == 0 && there.last.seq == 0 && rows.highest_seq()? == 0;
        rows.saved(&mut |_| {
            is_empty = false;
            Ok(())
        })?;
        if is_empty {
            return Ok(());
        }
        Err(LedgerError::Occupied {
            path: self.place.to_path_buf(),
            installation: there.installation.to_string(),
            entries: there.last.seq,
        })
    }
}

fn ask<T>(
    rows: &PostgresRows,
    ask: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, LedgerError> {
    rows.with(|session| session.run(ANSWER_WITHIN, ask))
        .map_err(|failure| failure.into_error(&rows.database, "copy into"))
}

/// Columns of records that wait to be sent.
#[derive(Default)]
struct Page {
    seqs: Vec<i64>,
    ats: Vec<i64>,
    cases: Vec<Option<i64>>,
    orders: Vec<Option<i64>>,
    targets: Vec<Option<String>>,
    hashes: Vec<Vec<u8>>,
    jsons: Vec<String>,
}

impl Page {
    /// A proven record: its columns agree with its JSON.
    fn add(&mut self, link: Link, json: &[u8], row: &RecordRow<'_>) {
        self.seqs.push(link.seq.cast_signed());
        let proven = "a proven row's columns agree with its JSON";
        self.ats.push(row.at.expect(proven));
        self.cases.push(row.case_id.expect(proven));
        self.orders.push(row.order_id.expect(proven));
        self.targets
            .push(row.target.expect(proven).map(str::to_owned));
        self.hashes.push(link.hash.0.to_vec());
        self.jsons.push(String::from_utf8_lossy(json).into_owned());
    }

    fn send(&mut self, rows: &PostgresRows) -> Result<(), LedgerError> {
        let page = std::mem::take(self);
        ask(rows, async |client| {
            let sql = "INSERT INTO pitcrew.record (seq, at, case_id, order_id, target, hash, json)
                SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[],
                    $5::text[], $6::bytea[], $7::text[])";
            let parameters: [&(dyn ToSql + Sync); 7] = [
                &page.seqs,
                &page.ats,
                &page.cases,
                &page.orders,
                &page.targets,
                &page.hashes,
                &page.jsons,
            ];
            client.execute(sql, &parameters).await
        })
        .map(|_rows| ())
    }
}

fn copy_records(
    chain: &Chain<'_>,
    rows: &PostgresRows,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), LedgerError> {
    let all = chain.head.last.seq;
    progress(0, all);
    let mut page = Page::default();
    chain.walk(chain.genesis(), &mut |_, link, json, row| {
        page.add(link, json, row);
        if page.seqs.len() == RECORDS_AT_ONCE || link.seq == all {
            page.send(rows)?;
            progress(link.seq, all);
        }
        Ok(())
    })
}

fn copy_saved(chain: &Chain<'_>, rows: &PostgresRows) -> Result<(), LedgerError> {
    chain.rows.saved(&mut |row| {
        let (Ok(json), Ok(checksum)) = (row.json, row.checksum) else {
            return Err(LedgerError::SavedRow {
                path: chain.rows.place().to_owned(),
                key: row.key.to_owned(),
                why: "it was changed after it was written".to_owned(),
            });
        };
        let json = String::from_utf8_lossy(json);
        ask(rows, async |client| {
            let sql = "INSERT INTO pitcrew.saved (key, json, checksum) VALUES ($1, $2, $3)";
            let parameters: [&(dyn ToSql + Sync); 3] =
                [&row.key, &json.as_ref(), &checksum.0.as_slice()];
            client.execute(sql, &parameters).await
        })
        .map(|_one| ())
    })
}

fn copy_files(files: &[(String, Vec<u8>)], rows: &PostgresRows) -> Result<(), LedgerError> {
    for (name, content) in files {
        let checksum = chain::file_checksum(name, content).0;
        ask(rows, async |client| {
            let sql = "INSERT INTO pitcrew.file (name, content, checksum) VALUES ($1, $2, $3)";
            let parameters: [&(dyn ToSql + Sync); 3] = [name, content, &checksum.as_slice()];
            client.execute(sql, &parameters).await
        })?;
    }
    Ok(())
}

fn copy_head(head: &Head, rows: &PostgresRows) -> Result<(), LedgerError> {
    let checksum = head.checksum().0;
    ask(rows, async |client| {
        let sql = "UPDATE pitcrew.head SET installation = $1, fence = $2, seq = $3, hash = $4,
            checksum = $5, beat = beat + 1 WHERE id = 1";
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &head.installation.as_ref(),
            &head.fence.cast_signed(),
            &head.last.seq.cast_signed(),
            &head.last.hash.0.as_slice(),
            &checksum.as_slice(),
        ];
        client.execute(sql, &parameters).await
    })
    .map(|_one| ())
}
