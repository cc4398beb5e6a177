//! The messages. A kind that this version does not know is read as `Unknown`, so that either side may be one version
//! ahead of the other; what must not be misunderstood is agreed on in [`Hello`] and [`Welcome`].

use std::{sync::Arc, time::Duration};

use pitcrew_model::{
    Observation, OperationId, Outcome, Runner, Target, TargetId, Test, TestName, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{HostName, SignedOrder};

/// Versions of the protocol that somebody speaks, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    pub oldest: u16,
    pub newest: u16,
}

impl Protocol {
    pub const OURS: Self = Self {
        oldest: 1,
        newest: 1,
    };

    /// The newest version that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

/// The first message of a connection with a certificate. Who it is from, the certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: Protocol,
    /// Of Pitcrew.
    pub version: String,
    /// Random, new with each start of the agent: the same agent coming back is not a second claimant.
    pub instance: String,
    pub boot_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub protocol: u16,
    pub version: String,
    /// How often the agent beats.
    #[serde(with = "pitcrew_model::duration_text")]
    pub beat: Duration,
    /// Whoever has heard nothing for so long takes the connection for lost.
    #[serde(with = "pitcrew_model::duration_text")]
    pub lease: Duration,
    /// Of the server: from now on the orders of every server before it are refused.
    #[serde(default)]
    pub fence: u64,
    /// Over which time the agent chooses when to come back, after this connection is lost.
    #[serde(with = "pitcrew_model::duration_text", default)]
    pub return_within: Duration,
}

/// What a new host gets for its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    pub installation: String,
    pub host: HostName,
    /// PEM, for the key that the request was made with.
    pub certificate: String,
    /// PEM.
    pub authority: String,
    /// Ed25519 public key that orders are signed with, 64 hexadecimal digits.
    pub order_key: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ToServer {
    /// The only message of a connection without a certificate.
    Enrol {
        /// 64 hexadecimal digits.
        secret: String,
        /// Certificate signing request, PEM: the key stays on the host.
        request: String,
    },
    Hello(Hello),
    /// All of it, at the start of a session and whenever it changed: the host first, then what runs there.
    Inventory {
        targets: Vec<Target>,
    },
    Observations {
        observations: Vec<Observation>,
    },
    Outcome {
        operation: OperationId,
        outcome: Outcome,
    },
    /// An order that this host was given is not its server's, and why: it has certainly had no effect.
    Forged {
        /// As the order itself says, which nobody vouches for.
        operation: Option<OperationId>,
        reason: String,
    },
    /// A certificate for a new key, PEM.
    Renew {
        request: String,
    },
    /// `sent_ms` is the agent's own and comes back unchanged.
    Beat {
        sent_ms: u64,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ToAgent {
    Enrolled(Enrolled),
    Welcome(Welcome),
    /// The connection ends after it.
    Refused {
        reason: String,
    },
    /// Another server leads; the connection ends after it.
    NotLeading {
        /// URL of that server's API, when it is known: for eyes.
        leader: Option<String>,
    },
    /// Run these tests on this target from now on, instead of any before.
    Watch {
        target: Arc<Target>,
        /// What runs a target that is not the agent's own.
        runner: Option<Runner>,
        tests: Vec<Arc<Test>>,
    },
    Unwatch {
        target: TargetId,
    },
    /// Ask at once.
    Probe {
        target: TargetId,
        test: TestName,
    },
    Order(SignedOrder),
    /// What became of this order? Nothing is begun by asking.
    Reconcile(SignedOrder),
    /// PEM; the answer to [`ToServer::Renew`].
    Certificate {
        certificate: String,
    },
    Beat {
        sent_ms: u64,
        now: Timestamp,
        /// The server has not reached its database for so long that another one may lead.
        #[serde(default)]
        unsure: bool,
    },
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_that_both_speak_is_spoken() {
        let speaks = |oldest, newest| Protocol { oldest, newest };
        assert_eq!(speaks(1, 3).common(speaks(2, 5)), Some(3));
        assert_eq!(speaks(4, 5).common(speaks(1, 4)), Some(4));
        assert_eq!(speaks(1, 2).common(speaks(3, 4)), None);
    }
}
