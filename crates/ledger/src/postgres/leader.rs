//! The leader's writes.
//!
//! Every write is one statement that begins by moving the head on from exactly the fence and the beat which this
//! leader knows; when another server has taken the next fence, the row doesn't match and nothing is written. There
//! are no open transactions for a lost leader to leave behind.
//!
//! A commit whose answer was lost stays a doubt until the head can be asked. Asking moves the beat, too, so that
//! what may still be under way on the old connection finds no match: after it the head's word is final.

use std::time::Duration;

use pitcrew_model::{Record, Saved};
use tokio_postgres::{Client, Row, Statement, types::ToSql};

use super::{
    rows::PostgresRows,
    session::ANSWER_WITHIN,
    tables::{self, HEAD_COLUMNS},
};
use crate::{
    Committed, LedgerError, Reader,
    batch::{self, Batch},
    chain::{Head, Link},
    reader,
    rows::Rows as _,
};

/// A leader commits or renews this often, so that a lost answer and a new connection fit into [`super::LEASE`].
pub const RENEW_WITHIN: Duration = Duration::from_secs(1);

/// Beyond [`ANSWER_WITHIN`]: several times what a record takes, so that a great backlog is not cut off.
const WITHIN_FOR_EACH_RECORD: Duration = Duration::from_micros(200);

/// The one server that writes, as long as nobody has taken the next fence.
pub struct Leader {
    rows: PostgresRows,
    /// As the database is known to have it.
    head: Head,
    beat: i64,
    doubt: Option<Doubt>,
    /// Records of failed commits that were found in the ledger afterwards, with their numbers, until a commit
    /// ends well.
    landed: Vec<(u64, String)>,
}

/// A commit without an answer: what it wrote if it happened.
struct Doubt {
    last: Link,
    records: Vec<(u64, String)>,
}

impl Leader {
    /// That took this head with this beat, on the connection of `rows`.
    pub(super) fn new(rows: PostgresRows, head: Head, beat: i64) -> Self {
        Self {
            rows,
            head,
            beat,
            doubt: None,
            landed: Vec::new(),
        }
    }

    /// 32 random hex digits, made with the ledger; the chain begins with them.
    #[must_use]
    pub fn installation(&self) -> &str {
        &self.head.installation
    }

    /// Greater than that of every leader before this one.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.head.fence
    }

    /// As [`crate::Ledger::commit`]. When the connection is lost, it is tried once more on a new one within the
    /// call. After [`LedgerError::Unreachable`] the commit may still be found to have happened: the same records,
    /// or what is left of them, in their order and before any new ones, may be given again and are not written
    /// twice. After [`LedgerError::Deposed`] nothing can be written any more.
    pub fn commit(
        &mut self,
        records: &[Record],
        saved: &[Saved],
    ) -> Result<Committed, LedgerError> {
        match self.attempt(records, saved) {
            Ok(Some(committed)) => return Ok(committed),
            Ok(None) | Err(LedgerError::Unreachable { .. }) => {}
            Err(error) => return Err(error),
        }
        self.attempt(records, saved)?
            .ok_or_else(|| self.changed_by_hand())
    }

    /// Tells the candidates that this server is alive; a commit does so, too.
    pub fn renew(&mut self) -> Result<(), LedgerError> {
        self.commit(&[], &[]).map(|_nothing| ())
    }

    /// The rows of state as they were last committed, ordered by key.
    pub fn saved(&self) -> Result<Vec<Saved>, LedgerError> {
        reader::saved(&self.rows)
    }

    /// The highest numbers of a case and of an order in records and saved rows; 0 where there is none.
    pub fn highest_ids(&self) -> Result<(u64, u64), LedgerError> {
        reader::highest_ids(&self.rows)
    }

    /// A further connection, for reading on another thread.
    pub fn reader(&self) -> Result<Reader, LedgerError> {
        self.rows.database.reader()
    }

    /// Lets go, so that a candidate needs not wait until [`super::LEASE`] has passed.
    pub fn release(mut self) -> Result<(), LedgerError> {
        // Settles what is in doubt, on a new connection if need be.
        self.renew()?;
        let released = self.rows.with(|session| {
            session.run(ANSWER_WITHIN, async |client| {
                let sql = "UPDATE pitcrew.head SET leader = NULL, beat = beat + 1 WHERE id = 1 AND fence = $1";
                client.execute(sql, &[&self.head.fence.cast_signed()]).await
            })
        });
        released
            .map(|_rows| ())
            .map_err(|failure| failure.into_error(&self.rows.database, "let go of"))
    }

    /// `None` when the head was not as it is known here, although this server leads.
    fn attempt(
        &mut self,
        records: &[Record],
        saved: &[Saved],
    ) -> Result<Option<Committed>, LedgerError> {
        self.settle()?;
        let found = self.found(records)?;
        let batch = Batch::new(self.head.last, &records[found.len()..], saved)?;
        let head = Head {
            last: batch.last,
            ..self.head.clone()
        };
        let many = u32::try_from(batch.records.len()).unwrap_or(u32::MAX);
        let within = ANSWER_WITHIN + WITHIN_FOR_EACH_RECORD * many;
        let beat = self.beat;
        let answer = self
            .rows
            .with(|session| {
                let statement = session.prepared(WRITE)?;
                session.run(within, async |client| {
                    write(client, statement, &batch, &head, beat).await
                })
            })
            .map_err(|failure| failure.into_error(&self.rows.database, "write to"));
        match answer {
            Ok(true) => {
                let first_seq = self.head.last.seq + 1;
                self.head = head;
                self.beat += 1;
                self.landed.clear();
                Ok(Some(Committed {
                    first_seq,
                    last_seq: self.head.last.seq,
                    found,
                }))
            }
            Ok(false) => {
                self.doubt = Some(Doubt::of(&self.head, Vec::new()));
                self.settle().map(|()| None)
            }
            Err(error) => {
                if matches!(error, LedgerError::Unreachable { .. }) {
                    let records = batch.records.into_iter();
                    let records = records.map(|chained| (chained.link.seq, chained.json));
                    self.doubt = Some(Doubt::of(&head, records.collect()));
                }
                Err(error)
            }
        }
    }

    /// Finds out what became of a commit without an answer, for good.
    fn settle(&mut self) -> Result<(), LedgerError> {
        let Some(doubt) = &self.doubt else {
            return Ok(());
        };
        let sql = format!(
            "UPDATE pitcrew.head SET beat = beat + 1 WHERE id = 1 AND fence = $1 RETURNING {HEAD_COLUMNS}"
        );
        let fence = self.head.fence.cast_signed();
        let claimed: Option<Row> = self
            .rows
            .with(|session| {
                session.run(ANSWER_WITHIN, async |client| {
                    client.query_opt(&sql, &[&fence]).await
                })
            })
            .map_err(|failure| failure.into_error(&self.rows.database, "write to"))?;
        if claimed.is_none() {
            return Err(self.deposed());
        }
        let claimed = tables::standing(claimed.as_ref(), &self.rows.database)?;
        if claimed.head.last != self.head.last {
            if claimed.head.last != doubt.last {
                return Err(self.changed_by_hand());
            }
            self.landed.extend_from_slice(&doubt.records);
        }
        self.head = claimed.head;
        self.beat = claimed.beat;
        self.doubt = None;
        Ok(())
    }

    /// The numbers of the leading records that are in the ledger already.
    fn found(&self, records: &[Record]) -> Result<Vec<u64>, LedgerError> {
        let mut landed = self.landed.iter();
        let mut found = Vec::new();
        if self.landed.is_empty() {
            return Ok(found);
        }
        for record in records {
            let json = batch::to_json(record)?;
            match landed.find(|(_, landed)| *landed == json) {
                Some((seq, _)) => found.push(*seq),
                None => break,
            }
        }
        Ok(found)
    }

    fn deposed(&self) -> LedgerError {
        let database = &self.rows.database;
        let standing = self
            .rows
            .with(tables::read_head)
            .map_err(|failure| failure.into_error(database, "read"))
            .and_then(|row| tables::standing(row.as_ref(), database));
        match standing {
            Ok(standing) => standing.deposes(self.head.fence, database),
            Err(error) => error,
        }
    }

    fn changed_by_hand(&self) -> LedgerError {
        LedgerError::corrupt(
            self.rows.place(),
            "the head of its chain was changed by something else than a leader",
        )
    }
}

impl Doubt {
    fn of(head: &Head, records: Vec<(u64, String)>) -> Self {
        Self {
            last: head.last,
            records,
        }
    }
}

/// Everything hangs on the first part: where it finds no row, nothing is written. One statement is one
/// transaction and one round trip.
const WRITE: &str = "
    WITH led AS (
        UPDATE pitcrew.head SET beat = beat + 1, seq = $3, hash = $4, checksum = $5
        WHERE id = 1 AND fence = $1 AND beat = $2
        RETURNING id
    ), appended AS (
        INSERT INTO pitcrew.record (seq, at, case_id, order_id, target, hash, json)
        SELECT new.* FROM led, unnest($6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
            $10::text[], $11::bytea[], $12::text[]) AS new
    ), spent AS (
        DELETE FROM pitcrew.saved USING led WHERE key = ANY ($13::text[])
    ), kept AS (
        INSERT INTO pitcrew.saved (key, json, checksum)
        SELECT new.* FROM led, unnest($14::text[], $15::text[], $16::bytea[]) AS new
        ON CONFLICT (key) DO UPDATE SET json = excluded.json, checksum = excluded.checksum
    )
    SELECT id FROM led";

/// Whether the head was as `beat` and the head's fence say; if not, nothing was written.
async fn write(
    client: &Client,
    statement: &Statement,
    batch: &Batch<'_>,
    head: &Head,
    beat: i64,
) -> Result<bool, tokio_postgres::Error> {
    let records = &batch.records;
    let seqs: Vec<i64> = records
        .iter()
        .map(|new| new.link.seq.cast_signed())
        .collect();
    let ats: Vec<i64> = records
        .iter()
        .map(|new| new.record.at.as_millis().cast_signed())
        .collect();
    let cases: Vec<Option<i64>> = records
        .iter()
        .map(|new| new.record.case.map(|case| case.0.cast_signed()))
        .collect();
    let orders: Vec<Option<i64>> = records
        .iter()
        .map(|new| new.record.order.map(|order| order.0.cast_signed()))
        .collect();
    let targets: Vec<Option<&str>> = records
        .iter()
        .map(|new| new.record.target.as_ref().map(|target| target.as_str()))
        .collect();
    let hashes: Vec<&[u8]> = records
        .iter()
        .map(|new| new.link.hash.0.as_slice())
        .collect();
    let jsons: Vec<&str> = records.iter().map(|new| new.json.as_str()).collect();
    let spent: Vec<&str> = batch
        .saved
        .iter()
        .filter(|(_, kept)| kept.is_none())
        .map(|(key, _)| key.as_str())
        .collect();
    let kept = || {
        batch
            .saved
            .iter()
            .filter_map(|(key, kept)| Some((key, kept.as_ref()?)))
    };
    let kept_keys: Vec<&str> = kept().map(|(key, _)| key.as_str()).collect();
    let kept_jsons: Vec<&str> = kept().map(|(_, kept)| kept.json.as_str()).collect();
    let checksums: Vec<&[u8]> = kept().map(|(_, kept)| kept.checksum.0.as_slice()).collect();
    let head_checksum = head.checksum().0;
    let parameters: [&(dyn ToSql + Sync); 16] = [
        &head.fence.cast_signed(),
        &beat,
        &head.last.seq.cast_signed(),
        &head.last.hash.0.as_slice(),
        &head_checksum.as_slice(),
        &seqs,
        &ats,
        &cases,
        &orders,
        &targets,
        &hashes,
        &jsons,
        &spent,
        &kept_keys,
        &kept_jsons,
        &checksums,
    ];
    let led = client.query_opt(statement, &parameters).await?;
    Ok(led.is_some())
}
