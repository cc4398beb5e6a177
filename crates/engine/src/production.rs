//! Configuration and discovery: what belongs to which service now.
//!
//! A reload never forgets an open case: it goes on where its target still belongs to its service, and is
//! closed as superseded, with the reason, where it does not.

use std::sync::Arc;

use pitcrew_model::{
    Effect, Ending, Fact, Notice, OrderId, Phase, Production, ServiceName, SourceName,
    SourceTrouble, Target, TargetId, Timestamp, Urgency,
};

use crate::{
    Engine, Out, fact,
    fleet::Placed,
    guards::{Guard, holds},
};

impl Engine {
    /// A person should know when an answer is not obeyed, since only a person can say that it is right.
    pub(crate) fn note_source(
        &mut self,
        now: Timestamp,
        source: SourceName,
        trouble: Option<SourceTrouble>,
        out: &mut Out,
    ) {
        if let Some(refused @ (SourceTrouble::Empty { .. } | SourceTrouble::Shrank { .. })) =
            &trouble
            && !matches!(
                self.sources.get(&source),
                Some(SourceTrouble::Empty { .. } | SourceTrouble::Shrank { .. })
            )
            && holds(Guard::RefusedSourceTold)
        {
            out.push(Effect::Notify(Notice {
                to: Vec::new(),
                at: now,
                urgency: Urgency::Inform,
                case: None,
                target: None,
                service: None,
                summary: format!("source {source}: {refused}"),
                evidence: vec![format!(
                    "if its answer is right: pitcrew accept {source} --why …"
                )],
            }));
        }
        match &trouble {
            Some(trouble) => self.sources.insert(source.clone(), trouble.clone()),
            None => self.sources.remove(&source),
        };
        out.push(fact(now, Fact::Source { source, trouble }));
    }

    pub(crate) fn load(&mut self, now: Timestamp, production: &Production, out: &mut Out) {
        out.push(fact(
            now,
            Fact::ConfigurationLoaded {
                digest: production.digest.clone(),
                services: production.services.len(),
                sources: production.sources.len(),
            },
        ));
        self.fleet_limits = production.limits.clone();
        self.receivers = production
            .receivers
            .iter()
            .map(|receiver| receiver.name.clone())
            .collect();
        let members = self.fleet.reassign(&production.services);
        self.counted.clear();
        for (crew, id) in self.flights_by_service() {
            self.fleet.fly(crew, id);
        }
        for (service, given) in std::mem::take(&mut self.restored_given) {
            if let Some(crew) = self.fleet.crew_mut(&service) {
                crew.given = given.into();
            }
        }
        for at in members {
            self.settle_membership(now, at, out);
        }
        for id in self
            .cases
            .values()
            .filter(|case| case.is_open())
            .map(|case| case.id)
            .collect::<Vec<_>>()
        {
            // A new policy may free or forbid what the old one did not: ask again.
            if matches!(self.open_case(id).phase, Phase::Held(_))
                && self.open_case(id).handed_over.is_none()
            {
                self.timers.set(crate::timers::Timer::Case(id), now);
            }
        }
    }

    pub(crate) fn take_targets(
        &mut self,
        now: Timestamp,
        upserted: Vec<Arc<Target>>,
        removed: &[TargetId],
        out: &mut Out,
    ) {
        let (mut added, mut gone) = (0, 0);
        for target in upserted {
            let id = target.id.clone();
            match self.fleet.put(target) {
                Placed::Same => continue,
                Placed::New => added += 1,
                Placed::Changed => {}
            }
            let at = self.fleet.find(&id).expect("just put");
            self.adopt_open_case(at);
            self.settle_membership(now, at, out);
        }
        for id in removed {
            let Some(at) = self.fleet.find(id) else {
                continue;
            };
            gone += 1;
            if let Some(case) = self.fleet.member(at).case()
                && holds(Guard::CaseOfGoneTarget)
            {
                self.close(
                    now,
                    at,
                    case,
                    Ending::Superseded,
                    "its target is gone from discovery".to_owned(),
                    out,
                );
            }
            let was_watched = self.fleet.crew_of(at).is_some();
            self.fleet.remove(at);
            if was_watched {
                out.push(Effect::Unwatch { target: id.clone() });
            }
        }
        if added + gone > 0 {
            out.push(fact(
                now,
                Fact::TargetsChanged {
                    added,
                    removed: gone,
                },
            ));
        }
    }

    /// A case or order restored before its target was found again.
    fn adopt_open_case(&mut self, at: usize) {
        let id = self.fleet.member(at).target.id.clone();
        if self.fleet.member(at).case().is_none()
            && let Some(case) = self.unplaced.remove(&id)
        {
            self.fleet.member_mut(at).set_case(Some(case));
            self.fleet.doubt(at);
            let (opened_at, phase) = (self.open_case(case).opened_at, &self.open_case(case).phase);
            if !matches!(phase, Phase::Probation { .. }) && holds(Guard::RestoredFailing) {
                for scope in self.fleet.scopes_of(at) {
                    self.breakers.count(&scope, opened_at, case);
                }
            }
        }
        if self.fleet.member(at).in_flight().is_none()
            && holds(Guard::RestoredFlight)
            && let Some(order) = self.flying.first_on(&id)
        {
            self.depart(at, order);
        }
        let hosts = self.fleet.hosts_of(at);
        let carrying = hosts.into_iter().filter_map(|host| {
            let host = &self.fleet.member(host).target.id;
            self.flying.first_on(host)
        });
        for order in carrying.collect::<Vec<_>>() {
            self.fleet.is_carried(at, order);
            let labels = &self.fleet.member(at).target.labels;
            self.flying.count(order, labels);
        }
    }

    /// The order is in flight on this member, and touches all that goes down with it.
    pub(crate) fn depart(&mut self, at: usize, order: OrderId) {
        self.fleet.take_off(at, order);
        let touched = self.fleet.touched_by(at).into_iter();
        for touched in touched.filter(|_| holds(Guard::FlightOfGuests)) {
            let labels = &self.fleet.member(touched).target.labels;
            self.flying.count(order, labels);
        }
    }

    /// Orders in flight count in the services of all that they touch, and in the one that they were given for, also while their target is not known.
    fn flights_by_service(&self) -> Vec<(usize, OrderId)> {
        let flying = self
            .flying
            .iter()
            .filter(|_| holds(Guard::FlightOverReload));
        let flights = flying.flat_map(|id| {
            let order = &self.orders[id].order;
            let service = order.service.as_ref();
            let own = service.and_then(|service| self.fleet.crew_at(service));
            let machine = self.fleet.find(&order.acts_on().id);
            let touched = machine.map_or_else(Vec::new, |at| self.fleet.touched_by(at));
            let others = touched.into_iter();
            let others = others.filter_map(|at| self.fleet.member(at).service());
            own.into_iter().chain(others).map(|crew| (crew, *id))
        });
        flights.collect()
    }

    /// Tests follow the target's service, and so does its case.
    fn settle_membership(&mut self, now: Timestamp, at: usize, out: &mut Out) {
        let target = self.fleet.member(at).target.clone();
        let service = self.fleet.crew_of(at).map(|crew| crew.service.clone());
        if let Some(case) = self.fleet.member(at).case() {
            let belongs_to: ServiceName = self.open_case(case).service.clone();
            if service
                .as_ref()
                .is_none_or(|service| service.name != belongs_to)
                && holds(Guard::CaseFollowsService)
            {
                let why = format!("its target no longer belongs to {belongs_to}");
                self.close(now, at, case, Ending::Superseded, why, out);
            }
        }
        match service {
            Some(service) => out.push(Effect::Watch { target, service }),
            None => out.push(Effect::Unwatch {
                target: target.id.clone(),
            }),
        }
    }
}
