//! Targets, services and which belongs to which.
//!
//! A target is looked up by its id once per observation; everything else goes by index. What costs time in
//! proportion to the fleet happens only when the configuration is loaded.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use pitcrew_model::{
    CaseId, OrderId, Scope, Service, ServiceName, Target, TargetId, TestName, Timestamp,
};

use crate::{
    diagnose::TestState,
    guards::{Guard, holds},
};

/// With fixed keys, so that the same input gives the same output; never iterated.
type Lookup<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) target: Arc<Target>,
    /// Index into the services.
    pub(crate) service: Option<usize>,
    /// Position among the service's members.
    place: usize,
    /// In the order of the service's tests.
    pub(crate) tests: Box<[TestState]>,
    /// The open case, if there is one.
    pub(crate) case: Option<CaseId>,
    pub(crate) in_flight: Option<OrderId>,
}

#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) service: Arc<Service>,
    pub(crate) members: Vec<usize>,
    /// How many members each value of a domain label has.
    domains: BTreeMap<(String, Arc<str>), u32>,
    pub(crate) in_flight: BTreeSet<OrderId>,
    /// Open cases that something holds back, oldest first.
    pub(crate) waiting: BTreeSet<CaseId>,
    /// When disruptive orders were given, within the rate's time.
    pub(crate) given: VecDeque<Timestamp>,
}

#[derive(Default)]
pub(crate) struct Fleet {
    members: Vec<Option<Member>>,
    free: Vec<usize>,
    index: Lookup<TargetId, usize>,
    /// What runs on a target.
    children: Lookup<TargetId, BTreeSet<usize>>,
    pub(crate) crews: Vec<Crew>,
    crew_index: Lookup<ServiceName, usize>,
    /// Ids in order, for paging; made when asked for after a change.
    sorted: OnceCell<Vec<usize>>,
}

/// Where a target stands after it was put into the fleet.
pub(crate) enum Placed {
    New,
    Changed,
    Same,
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Crew {
    pub(crate) fn size(&self) -> u32 {
        count(self.members.len())
    }

    pub(crate) fn test(&self, name: &TestName) -> Option<usize> {
        self.service
            .tests
            .iter()
            .position(|test| test.name == *name)
    }

    /// The values of a domain label and how many members have each.
    pub(crate) fn values<'a>(
        &'a self,
        label: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, u32)> {
        self.domains
            .iter()
            .filter(move |((name, _), _)| name == label)
            .map(|((_, value), size)| (value, *size))
    }

    /// How many targets `scope`, one of this service's, has.
    pub(crate) fn size_of(&self, label: &str, value: &str) -> u32 {
        self.values(label)
            .find(|(have, _)| &***have == value)
            .map_or(0, |(_, size)| size)
    }
}

impl Fleet {
    pub(crate) fn len(&self) -> u32 {
        count(self.index.len())
    }

    pub(crate) fn find(&self, id: &TargetId) -> Option<usize> {
        self.index.get(id).copied()
    }

    pub(crate) fn member(&self, at: usize) -> &Member {
        self.members[at]
            .as_ref()
            .expect("an index comes from the lookup and lives as long as its member")
    }

    pub(crate) fn member_mut(&mut self, at: usize) -> &mut Member {
        self.members[at]
            .as_mut()
            .expect("an index comes from the lookup and lives as long as its member")
    }

    pub(crate) fn crew_at(&self, name: &ServiceName) -> Option<usize> {
        self.crew_index.get(name).copied()
    }

    pub(crate) fn crew(&self, name: &ServiceName) -> Option<&Crew> {
        self.crew_index.get(name).map(|at| &self.crews[*at])
    }

    pub(crate) fn crew_mut(&mut self, name: &ServiceName) -> Option<&mut Crew> {
        self.crew_index.get(name).map(|at| &mut self.crews[*at])
    }

    pub(crate) fn crew_of(&self, at: usize) -> Option<&Crew> {
        self.member(at).service.map(|service| &self.crews[service])
    }

    /// Members that go down with this one, itself first.
    pub(crate) fn touched_by(&self, at: usize) -> Vec<usize> {
        let mut touched = vec![at];
        let mut looked_at = 0;
        while let Some(next) = touched.get(looked_at).copied() {
            looked_at += 1;
            for child in self
                .children
                .get(&self.member(next).target.id)
                .into_iter()
                .flatten()
            {
                if !touched.contains(child) {
                    touched.push(*child);
                }
            }
        }
        touched
    }

    /// What this one runs on, nearest first.
    pub(crate) fn hosts_of(&self, at: usize) -> Vec<usize> {
        let mut hosts = Vec::new();
        let mut next = self.member(at).target.run_on.as_ref();
        while let Some(host) = next.and_then(|id| self.find(id)) {
            if host == at || hosts.contains(&host) {
                break;
            }
            hosts.push(host);
            next = self.member(host).target.run_on.as_ref();
        }
        hosts
    }

    /// The breakers' scopes that a target counts in, smallest first.
    pub(crate) fn scopes_of(&self, at: usize) -> Vec<Scope> {
        let mut scopes = Vec::new();
        if let Some(crew) = self.crew_of(at) {
            for (label, value) in self.domains_of(at) {
                scopes.push(Scope::Domain {
                    service: crew.service.name.clone(),
                    label: label.to_owned(),
                    value: value.to_string(),
                });
            }
            scopes.push(Scope::Service(crew.service.name.clone()));
        }
        scopes.push(Scope::Fleet);
        scopes
    }

    /// The domain labels of the target's service with the target's values.
    pub(crate) fn domains_of(&self, at: usize) -> impl Iterator<Item = (&str, &Arc<str>)> {
        let labels = &self.member(at).target.labels;
        self.crew_of(at)
            .into_iter()
            .flat_map(|crew| &crew.service.domains)
            .filter_map(|label| labels.get(label).map(|value| (label.as_str(), value)))
    }

    pub(crate) fn size_of(&self, scope: &Scope) -> u32 {
        match scope {
            Scope::Fleet => self.len(),
            Scope::Service(name) => self.crew(name).map_or(0, Crew::size),
            Scope::Domain {
                service,
                label,
                value,
            } => self
                .crew(service)
                .map_or(0, |crew| crew.size_of(label, value)),
        }
    }

    /// Puts a target in, or replaces it: it joins the first service that selects it.
    pub(crate) fn put(&mut self, target: Arc<Target>) -> Placed {
        let service = self
            .crews
            .iter()
            .position(|crew| crew.service.select.selects(&target.labels));
        let Some(at) = self.find(&target.id) else {
            self.insert(target, service);
            return Placed::New;
        };
        let member = self.member(at);
        if member.target == target && member.service == service {
            return Placed::Same;
        }
        let stays = member.service == service;
        self.leave(at);
        let member = self.member_mut(at);
        member.target = target;
        if !stays {
            member.tests = Box::default();
        }
        self.join(at, service);
        Placed::Changed
    }

    fn insert(&mut self, target: Arc<Target>, service: Option<usize>) {
        self.sorted.take();
        let id = target.id.clone();
        let member = Member {
            target,
            service: None,
            place: 0,
            tests: Box::default(),
            case: None,
            in_flight: None,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.members[at] = Some(member);
                at
            }
            None => {
                self.members.push(Some(member));
                self.members.len() - 1
            }
        };
        self.index.insert(id, at);
        self.join(at, service);
    }

    pub(crate) fn remove(&mut self, at: usize) -> Member {
        self.sorted.take();
        self.leave(at);
        self.free.push(at);
        let member = self.members[at]
            .take()
            .expect("an index comes from the lookup and lives as long as its member");
        self.index.remove(&member.target.id);
        member
    }

    fn join(&mut self, at: usize, service: Option<usize>) {
        let member = self.members[at]
            .as_mut()
            .expect("only a present member joins");
        if let Some(host) = &member.target.run_on {
            self.children.entry(host.clone()).or_default().insert(at);
        }
        member.service = service;
        let Some(service) = service else { return };
        let crew = &mut self.crews[service];
        // Also still in flight in the service that it was given for: no limit loses sight of it.
        if holds(Guard::FlightOverMove) {
            crew.in_flight.extend(member.in_flight);
        }
        member.place = crew.members.len();
        crew.members.push(at);
        if member.tests.len() != crew.service.tests.len() {
            member.tests = vec![TestState::default(); crew.service.tests.len()].into();
        }
        for label in &crew.service.domains {
            if let Some(value) = member.target.labels.get(label) {
                *crew
                    .domains
                    .entry((label.clone(), value.clone()))
                    .or_default() += 1;
            }
        }
    }

    fn leave(&mut self, at: usize) {
        let (host, service, place, labels) = {
            let member = self.member(at);
            (
                member.target.run_on.clone(),
                member.service,
                member.place,
                member.target.labels.clone(),
            )
        };
        if let Some(host) = host
            && let Some(children) = self.children.get_mut(&host)
        {
            children.remove(&at);
            if children.is_empty() {
                self.children.remove(&host);
            }
        }
        let Some(service) = service else { return };
        let crew = &mut self.crews[service];
        for label in &crew.service.domains {
            if let Some(value) = labels.get(label) {
                let key = (label.clone(), value.clone());
                let left = crew.domains.get_mut(&key).map_or(0, |size| {
                    *size -= 1;
                    *size
                });
                if left == 0 {
                    crew.domains.remove(&key);
                }
            }
        }
        crew.members.swap_remove(place);
        if let Some(moved) = crew.members.get(place).copied() {
            self.member_mut(moved).place = place;
        }
        self.member_mut(at).service = None;
    }

    /// The order is in flight on this member.
    pub(crate) fn take_off(&mut self, at: usize, order: OrderId) {
        self.member_mut(at).in_flight = Some(order);
        if let Some(service) = self.member(at).service {
            self.crews[service].in_flight.insert(order);
        }
    }

    /// The order no longer counts as in flight, wherever its target has been meanwhile.
    pub(crate) fn land(&mut self, target: &TargetId, order: OrderId) {
        if let Some(at) = self.find(target)
            && self.member(at).in_flight == Some(order)
        {
            self.member_mut(at).in_flight = None;
        }
        for crew in &mut self.crews {
            crew.in_flight.remove(&order);
        }
    }

    /// Replaces all services. Tests that did not change keep what is known of them; returns every member.
    pub(crate) fn reassign(&mut self, services: &[Arc<Service>]) -> Vec<usize> {
        let old = std::mem::take(&mut self.crews);
        self.crew_index = services
            .iter()
            .enumerate()
            .map(|(at, service)| (service.name.clone(), at))
            .collect();
        self.crews = services
            .iter()
            .map(|service| {
                let before = old.iter().find(|crew| crew.service.name == service.name);
                Crew {
                    service: service.clone(),
                    members: Vec::new(),
                    domains: BTreeMap::new(),
                    in_flight: before
                        .filter(|_| holds(Guard::FlightOverReload))
                        .map(|crew| crew.in_flight.clone())
                        .unwrap_or_default(),
                    waiting: before.map(|crew| crew.waiting.clone()).unwrap_or_default(),
                    given: before
                        .filter(|_| holds(Guard::RateOverReload))
                        .map(|crew| crew.given.clone())
                        .unwrap_or_default(),
                }
            })
            .collect();
        self.children = Lookup::default();
        let present: Vec<usize> = (0..self.members.len())
            .filter(|at| self.members[*at].is_some())
            .collect();
        for &at in &present {
            let member = self.member_mut(at);
            let (target, before) = (member.target.clone(), member.service.take());
            let service = services
                .iter()
                .position(|service| service.select.selects(&target.labels));
            let mut known = std::mem::take(&mut self.member_mut(at).tests);
            self.join(at, service);
            if let (Some(before), Some(service)) = (before, service)
                && old[before].service.name == services[service].name
            {
                let member = self.members[at].as_mut().expect("present");
                for (new_at, test) in services[service].tests.iter().enumerate() {
                    if let Some(old_at) =
                        old[before].service.tests.iter().position(|was| was == test)
                        && let Some(state) = known.get_mut(old_at)
                    {
                        member.tests[new_at] = std::mem::take(state);
                    }
                }
            }
        }
        present
    }

    /// Members in order of their ids.
    pub(crate) fn sorted(&self) -> &[usize] {
        self.sorted.get_or_init(|| {
            let mut all: Vec<usize> = (0..self.members.len())
                .filter(|at| self.members[*at].is_some())
                .collect();
            all.sort_unstable_by(|a, b| self.member(*a).target.id.cmp(&self.member(*b).target.id));
            all
        })
    }
}
