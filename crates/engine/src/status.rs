//! What is, now: read-only answers for pages, tables and scripts, computed on demand and never kept.

use std::sync::Arc;

use pitcrew_model::{
    Autonomy, CaseId, Evidence, Health, ObserverName, Scope, ServiceName, Target, TestName,
    Timestamp, Verdict,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub name: ServiceName,
    pub autonomy: Autonomy,
    pub targets: u32,
    pub healthy: u32,
    pub failing: u32,
    pub unknown: u32,
    /// With an order in flight or being verified.
    pub repairing: u32,
    pub probation: u32,
    /// Open cases that something holds back.
    pub held: u32,
    /// Targets that may be unavailable at once, and that are.
    pub unavailable_max: u32,
    pub unavailable: u32,
    pub paused: bool,
    /// Scopes of this service whose breaker has tripped.
    pub breakers: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    pub target: Arc<Target>,
    pub service: Option<ServiceName>,
    pub health: Health,
    pub tests: Vec<TestStatus>,
    pub case: Option<CaseId>,
    /// A person's hand on it.
    pub hold: Option<HoldStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldStatus {
    pub by: String,
    pub why: String,
    pub until: Timestamp,
}

/// One test of one target, as one observer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestStatus {
    pub test: TestName,
    /// Absent until the first answer.
    pub observer: Option<ObserverName>,
    pub verdict: Verdict,
    /// Failed rounds in a row.
    pub failed_rounds: u32,
    pub answered_at: Option<Timestamp>,
    /// Absent when it passes without remark.
    pub evidence: Option<Evidence>,
}

/// One limit in one scope: what it allows, what of it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitStatus {
    pub scope: Scope,
    /// As configuration and metrics write it: `max_in_flight`.
    pub name: String,
    pub limit: String,
    pub used: String,
    /// Nothing more passes now.
    pub exhausted: bool,
    /// Open cases that it holds back.
    pub holds: Vec<CaseId>,
}
