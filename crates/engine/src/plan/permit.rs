//! "May we touch it?": every limit, in the order in which its reason is reported.
//!
//! Four questions: may this target be touched at all, may this case be told to a person, may its repair be
//! used, may capacity be taken away now. The first limit that says no is the reason; nothing is decided twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pitcrew_model::{
    Action, Authority, Autonomy, BreakerRule, CaseId, Effect, Hold, Notice, Order, OrderId, Rate,
    Saved, Scope, ServiceName, Timestamp, Urgency, Window,
};

use super::Wanted;
use crate::{
    Engine, Out,
    fleet::Crew,
    guards::{Guard, holds},
};

impl Engine {
    /// A person's hand, a pause, the ledger, and how freely this service may be repaired.
    pub(crate) fn may_touch(&self, now: Timestamp, at: usize) -> Result<(), Hold> {
        self.free_of_people(now, at)?;
        let Some(crew) = self.fleet.crew_of(at) else {
            return Ok(());
        };
        let (autonomy, window) = autonomy_at(now, crew);
        match autonomy {
            Autonomy::Observe | Autonomy::Propose if holds(Guard::Autonomy) => {
                Err(Hold::Autonomy {
                    autonomy,
                    window: window.map(|window| window.name.clone()),
                })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn free_of_people(&self, now: Timestamp, at: usize) -> Result<(), Hold> {
        self.free_of_holds(now, at)?;
        self.free_of_pauses(at)
    }

    fn free_of_holds(&self, now: Timestamp, at: usize) -> Result<(), Hold> {
        for member in std::iter::once(at).chain(self.fleet.hosts_of(at)) {
            let guard = match member == at {
                true => Guard::HeldByPerson,
                false => Guard::HostHeldByPerson,
            };
            if holds(guard)
                && let Some(hold) = self.holds.get(&self.fleet.member(member).target.id)
                && now < hold.until
            {
                return Err(Hold::HeldByPerson {
                    by: hold.by.clone(),
                    why: hold.why.clone(),
                    until: hold.until,
                });
            }
        }
        Ok(())
    }

    pub(crate) fn free_of_pauses(&self, at: usize) -> Result<(), Hold> {
        for scope in self.fleet.scopes_of(at) {
            if holds(Guard::Paused)
                && let Some(pause) = self.pauses.get(&scope)
            {
                return Err(Hold::Paused {
                    scope: scope.to_string(),
                    by: pause.by.clone(),
                    why: pause.why.clone(),
                });
            }
        }
        Ok(())
    }

    /// A person is not called for what a breaker or a suspect observer explains.
    pub(crate) fn may_escalate(&self, now: Timestamp, at: usize, id: CaseId) -> Result<(), Hold> {
        if !holds(Guard::Escalation) {
            return Ok(());
        }
        self.observers_are_believable(now, at)?;
        self.breakers_are_closed(now, at)?;
        self.is_believed_now(now, at, id)
    }

    /// Everything about the case and its evidence.
    pub(crate) fn may_repair(
        &self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        wanted: &Wanted,
    ) -> Result<Authority, Hold> {
        self.observers_are_believable(now, at)?;
        self.breakers_are_closed(now, at)?;
        if holds(Guard::Flapping)
            && let Some(percent) = self.flapping_percent(now, at)
        {
            return Err(Hold::Flapping { percent });
        }
        self.is_no_lemon(now, at, id)?;
        self.is_rested(now, id)?;
        self.is_believed_now(now, at, id)?;
        if holds(Guard::NeedsRunner) && wanted.action.needs_runner() && wanted.runner.is_none() {
            return Err(Hold::NoRunner {
                action: wanted.action.to_string(),
            });
        }
        if wanted.action.is_on_host() {
            self.bystanders_are_free(now, at)?;
        }
        self.authority(now, at, id, wanted)
    }

    /// Whatever else goes down with the target's host is in nobody's hand; and what is not down already is in no
    /// pause and under no breaker.
    pub(crate) fn bystanders_are_free(&self, now: Timestamp, at: usize) -> Result<(), Hold> {
        for touched in self.fleet.touched_by(self.machine(at)?) {
            if holds(Guard::BystandersOfPeople) {
                self.free_of_holds(now, touched)?;
            }
        }
        for other in self.bystanders(now, at)? {
            if holds(Guard::BystandersPaused) {
                self.free_of_pauses(other)?;
            }
            if holds(Guard::BystandersBreakers) {
                self.breakers_are_closed(now, other)?;
            }
        }
        Ok(())
    }

    fn bystanders(&self, now: Timestamp, at: usize) -> Result<Vec<usize>, Hold> {
        let machine = self.machine(at)?;
        let mut others = self.fleet.touched_by(machine);
        others.retain(|other| *other != at && !self.is_proven_down(now, *other));
        Ok(others)
    }

    fn machine(&self, at: usize) -> Result<usize, Hold> {
        let machine = self.fleet.machine_of(at);
        machine.map_err(|host| Hold::HostUnknown { host })
    }

    fn authority(
        &self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        wanted: &Wanted,
    ) -> Result<Authority, Hold> {
        let own = self.fleet.crew_of(at);
        let mut autonomy = own.map_or(Autonomy::Observe, |crew| autonomy_at(now, crew).0);
        if wanted.action.is_on_host() && holds(Guard::BystandersAutonomy) {
            let others = self.bystanders(now, at)?.into_iter();
            let crews = others.filter_map(|other| self.fleet.crew_of(other));
            for crew in crews {
                let (of_other, window) = autonomy_at(now, crew);
                if of_other < Autonomy::Approve {
                    return Err(Hold::Autonomy {
                        autonomy: of_other,
                        window: window.map(|window| window.name.clone()),
                    });
                }
                autonomy = autonomy.min(of_other);
            }
        }
        if autonomy == Autonomy::Act || !holds(Guard::ApprovalNeeded) {
            return Ok(Authority::Policy);
        }
        let digest = self.digest(id, wanted);
        match self.pending_order(id) {
            Some(pending)
                if is_approved(pending)
                    && (pending.digest == digest || !holds(Guard::ApprovedDigest)) =>
            {
                Ok(pending.authority.clone())
            }
            Some(_) | None => Err(Hold::AwaitingApproval {
                order: OrderId(0),
                digest,
            }),
        }
    }

    /// The observer must be proven healthy: its own control test, and not every domain failing at once.
    pub(crate) fn observers_are_believable(&self, now: Timestamp, at: usize) -> Result<(), Hold> {
        if let Some((observer, trouble)) = self.suspects.first_key_value()
            && self
                .observers
                .iter()
                .all(|name| self.suspects.contains_key(name))
            && holds(Guard::ObserverSuspect)
        {
            return Err(Hold::ObserverSuspect {
                why: format!("{observer} fails its own control test: {trouble}"),
            });
        }
        let Some(crew) = self.fleet.crew_of(at) else {
            return Ok(());
        };
        match self.failing_everywhere(now, crew) {
            Some(label) => Err(Hold::ObserverSuspect {
                why: format!(
                    "most targets of {} fail in every {label} at once",
                    crew.service.name
                ),
            }),
            None => Ok(()),
        }
    }

    /// A domain label in each of whose values most targets newly fail. Below the breaker's count of targets a
    /// mass failure can't be told from two ordinary ones.
    fn failing_everywhere<'a>(&self, now: Timestamp, crew: &'a Crew) -> Option<&'a str> {
        let service = &crew.service;
        let rule = service.limits.breaker;
        let newly = |scope: &Scope| self.breakers.failing(now, scope, rule.within);
        if newly(&Scope::Service(service.name.clone())) < rule.count
            || !holds(Guard::FailingEverywhere)
        {
            return None;
        }
        service.domains.iter().map(String::as_str).find(|label| {
            let values = crew.values(label);
            let mut seen = 0;
            for (value, size) in values {
                let scope = Scope::Domain {
                    service: service.name.clone(),
                    label: (*label).to_owned(),
                    value: value.to_string(),
                };
                if newly(&scope).saturating_mul(2) <= size {
                    return false;
                }
                seen += 1;
            }
            seen >= 2
        })
    }

    pub(crate) fn breaker_rule(&self, scope: &Scope) -> BreakerRule {
        let service = match scope {
            Scope::Fleet => None,
            Scope::Service(service) | Scope::Domain { service, .. } => self.fleet.crew(service),
        };
        service.map_or_else(
            || pitcrew_model::Limits::default().breaker,
            |crew| crew.service.limits.breaker,
        )
    }

    pub(crate) fn breakers_are_closed(&self, now: Timestamp, at: usize) -> Result<(), Hold> {
        match self
            .fleet
            .scopes_of(at)
            .into_iter()
            .find(|scope| self.breakers.is_tripped(scope) && holds(Guard::Breaker))
        {
            None => Ok(()),
            Some(scope) => {
                let rule = self.breaker_rule(&scope);
                Err(Hold::Breaker {
                    scope: scope.to_string(),
                    failing: self.breakers.failing(now, &scope, rule.within),
                    of: self.fleet.size_of(&scope),
                    count: rule.count,
                    percent: rule.percent,
                    manual: rule.release == pitcrew_model::Release::Manual,
                })
            }
        }
    }

    fn is_no_lemon(&self, now: Timestamp, at: usize, id: CaseId) -> Result<(), Hold> {
        let Some(crew) = self.fleet.crew_of(at) else {
            return Ok(());
        };
        let lemon = crew.service.limits.lemon;
        let before = self
            .memories
            .get(&self.open_case(id).target)
            .map_or(0, |memory| {
                memory
                    .closed_at
                    .iter()
                    .filter(|closed| now.since(**closed) < lemon.within)
                    .count()
            });
        let cases = u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1);
        if cases >= lemon.cases && holds(Guard::Lemon) {
            Err(Hold::Lemon {
                cases,
                within: lemon.within,
            })
        } else {
            Ok(())
        }
    }

    fn is_rested(&self, now: Timestamp, id: CaseId) -> Result<(), Hold> {
        let case = self.open_case(id);
        if !case.orders.is_empty() {
            return Ok(());
        }
        match self
            .memories
            .get(&case.target)
            .map(|memory| memory.cooldown_until)
        {
            Some(until) if now < until && holds(Guard::Cooldown) => Err(Hold::Cooldown { until }),
            Some(_) | None => Ok(()),
        }
    }

    /// Unknown never justifies an order: a fresh majority must believe in the failure right now.
    fn is_believed_now(&self, now: Timestamp, at: usize, id: CaseId) -> Result<(), Hold> {
        let case = self.open_case(id);
        let is_believed = self.beliefs(now, at).iter().any(|belief| {
            case.findings
                .iter()
                .any(|finding| finding.test == belief.test)
        });
        if is_believed || !holds(Guard::BelievedNow) {
            return Ok(());
        }
        let crew = self.fleet.crew_of(at);
        let reporting = self
            .views(at)
            .filter(|(position, view)| {
                crew.is_some_and(|crew| self.is_fresh(now, &crew.service.tests[*position], view))
            })
            .map(|(_, view)| view.observer)
            .collect::<BTreeSet<_>>();
        Err(Hold::Quorum {
            reporting: u32::try_from(reporting.len()).unwrap_or(u32::MAX),
            observers: u32::try_from(self.observers.len())
                .unwrap_or(u32::MAX)
                .max(1),
        })
    }

    /// Everything that counts what is in flight or would be unavailable, for an order on `at`.
    pub(crate) fn may_disrupt(
        &self,
        now: Timestamp,
        at: usize,
        action: &Action,
        target_is_down: bool,
    ) -> Result<(), Hold> {
        if self.ledger_trouble.is_some() && holds(Guard::LedgerWritable) {
            return Err(Hold::LedgerUnwritable);
        }
        let machine = match action.is_on_host() {
            true => self.machine(at)?,
            false => at,
        };
        self.is_alone(machine)?;
        if action.is_drain() {
            self.hook_is_free(&self.fleet.member(at).target.id)?;
        }
        if !action.is_disruptive() {
            return Ok(());
        }
        self.has_room_in_flight(machine)?;
        self.leaves_enough(now, at, machine, target_is_down)?;
        self.has_rate_left(now, machine)
    }

    /// One order at a time on a target, on what it runs on, and on what runs on it.
    fn is_alone(&self, at: usize) -> Result<(), Hold> {
        let touched = self.fleet.touched_by(at).into_iter();
        let touched = touched.map(|member| match member == at {
            true => (member, Guard::OneOrder),
            false => (member, Guard::OrdersOnGuests),
        });
        let hosts = self.fleet.hosts_of(at).into_iter();
        let hosts = hosts.map(|host| (host, Guard::OrdersOnHosts));
        for (member, guard) in touched.chain(hosts) {
            let member = self.fleet.member(member);
            if let Some(order) = member.in_flight().filter(|_| holds(guard)) {
                return Err(Hold::OneAtATime {
                    order,
                    target: member.target.id.clone(),
                });
            }
        }
        Ok(())
    }

    /// What goes down with `at`, itself first.
    fn brought_down(&self, at: usize, guests: Guard) -> Vec<usize> {
        match holds(guests) {
            true => self.fleet.touched_by(at),
            false => vec![at],
        }
    }

    fn has_room_in_flight(&self, at: usize) -> Result<(), Hold> {
        for touched in self.brought_down(at, Guard::RoomOfGuests) {
            let Some(crew) = self.fleet.crew_of(touched) else {
                continue;
            };
            let limits = &crew.service.limits;
            let in_flight = u32::try_from(crew.in_flight.len()).unwrap_or(u32::MAX);
            if in_flight >= limits.max_in_flight && holds(Guard::MaxInFlight) {
                return Err(Hold::MaxInFlight {
                    limit: limits.max_in_flight,
                    in_flight,
                });
            }
            for (label, value) in self.fleet.domains_of(touched) {
                let limit = domain_limit(crew, label);
                let in_flight = self.in_flight_in(label, value);
                if in_flight >= limit && holds(Guard::PerDomain) {
                    return Err(Hold::PerDomain {
                        label: label.to_owned(),
                        value: value.to_string(),
                        limit,
                        in_flight,
                    });
                }
            }
        }
        Ok(())
    }

    /// Orders in flight on targets with this label, over all services: a zone is one zone for everybody.
    pub(crate) fn in_flight_in(&self, label: &str, value: &str) -> u32 {
        self.flying.count_with(label, value)
    }

    /// Counted after the removal, over every service the order touches. Repairing what is proven down takes
    /// nothing away and is not held up by what else is down.
    fn leaves_enough(
        &self,
        now: Timestamp,
        at: usize,
        machine: usize,
        target_is_down: bool,
    ) -> Result<(), Hold> {
        let mut removed: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for touched in self.brought_down(machine, Guard::CapacityOfGuests) {
            let down = if touched == at {
                target_is_down
            } else {
                self.is_proven_down(now, touched)
            };
            if let Some(service) = self.fleet.member(touched).service()
                && !down
            {
                removed.entry(service).or_default().push(touched);
            }
        }
        for (service, removed) in removed {
            let crew = &self.fleet.crews[service];
            let lost = removed.iter().filter(|at| self.is_available(now, **at));
            let lost = u32::try_from(lost.count()).unwrap_or(u32::MAX);
            let healthy_after = self.available_in(now, service).saturating_sub(lost);
            let of = crew.size();
            if healthy_after == 0 && holds(Guard::LastHealthy) {
                return Err(Hold::LastHealthy { healthy_after, of });
            }
            let (limit, after) = (crew.service.limits.unavailable_max(of), of - healthy_after);
            if after > limit && holds(Guard::MaxUnavailable) {
                return Err(Hold::MaxUnavailable { limit, after, of });
            }
        }
        Ok(())
    }

    fn has_rate_left(&self, now: Timestamp, at: usize) -> Result<(), Hold> {
        for touched in self.brought_down(at, Guard::RateOfGuests) {
            let Some(crew) = self.fleet.crew_of(touched) else {
                continue;
            };
            let limit = crew.service.limits.rate;
            if holds(Guard::ServiceRate)
                && let Some(until) = used_up(now, &crew.given, limit)
            {
                return Err(Hold::Rate { limit, until });
            }
        }
        let limit = self.fleet_limits.fleet_rate;
        let is_on = match holds(Guard::BrakeNeedsPerson) {
            true => self.brake.on,
            false => used_up(now, &self.brake.given, limit).is_some(),
        };
        if is_on && holds(Guard::FleetBrake) {
            return Err(Hold::FleetRate { limit });
        }
        Ok(())
    }

    /// Counts a disruptive order against the rate of each service that it touches, and against the fleet brake.
    pub(crate) fn spend_rate(&mut self, now: Timestamp, order: &Order, out: &mut Out) {
        let mut services: BTreeSet<ServiceName> = order.service.iter().cloned().collect();
        if let Some(machine) = self.fleet.find(&order.acts_on().id) {
            let touched = self.brought_down(machine, Guard::RateSpentByGuests);
            let crews = touched.into_iter().filter_map(|at| self.fleet.crew_of(at));
            services.extend(crews.map(|crew| crew.service.name.clone()));
        }
        for name in services {
            let Some(crew) = self.fleet.crew_mut(&name) else {
                continue;
            };
            let per = crew.service.limits.rate.per;
            crew.given.retain(|given| now.since(*given) < per);
            crew.given.push_back(now);
            let at = crew.given.iter().copied().collect();
            let service = Some(name);
            out.push(Effect::Save(Saved::Given { service, at }));
        }
        self.brake_if_used_up(now, out);
    }

    /// The fleet brake stays on until a person releases it.
    fn brake_if_used_up(&mut self, now: Timestamp, out: &mut Out) {
        let limit = self.fleet_limits.fleet_rate;
        self.brake
            .given
            .retain(|given| now.since(*given) < limit.per);
        self.brake.given.push_back(now);
        let at = self.brake.given.iter().copied().collect();
        out.push(Effect::Save(Saved::Given { service: None, at }));
        let since_release = self
            .brake
            .given
            .iter()
            .filter(|given| **given > self.brake.released_at)
            .copied()
            .collect();
        if used_up(now, &since_release, limit).is_none() {
            return;
        }
        self.brake.on = true;
        out.push(Effect::Save(Saved::FleetBrake { released_at: None }));
        if !holds(Guard::BrakeTold) {
            return;
        }
        out.push(Effect::Notify(Notice {
            to: Vec::new(),
            at: now,
            urgency: Urgency::Page,
            case: None,
            target: None,
            service: None,
            summary: format!(
                "fleet brake: {limit} disruptive orders given; no more until: pitcrew resume fleet"
            ),
            evidence: Vec::new(),
        }));
    }
}

fn autonomy_at(now: Timestamp, crew: &Crew) -> (Autonomy, Option<&Window>) {
    match holds(Guard::Window) {
        true => crew.service.autonomy_at(now),
        false => (crew.service.autonomy, None),
    }
}

/// Whether a person has put their name to it.
pub(crate) fn is_approved(pending: &Order) -> bool {
    matches!(&pending.authority, Authority::Approval { by } if !by.is_empty())
}

/// Orders in flight that one value of a domain label of this service allows.
pub(crate) fn domain_limit(crew: &Crew, label: &str) -> u32 {
    let limits = &crew.service.limits.per_domain;
    limits
        .iter()
        .find(|(name, _)| name == label)
        .map_or(1, |(_, limit)| *limit)
}

/// When the next order may be given, if the window is full now.
pub(crate) fn used_up(
    now: Timestamp,
    given: &VecDeque<Timestamp>,
    limit: Rate,
) -> Option<Timestamp> {
    let mut within: Vec<Timestamp> = given
        .iter()
        .filter(|given| now.since(**given) < limit.per)
        .copied()
        .collect();
    within.sort_unstable();
    let count = usize::try_from(limit.count).unwrap_or(usize::MAX);
    let over = within.len().checked_sub(count)?;
    Some(
        within
            .get(over)
            .map_or(now + limit.per, |oldest| *oldest + limit.per),
    )
}
