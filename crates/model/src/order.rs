//! One action on one target, and what became of it.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    CaseId, Drain, DrainBy, LeaseTerm, OperationId, OrderId, ReceiverName, RepairName, Runner,
    ServiceName, Target, Timestamp,
};

/// The closed catalogue of what can be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// By whatever runs the target.
    Restart,
    Start,
    Stop,
    /// The target's host, by its own agent: everything that runs there goes down with it.
    Reboot,
    /// The target's host, out of band: its controller takes its power away and gives it back, or switches it on.
    PowerCycle,
    /// Out of use until its lease runs out, so that nobody is hurt by the next step. It repairs nothing.
    Drain(Drain),
    /// Back into use.
    Undrain(DrainBy),
    /// The user's own argument vector, never a shell; `{target}`, `{address}` and `{label}` are replaced.
    Command {
        name: String,
        command: Vec<String>,
        #[serde(with = "crate::duration_text")]
        timeout: Duration,
    },
    /// `POST` of the order as JSON.
    Webhook {
        name: String,
        url: String,
        #[serde(with = "crate::duration_text")]
        timeout: Duration,
    },
    /// A person goes on from here.
    HandOver {
        to: Option<ReceiverName>,
    },
}

impl Action {
    /// The key that names it in a configuration and on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reboot => "reboot",
            Self::PowerCycle => "power_cycle",
            Self::Drain(_) => "drain",
            Self::Undrain(_) => "undrain",
            Self::Command { .. } => "command",
            Self::Webhook { .. } => "webhook",
            Self::HandOver { .. } => "hand_over",
        }
    }

    /// Whether it may take capacity away. Handing over never does; starting and giving back never do.
    #[must_use]
    pub fn is_disruptive(&self) -> bool {
        match self {
            Self::Restart
            | Self::Stop
            | Self::Reboot
            | Self::PowerCycle
            | Self::Drain(_)
            | Self::Command { .. }
            | Self::Webhook { .. } => true,
            Self::Start | Self::Undrain(_) | Self::HandOver { .. } => false,
        }
    }

    /// Whether something must run the target for this to mean anything.
    #[must_use]
    pub fn needs_runner(&self) -> bool {
        matches!(self, Self::Restart | Self::Start | Self::Stop)
    }

    /// Whether it acts on the target's host instead of the target alone.
    #[must_use]
    pub fn is_on_host(&self) -> bool {
        matches!(self, Self::Reboot | Self::PowerCycle)
    }

    /// Whether it takes a target out of use or gives it back, and so says nothing of the target itself.
    #[must_use]
    pub fn is_drain(&self) -> bool {
        matches!(self, Self::Drain(_) | Self::Undrain(_))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart => f.write_str("restart"),
            Self::Start => f.write_str("start"),
            Self::Stop => f.write_str("stop"),
            Self::Reboot => f.write_str("reboot"),
            Self::PowerCycle => f.write_str("power cycle"),
            Self::Drain(_) => f.write_str("drain"),
            Self::Undrain(_) => f.write_str("undrain"),
            Self::Command { name, .. } => write!(f, "command `{name}`"),
            Self::Webhook { name, .. } => write!(f, "webhook `{name}`"),
            Self::HandOver { to: Some(to) } => write!(f, "hand over to {to}"),
            Self::HandOver { to: None } => f.write_str("hand over"),
        }
    }
}

/// On whose word an order is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authority {
    /// A repair with autonomy `act`.
    Policy,
    /// A repair that `by` approved, bound to the order's digest.
    Approval { by: String },
    /// A person's own order, through the same limits.
    Person { by: String, why: String },
}

/// Everything an actuator needs, decided; it leaves no choice to execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub id: OrderId,
    pub operation: OperationId,
    pub case: Option<CaseId>,
    /// Whose trouble it is for.
    pub target: Arc<Target>,
    /// What a reboot or a power cycle acts on, when that is not the target but what it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<Target>>,
    pub service: Option<ServiceName>,
    pub action: Action,
    /// Of a drain or undrain: which lease it begins, renews or ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseTerm>,
    /// The target's own runner, or its service's filled in for it.
    pub runner: Option<Runner>,
    pub authority: Authority,
    /// Step of the repair's ladder, from 0, and try of that step, from 1.
    pub repair: Option<RepairName>,
    pub step: u8,
    pub attempt: u8,
    pub given_at: Timestamp,
    /// How long the target has to pass its tests again after the outcome; until then the order counts as in flight.
    #[serde(with = "crate::duration_text")]
    pub settle: Duration,
    /// Refused by the actuator from then on.
    pub expires_at: Timestamp,
    /// Grows with every start of the server; an actuator refuses an order with an older one.
    pub fence: u64,
    /// Why, as a digest of action, target and evidence: what an approval is bound to. 16 hex digits.
    pub digest: String,
    /// Whether the target was proven down when the order was given, so that it takes nothing away.
    pub target_is_down: bool,
}

impl Order {
    /// How long an order may wait for its actuator.
    pub const EXPIRY: Duration = Duration::from_secs(60);
    /// Actuators answer long before; past this the outcome counts as "may have taken effect".
    pub const OUTCOME_OVERDUE: Duration = Duration::from_secs(15 * 60);

    /// The same for drains and undrains. They are quick, and what a lost one leaves open keeps its target out of use.
    const DRAIN_OVERDUE: Duration = Duration::from_secs(2 * 60);

    /// When its outcome counts as "may have taken effect", if none came.
    #[must_use]
    pub fn overdue_at(&self) -> Timestamp {
        match self.action.is_drain() {
            true => self.given_at + Self::DRAIN_OVERDUE,
            false => self.given_at + Self::OUTCOME_OVERDUE,
        }
    }

    /// Whether it leaves only once the ledger has it. What is given back hurts nobody, and may not wait for a disk.
    #[must_use]
    pub fn needs_ledger(&self) -> bool {
        !matches!(self.action, Action::Undrain(_))
    }

    /// Whether it keeps or ends what an earlier order began. That is no new disruption.
    #[must_use]
    pub fn is_upkeep(&self) -> bool {
        match &self.action {
            Action::Undrain(_) => true,
            Action::Drain(_) => self.lease.as_ref().is_some_and(|term| term.id != self.id),
            _ => false,
        }
    }

    /// What it is done to, and what takes everything that runs on it down.
    #[must_use]
    pub fn acts_on(&self) -> &Arc<Target> {
        self.host.as_ref().unwrap_or(&self.target)
    }

    /// `restart`, or where it acts on something else than its target, `reboot web-7`.
    #[must_use]
    pub fn deed(&self) -> String {
        match &self.host {
            Some(host) => format!("{} {}", self.action, host.id),
            None => self.action.to_string(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// The actuator did it. Not a proof that it helped.
    Done,
    /// Certainly without effect.
    Failed,
    /// It may have taken effect.
    Unknown,
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Done => "done",
            Self::Failed => "failed, no effect",
            Self::Unknown => "may have taken effect",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub order: OrderId,
    pub kind: OutcomeKind,
    pub at: Timestamp,
    /// What the actuator says, one line.
    pub detail: String,
}

/// An order and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderState {
    pub order: Order,
    /// False while it waits for a person's approval: it has not left and has no effect.
    pub given: bool,
    pub outcome: Option<Outcome>,
    /// When it stopped counting as in flight: its effect was verified or given up.
    pub ended_at: Option<Timestamp>,
}

/// Why the interlock refuses an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objection {
    /// Number of the invariant in the design's safety page.
    pub invariant: u8,
    /// `never the last one: 0 of 3 in web would be healthy`
    pub reason: String,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)
    }
}
