//! One lease as it is kept: what was drained and how, until when, and its way back.
//!
//! Nothing is kept that could not be given back, nor for longer than any lease may be.

use std::time::Duration;

use pitcrew_model::{Action, Drain, DrainBy, OperationId, Order, Timestamp};
use serde::{Deserialize, Serialize};

use super::millis;
use crate::clock::{boot_ms, wall_now};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// As this host understands it: with its own command for the way back.
    pub(super) order: Order,
    /// How the server called that.
    pub(super) asked: DrainBy,
    pub(super) boot_id: String,
    pub(super) ends_boot_ms: u64,
    pub(super) ends_wall: Timestamp,
    /// By itself, after the end: only the server's undrain is still to come.
    pub(super) given_back: bool,
    /// Undrains of its own that failed, and when the next one is due.
    #[serde(skip)]
    pub(super) failures: u32,
    #[serde(skip)]
    pub(super) again_boot_ms: Option<u64>,
}

/// Bounds the drain's lease by what any may be, whatever the server says. How much of it is left.
pub(super) fn bound(order: &mut Order, now: Timestamp) -> Result<Duration, String> {
    let (Action::Drain(drain), Some(term)) = (&mut order.action, &mut order.lease) else {
        return Err("a drain without a lease would never end by itself".to_owned());
    };
    drain.lease = drain.lease.min(Drain::LEASE_MAX);
    term.until = term.until.min(now + drain.lease);
    Ok(term.until.since(now))
}

impl Kept {
    /// The error: it could not be given back.
    pub(super) fn new(
        order: &Order,
        asked: &DrainBy,
        boot_id: &str,
        left: Duration,
    ) -> Result<Self, String> {
        let kept = Self {
            order: order.clone(),
            asked: asked.clone(),
            boot_id: boot_id.to_owned(),
            ends_boot_ms: boot_ms() + millis(left),
            ends_wall: wall_now() + left,
            given_back: false,
            failures: 0,
            again_boot_ms: None,
        };
        kept.undrain().map(|_| kept)
    }

    /// Whether this is another boot than the one before.
    pub(super) fn begin_boot(&mut self, boot_id: &str) -> bool {
        if self.boot_id == boot_id {
            return false;
        }
        let whole = match &self.order.action {
            Action::Drain(drain) => drain.lease,
            _ => Duration::ZERO,
        };
        let left = self.ends_wall.since(wall_now()).min(whole);
        self.ends_boot_ms = boot_ms() + millis(left);
        boot_id.clone_into(&mut self.boot_id);
        true
    }

    pub(super) fn is_over(&self) -> bool {
        !self.given_back && self.ends_boot_ms <= boot_ms()
    }

    /// When it is given back, or that is tried again.
    pub(super) fn due_boot_ms(&self) -> Option<u64> {
        let due = self.again_boot_ms.unwrap_or(self.ends_boot_ms);
        (!self.given_back).then_some(due)
    }

    pub(super) fn undrain(&self) -> Result<Order, String> {
        let Action::Drain(drain) = &self.order.action else {
            return Err(format!("{} is no drain", self.order.action));
        };
        let operation = format!("{}-lapsed", self.order.operation);
        Ok(Order {
            operation: OperationId::new(operation).map_err(|error| error.to_string())?,
            action: Action::Undrain(drain.by.clone()),
            ..self.order.clone()
        })
    }
}
