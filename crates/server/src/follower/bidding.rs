//! Bidding to lead, on a thread of its own, until this server does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use pitcrew_ledger::{Bid, Candidate, Leader, LedgerError, Postgres};
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
        database: Postgres,
        own_url: String,
        standing: Arc<Standing>,
    ) -> std::io::Result<Self> {
        let mut candidate = Candidate::new(database, own_url.clone());
        let is_over = Arc::new(AtomicBool::new(false));
        let (won, leads) = oneshot::channel();
        let ending = Arc::clone(&is_over);
        thread::Builder::new()
            .name("bidding".to_owned())
            .spawn(move || {
                let mut told = String::new();
                while !ending.load(Ordering::Relaxed) {
                    if let Some(outcome) = bid(&mut candidate, &own_url, &standing, &mut told) {
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

/// `None` to ask again. The same trouble is logged once.
fn bid(
    candidate: &mut Candidate,
    own_url: &str,
    standing: &Standing,
    told: &mut String,
) -> Option<Result<Box<Leader>, LedgerError>> {
    let trouble = match candidate.bid() {
        Ok(Bid::Leads(leader)) => return Some(Ok(leader)),
        Err(error) if !error.may_pass() => return Some(Err(error)),
        Err(error) => error.to_string(),
        Ok(Bid::Follows { leader: None, .. }) => "no server leads now".to_owned(),
        Ok(Bid::Follows {
            leader: Some(leader),
            ..
        }) if leader == own_url => format!(
            "a server that is reached at {leader}, as this one is, leads: it is this one's former run, \
             or give each server its own `server.advertise`"
        ),
        Ok(Bid::Follows {
            leader: Some(leader),
            ..
        }) => {
            standing.follows(Ok(&leader));
            told.clear();
            return None;
        }
    };
    standing.follows(Err(&trouble));
    if trouble != *told {
        tracing::warn!("{trouble}");
        *told = trouble;
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
