//! What a simulation found out, as data: the table, the JSON and the page are drawn from this alone.
//!
//! Every map is ordered and every number an integer, so that one seed gives the same bytes everywhere.

use std::collections::BTreeMap;

use serde::Serialize;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub seed: u64,
    /// Hex digest of the configuration that decided.
    pub configuration: String,
    /// What the faults came from: `model` or the trace's name.
    pub faults_from: String,
    pub targets: u64,
    pub hosts: u64,
    pub observers: u64,
    pub simulated_seconds: u64,
    /// Opened, suspicions that came to nothing among them.
    pub cases: u64,
    /// By the ending's name; `open` for those that had not ended.
    pub ended: BTreeMap<String, u64>,
    /// By `action outcome`, such as `restart done`.
    pub orders: BTreeMap<String, u64>,
    /// Orders that reached an actuator for a target that is not the one decided on, or for one that neither
    /// failed nor was reported failing by anybody: there must be none.
    pub wrong_targets: u64,
    /// How often an invariant was broken: there must be none. The first of them are in `broken`.
    pub broken_invariants: u64,
    pub broken: Vec<Broken>,
    /// Orders on targets that were well in truth, but reported failing by those who lied, blipped or flapped.
    pub false_repairs: u64,
    /// Faults that the policy's ladder could have cured, and that neither it cured in time nor a limit held back.
    pub missed_repairs: u64,
    pub unavailable_target_minutes: Unavailable,
    /// By kind of fault.
    pub faults: BTreeMap<String, FaultTally>,
    pub services: BTreeMap<String, ServiceTally>,
    /// Most used scopes first.
    pub disruption: Vec<Disruption>,
    /// By the name of the limit: how many cases it held back at least once.
    pub held_by: BTreeMap<String, u64>,
    pub breaker_trips: u64,
    /// Notices that somebody must act on.
    pub people_called: u64,
    pub timeline: Timeline,
    /// What was assumed that no measurement gave, one sentence each.
    pub assumptions: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Broken {
    /// As numbered in the interlock.
    pub invariant: u8,
    pub at_seconds: u64,
    pub what: String,
}

/// Whole minutes that targets were down, summed over targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unavailable {
    pub with: u64,
    /// The same faults, each ended only by itself or by a person.
    pub without: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FaultTally {
    /// Targets that it struck.
    pub targets: u64,
    pub confirmed: u64,
    /// By an order.
    pub cured: u64,
    pub by_itself: u64,
    pub by_person: u64,
    /// Neither at the end.
    pub lasting: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ServiceTally {
    pub targets: u64,
    pub cases: u64,
    pub orders: u64,
    pub called: u64,
    pub unavailable_target_minutes: Unavailable,
}

/// How much of what a limit allows was used at most, and when.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Disruption {
    /// As [`pitcrew_model::Scope`] writes itself.
    pub scope: String,
    /// The limit's name: `max_in_flight`, `per_domain`, `max_unavailable`, `rate`, `fleet_rate`.
    pub limit: String,
    pub allowed: u64,
    pub most: u64,
    /// The most within each of the timeline's steps.
    pub over_time: Vec<u64>,
}

/// Steps of equal length over the whole simulation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Timeline {
    pub step_seconds: u64,
    /// Targets down at the end of each step.
    pub down_with: Vec<u64>,
    pub down_without: Vec<u64>,
    /// Most orders in flight within each step.
    pub in_flight: Vec<u64>,
    /// Cases opened within each step.
    pub cases: Vec<u64>,
    /// People called within each step.
    pub called: Vec<u64>,
}
