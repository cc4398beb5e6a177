//! A target's trouble, from its first failed test to its end.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Autonomy, CaseId, Evidence, Objection, ObserverName, OrderId, Proves, Rate, RepairName,
    ServiceName, TargetId, TestName, Timestamp, format_duration,
};

/// A test that has failed long enough, by enough observers, to be believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub test: TestName,
    pub proves: Proves,
    /// First failed round of the streak.
    pub since: Timestamp,
    /// When it came to be believed; absent while it is only suspected.
    pub believed_at: Option<Timestamp>,
    pub rounds: u32,
    /// Observers that saw it.
    pub observers: Vec<ObserverName>,
    pub evidence: Evidence,
}

/// Where a case stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Failing, not yet believed.
    Suspected,
    /// Believed and about to be decided.
    Confirmed,
    /// Wants an order that something holds back.
    Held(Hold),
    /// The order is with its actuator.
    Repairing {
        order: OrderId,
    },
    /// The actuator is through; the tests decide, until `until`.
    Verifying {
        order: OrderId,
        since: Timestamp,
        until: Timestamp,
    },
    /// Passing again; must stay so until `until`.
    Probation {
        until: Timestamp,
    },
    Closed(Ending),
}

impl Phase {
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Suspected => "suspected",
            Self::Confirmed => "confirmed",
            Self::Held(_) => "held",
            Self::Repairing { .. } => "repairing",
            Self::Verifying { .. } => "verifying",
            Self::Probation { .. } => "probation",
            Self::Closed(_) => "closed",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Cured,
    SelfRecovered,
    FalseAlarm,
    HandedOver,
    Superseded,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cured => "cured",
            Self::SelfRecovered => "self-recovered",
            Self::FalseAlarm => "false alarm",
            Self::HandedOver => "handed over",
            Self::Superseded => "superseded",
        })
    }
}

/// How far a case has climbed its repair's ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub repair: RepairName,
    /// From 0.
    pub step: u8,
    /// Orders already given for this step.
    pub tries: u8,
    /// Drains that failed, since the last that did not.
    #[serde(default)]
    pub drains_failed: u8,
    /// Drains given since the last order of another kind.
    #[serde(default)]
    pub drains: u8,
}

/// One open case per target and cause; findings of the same target join it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    pub id: CaseId,
    pub target: TargetId,
    pub service: ServiceName,
    pub opened_at: Timestamp,
    pub confirmed_at: Option<Timestamp>,
    pub closed_at: Option<Timestamp>,
    pub phase: Phase,
    pub findings: Vec<Finding>,
    pub progress: Option<Progress>,
    /// Orders given for it, oldest first.
    pub orders: Vec<OrderId>,
    /// Why a person has it, once one does. The case closes as handed over when its target recovers
    /// or the person closes it; a person's order through Pitcrew that helps closes it as cured.
    pub handed_over: Option<String>,
}

impl Progress {
    /// Nothing was done yet.
    #[must_use]
    pub fn of(repair: RepairName) -> Self {
        Self {
            repair,
            step: 0,
            tries: 0,
            drains_failed: 0,
            drains: 0,
        }
    }
}

impl Case {
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Closed(_))
    }
}

/// What is remembered of a target's past cases: for cooldown and lemons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseMemory {
    /// When each confirmed case was closed, oldest first, within the lemon's window.
    pub closed_at: Vec<Timestamp>,
    /// No automatic order on this target before then.
    pub cooldown_until: Timestamp,
    /// How many times in a row the cooldown has doubled.
    pub doublings: u8,
}

/// What keeps a case from being acted on, with the values that say why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "name")]
pub enum Hold {
    Autonomy {
        autonomy: Autonomy,
        window: Option<String>,
    },
    AwaitingApproval {
        order: OrderId,
        digest: String,
    },
    Denied {
        by: String,
    },
    Paused {
        scope: String,
        by: String,
        why: String,
    },
    HeldByPerson {
        by: String,
        why: String,
        until: Timestamp,
    },
    LedgerUnwritable,
    Breaker {
        scope: String,
        failing: u32,
        of: u32,
        count: u32,
        percent: u8,
        manual: bool,
    },
    ObserverSuspect {
        why: String,
    },
    Flapping {
        percent: u8,
    },
    Quorum {
        reporting: u32,
        observers: u32,
    },
    Cooldown {
        until: Timestamp,
    },
    Lemon {
        cases: u32,
        #[serde(with = "crate::duration_text")]
        within: Duration,
    },
    OneAtATime {
        order: OrderId,
        target: TargetId,
    },
    MaxInFlight {
        limit: u32,
        in_flight: u32,
    },
    PerDomain {
        label: String,
        value: String,
        limit: u32,
        in_flight: u32,
    },
    MaxUnavailable {
        limit: u32,
        after: u32,
        of: u32,
    },
    LastHealthy {
        healthy_after: u32,
        of: u32,
    },
    Rate {
        limit: Rate,
        until: Timestamp,
    },
    FleetRate {
        limit: Rate,
    },
    NoRunner {
        action: String,
    },
    /// It runs on something that discovery doesn't know, so nobody can tell what would go down with that.
    HostUnknown {
        host: TargetId,
    },
    Interlock {
        objections: Vec<Objection>,
    },
    HandedOver {
        to: Vec<String>,
        why: String,
    },
}

impl Hold {
    /// The limit's name as configuration and metrics write it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Autonomy { .. } => "autonomy",
            Self::AwaitingApproval { .. } => "awaiting_approval",
            Self::Denied { .. } => "denied",
            Self::Paused { .. } => "paused",
            Self::HeldByPerson { .. } => "held_by_person",
            Self::LedgerUnwritable => "ledger_unwritable",
            Self::Breaker { .. } => "breaker",
            Self::ObserverSuspect { .. } => "observer_suspect",
            Self::Flapping { .. } => "flapping",
            Self::Quorum { .. } => "quorum",
            Self::Cooldown { .. } => "cooldown",
            Self::Lemon { .. } => "lemon",
            Self::OneAtATime { .. } => "one_at_a_time",
            Self::MaxInFlight { .. } => "max_in_flight",
            Self::PerDomain { .. } => "per_domain",
            Self::MaxUnavailable { .. } => "max_unavailable",
            Self::LastHealthy { .. } => "last_healthy",
            Self::Rate { .. } => "rate",
            Self::FleetRate { .. } => "fleet_rate",
            Self::NoRunner { .. } => "no_runner",
            Self::HostUnknown { .. } => "host_unknown",
            Self::Interlock { .. } => "interlock",
            Self::HandedOver { .. } => "handed_over",
        }
    }

    /// Whether it passes when other orders end or somebody answers, mostly within seconds.
    #[must_use]
    pub fn is_short(&self) -> bool {
        matches!(
            self,
            Self::Quorum { .. }
                | Self::OneAtATime { .. }
                | Self::MaxInFlight { .. }
                | Self::PerDomain { .. }
                | Self::MaxUnavailable { .. }
                | Self::LastHealthy { .. }
                | Self::HostUnknown { .. }
                | Self::Interlock { .. }
        )
    }

    /// Whether only a person can move it on.
    #[must_use]
    pub fn needs_person(&self) -> bool {
        match self {
            Self::AwaitingApproval { .. }
            | Self::Denied { .. }
            | Self::Paused { .. }
            | Self::Lemon { .. }
            | Self::FleetRate { .. }
            | Self::NoRunner { .. }
            | Self::HandedOver { .. } => true,
            Self::Breaker { manual, .. } => *manual,
            Self::Autonomy { autonomy, .. } => *autonomy == Autonomy::Propose,
            Self::HeldByPerson { .. }
            | Self::LedgerUnwritable
            | Self::ObserverSuspect { .. }
            | Self::Flapping { .. }
            | Self::Quorum { .. }
            | Self::Cooldown { .. }
            | Self::OneAtATime { .. }
            | Self::MaxInFlight { .. }
            | Self::PerDomain { .. }
            | Self::MaxUnavailable { .. }
            | Self::LastHealthy { .. }
            | Self::Rate { .. }
            | Self::HostUnknown { .. }
            | Self::Interlock { .. } => false,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Autonomy {
                autonomy,
                window: None,
            } => write!(f, "autonomy is `{autonomy}`"),
            Self::Autonomy {
                autonomy,
                window: Some(window),
            } => {
                write!(f, "autonomy is `{autonomy}` in window `{window}`")
            }
            Self::AwaitingApproval { order, .. } => {
                write!(f, "waits for approval: `pitcrew approve {order}`")
            }
            Self::Denied { by } => write!(f, "denied by {by}"),
            Self::Paused { scope, by, why } => write!(f, "{scope} is paused by {by}: {why}"),
            Self::HeldByPerson { by, why, until } => write!(f, "held by {by} until {until}: {why}"),
            Self::LedgerUnwritable => {
                f.write_str("the ledger can't be written, so nothing new is done")
            }
            Self::Breaker {
                scope,
                failing,
                of,
                count,
                percent,
                manual,
            } => write!(
                f,
                "breaker of {scope}: {failing} of {of} newly failing (limit {count} and {percent}%), {}",
                if *manual {
                    "a person must release it: `pitcrew resume`"
                } else {
                    "releases itself when it calms"
                }
            ),
            Self::ObserverSuspect { why } => write!(f, "the observer is suspect: {why}"),
            Self::Flapping { percent } => write!(
                f,
                "flapping: {percent}% of recent rounds changed (limit 30%)"
            ),
            Self::Quorum {
                reporting,
                observers,
            } => {
                write!(
                    f,
                    "quorum: {reporting} of {observers} observers reported lately"
                )
            }
            Self::Cooldown { until } => write!(f, "cooldown after the last case until {until}"),
            Self::Lemon { cases, within } => {
                write!(
                    f,
                    "lemon: {cases} cases within {}",
                    format_duration(*within)
                )
            }
            Self::OneAtATime { order, target } => {
                write!(f, "one order at a time: {order} is in flight on {target}")
            }
            Self::MaxInFlight { limit, in_flight } => {
                write!(f, "max_in_flight {limit}: {in_flight} in flight already")
            }
            Self::PerDomain {
                label,
                value,
                limit,
                in_flight,
            } => {
                write!(
                    f,
                    "per_domain {label} {limit}: {in_flight} in flight in {label}={value} already"
                )
            }
            Self::MaxUnavailable { limit, after, of } => {
                write!(
                    f,
                    "max_unavailable {limit}: {after} of {of} would be unavailable"
                )
            }
            Self::LastHealthy { healthy_after, of } => {
                write!(
                    f,
                    "never the last one: {healthy_after} of {of} would be healthy"
                )
            }
            Self::Rate { limit, until } => write!(f, "rate {limit} is used up until {until}"),
            Self::FleetRate { limit } => {
                write!(
                    f,
                    "fleet brake: {limit} orders over everything are used up; `pitcrew resume` releases it"
                )
            }
            Self::NoRunner { action } => {
                write!(
                    f,
                    "nothing is known to run this target, so `{action}` can't be done: set `runs_as`"
                )
            }
            Self::HostUnknown { host } => write!(
                f,
                "it runs on {host}, which no source gives, so nobody can tell what else would go down"
            ),
            Self::Interlock { objections } => {
                f.write_str("the interlock refuses: ")?;
                for (at, objection) in objections.iter().enumerate() {
                    write!(f, "{}{objection}", if at == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Self::HandedOver { to, why } if to.is_empty() => write!(f, "handed over: {why}"),
            Self::HandedOver { to, why } => write!(f, "handed over to {}: {why}", to.join(", ")),
        }
    }
}
