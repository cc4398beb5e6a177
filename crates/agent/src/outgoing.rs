//! What waits to be written to the server: first what must not wait, then the rest.
//!
//! Answers to tests may fill their queue while the server takes nothing in. Beats, outcomes and renewals have a queue of their own,
//! which is written first, so that a slow connection is no lost one.

use pitcrew_wire::ToServer;
use tokio::sync::mpsc;

/// More than this and observations are dropped.
const REST_MAX: usize = 256;
const FIRST_MAX: usize = 64;

#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) first: mpsc::Sender<ToServer>,
    pub(crate) rest: mpsc::Sender<ToServer>,
}

pub(crate) struct ToWrite {
    first: mpsc::Receiver<ToServer>,
    rest: mpsc::Receiver<ToServer>,
}

pub(crate) fn outgoing() -> (Outgoing, ToWrite) {
    let (first, to_write_first) = mpsc::channel(FIRST_MAX);
    let (rest, to_write_rest) = mpsc::channel(REST_MAX);
    let to_write = ToWrite {
        first: to_write_first,
        rest: to_write_rest,
    };
    (Outgoing { first, rest }, to_write)
}

impl ToWrite {
    /// `None` when nobody has anything to say any more.
    pub(crate) async fn next(&mut self) -> Option<ToServer> {
        tokio::select! {
            biased;
            Some(message) = self.first.recv() => Some(message),
            Some(message) = self.rest.recv() => Some(message),
            else => None,
        }
    }
}
