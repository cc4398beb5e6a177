//! Bidding to lead, on a thread of its own, until this server does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use pitcrew_ledger::{Bid, Candidate, Leader, LedgerError};
use tokio::sync::oneshot;

use crate::standing::Standing;

/// A leader that lets go is followed as soon as this.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct Bidding {
    is_over: Arc<AtomicBool>,
    /// Told when this server leads, or never can: then why.
    pub(crate) leads: oneshot::Receiver<Result<Box<Leader>, LedgerError>>,
}

impl Bidding {
    pub(crate) fn start(
        mut candidate: Candidate,
        standing: Arc<Standing>,
    ) -> std::io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let (won, leads) = oneshot::channel();
        let ending = Arc::clone(&is_over);
        thread::Builder::new()
            .name("bidding".to_owned())
            .spawn(move || {
                while !ending.load(Ordering::Relaxed) {
                    if let Some(outcome) = bid(&mut candidate, &standing) {
                        give(won, outcome);
                        return;
                    }
                    thread::sleep(PAUSE);
                }
            })?;
        Ok(Self { is_over, leads })
    }
}

impl Drop for Bidding {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// `None` to ask again.
fn bid(candidate: &mut Candidate, standing: &Standing) -> Option<Result<Box<Leader>, LedgerError>> {
    match candidate.bid() {
        Ok(Bid::Leads(leader)) => return Some(Ok(leader)),
        Ok(Bid::Follows { leader, .. }) => standing.follows(Ok(&leader)),
        // Nothing that waiting mends.
        Err(
            error @ (LedgerError::Address { .. }
            | LedgerError::Newer { .. }
            | LedgerError::Corrupt { .. }
            | LedgerError::Broken { .. }),
        ) => return Some(Err(error)),
        Err(error) => {
            tracing::warn!("{error}");
            standing.follows(Err(&error.to_string()));
        }
    }
    None
}

/// Whoever stopped meanwhile does not lead: another server need not wait for its silence.
fn give(
    won: oneshot::Sender<Result<Box<Leader>, LedgerError>>,
    outcome: Result<Box<Leader>, LedgerError>,
) {
    if let Err(Ok(leader)) = won.send(outcome)
        && let Err(error) = leader.release()
    {
        tracing::warn!("{error}");
    }
}
