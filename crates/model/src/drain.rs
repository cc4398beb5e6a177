//! Taking a target out of use for a while, and giving it back.
//!
//! A drain is a lease: it ends by itself unless it is renewed. Whoever was drained must come back whatever happens to
//! Pitcrew, so a lease carries its own copy of how, and a changed configuration can still undo what a former one did.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{CaseId, OrderId, ServiceName, Target, Timestamp};

/// How a service's targets are taken out of use, and for how long without another word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    pub by: DrainBy,
    #[serde(with = "crate::duration_text")]
    pub lease: Duration,
}

impl Drain {
    /// Below this a renewal that gets lost once could already be too late.
    pub const LEASE_MIN: Duration = Duration::from_secs(30);
    pub const LEASE_MAX: Duration = Duration::from_secs(24 * 3_600);
    /// A hook that takes longer is as good as away, and another order waits for it.
    pub const TIMEOUT_MAX: Duration = Duration::from_secs(30);

    /// Renewed when so much of it is over: two renewals may get lost.
    #[must_use]
    pub fn renew_after(&self) -> Duration {
        self.lease / 3
    }
}

/// Whoever does it is told again at each renewal, and perhaps after an answer that got lost: it must be idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainBy {
    /// `POST` of the order as JSON, for both: its action says which.
    Webhook {
        url: String,
        #[serde(with = "crate::duration_text")]
        timeout: Duration,
    },
    /// Argument vectors that run beside the server; `{lease_seconds}` and `{until}` are replaced, too.
    Command {
        drain: Vec<String>,
        undrain: Vec<String>,
        #[serde(with = "crate::duration_text")]
        timeout: Duration,
    },
    /// Names of commands in the configuration of the target's host, whose agent gives the target back by itself.
    HostCommand { drain: String, undrain: String },
}

impl fmt::Display for DrainBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook { .. } => f.write_str("webhook"),
            Self::Command { drain, .. } => {
                write!(f, "command `{}`", drain.first().map_or("", String::as_str))
            }
            Self::HostCommand { drain, .. } => write!(f, "command `{drain}` of its host"),
        }
    }
}

/// What an order to drain or undrain is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTerm {
    /// The order that began the lease: another one with the same `id` renews or ends it.
    pub id: OrderId,
    /// From then on the target is to be given back, unless it was renewed.
    pub until: Timestamp,
}

/// A target that is out of use, or may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub target: Arc<Target>,
    pub service: Option<ServiceName>,
    /// For whose repair; without one it is a person's, and is not renewed.
    pub case: Option<CaseId>,
    pub drain: Drain,
    pub term: LeaseTerm,
    /// When its case last had something under way: nobody is kept out of use for a repair that waits for long.
    pub needed_at: Timestamp,
    /// An earlier one may be in effect, too, so that a drain without effect doesn't mean that the target is in use.
    #[serde(default)]
    pub follows_another: bool,
    /// A hook has said that it is out of use.
    #[serde(default)]
    pub is_sure: bool,
    /// Until when an order may be with the hook without anybody knowing.
    #[serde(default)]
    pub busy_until: Option<Timestamp>,
    pub undo: Option<Undo>,
}

/// That a target is being given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    pub since: Timestamp,
    pub why: String,
    /// Tries that did not succeed, in a row.
    pub failures: u32,
}
