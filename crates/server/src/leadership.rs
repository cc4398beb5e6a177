//! Whether this server may still act: it leads, and has heard so lately.
//!
//! Only what was committed under this server's fence leaves; but between the commit and the act the process may have
//! been stopped, and another server leads meanwhile. So each order asks once more just before it goes. What is left,
//! a stop in that very moment, the fence at the agent refuses.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use pitcrew_ledger::LEASE;
use tokio::sync::watch;

/// Before another server may take over, which counts from a later moment than we do.
const MARGIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Leadership {
    pub(crate) fence: u64,
    /// When the last commit that went well was begun; nothing for a ledger that nobody else can write.
    confirmed: Option<Mutex<Instant>>,
    /// The server that has taken the next fence.
    deposed: watch::Sender<Option<String>>,
}

impl Leadership {
    /// `confirmed` of a ledger that others could lead.
    pub(crate) fn new(fence: u64, confirmed: Option<Instant>) -> Self {
        Self {
            fence,
            confirmed: confirmed.map(Mutex::new),
            deposed: watch::Sender::new(None),
        }
    }

    pub(crate) fn confirmed(&self, began: Instant) {
        if let Some(confirmed) = &self.confirmed {
            *confirmed.lock().unwrap_or_else(PoisonError::into_inner) = began;
        }
    }

    pub(crate) fn depose(&self, by: &str) {
        self.deposed.send_replace(Some(by.to_owned()));
    }

    /// No other server can lead now.
    pub(crate) fn is_sure(&self) -> bool {
        let is_fresh = self.confirmed.as_ref().is_none_or(|confirmed| {
            let confirmed = confirmed.lock().unwrap_or_else(PoisonError::into_inner);
            confirmed.elapsed() < LEASE - MARGIN
        });
        is_fresh && self.deposed.borrow().is_none()
    }

    /// Returns when another server leads, and who.
    pub(crate) async fn lost(&self) -> String {
        let mut deposed = self.deposed.subscribe();
        let by = deposed.wait_for(Option::is_some).await;
        by.ok().and_then(|by| by.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sure_as_long_as_no_other_server_can_have_taken_over() {
        let leadership = Leadership::new(7, Some(Instant::now()));
        assert!(leadership.is_sure());
        let began = Instant::now().checked_sub(LEASE - MARGIN);
        leadership.confirmed(began.expect("the machine is up for longer"));
        assert!(!leadership.is_sure());
        leadership.confirmed(Instant::now());
        assert!(leadership.is_sure());
        leadership.depose("http://b");
        assert!(!leadership.is_sure());
    }

    #[tokio::test]
    async fn a_ledger_of_its_own_is_always_led_and_the_loss_of_another_is_told() {
        let own = Leadership::new(7, None);
        own.confirmed(Instant::now());
        assert!(own.is_sure());
        let led = Leadership::new(7, Some(Instant::now()));
        led.depose("http://b");
        assert_eq!(led.lost().await, "http://b");
    }
}
