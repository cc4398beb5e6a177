//! The servers of an installation, of which one leads: whom to try next, and after what pause.
//!
//! A round over all of them costs no pause. When one of them says that it follows, the next to lead is found within
//! seconds, so the pause stays short; when none answers, it grows as for a server alone.

use std::{sync::Arc, time::Duration};

use pitcrew_wire::{FRAME_BYTES_MAX, ToAgent, ToServer, Welcome};

use crate::{backoff::Backoff, membership::Membership, run::Agent, tls};

/// Between rounds while some server follows: the time that it takes another one to lead.
const LONGEST_AMONG_FOLLOWERS: Duration = Duration::from_secs(4);

/// For the whole question whether somebody else leads.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Servers {
    all: Vec<String>,
    at: usize,
    /// In this round.
    tried: usize,
    one_follows: bool,
    backoff: Backoff,
}

impl Servers {
    pub(crate) fn new(all: &[String]) -> Self {
        Self {
            all: all.to_vec(),
            at: 0,
            tried: 0,
            one_follows: false,
            backoff: Backoff::default(),
        }
    }

    pub(crate) fn current(&self) -> &str {
        &self.all[self.at]
    }

    /// The current one took this host in.
    pub(crate) fn succeeded(&mut self, return_within: Duration) {
        self.backoff.succeeded(return_within);
        self.tried = 0;
        self.one_follows = false;
    }

    /// Moves on to the next; gives how long to wait before it is tried.
    pub(crate) fn failed(&mut self, it_follows: bool) -> Duration {
        self.at = (self.at + 1) % self.all.len();
        self.tried += 1;
        self.one_follows |= it_follows;
        if self.backoff.is_returning() {
            // All hosts have lost the same server: the next one is not met by all of them at once.
            return self.backoff.next_wait();
        }
        if self.tried < self.all.len() {
            return Duration::ZERO;
        }
        self.tried = 0;
        match std::mem::take(&mut self.one_follows) {
            true => self.backoff.next_below(LONGEST_AMONG_FOLLOWERS),
            false => self.backoff.next_wait(),
        }
    }

    /// The next to be tried is this one.
    pub(crate) fn turn_to(&mut self, server: &str) {
        if let Some(at) = self.all.iter().position(|one| one == server) {
            self.at = at;
        }
    }
}

/// The server that leads in place of the one with `fence`, which is not sure of itself any more.
pub(crate) async fn leads_instead(
    agent: Arc<Agent>,
    membership: Arc<Membership>,
    here: String,
    fence: u64,
) -> Option<String> {
    let others = membership.servers.iter().filter(|one| **one != here);
    for server in others {
        let asking = tokio::time::timeout(PATIENCE, welcome(&agent, &membership, server));
        match asking.await {
            Ok(Some(welcome)) if welcome.fence > fence => return Some(server.clone()),
            Ok(_) | Err(_) => tracing::debug!(server, "it does not lead either"),
        }
    }
    None
}

/// Over a connection that is then dropped: the real one follows.
async fn welcome(agent: &Agent, membership: &Membership, server: &str) -> Option<Welcome> {
    let config = tls::as_host(&membership.identity(), &agent.time).ok()?;
    let mut stream = tls::connect(server, config).await.ok()?;
    let hello = ToServer::Hello(agent.hello());
    pitcrew_wire::write(&mut stream, &hello).await.ok()?;
    match pitcrew_wire::read(&mut stream, FRAME_BYTES_MAX).await {
        Ok(ToAgent::Welcome(welcome)) => Some(welcome),
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_tried_before_a_pause_that_stays_short_while_one_of_them_follows() {
        let mut servers = Servers::new(&["a".to_owned(), "b".to_owned()]);
        let mut tried = Vec::new();
        for _ in 0..10 {
            tried.push(servers.current().to_owned());
            assert_eq!(servers.failed(false), Duration::ZERO);
            tried.push(servers.current().to_owned());
            let pause = servers.failed(true);
            assert!(!pause.is_zero() && pause <= LONGEST_AMONG_FOLLOWERS);
        }
        assert_eq!(tried, ["a", "b"].repeat(10));
        servers.turn_to("b");
        assert_eq!(servers.current(), "b");
    }

    #[test]
    fn one_alone_is_waited_for_longer_and_longer() {
        let mut servers = Servers::new(&["a".to_owned()]);
        let pauses: Vec<Duration> = (0..8).map(|_| servers.failed(false)).collect();
        assert!(pauses.iter().all(|pause| !pause.is_zero()));
        assert!(pauses[7] >= Duration::from_secs(6), "{pauses:?}");
        servers.succeeded(Duration::ZERO);
        assert!(servers.failed(false) <= Duration::from_secs(1));
    }

    #[test]
    fn a_lost_server_is_left_for_the_next_one_within_the_time_that_it_named() {
        let mut servers = Servers::new(&["a".to_owned(), "b".to_owned(), "c".to_owned()]);
        servers.succeeded(Duration::from_secs(40));
        assert!(servers.failed(false) <= Duration::from_secs(40));
        assert_eq!(servers.current(), "b");
        assert_eq!(
            servers.failed(false),
            Duration::ZERO,
            "the rest of the round has no pause"
        );
    }
}
