//! What the HTTP API takes and gives, as the server writes it and the command line reads it: one set of types,
//! so that the two can't drift apart.
//!
//! Additions are free; a member that is here stays and keeps its meaning.

use std::{collections::BTreeMap, time::Duration};

use pitcrew_model::{
    Case, CaseId, Evidence, ObserverName, OrderId, OrderState, Record, Scope, TargetId, TestName,
    Timestamp, Verdict,
};
use serde::{Deserialize, Serialize};

pub use pitcrew_engine::{
    HoldStatus, LimitStatus, PauseStatus, ServiceStatus, TargetStatus, TestStatus,
};

/// One page of a list. `next` is the `after` of the following page; absent on the last one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

/// The server and its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    pub version: String,
    pub installation: String,
    #[serde(default)]
    pub role: Role,
    /// URL of the server that leads, where several share a ledger and one does.
    #[serde(default)]
    pub leader: Option<String>,
    pub started_at: Timestamp,
    /// It takes requests and decides: `GET /readyz` answers 200.
    pub ready: bool,
    /// What is wrong with Pitcrew itself, one line each.
    pub troubles: Vec<String>,
    pub configuration: ConfigurationStatus,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It decides; a server alone always does.
    #[default]
    Leads,
    /// Another one does. This one tells what the ledger has, and takes over.
    Follows,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    pub directory: String,
    pub digest: String,
    pub loaded_at: Timestamp,
    pub warnings: Vec<String>,
    /// A newer state of the files that was not taken over.
    pub refused: Option<RefusedConfiguration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedConfiguration {
    pub at: Timestamp,
    pub errors: Vec<String>,
}

/// What is, now, on one page: the answer of `GET /report`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub at: Timestamp,
    pub server: ServerStatus,
    pub services: Vec<ServiceStatus>,
    /// Open cases, those that need a person first; at most [`Report::CASES_MAX`].
    pub cases: Vec<CaseLine>,
    pub cases_open: u64,
    pub cases_needing_person: u64,
}

impl Report {
    pub const CASES_MAX: usize = 200;
}

/// A case and, in one line, why it is or is not acted on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseLine {
    pub case: Case,
    pub needs_person: bool,
    /// `held: never the last one: 0 of 2 would be healthy`, `restart given, try 1, verifying`.
    pub stands: String,
}

/// Everything known of a case, an order or a target: the answer of `GET /explain/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub at: Timestamp,
    pub subject: Subject,
    pub target: Option<TargetStatus>,
    pub case: Option<CaseLine>,
    /// Orders of the case, or the order itself, that are still in memory.
    pub orders: Vec<OrderState>,
    /// The chain from the ledger, oldest first.
    pub records: Vec<LedgerEntry>,
    /// How many older records of it are left out.
    pub left_out: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Case(CaseId),
    Order(OrderId),
    Target(TargetId),
}

/// One record where it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    pub seq: u64,
    /// Of this record and all before it, 64 hex digits.
    pub hash: String,
    pub record: Record,
}

impl From<pitcrew_ledger::Entry> for LedgerEntry {
    fn from(entry: pitcrew_ledger::Entry) -> Self {
        Self {
            seq: entry.seq,
            hash: entry.hash,
            record: entry.record,
        }
    }
}

/// The ledger's chain is whole: the answer of `GET /ledger/verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerVerified {
    pub installation: String,
    pub entries: u64,
    pub last_hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    #[serde(default = "fleet")]
    pub scope: Scope,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    #[serde(default = "fleet")]
    pub scope: Scope,
}

fn fleet() -> Scope {
    Scope::Fleet
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    pub target: TargetId,
    /// At most 30 days: what must not outlive us expires.
    #[serde(rename = "for", with = "pitcrew_model::duration_text")]
    pub lasting: Duration,
    pub why: String,
}

impl HoldRequest {
    pub const LASTING_MAX: Duration = Duration::from_secs(30 * 86_400);
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    pub target: TargetId,
}

/// A person's own order. `action` names one of the catalogue: `restart`, `start`, `stop`, `hand_over`, or the
/// name of a command or webhook that a repair of the target's service has; nothing else can be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    pub target: TargetId,
    pub action: String,
    pub why: String,
}

/// One page that is scraped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScrapeStatus {
    pub scrape: String,
    pub target: TargetId,
    pub url: String,
    /// Of all its series.
    pub labels: BTreeMap<String, String>,
    /// Absent before the first time.
    pub last_at: Option<Timestamp>,
    pub took_seconds: Option<f64>,
    pub samples: Option<u64>,
    /// What was wrong the last time.
    pub error: Option<String>,
}

impl ScrapeStatus {
    /// `SCRAPE/TARGET`
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.scrape, self.target)
    }
}

/// A host that has been here, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    pub host: String,
    /// Absent while its agent is not connected.
    pub connected_since: Option<Timestamp>,
    pub version: Option<String>,
    pub boot_id: Option<String>,
    /// The host itself and what runs there.
    pub targets: usize,
    /// What it said last is not believed, because more than half would be gone.
    #[serde(default)]
    pub is_refused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRequest {
    pub host: String,
}

/// To be carried to the host by a person: whoever has the token can become that host, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    pub host: String,
    pub token: String,
    pub expires_at: Timestamp,
}

/// Bound to the exact order that the person saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    pub digest: String,
}

/// A body without members: `{}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenyRequest {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseRequest {
    pub why: String,
}

/// The answer that was refused is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptRequest {
    pub why: String,
}

/// A person's request was carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The ledger has it. False while the ledger can't be written: it holds, but would not survive a restart.
    pub recorded: bool,
    /// The order that was given for it.
    pub order: Option<OrderId>,
    pub case: Option<CaseId>,
    pub record: Record,
}

/// Which tests to run now; all of the target's when none is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    #[serde(default)]
    pub tests: Vec<TestName>,
}

/// One test that was run on request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestResult {
    pub test: TestName,
    pub kind: String,
    pub verdict: Verdict,
    pub evidence: Evidence,
    /// Microseconds.
    pub took_us: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestResults {
    pub target: TargetId,
    pub results: Vec<TestResult>,
}

/// Results of tests of kind `push`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushRequest {
    pub observations: Vec<PushedObservation>,
}

impl PushRequest {
    pub const OBSERVATIONS_MAX: usize = 10_000;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushedObservation {
    pub target: TargetId,
    pub test: TestName,
    pub verdict: Verdict,
    /// One line; cut to 512 bytes.
    #[serde(default)]
    pub evidence: String,
    /// Who saw it; `push` when absent.
    #[serde(default)]
    pub observer: Option<ObserverName>,
}

/// What became of the members of a push or of an alert group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushAnswer {
    pub accepted: u64,
    pub refused: Vec<RefusedPush>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedPush {
    /// Place in the request, from 0.
    pub index: u64,
    pub why: String,
}

/// The part of Alertmanager's webhook body that is read; everything else in it is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertGroup {
    pub alerts: Vec<Alert>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub status: AlertStatus,
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertStatus {
    Firing,
    Resolved,
}

/// RFC 9457: every error's body, as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What is wrong with this very request, and what to do about it.
    pub detail: String,
}

pub(crate) fn about_blank() -> String {
    "about:blank".to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_body_panics_its_parser(body in ".{0,200}") {
            serde_json::from_str::<PushRequest>(&body).ok();
            serde_json::from_str::<AlertGroup>(&body).ok();
            serde_json::from_str::<PauseRequest>(&body).ok();
            serde_json::from_str::<HoldRequest>(&body).ok();
        }

        #[test]
        fn an_alert_is_read_whatever_else_it_has(
            labels in prop::collection::btree_map("[a-z_]{1,10}", ".{0,20}", 0..5),
            firing: bool,
            other in ".{0,20}",
        ) {
            let status = if firing { AlertStatus::Firing } else { AlertStatus::Resolved };
            let body = serde_json::json!({
                "version": other,
                "alerts": [{ "status": status, "labels": labels, "startsAt": other, "values": null }],
            });
            let group: AlertGroup = serde_json::from_value(body).unwrap();
            prop_assert_eq!(&group.alerts[0].labels, &labels);
            prop_assert_eq!(group.alerts[0].status, status);
        }
    }
}
