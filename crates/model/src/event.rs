//! All that can happen to the decision engine, and all that it can want done.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Action, Case, CaseId, CaseMemory, Ending, Finding, Hold, Lease, Observation, ObserverName,
    Order, OrderId, OrderState, Outcome, Production, ReceiverName, Service, ServiceName,
    SourceName, Target, TargetId, TestName, Timestamp,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A valid configuration was loaded or reloaded.
    Production(Arc<Production>),
    /// Discovery changed: new or changed targets, and targets that are gone.
    Targets {
        upserted: Vec<Arc<Target>>,
        removed: Vec<TargetId>,
    },
    /// A source's answer was refused, or (`None`) it is fine again. Its last good targets stay.
    Source {
        source: SourceName,
        trouble: Option<SourceTrouble>,
    },
    Observations(Vec<Observation>),
    /// Whatever this observer last reported as passed or warned, it has asked again within that test's interval
    /// before `at`, with the same verdict. A failure or no answer is always reported by itself, and so is every
    /// answer of a test that had one within its last 32 rounds, or that [`Effect::Probe`] asked for within them,
    /// because streaks and flapping are counted by the rounds reported. So is the first answer after
    /// [`Effect::Watch`].
    Unchanged {
        observer: ObserverName,
        at: Timestamp,
    },
    /// Whether an observer passes its own control test.
    Observer {
        observer: ObserverName,
        trouble: Option<String>,
    },
    Outcome(Outcome),
    Person(Request),
    /// The ledger could not take the records before these orders, so they were not given.
    LedgerFailed {
        not_given: Vec<OrderId>,
        error: String,
    },
    LedgerRecovered,
    /// The process was stopped or the clock stepped for this long: nothing seen before it counts.
    Woke {
        paused_for: Duration,
    },
    /// Time has passed.
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceTrouble {
    Failed { error: String },
    Empty { last: usize },
    Shrank { last: usize, now: usize },
}

impl fmt::Display for SourceTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { error } => f.write_str(error),
            Self::Empty { last } => write!(
                f,
                "it answers with no target, before {last}; the last answer is kept"
            ),
            Self::Shrank { last, now } => {
                write!(
                    f,
                    "it shrank from {last} to {now} targets, more than half; the last answer is kept"
                )
            }
        }
    }
}

/// What a pause or a breaker covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Fleet,
    Service(ServiceName),
    /// All targets of a service with this value of a domain label.
    Domain {
        service: ServiceName,
        label: String,
        value: String,
    },
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("fleet"),
            Self::Service(service) => write!(f, "{service}"),
            Self::Domain {
                service,
                label,
                value,
            } => write!(f, "{service} in {label}={value}"),
        }
    }
}

/// A person's act, with who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub by: String,
    pub act: PersonAct,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonAct {
    Pause {
        scope: Scope,
        why: String,
    },
    /// Lifts the pause, and releases breakers and the fleet brake of that scope.
    Resume {
        scope: Scope,
    },
    Hold {
        target: TargetId,
        until: Timestamp,
        why: String,
    },
    Release {
        target: TargetId,
    },
    /// `digest` must be the order's own.
    Approve {
        order: OrderId,
        digest: String,
    },
    Deny {
        order: OrderId,
    },
    /// Through the same limits as any other.
    Order {
        target: TargetId,
        action: Action,
        why: String,
    },
    /// Closes a handed-over case: the person has dealt with it.
    Close {
        case: CaseId,
        why: String,
    },
    /// An empty or shrunken answer that was refused is right.
    Accept {
        source: SourceName,
        why: String,
    },
}

/// What the person does, after their name: `pauses web: release 4.2`.
impl fmt::Display for PersonAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pause { scope, why } => write!(f, "pauses {scope}: {why}"),
            Self::Resume { scope } => write!(f, "resumes {scope}"),
            Self::Hold { target, until, why } => write!(f, "holds {target} until {until}: {why}"),
            Self::Release { target } => write!(f, "releases {target}"),
            Self::Approve { order, .. } => write!(f, "approves {order}"),
            Self::Deny { order } => write!(f, "denies {order}"),
            Self::Order {
                target,
                action,
                why,
            } => write!(f, "orders {action} {target}: {why}"),
            Self::Close { case, why } => write!(f, "closes {case}: {why}"),
            Self::Accept { source, why } => {
                write!(f, "accepts the answer of source {source}: {why}")
            }
        }
    }
}

/// All that the engine can want done. Records and saved rows of one batch are committed together, before
/// any order of that batch leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Append to the ledger.
    Record(Record),
    /// Upsert a row of the state that survives a restart.
    Save(Saved),
    /// Give this order to its actuator, after the ledger has it.
    Give(Order),
    /// Run these tests on this target from now on, instead of any before.
    Watch {
        target: Arc<Target>,
        service: Arc<Service>,
    },
    Unwatch {
        target: TargetId,
    },
    /// Ask at once, by every observer.
    Probe {
        target: TargetId,
        test: TestName,
    },
    Notify(Notice),
}

/// A row of state; its key is its kind and id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Saved {
    /// Saved once more when it closes, which deletes the row.
    Case(Case),
    Order(Box<OrderState>),
    Memory {
        target: TargetId,
        memory: CaseMemory,
    },
    Hold {
        target: TargetId,
        by: String,
        why: String,
        until: Option<Timestamp>,
        /// Because an operator stopped the target.
        #[serde(default)]
        stopped: bool,
    },
    Pause {
        scope: Scope,
        by: String,
        why: Option<String>,
    },
    Breaker {
        scope: Scope,
        tripped_at: Option<Timestamp>,
    },
    FleetBrake {
        released_at: Option<Timestamp>,
    },
    /// A target that is out of use; `None`: it is back.
    Lease {
        target: TargetId,
        lease: Option<Box<Lease>>,
    },
    /// When disruptive orders were given lately: for one service, or (`None`) over everything.
    Given {
        service: Option<ServiceName>,
        at: Vec<Timestamp>,
    },
    /// How often a repair of a finding cured, for what is learnt.
    Learned {
        service: ServiceName,
        test: TestName,
        action: String,
        cured: u32,
        failed: u32,
        seconds: u64,
    },
}

impl Saved {
    /// Unique over all rows; a later row with the same key replaces the earlier.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Case(case) => format!("case/{}", case.id),
            Self::Order(state) => format!("order/{}", state.order.id),
            Self::Memory { target, .. } => format!("memory/{target}"),
            Self::Hold { target, .. } => format!("hold/{target}"),
            Self::Pause { scope, .. } => format!("pause/{}", scope_key(scope)),
            Self::Breaker { scope, .. } => format!("breaker/{}", scope_key(scope)),
            Self::FleetBrake { .. } => "fleet_brake".to_owned(),
            Self::Lease { target, .. } => format!("lease/{target}"),
            Self::Given {
                service: Some(service),
                ..
            } => format!("given/{service}"),
            Self::Given { service: None, .. } => "given".to_owned(),
            Self::Learned {
                service,
                test,
                action,
                ..
            } => format!("learned/{service:?}/{test:?}/{action:?}"),
        }
    }

    /// Whether the row says nothing any more, so that it can be deleted instead of kept.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        match self {
            Self::Case(case) => !case.is_open(),
            Self::Order(state) => state.ended_at.is_some(),
            Self::Hold { until, .. } => until.is_none(),
            Self::Pause { why, .. } => why.is_none(),
            Self::Breaker { tripped_at, .. } => tripped_at.is_none(),
            Self::Lease { lease, .. } => lease.is_none(),
            Self::Given { at, .. } => at.is_empty(),
            Self::Memory { memory, .. } => *memory == CaseMemory::default(),
            Self::FleetBrake { .. } | Self::Learned { .. } => false,
        }
    }
}

/// No two scopes share one, whatever their names hold: a service may be called `fleet`.
fn scope_key(scope: &Scope) -> String {
    match scope {
        Scope::Fleet => "fleet".to_owned(),
        Scope::Service(service) => format!("service/{service:?}"),
        Scope::Domain {
            service,
            label,
            value,
        } => format!("domain/{service:?}/{label:?}/{value:?}"),
    }
}

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub at: Timestamp,
    pub case: Option<CaseId>,
    pub order: Option<OrderId>,
    pub target: Option<TargetId>,
    pub service: Option<ServiceName>,
    pub fact: Fact,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Fact {
    ServerStarted {
        version: String,
        fence: u64,
        installation: String,
    },
    ConfigurationLoaded {
        digest: String,
        services: usize,
        sources: usize,
    },
    ConfigurationRefused {
        errors: Vec<String>,
    },
    TargetsChanged {
        added: usize,
        removed: usize,
    },
    Source {
        source: SourceName,
        trouble: Option<SourceTrouble>,
    },
    Observer {
        observer: ObserverName,
        trouble: Option<String>,
    },
    ProcessStarted {
        name: String,
        detail: String,
    },
    ProcessStopped {
        name: String,
        detail: String,
    },
    Confirmed {
        findings: Vec<Finding>,
    },
    /// An order that was wanted and what holds it back; written when the reason changes.
    Held {
        wanted: Option<String>,
        hold: Hold,
        would: String,
    },
    /// Written before the order leaves.
    Intent {
        order: Box<Order>,
    },
    Outcome {
        outcome: Outcome,
    },
    /// The tests' word on an order, by which observers.
    Verified {
        passed: bool,
        observers: Vec<ObserverName>,
        detail: String,
    },
    Probation {
        until: Timestamp,
    },
    Relapsed {
        findings: Vec<Finding>,
    },
    HandedOver {
        to: Vec<ReceiverName>,
        why: String,
    },
    Closed {
        ending: Ending,
        why: String,
    },
    BreakerTripped {
        scope: Scope,
        failing: u32,
        of: u32,
    },
    BreakerReleased {
        scope: Scope,
        by: Option<String>,
    },
    Person {
        by: String,
        act: PersonAct,
        refused: Option<String>,
    },
    Notified {
        receiver: ReceiverName,
        delivered: bool,
        detail: String,
    },
    LedgerRecovered {
        not_given: Vec<OrderId>,
    },
    Woke {
        #[serde(with = "crate::duration_text")]
        paused_for: Duration,
    },
}

/// What a person is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Empty: every receiver.
    pub to: Vec<ReceiverName>,
    pub at: Timestamp,
    pub urgency: Urgency,
    pub case: Option<CaseId>,
    pub target: Option<TargetId>,
    pub service: Option<ServiceName>,
    /// One line that says what to do.
    pub summary: String,
    /// Findings, orders and outcomes so far, one line each.
    pub evidence: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// Somebody must act.
    Page,
    /// Somebody should know.
    Inform,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_scopes_share_a_row() {
        let service = |name: &str| Scope::Service(name.parse().unwrap());
        let domain = |label: &str, value: &str| Scope::Domain {
            service: "web".parse().unwrap(),
            label: label.to_owned(),
            value: value.to_owned(),
        };
        let scopes = [
            Scope::Fleet,
            service("fleet"),
            service("web in zone=a"),
            service("\"web\"/\"zone\""),
            domain("zone", "a"),
            domain("zone", "a/b"),
        ];
        let keys: std::collections::BTreeSet<String> = scopes.iter().map(scope_key).collect();
        assert_eq!(keys.len(), scopes.len(), "{keys:?}");
    }
}
