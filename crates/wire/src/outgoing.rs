//! What waits to be written to the other side: first what must not wait, then the rest.
//!
//! Answers to tests, or tests to assign, may fill their queue while the other side takes nothing in. Beats, orders, outcomes
//! and certificates have a queue of their own, which is written first, so that a slow connection is no lost one.

use tokio::sync::mpsc;

#[derive(Debug)]
pub struct Outgoing<M> {
    pub first: mpsc::Sender<M>,
    pub rest: mpsc::Sender<M>,
}

#[derive(Debug)]
pub struct ToWrite<M> {
    first: mpsc::Receiver<M>,
    rest: mpsc::Receiver<M>,
}

/// Each with room for so many messages.
#[must_use]
pub fn outgoing<M>(first_max: usize, rest_max: usize) -> (Outgoing<M>, ToWrite<M>) {
    let (first, first_to_write) = mpsc::channel(first_max);
    let (rest, rest_to_write) = mpsc::channel(rest_max);
    let to_write = ToWrite {
        first: first_to_write,
        rest: rest_to_write,
    };
    (Outgoing { first, rest }, to_write)
}

impl<M> Clone for Outgoing<M> {
    fn clone(&self) -> Self {
        Self {
            first: self.first.clone(),
            rest: self.rest.clone(),
        }
    }
}

impl<M> ToWrite<M> {
    /// `None` when nobody has anything to say any more.
    pub async fn next(&mut self) -> Option<M> {
        tokio::select! {
            biased;
            Some(message) = self.first.recv() => Some(message),
            Some(message) = self.rest.recv() => Some(message),
            else => None,
        }
    }

    /// What waits now.
    pub fn try_next(&mut self) -> Option<M> {
        self.first
            .try_recv()
            .or_else(|_none| self.rest.try_recv())
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_must_not_wait_has_room_and_overtakes_the_rest() {
        let (outgoing, mut to_write) = outgoing(1, 1);
        outgoing.rest.try_send("rest").unwrap();
        assert!(outgoing.rest.try_send("too much").is_err());
        outgoing.first.try_send("first").unwrap();
        drop(outgoing);
        assert_eq!(to_write.next().await, Some("first"));
        assert_eq!(to_write.next().await, Some("rest"));
        assert_eq!(to_write.next().await, None);
    }
}
