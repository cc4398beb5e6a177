//! The ledger that this server writes: its own files, or the database that it leads.

use std::{sync::mpsc, thread};

use pitcrew_ledger::{Committed, Leader, Ledger, LedgerError, RENEW_WITHIN};
use pitcrew_model::{Record, Saved, Timestamp};
use pitcrew_sim::record::Start;

use crate::VERSION;

/// All of it waits for a disk or a database: never on a thread of the runtime.
pub(crate) enum Store {
    Sqlite(Box<Ledger>),
    Postgres(Box<Leader>),
}

impl Store {
    /// What the ledger remembers of former runs; each start has a fence of its own.
    pub(crate) fn remembered(&mut self, now: Timestamp) -> Result<Start, LedgerError> {
        let (fence, installation, (last_case, last_order), rows) = match self {
            Self::Sqlite(ledger) => (
                ledger.next_fence()?,
                ledger.installation().to_owned(),
                ledger.highest_ids()?,
                ledger.saved()?,
            ),
            Self::Postgres(leader) => {
                let (highest, rows) = read_while_leading(leader)?;
                let installation = leader.installation().to_owned();
                (leader.fence(), installation, highest, rows)
            }
        };
        Ok(Start {
            pitcrew: VERSION.to_owned(),
            at: now,
            installation,
            fence,
            last_case,
            last_order,
            rows,
        })
    }

    pub(crate) fn commit(
        &mut self,
        records: &[Record],
        saved: &[Saved],
    ) -> Result<Committed, LedgerError> {
        match self {
            Self::Sqlite(ledger) => ledger.commit(records, saved),
            Self::Postgres(leader) => leader.commit(records, saved),
        }
    }

    /// Whether it must be written to again and again, or another server takes over.
    pub(crate) fn is_led(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Another server need not wait until this one's silence is believed.
    pub(crate) fn let_go(self) {
        if let Self::Postgres(leader) = self
            && let Err(error) = leader.release()
        {
            tracing::warn!("another server takes over a little later: {error}");
        }
    }
}

/// On a further connection: reading may take longer than others wait for a sign of life.
fn read_while_leading(leader: &mut Leader) -> Result<((u64, u64), Vec<Saved>), LedgerError> {
    leader.renew()?;
    let reader = leader.reader()?;
    let (done, reading) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let read = reader
                .highest_ids()
                .and_then(|ids| Ok((ids, reader.saved()?)));
            // Nobody listens when this server has lost its place meanwhile.
            done.send(read).ok();
        });
        loop {
            match reading.recv_timeout(RENEW_WITHIN) {
                Err(mpsc::RecvTimeoutError::Timeout) => leader.renew()?,
                read => return read.expect("the thread says what it has read"),
            }
        }
    })
}
