//! Who leads.
//!
//! One row, the head, decides, and each leader takes the next fence in it. There are no clocks to agree on: a
//! candidate takes over when the beat has stood still for [`LEASE`] by its own monotonic clock, or when the leader
//! has let go. Why not an advisory lock: `docs/decisions/017-leading-by-a-beat.md`.

use std::time::{Duration, Instant};

use tokio_postgres::types::ToSql;

use super::{
    Leader, Postgres,
    rows::PostgresRows,
    session::{ANSWER_WITHIN, Session},
    tables::{self, Standing},
};
use crate::{LedgerError, chain::Head, verify::Chain, writer::TAIL_RECORDS};

/// How long a leader may be silent until a candidate takes its place.
pub const LEASE: Duration = Duration::from_secs(5);

/// A server that would lead, and what it has seen of the one that does.
pub struct Candidate {
    database: Postgres,
    name: String,
    session: Option<Session>,
    /// The fence and beat that were read last, and since when they have been the same.
    watched: Option<(u64, i64, Instant)>,
}

/// What came of asking to lead.
pub enum Bid {
    Leads(Box<Leader>),
    /// `leader` is nobody for the moment between two of them.
    Follows {
        leader: Option<String>,
        fence: u64,
    },
}

impl Candidate {
    /// `name` is what the others tell of this server when it leads.
    #[must_use]
    pub fn new(database: Postgres, name: impl Into<String>) -> Self {
        Self {
            database,
            name: name.into(),
            session: None,
            watched: None,
        }
    }

    /// Asks once, and creates the tables where there are none. To be repeated about every second as long as
    /// another leads; after an error the time that the leader was silent is counted anew, so that a leader who
    /// lost the database too has its time to come back.
    pub fn bid(&mut self) -> Result<Bid, LedgerError> {
        let bid = self.try_bid();
        if bid.is_err() {
            self.session = None;
            self.watched = None;
        }
        bid
    }

    fn try_bid(&mut self) -> Result<Bid, LedgerError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let session = Session::open(&self.database)?;
                tables::set_up(&session, &self.database)?;
                session
            }
        };
        let found = tables::read_standing(&session, &self.database)?;
        if found.leader.is_some() && !self.has_stood_still(&found) {
            self.session = Some(session);
            return Ok(Bid::Follows {
                leader: found.leader,
                fence: found.head.fence,
            });
        }
        let Some(head) = self.take(&session, &found)? else {
            // Another candidate was faster, or the leader is back.
            let now = tables::read_standing(&session, &self.database)?;
            self.session = Some(session);
            return Ok(Bid::Follows {
                leader: now.leader,
                fence: now.head.fence,
            });
        };
        let rows = PostgresRows::on(self.database.clone(), session);
        Chain::of(&rows)?.verify_tail(TAIL_RECORDS)?;
        Ok(Bid::Leads(Box::new(Leader::new(
            rows,
            head,
            found.beat + 1,
        ))))
    }

    fn has_stood_still(&mut self, found: &Standing) -> bool {
        let now = (found.head.fence, found.beat);
        match self.watched {
            Some((fence, beat, since)) if (fence, beat) == now => since.elapsed() >= LEASE,
            _ => {
                self.watched = Some((now.0, now.1, Instant::now()));
                false
            }
        }
    }

    /// The next fence, when the head is still as it was found.
    fn take(&self, session: &Session, found: &Standing) -> Result<Option<Head>, LedgerError> {
        let head = Head {
            fence: found.head.fence + 1,
            ..found.head.clone()
        };
        let checksum = head.checksum().0;
        let taken = session.run(ANSWER_WITHIN, async |client| {
            let sql =
                "UPDATE pitcrew.head SET fence = $3, checksum = $4, leader = $5, beat = beat + 1
                       WHERE id = 1 AND fence = $1 AND beat = $2";
            let parameters: [&(dyn ToSql + Sync); 5] = [
                &found.head.fence.cast_signed(),
                &found.beat,
                &head.fence.cast_signed(),
                &checksum.as_slice(),
                &self.name,
            ];
            client.execute(sql, &parameters).await
        });
        match taken {
            Ok(rows) => Ok((rows == 1).then_some(head)),
            Err(failure) => Err(failure.into_error(&self.database, "lead")),
        }
    }
}
