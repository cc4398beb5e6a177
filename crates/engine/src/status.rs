//! What is, now: read-only answers for pages, tables and scripts, computed on demand and never kept.

use std::{collections::VecDeque, sync::Arc};

use pitcrew_model::{
    Autonomy, CaseId, Evidence, Health, Hold, ObserverName, OrderId, Phase, Rate, Scope,
    ServiceName, Target, TargetId, TestKind, TestName, Timestamp, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::{
    Engine,
    diagnose::Opinion,
    fleet::Crew,
    guards::{Guard, holds},
    leases::Leased,
    plan::domain_limit,
};

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
    /// All of it: by a pause of its own or of the fleet.
    pub paused: bool,
    /// Every pause that touches it: of the fleet, its own and of its parts.
    #[serde(default)]
    pub pauses: Vec<PauseStatus>,
    /// Targets under a person's hand.
    #[serde(default)]
    pub on_hold: u32,
    /// Targets that are out of use, or may be.
    #[serde(default)]
    pub drained: u32,
    /// Scopes of this service whose breaker has tripped.
    pub breakers: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseStatus {
    pub scope: Scope,
    pub by: String,
    pub why: String,
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
    /// That it is out of use, or may be.
    #[serde(default)]
    pub drained: Option<DrainStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// The order that began it.
    pub lease: OrderId,
    /// For whose repair; without one on a person's word.
    pub case: Option<CaseId>,
    /// It is given back then, unless its lease is renewed.
    pub until: Timestamp,
    /// Why it is being given back, once it is.
    #[serde(default)]
    pub ending: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldStatus {
    pub by: String,
    pub why: String,
    pub until: Timestamp,
    /// Stopped on purpose: it stays so until it is started or released.
    #[serde(default)]
    pub stopped: bool,
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

impl Engine {
    /// What all tests and the case of a target say together. `Unknown` where any test has no fresh answer.
    pub(crate) fn health(&self, now: Timestamp, at: usize) -> Health {
        let member = self.fleet.member(at);
        let phase = member.case().map(|case| &self.open_case(case).phase);
        let is_repaired = matches!(
            phase,
            Some(Phase::Repairing { .. } | Phase::Verifying { .. })
        );
        if (member.in_flight().is_some() || is_repaired) && holds(Guard::FlyingIsUnavailable)
            || self.host_in_flight(at).is_some() && holds(Guard::CarriedIsUnavailable)
        {
            return Health::Repairing;
        }
        let Some(crew) = self
            .fleet
            .crew_of(at)
            .filter(|crew| !crew.service.tests.is_empty())
        else {
            return Health::Unknown;
        };
        if self
            .current_views(now, at)
            .any(|(_, view)| view.fails > 0 || view.opinion == Opinion::Failing)
            && holds(Guard::FailingIsUnavailable)
        {
            return Health::Failing;
        }
        let mut unknown = false;
        for (position, test) in crew.service.tests.iter().enumerate() {
            let mut views = member.views_of(position).peekable();
            // A job that has never pushed a result is not part of the target yet.
            let unheard = test.kind == TestKind::Push && views.peek().is_none();
            unknown |= !unheard && !views.any(|view| self.is_fresh(now, test, view));
        }
        match phase {
            Some(Phase::Probation { .. }) if holds(Guard::ProbationIsUnavailable) => {
                Health::Probation
            }
            _ if unknown && holds(Guard::UnknownIsUnavailable) => Health::Unknown,
            Some(Phase::Confirmed | Phase::Held(_)) => Health::Failing,
            Some(_) | None => Health::Healthy,
        }
    }

    /// Reads every member of the service once.
    #[must_use]
    pub fn service(&self, now: Timestamp, name: &ServiceName) -> Option<ServiceStatus> {
        let crew = self.fleet.crew(name)?;
        let service = &crew.service;
        let mut counts = [0u32; 5];
        let (mut available, mut on_hold, mut drained) = (0, 0, 0);
        for member in &crew.members {
            let id = &self.fleet.member(*member).target.id;
            drained += u32::from(self.leases.contains_key(id));
            on_hold += u32::from(self.hold_on(now, *member).is_some());
            counts[self.health(now, *member) as usize] += 1;
            available += u32::from(self.is_available(now, *member));
        }
        let of = |health: Health| counts[health as usize];
        let targets = crew.size();
        Some(ServiceStatus {
            name: name.clone(),
            autonomy: service.autonomy_at(now).0,
            targets,
            healthy: of(Health::Healthy),
            failing: of(Health::Failing),
            unknown: of(Health::Unknown),
            repairing: of(Health::Repairing),
            probation: of(Health::Probation),
            held: u32::try_from(crew.waiting.len()).unwrap_or(u32::MAX),
            unavailable_max: service.limits.unavailable_max(targets),
            unavailable: targets - available,
            paused: self.pauses.contains_key(&Scope::Fleet)
                || self.pauses.contains_key(&Scope::Service(name.clone())),
            pauses: self.pauses_of(name),
            on_hold,
            drained,
            breakers: self
                .breakers
                .tripped()
                .filter(|scope| match scope {
                    Scope::Fleet => true,
                    Scope::Service(service) | Scope::Domain { service, .. } => service == name,
                })
                .map(ToString::to_string)
                .collect(),
        })
    }

    fn pauses_of(&self, name: &ServiceName) -> Vec<PauseStatus> {
        let touches = |scope: &Scope| match scope {
            Scope::Fleet => true,
            Scope::Service(service) | Scope::Domain { service, .. } => service == name,
        };
        self.pauses
            .iter()
            .filter(|(scope, _)| touches(scope))
            .map(|(scope, pause)| PauseStatus {
                scope: scope.clone(),
                by: pause.by.clone(),
                why: pause.why.clone(),
            })
            .collect()
    }

    /// The order in flight on what this member runs on.
    pub(crate) fn host_in_flight(&self, at: usize) -> Option<OrderId> {
        if self.flying.is_empty() {
            return None;
        }
        let mut hosts = self.fleet.hosts_of(at).into_iter();
        hosts.find_map(|host| self.fleet.member(host).in_flight())
    }

    fn hold_on(&self, now: Timestamp, at: usize) -> Option<&HoldStatus> {
        let hold = self.holds.get(&self.fleet.member(at).target.id);
        hold.filter(|hold| now < hold.until)
    }

    /// Up to `count` targets in order of their ids, after `after`.
    #[must_use]
    pub fn targets_after(
        &self,
        now: Timestamp,
        after: Option<&TargetId>,
        count: usize,
    ) -> Vec<TargetStatus> {
        let sorted = self.fleet.sorted();
        let start = after.map_or(0, |after| {
            sorted.partition_point(|at| self.fleet.member(*at).target.id <= *after)
        });
        sorted[start..]
            .iter()
            .take(count)
            .map(|at| self.target_status(now, *at))
            .collect()
    }

    #[must_use]
    pub fn target(&self, now: Timestamp, id: &TargetId) -> Option<TargetStatus> {
        self.fleet.find(id).map(|at| self.target_status(now, at))
    }

    fn target_status(&self, now: Timestamp, at: usize) -> TargetStatus {
        let member = self.fleet.member(at);
        let crew = self.fleet.crew_of(at);
        let mut tests = Vec::new();
        for (position, test) in crew
            .into_iter()
            .flat_map(|crew| crew.service.tests.iter().enumerate())
        {
            let mut views = member.views_of(position).peekable();
            if views.peek().is_none() {
                tests.push(TestStatus {
                    test: test.name.clone(),
                    observer: None,
                    verdict: Verdict::Unknown,
                    failed_rounds: 0,
                    answered_at: None,
                    evidence: None,
                });
            }
            tests.extend(views.map(|view| {
                TestStatus {
                    test: test.name.clone(),
                    observer: self.observers.get(usize::from(view.observer)).cloned(),
                    verdict: view.verdict,
                    failed_rounds: u32::from(view.fails),
                    answered_at: Some(view.known_at_latest(test, self.unchanged_at(view)))
                        .filter(|at| *at > Timestamp::ZERO),
                    evidence: view.evidence().cloned(),
                }
            }));
        }
        TargetStatus {
            target: member.target.clone(),
            service: crew.map(|crew| crew.service.name.clone()),
            health: self.health(now, at),
            tests,
            case: member.case(),
            hold: self.hold_on(now, at).cloned(),
            drained: self.leases.get(&member.target.id).map(Leased::status),
        }
    }

    /// Targets that are out of use, or may be, also such as discovery has no more.
    pub fn drained(&self) -> impl Iterator<Item = (&TargetId, DrainStatus)> {
        let all = self.leases.iter();
        all.map(|(target, leased)| (target, leased.status()))
    }

    /// Every limit that counts something, with what of it is used and whom it holds back.
    #[must_use]
    pub fn limits(&self, now: Timestamp) -> Vec<LimitStatus> {
        let mut limits = vec![self.brake_status(now)];
        for crew in &self.fleet.crews {
            self.service_limits(now, crew, &mut limits);
        }
        for case in self.cases.values() {
            if let Phase::Held(hold) = &case.phase {
                self.note_hold(case.id, &case.service, hold, &mut limits);
            }
        }
        limits
    }

    fn brake_status(&self, now: Timestamp) -> LimitStatus {
        let limit = self.fleet_limits.fleet_rate;
        let used = self
            .brake
            .given
            .iter()
            .filter(|given| **given > self.brake.released_at && now.since(**given) < limit.per)
            .count();
        LimitStatus {
            scope: Scope::Fleet,
            name: "fleet_rate".to_owned(),
            limit: limit.to_string(),
            used: used.to_string(),
            exhausted: self.brake.on,
            holds: Vec::new(),
        }
    }

    fn service_limits(&self, now: Timestamp, crew: &Crew, limits: &mut Vec<LimitStatus>) {
        let service = &crew.service;
        let scope = Scope::Service(service.name.clone());
        let mut push = |scope: &Scope, name: &str, limit: String, used: u32, exhausted: bool| {
            limits.push(LimitStatus {
                scope: scope.clone(),
                name: name.to_owned(),
                limit,
                used: used.to_string(),
                exhausted,
                holds: Vec::new(),
            });
        };
        let size = crew.size();
        let available = crew
            .members
            .iter()
            .filter(|member| self.is_available(now, **member))
            .count();
        let unavailable = size - u32::try_from(available).unwrap_or(size);
        let allowed = service.limits.unavailable_max(size);
        push(
            &scope,
            "max_unavailable",
            unavailable_limit(allowed, size, service.limits.max_unavailable),
            unavailable,
            unavailable >= allowed,
        );
        let in_flight = u32::try_from(crew.in_flight.len()).unwrap_or(u32::MAX);
        let most = service.limits.max_in_flight;
        push(
            &scope,
            "max_in_flight",
            most.to_string(),
            in_flight,
            in_flight >= most,
        );
        let used = rate_used(now, &crew.given, service.limits.rate);
        push(
            &scope,
            "rate",
            service.limits.rate.to_string(),
            used,
            used >= service.limits.rate.count,
        );
        let rule = service.limits.breaker;
        push(
            &scope,
            "breaker",
            format!("{} and {}%", rule.count, rule.percent),
            self.breakers.failing(now, &scope, rule.within),
            self.breakers.is_tripped(&scope),
        );
        for label in &service.domains {
            let limit = domain_limit(crew, label);
            for (value, _) in crew.values(label) {
                let scope = Scope::Domain {
                    service: service.name.clone(),
                    label: label.clone(),
                    value: value.to_string(),
                };
                let used = self.in_flight_in(label, value);
                if used > 0 || self.breakers.is_tripped(&scope) {
                    push(&scope, "per_domain", limit.to_string(), used, used >= limit);
                    push(
                        &scope,
                        "breaker",
                        format!("{} and {}%", rule.count, rule.percent),
                        self.breakers.failing(now, &scope, rule.within),
                        self.breakers.is_tripped(&scope),
                    );
                }
            }
        }
    }

    /// Lists a held case under the limit that holds it; limits that count nothing appear when they hold.
    fn note_hold(
        &self,
        case: CaseId,
        service: &ServiceName,
        hold: &Hold,
        limits: &mut Vec<LimitStatus>,
    ) {
        let in_scope = |scope: &Scope| match scope {
            Scope::Fleet => true,
            Scope::Service(of) | Scope::Domain { service: of, .. } => of == service,
        };
        if let Some(limit) = limits
            .iter_mut()
            .find(|limit| limit.name == hold.name() && in_scope(&limit.scope))
        {
            limit.holds.push(case);
            return;
        }
        limits.push(LimitStatus {
            scope: Scope::Service(service.clone()),
            name: hold.name().to_owned(),
            limit: hold.to_string(),
            used: String::new(),
            exhausted: true,
            holds: vec![case],
        });
    }
}

/// `1 (25% of 4)`, or just the number where the configuration names one.
fn unavailable_limit(allowed: u32, size: u32, configured: impl std::fmt::Display) -> String {
    let configured = configured.to_string();
    if configured.ends_with('%') {
        format!("{allowed} ({configured} of {size})")
    } else {
        allowed.to_string()
    }
}

fn rate_used(now: Timestamp, given: &VecDeque<Timestamp>, limit: Rate) -> u32 {
    let used = given
        .iter()
        .filter(|given| now.since(**given) < limit.per)
        .count();
    u32::try_from(used).unwrap_or(u32::MAX)
}
