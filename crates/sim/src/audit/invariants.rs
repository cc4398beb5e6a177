//! The invariants, one small function for each thing that can be told from outside, numbered as in the interlock.

use std::{collections::BTreeMap, time::Duration};

use pitcrew_model::{
    Authority, Autonomy, Effect, ObserverName, Order, Proves, Record, Release, Saved, Scope,
    Service, SourceName, Target, TargetId, Timestamp, Urgency,
};

use super::{Auditor, roster::Entry, roster::Witnesses};

/// A broken invariant and how.
type Charge = (u8, String);

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn by_person(order: &Order) -> bool {
    matches!(order.authority, Authority::Person { .. })
}

impl Auditor {
    /// All that speaks against an order when it is decided on.
    pub(super) fn charges_against(&self, now: Timestamp, order: &Order) -> Vec<Charge> {
        let Some((entry, service)) = self.subject(order) else {
            let what = format!(
                "{} is for {}, which its service does not select now",
                order.id, order.target.id
            );
            return vec![(12, what)];
        };
        let mut charges: Vec<Charge> = [
            self.one_order_per_target(now, order),
            self.lease_ends(now, order),
            self.fence_is_current(order),
            self.case_is_open(order),
            self.person_has_no_hand_on_it(now, order),
            allowed_by_autonomy(now, order, service),
            self.allowed_by_person(order),
            self.ladder_climbs(order, service),
            self.not_handed_over(order),
            self.no_lemon(now, order, service),
            self.rested(now, order, service),
        ]
        .into_iter()
        .flatten()
        .collect();
        if order.action.is_disruptive() {
            charges.extend(self.proven_to_fail(now, order, entry));
            charges.extend(self.room_in_flight(now, order));
            charges.extend(self.enough_left(now, order));
            charges.extend(self.not_everything_at_once(now, order, service));
            charges.extend(self.breaker_is_closed(order, service));
            charges.extend(self.no_mass_failure(now, entry, service));
        }
        charges
    }

    /// All that speaks against an order when it leaves. `decided`: in this run of the server.
    pub(super) fn leaving(&mut self, now: Timestamp, order: &Order, decided: bool) -> Vec<Charge> {
        let mut charges: Vec<Charge> = [
            self.intent_is_durable(order, decided),
            (now >= order.expires_at).then(|| (12, format!("{} left after its expiry", order.id))),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.flights.leaves(order) {
            charges.push((6, format!("operation {} left twice", order.operation)));
        }
        if order.action.is_disruptive() {
            charges.extend(self.brake_holds(order));
            charges.extend(self.rate_holds(order));
        }
        charges
    }

    fn subject(&self, order: &Order) -> Option<(&Entry, &Service)> {
        let (_, entry) = self.roster.find(&order.target.id)?;
        let service = &self.roster.services[entry.service?];
        let current =
            order.service.as_ref() == Some(&service.name) && *entry.target == *order.target;
        current.then_some((entry, service))
    }

    /// 1: with what it runs on and what runs on it.
    fn one_order_per_target(&self, now: Timestamp, order: &Order) -> Option<Charge> {
        let down = self.roster.brought_down(&order.target.id);
        let hosts = self.roster.hosts(&order.target);
        let mut beside = self.flights.beside(now, order.id);
        let other = beside
            .find(|other| down.contains(&other.target.id) || hosts.contains(&other.target.id))?;
        Some((
            1,
            format!(
                "{} on {} while {} is in flight on {}",
                order.id, order.target.id, other.id, other.target.id
            ),
        ))
    }

    /// 2: the very order that leaves was decided on in this run, and the ledger has it.
    fn intent_is_durable(&mut self, order: &Order, decided: bool) -> Option<Charge> {
        let why = match self.intents.remove(&order.id) {
            _ if !decided => "was not decided on in this run, or its intent was struck",
            _ if self.ledger_broken => "left while the ledger could not be written",
            None => "left before its intent was in the ledger",
            Some(intent) if intent != *order => "is another than its intent says",
            Some(_) => return None,
        };
        Some((2, format!("{} {why}", order.id)))
    }

    /// 3: per service and per domain value of all that goes down with it.
    fn room_in_flight(&self, now: Timestamp, order: &Order) -> Option<Charge> {
        let beside: Vec<&Order> = self.flights.beside(now, order.id).collect();
        for id in self.roster.brought_down(&order.target.id) {
            let Some((entry, service)) = self.placed(&id) else {
                continue;
            };
            let of_service = |other: &&&Order| other.service.as_ref() == Some(&service.name);
            let in_service = count(beside.iter().filter(of_service).count());
            if in_service >= service.limits.max_in_flight {
                return Some((
                    3,
                    format!(
                        "{}: {in_service} in flight in {} already",
                        order.id, service.name
                    ),
                ));
            }
            for label in &service.domains {
                let Some(value) = entry.target.labels.get(label) else {
                    continue;
                };
                let alike = |other: &&&Order| other.target.labels.get(label) == Some(value);
                let together = count(beside.iter().filter(alike).count());
                let own = service
                    .limits
                    .per_domain
                    .iter()
                    .find(|(name, _)| name == label);
                if together >= own.map_or(1, |(_, most)| *most) {
                    return Some((
                        3,
                        format!(
                            "{}: {together} in flight in {label}={value} already",
                            order.id
                        ),
                    ));
                }
            }
        }
        None
    }

    fn placed(&self, id: &TargetId) -> Option<(&Entry, &Service)> {
        let (_, entry) = self.roster.find(id)?;
        Some((entry, &self.roster.services[entry.service?]))
    }

    /// 3 and 9: unknown is not proven dead, and what a sick observer says proves nothing.
    fn proven_to_fail(&self, now: Timestamp, order: &Order, entry: &Entry) -> Option<Charge> {
        let fails = |by: Witnesses| self.roster.is_failing(now, entry, None, by);
        if by_person(order) || fails(Witnesses::Trusted) {
            return None;
        }
        let id = &order.target.id;
        Some(if fails(Witnesses::All) {
            (
                9,
                format!("{} on {id}: only suspect observers see it fail", order.id),
            )
        } else {
            (
                3,
                format!(
                    "{} on {id}: no majority has lately seen it fail for long enough",
                    order.id
                ),
            )
        })
    }

    /// 3 and 4: counted after the removal, over every service that loses something.
    fn enough_left(&self, now: Timestamp, order: &Order) -> Option<Charge> {
        let mut lost: BTreeMap<usize, Vec<TargetId>> = BTreeMap::new();
        for id in self.roster.brought_down(&order.target.id) {
            let Some((_, entry)) = self.roster.find(&id) else {
                continue;
            };
            let dead = self
                .roster
                .is_failing(now, entry, Some(Proves::Down), Witnesses::Trusted);
            if let Some(service) = entry.service.filter(|_| !dead) {
                lost.entry(service).or_default().push(id);
            }
        }
        lost.into_iter()
            .find_map(|(at, lost)| self.service_has_enough(now, order, at, &lost))
    }

    fn service_has_enough(
        &self,
        now: Timestamp,
        order: &Order,
        at: usize,
        lost: &[TargetId],
    ) -> Option<Charge> {
        let service = &self.roster.services[at];
        let members = self.roster.members(at);
        let stays = |member: &&usize| {
            let entry = self.roster.entry(**member);
            !lost.contains(&entry.target.id) && self.is_up(now, order, entry)
        };
        let (of, left) = (
            count(members.len()),
            count(members.iter().filter(stays).count()),
        );
        if left == 0 {
            return Some((
                4,
                format!(
                    "{} on {} leaves 0 of {of} in {}",
                    order.id, order.target.id, service.name
                ),
            ));
        }
        let most = service.limits.unavailable_max(of);
        let gone = of - left;
        (gone > most).then(|| {
            (
                3,
                format!(
                    "{} on {}: {gone} of {of} in {} unavailable, at most {most}",
                    order.id, order.target.id, service.name
                ),
            )
        })
    }

    fn is_up(&self, now: Timestamp, order: &Order, entry: &Entry) -> bool {
        let id = &entry.target.id;
        let until = |until: Option<&Timestamp>| until.is_some_and(|until| now < *until);
        !until(self.annals.probation.get(id))
            && !until(self.annals.holds.get(id))
            && !self
                .flights
                .beside(now, order.id)
                .any(|other| other.target.id == *id)
            && self.roster.is_passing(now, entry)
    }

    /// 5: an answer of discovery that is empty or less than half of the one before is not obeyed.
    pub(super) fn answer_not_too_small(
        &mut self,
        now: Timestamp,
        before: &BTreeMap<SourceName, u32>,
    ) {
        for (source, before) in before {
            let left = self.sources.get(source).copied().unwrap_or(0);
            if !self.accepted.remove(source) && u64::from(left) * 2 < u64::from(*before) {
                self.convict(
                    now,
                    5,
                    format!("{source} shrank from {before} to {left} targets and was obeyed"),
                );
            }
        }
    }

    /// 5: only what a service selects is its own.
    pub(super) fn watched_is_selected(
        &mut self,
        now: Timestamp,
        target: &Target,
        service: &Service,
    ) {
        let wanted = &service.select.0;
        let selected = wanted
            .iter()
            .all(|(name, value)| target.labels.get(name) == Some(value));
        if wanted.is_empty() || !selected {
            self.convict(
                now,
                5,
                format!("{} does not select {}", service.name, target.id),
            );
        }
    }

    /// 7: what an order may still do ends by itself.
    fn lease_ends(&self, now: Timestamp, order: &Order) -> Option<Charge> {
        let too_long = order.expires_at > order.given_at + Order::EXPIRY || order.given_at > now;
        too_long.then(|| (7, format!("{} is valid for too long", order.id)))
    }

    /// 7: a hold that never ends would outlive whoever asked for it.
    pub(super) fn hold_ends(&mut self, now: Timestamp, row: &Saved) {
        if let Saved::Hold {
            target,
            until: Some(until),
            ..
        } = row
            && *until > now + Duration::from_secs(2 * 365 * 86_400)
        {
            self.convict(now, 7, format!("the hold on {target} never ends"));
        }
    }

    /// 8: what an order under way does to its own target is that order's business.
    pub(super) fn no_case_by_own_effect(&mut self, now: Timestamp, record: &Record) {
        let Some(target) = &record.target else { return };
        let out = self
            .flights
            .beside(now, pitcrew_model::OrderId(0))
            .find(|order| {
                order.target.id == *target
                    && order.case != record.case
                    && self
                        .flights
                        .get(order.id)
                        .is_some_and(|flight| flight.left && flight.is_out())
            });
        if let Some(order) = out {
            let what = format!(
                "a new case on {target} while {} is under way on it",
                order.id
            );
            self.convict(now, 8, what);
        }
    }

    /// 9: when most of every domain fails at once, it is the observers that are to be doubted.
    fn not_everything_at_once(
        &self,
        now: Timestamp,
        order: &Order,
        service: &Service,
    ) -> Option<Charge> {
        if by_person(order) {
            return None;
        }
        let (_, entry) = self.roster.find(&order.target.id)?;
        let at = entry.service?;
        let rule = &service.limits.breaker;
        let newly = self.newly_failing(now, at, rule.within, self.resumed(service, None));
        if count(newly.len()) < rule.count {
            return None;
        }
        let everywhere = service.domains.iter().find(|label| {
            let mut values: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
            for member in self.roster.members(at) {
                if let Some(value) = self.roster.entry(*member).target.labels.get(label) {
                    values.entry(value).or_default().0 += 1;
                }
            }
            for entry in &newly {
                if let Some(value) = entry.target.labels.get(label) {
                    values.entry(value).or_default().1 += 1;
                }
            }
            values.len() >= 2 && values.values().all(|(all, failing)| failing * 2 > *all)
        })?;
        Some((
            9,
            format!(
                "{}: most of {} fails in every {everywhere}",
                order.id, service.name
            ),
        ))
    }

    /// When a person last said that this may go on.
    fn resumed(&self, service: &Service, part: Option<&Scope>) -> Timestamp {
        let resumed = |scope: &Scope| self.annals.resumed.get(scope).copied().unwrap_or_default();
        let whole = resumed(&Scope::Service(service.name.clone())).max(resumed(&Scope::Fleet));
        whole.max(part.map(resumed).unwrap_or_default())
    }

    /// Targets of a service whose trouble began within `within` and that are proven to fail.
    fn newly_failing(
        &self,
        now: Timestamp,
        at: usize,
        within: Duration,
        after: Timestamp,
    ) -> Vec<&Entry> {
        self.roster
            .troubled(at)
            .filter(|(_, since)| *since > after && now.since(*since) <= within)
            .map(|(entry, _)| entry)
            .filter(|entry| self.roster.is_failing(now, entry, None, Witnesses::Trusted))
            .collect()
    }

    /// 10: what the ledger says has tripped stops new disruption until it says that it was released.
    fn breaker_is_closed(&self, order: &Order, service: &Service) -> Option<Charge> {
        let tripped = self
            .annals
            .tripped
            .iter()
            .find(|scope| covers(scope, service, &order.target))?;
        Some((
            10,
            format!(
                "{} on {} while the breaker of {tripped} is open",
                order.id, order.target.id
            ),
        ))
    }

    /// 10: the same from the answers alone, whatever the breaker says.
    fn no_mass_failure(&self, now: Timestamp, entry: &Entry, service: &Service) -> Option<Charge> {
        let at = entry.service?;
        let rule = &service.limits.breaker;
        let too_many = |failing: usize, of: usize| {
            count(failing) >= rule.count
                && u64::from(count(failing)) * 100 >= u64::from(count(of)) * u64::from(rule.percent)
        };
        let newly = |part: Option<&Scope>| {
            self.newly_failing(now, at, rule.within, self.resumed(service, part))
        };
        let (failing, of) = (newly(None).len(), self.roster.members(at).len());
        if too_many(failing, of) {
            return Some((
                10,
                format!("{failing} of {of} in {} newly fail", service.name),
            ));
        }
        service.domains.iter().find_map(|label| {
            let value = entry.target.labels.get(label)?;
            let alike = |entry: &Entry| entry.target.labels.get(label) == Some(value);
            let scope = Scope::Domain {
                service: service.name.clone(),
                label: label.clone(),
                value: value.to_string(),
            };
            let failing = newly(Some(&scope))
                .into_iter()
                .filter(|entry| alike(entry))
                .count();
            if count(failing) < rule.count {
                return None;
            }
            let of = self
                .roster
                .members(at)
                .iter()
                .filter(|at| alike(self.roster.entry(**at)))
                .count();
            too_many(failing, of).then(|| (10, format!("{failing} of {of} in {scope} newly fail")))
        })
    }

    /// 10: a breaker never blocks a notice, least of all its own.
    pub(super) fn trip_is_told(&mut self, now: Timestamp, scope: &Scope, beside: &[Effect]) {
        let told = beside.iter().any(
            |effect| matches!(effect, Effect::Notify(notice) if notice.urgency == Urgency::Page),
        );
        if !told {
            self.convict(
                now,
                10,
                format!("nobody was told that the breaker of {scope} tripped"),
            );
        }
    }

    /// 10: `release: manual` means a person.
    pub(super) fn manual_release_by_person(
        &mut self,
        now: Timestamp,
        scope: &Scope,
        by: Option<&str>,
    ) {
        let (Scope::Service(name) | Scope::Domain { service: name, .. }) = scope else {
            return;
        };
        let manual = self.roster.services.iter().any(|service| {
            service.name == *name && service.limits.breaker.release == Release::Manual
        });
        if manual && by.is_none() {
            self.convict(
                now,
                10,
                format!("the breaker of {scope} released itself, though only a person may"),
            );
        }
    }

    /// 11: over everything, until a person releases it.
    fn brake_holds(&mut self, order: &Order) -> Option<Charge> {
        let rate = self.fleet_limits.fleet_rate;
        let was_on = self.flights.brake(order.given_at, rate);
        was_on.then(|| {
            (
                11,
                format!("{} left with the fleet brake on ({rate})", order.id),
            )
        })
    }

    /// 11: of its own service.
    fn rate_holds(&mut self, order: &Order) -> Option<Charge> {
        let name = order.service.as_ref()?;
        let service = self
            .roster
            .services
            .iter()
            .find(|service| service.name == *name)?;
        let rate = service.limits.rate;
        let given = self.flights.count(Some(name), order.given_at, rate);
        (given > rate.count).then(|| {
            (
                11,
                format!("{} is number {given} in {name}, at most {rate}", order.id),
            )
        })
    }

    /// 12: an order of another run of the server is stale.
    fn fence_is_current(&self, order: &Order) -> Option<Charge> {
        let current = self.fence == Some(order.fence) && order.fence > self.fence_before;
        (!current).then(|| {
            (
                12,
                format!(
                    "the fence of {} is {}, not this run's",
                    order.id, order.fence
                ),
            )
        })
    }

    /// 12: the case it is for is still open.
    fn case_is_open(&self, order: &Order) -> Option<Charge> {
        let case = order
            .case
            .filter(|case| self.annals.closed.contains(case))?;
        Some((12, format!("{} is for {case}, which is closed", order.id)))
    }

    /// 13: tests decide, and only those that somebody saw pass after the outcome.
    pub(super) fn verified_by_tests(
        &mut self,
        now: Timestamp,
        record: &Record,
        observers: &[ObserverName],
    ) {
        let Some(id) = record.order else { return };
        let what = if observers.is_empty() {
            Some(format!("{id} was verified by nobody"))
        } else if self
            .flights
            .get(id)
            .is_some_and(|flight| flight.left && flight.is_out())
        {
            Some(format!("{id} was verified before its outcome"))
        } else {
            let entry = record.target.as_ref().and_then(|id| self.roster.find(id));
            entry
                .and_then(|(_, entry)| self.roster.not_seen_passing(entry))
                .map(|test| format!("{id} was verified, but nobody saw {} pass since", test.name))
        };
        if let Some(what) = what {
            self.convict(now, 13, what);
        }
    }

    /// 14: a hold, an operator's stop or a pause.
    fn person_has_no_hand_on_it(&self, now: Timestamp, order: &Order) -> Option<Charge> {
        let hosts = self.roster.hosts(&order.target);
        let held = std::iter::once(&order.target.id)
            .chain(&hosts)
            .find(|id| self.annals.holds.get(*id).is_some_and(|until| now < *until));
        if let Some(id) = held.filter(|_| !by_person(order)) {
            return Some((14, format!("{} while a person holds {id}", order.id)));
        }
        let (_, service) = self.placed(&order.target.id)?;
        let paused = self
            .annals
            .pauses
            .iter()
            .find(|scope| covers(scope, service, &order.target))?;
        Some((14, format!("{} while {paused} is paused", order.id)))
    }

    /// 14: what a person must allow, that very person allowed; what they denied stays denied.
    fn allowed_by_person(&self, order: &Order) -> Option<Charge> {
        let allowed = match &order.authority {
            Authority::Policy => true,
            Authority::Approval { .. } => {
                self.annals.approved.get(&order.id) == Some(&order.digest)
            }
            Authority::Person { .. } => {
                let wanted = (order.target.id.clone(), order.action.clone());
                self.annals.ordered.get(&order.id) == Some(&wanted)
            }
        };
        let denied = self.annals.denied.contains(&order.id);
        (!allowed || denied).then(|| (14, format!("no person allowed {}", order.id)))
    }

    /// 15: each order of a case stands on a rung of its repair, above the one before.
    fn ladder_climbs(&self, order: &Order, service: &Service) -> Option<Charge> {
        if by_person(order) {
            return None;
        }
        let name = order.repair.as_ref();
        let rung = name.and_then(|name| {
            let repair = service.repairs.iter().find(|repair| repair.name == *name)?;
            repair.steps.get(usize::from(order.step))
        });
        let stands = rung.is_some_and(|rung| {
            rung.action == order.action && (1..=rung.tries).contains(&order.attempt)
        });
        let before = order.case.and_then(|case| self.annals.rungs.get(&case));
        let climbs = before.is_none_or(|(repair, step, attempt)| {
            Some(repair) != name || (*step, *attempt) < (order.step, order.attempt)
        });
        (!stands || !climbs).then(|| {
            (
                15,
                format!(
                    "{} (step {}, try {}) does not climb its ladder",
                    order.id,
                    order.step + 1,
                    order.attempt
                ),
            )
        })
    }

    /// 15: what a person has is theirs.
    fn not_handed_over(&self, order: &Order) -> Option<Charge> {
        let case = order
            .case
            .filter(|case| self.annals.handed_over.contains(case) && !by_person(order))?;
        Some((
            15,
            format!("{} is for {case}, which a person has", order.id),
        ))
    }

    /// 15: too many cases on one target are a person's business.
    fn no_lemon(&self, now: Timestamp, order: &Order, service: &Service) -> Option<Charge> {
        let lemon = service.limits.lemon;
        let endings = self.annals.endings.get(&order.target.id)?;
        let lately = endings
            .iter()
            .filter(|at| now.since(**at) < lemon.within)
            .count();
        let cases = count(lately) + 1;
        (!by_person(order) && cases >= lemon.cases).then(|| {
            (
                15,
                format!(
                    "{} is for case {cases} on {}: a lemon",
                    order.id, order.target.id
                ),
            )
        })
    }

    /// 15: a target is left alone for a while after a case that was acted on.
    fn rested(&self, now: Timestamp, order: &Order, service: &Service) -> Option<Charge> {
        let first = order
            .case
            .is_some_and(|case| !self.annals.rungs.contains_key(&case));
        let ended = self.annals.repaired_at.get(&order.target.id)?;
        let tired = now.since(*ended) < service.limits.cooldown;
        (first && tired && !by_person(order)).then(|| {
            (
                15,
                format!("{} on {} within its cooldown", order.id, order.target.id),
            )
        })
    }

    /// 15: whoever gets a case is told so.
    pub(super) fn person_is_told(
        &mut self,
        now: Timestamp,
        record: &Record,
        why: &str,
        beside: &[Effect],
    ) {
        let told = beside.iter().any(|effect| {
            matches!(effect, Effect::Notify(notice) if notice.case == record.case && notice.urgency == Urgency::Page)
        });
        if !told {
            self.convict(
                now,
                15,
                format!("{:?} was handed over and nobody told: {why}", record.case),
            );
        }
    }
}

/// 14: how freely Pitcrew may act on its own.
fn allowed_by_autonomy(now: Timestamp, order: &Order, service: &Service) -> Option<Charge> {
    let open = service
        .windows
        .iter()
        .filter(|window| (window.from..window.to).contains(&now));
    let autonomy = open
        .map(|window| window.autonomy)
        .chain([service.autonomy])
        .min()?;
    let needed = match order.authority {
        Authority::Policy => Autonomy::Act,
        Authority::Approval { .. } => Autonomy::Approve,
        Authority::Person { .. } => Autonomy::Observe,
    };
    (autonomy < needed).then(|| {
        (
            14,
            format!(
                "{} in {}, whose autonomy is {autonomy}",
                order.id, service.name
            ),
        )
    })
}

/// Whether a target of `service` is within `scope`.
fn covers(scope: &Scope, service: &Service, target: &Target) -> bool {
    match scope {
        Scope::Fleet => true,
        Scope::Service(name) => *name == service.name,
        Scope::Domain {
            service: name,
            label,
            value,
        } => {
            *name == service.name
                && target
                    .labels
                    .get(label)
                    .is_some_and(|have| **have == **value)
        }
    }
}
