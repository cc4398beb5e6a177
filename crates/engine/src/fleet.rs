//! Targets, services and which belongs to which.
//!
//! A target is looked up by its id once per observation; everything else goes by index. What costs time in
//! proportion to the fleet happens only when the configuration is loaded.

mod lookup;
mod selection;
mod views;

use std::{
    cell::{Cell, OnceCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
    hint::black_box,
    sync::Arc,
};

use lookup::{Lookup, Places, hash_of};
use pitcrew_model::{
    CaseId, OrderId, Scope, Service, ServiceName, Target, TargetId, Test, TestName, Timestamp,
};
use selection::Selection;
use views::Views;

use crate::{
    capacity::Plain,
    diagnose::View,
    guards::{Guard, holds},
};

/// All that an answer changes, in one place: with a million targets, what an answer costs is how often memory has to
/// be waited for.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) target: Arc<Target>,
    /// The target's, here so that finding it need not ask the target.
    id: TargetId,
    /// Index into the services, or [`Member::ALONE`].
    service: u32,
    /// Position among the service's members.
    place: u32,
    /// Of all tests and observers that answered, in no order that means anything.
    pub(crate) views: Views,
    /// Of the open case; zero, which no case has, for none. So is the order's, and a member fits its line.
    case: u64,
    in_flight: u64,
}

impl Member {
    const ALONE: u32 = u32::MAX;

    fn name(&self) -> &str {
        self.id.as_str()
    }

    /// The open case, if there is one.
    pub(crate) fn case(&self) -> Option<CaseId> {
        (self.case > 0).then_some(CaseId(self.case))
    }

    pub(crate) fn set_case(&mut self, case: Option<CaseId>) {
        self.case = case.map_or(0, |CaseId(number)| number);
    }

    pub(crate) fn in_flight(&self) -> Option<OrderId> {
        (self.in_flight > 0).then_some(OrderId(self.in_flight))
    }

    /// Index into the services.
    pub(crate) fn service(&self) -> Option<usize> {
        (self.service != Self::ALONE).then(|| index(self.service))
    }

    /// What the observers make of the test at this position.
    pub(crate) fn views_of(&self, test: usize) -> impl Iterator<Item = &View> {
        self.views
            .iter()
            .filter(move |view| usize::from(view.test) == test)
    }

    /// What this observer makes of the test at this position, nothing as yet if it has not answered before.
    pub(crate) fn view_mut(&mut self, test: u16, observer: u16) -> &mut View {
        let known = self
            .views
            .iter()
            .position(|view| view.test == test && view.observer == observer);
        let at = known.unwrap_or_else(|| {
            self.views.push(View::new(test, observer));
            self.views.len() - 1
        });
        &mut self.views[at]
    }
}

fn index(narrow: u32) -> usize {
    usize::try_from(narrow).expect("a pointer has at least 32 bits")
}

#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) service: Arc<Service>,
    pub(crate) members: Vec<usize>,
    /// How many members each value has, for each of the service's domain labels.
    domains: Vec<BTreeMap<Arc<str>, u32>>,
    /// Of each member, by its place, how long it counts as available if nothing happens; see `capacity`.
    /// Empty as long as nobody asks.
    pub(crate) plain: Vec<Cell<Plain>>,
    /// When capacity was last of interest.
    pub(crate) counted_at: Timestamp,
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
    index: Places,
    /// How many members there are.
    present: usize,
    /// What runs on a target.
    children: Lookup<TargetId, BTreeSet<usize>>,
    pub(crate) crews: Vec<Crew>,
    crew_index: Lookup<ServiceName, usize>,
    services: Vec<Arc<Service>>,
    selection: Selection,
    /// The crews in which an order counts as in flight: its service's, and where its target has moved to.
    aloft: BTreeMap<OrderId, BTreeSet<usize>>,
    /// Ids in order, for paging; made when asked for after a change.
    sorted: OnceCell<Vec<usize>>,
}

/// Where a target stands after it was put into the fleet.
pub(crate) enum Placed {
    New,
    Changed,
    Same,
}

/// What a reload leaves of a service.
struct Kept {
    /// Where it is now.
    service: Option<usize>,
    /// Where each of its tests is now, if it is the same as before.
    tests: Vec<Option<u16>>,
}

impl Kept {
    fn of(before: &Service, now: Option<(usize, &Service)>) -> Self {
        let place = |test| {
            let at = now?.1.tests.iter().position(|is| is == test)?;
            u16::try_from(at).ok()
        };
        Self {
            service: now.map(|(at, _)| at),
            tests: before.tests.iter().map(place).collect(),
        }
    }

    /// Tests that did not change keep what is known of them.
    fn sift(&self, views: &mut Views) {
        views.retain(|view| {
            let place = self.tests.get(usize::from(view.test)).copied().flatten();
            view.test = place.unwrap_or(view.test);
            place.is_some()
        });
    }
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
        self.domain(label)
            .into_iter()
            .flatten()
            .map(|(value, size)| (value, *size))
    }

    fn domain(&self, label: &str) -> Option<&BTreeMap<Arc<str>, u32>> {
        let mut labels = self.service.domains.iter();
        let at = labels.position(|have| have == label)?;
        self.domains.get(at)
    }

    /// How many targets `scope`, one of this service's, has.
    pub(crate) fn size_of(&self, label: &str, value: &str) -> u32 {
        let values = self.domain(label);
        values
            .and_then(|values| values.get(value))
            .copied()
            .unwrap_or(0)
    }
}

impl Fleet {
    pub(crate) fn len(&self) -> u32 {
        count(self.present)
    }

    pub(crate) fn find(&self, id: &TargetId) -> Option<usize> {
        self.index.get(hash_of(id), |at| self.is_named(at, id))
    }

    fn is_named(&self, at: usize, id: &TargetId) -> bool {
        let named = self.member(at).name();
        // Mostly it is the very same text, which then need not be read.
        std::ptr::eq(named, id.as_str()) || named == id.as_str()
    }

    /// Finds many at once. No step waits for what one before it found, so that memory is asked for all of them
    /// together: the names, where to look for them, what stands there, what is seen of it, and its service's tests.
    pub(crate) fn find_all<'a>(
        &self,
        ids: impl Iterator<Item = &'a TargetId> + Clone,
        hashes: &mut Vec<u64>,
        places: &mut Vec<Option<usize>>,
    ) {
        hashes.clear();
        hashes.extend(ids.clone().map(hash_of));
        let glances = hashes.iter().map(|hash| self.index.glance(*hash));
        black_box(glances.fold(0, |sum, glance| sum ^ glance));
        places.clear();
        places.extend(hashes.iter().map(|hash| self.index.guess(*hash)));
        let members = || places.iter().flatten().map(|at| self.member(*at));
        black_box(members().fold(0, |sum, member| sum ^ member.service));
        black_box(members().fold(0, |sum, member| {
            let (first, last) = (member.views.first(), member.views.last());
            sum ^ first.map_or(0, |view| view.passes) ^ last.map_or(0, |view| view.passes)
        }));
        let tests = || {
            let services = members().filter_map(Member::service);
            services.map(|service| &self.crews[service].service.tests)
        };
        black_box(tests().fold(0, |sum, tests| sum ^ tests.len()));
        black_box(
            tests()
                .flatten()
                .fold(0, |sum, test| sum ^ test.failure_threshold),
        );
        for ((id, hash), place) in ids.zip(hashes).zip(places) {
            if place.is_some_and(|at| !self.is_named(at, id)) {
                *place = self.index.get(*hash, |at| self.is_named(at, id));
            }
        }
    }

    /// What an observer makes of a test of a member of some service, and that test.
    pub(crate) fn view_mut(
        &mut self,
        at: usize,
        position: usize,
        observer: u16,
    ) -> (&mut View, &Test) {
        let member = self.members[at]
            .as_mut()
            .expect("an index comes from the lookup and lives as long as its member");
        let service = member
            .service()
            .expect("only targets of a service are tested");
        let test = &self.crews[service].service.tests[position];
        let narrow = u16::try_from(position).unwrap_or(u16::MAX);
        (member.view_mut(narrow, observer), test)
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
        self.member(at)
            .service()
            .map(|service| &self.crews[service])
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

    /// What a reboot or a power cycle for this one acts on: what it runs on; itself, when it runs on nothing or
    /// something runs on it. The error is a host that is not known.
    pub(crate) fn machine_of(&self, at: usize) -> Result<usize, TargetId> {
        let target = &self.member(at).target;
        match &target.run_on {
            Some(host) if !self.children.contains_key(&target.id) => {
                self.find(host).ok_or_else(|| host.clone())
            }
            Some(_) | None => Ok(at),
        }
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
        let service = self.selection.first(&self.services, &target.labels);
        let Some(at) = self.find(&target.id) else {
            self.insert(target, service);
            return Placed::New;
        };
        let member = self.member(at);
        if member.target == target && member.service() == service {
            return Placed::Same;
        }
        let stays = member.service() == service;
        self.leave(at);
        let member = self.member_mut(at);
        member.target = target;
        if !stays {
            member.views = Views::default();
        }
        self.join(at, service);
        Placed::Changed
    }

    fn insert(&mut self, target: Arc<Target>, service: Option<usize>) {
        self.sorted.take();
        let id = target.id.clone();
        let member = Member {
            id: id.clone(),
            target,
            service: Member::ALONE,
            place: 0,
            views: Views::default(),
            case: 0,
            in_flight: 0,
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
        self.index.insert(hash_of(&id), at);
        self.present += 1;
        self.join(at, service);
    }

    pub(crate) fn remove(&mut self, at: usize) -> Member {
        self.sorted.take();
        self.leave(at);
        self.free.push(at);
        let member = self.members[at]
            .take()
            .expect("an index comes from the lookup and lives as long as its member");
        let is_it = |place| place == at;
        self.index.remove(hash_of(&member.target.id), is_it);
        self.present -= 1;
        member
    }

    fn join(&mut self, at: usize, service: Option<usize>) {
        let member = self.members[at]
            .as_mut()
            .expect("only a present member joins");
        if let Some(host) = &member.target.run_on {
            self.children.entry(host.clone()).or_default().insert(at);
        }
        member.service = service.map_or(Member::ALONE, count);
        let Some(service) = service else { return };
        let crew = &mut self.crews[service];
        member.place = count(crew.members.len());
        crew.members.push(at);
        if !crew.plain.is_empty() {
            crew.plain.push(Cell::default());
        }
        for (label, values) in crew.service.domains.iter().zip(&mut crew.domains) {
            if let Some(value) = member.target.labels.get(label) {
                *values.entry(value.clone()).or_default() += 1;
            }
        }
        // Also still in flight in the service that it was given for: no limit loses sight of it.
        if let Some(order) = member.in_flight().filter(|_| holds(Guard::FlightOverMove)) {
            self.fly(service, order);
        }
    }

    /// The order counts as in flight in this crew.
    pub(crate) fn fly(&mut self, crew: usize, order: OrderId) {
        self.crews[crew].in_flight.insert(order);
        self.aloft.entry(order).or_default().insert(crew);
    }

    fn leave(&mut self, at: usize) {
        let (host, service, place, target) = {
            let member = self.member(at);
            (
                member.target.run_on.clone(),
                member.service(),
                index(member.place),
                member.target.clone(),
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
        for (label, values) in crew.service.domains.iter().zip(&mut crew.domains) {
            if let Some(value) = target.labels.get(label)
                && let Some(size) = values.get_mut(value)
            {
                *size -= 1;
                if *size == 0 {
                    values.remove(value);
                }
            }
        }
        crew.members.swap_remove(place);
        if !crew.plain.is_empty() {
            crew.plain.swap_remove(place);
        }
        if let Some(moved) = crew.members.get(place).copied() {
            self.member_mut(moved).place = count(place);
        }
        self.member_mut(at).service = Member::ALONE;
    }

    /// The order is in flight on this member, and counts in the services of all that goes down with it.
    pub(crate) fn take_off(&mut self, at: usize, order: OrderId) {
        self.member_mut(at).in_flight = order.0;
        let mut touched = self.touched_by(at);
        if !holds(Guard::FlightOfGuests) {
            touched.truncate(1);
        }
        for touched in touched {
            self.is_carried(touched, order);
        }
    }

    /// The order is in flight on this member or on what it runs on.
    pub(crate) fn is_carried(&mut self, at: usize, order: OrderId) {
        if let Some(service) = self.member(at).service() {
            self.fly(service, order);
        }
        self.doubt(at);
    }

    /// The member has to be looked at before it is counted on again.
    pub(crate) fn doubt(&self, at: usize) {
        if let Some(plain) = self.plain(at) {
            plain.take();
        }
    }

    /// Where it is written how long the member is available, if its service is being counted.
    pub(crate) fn plain(&self, at: usize) -> Option<&Cell<Plain>> {
        let member = self.member(at);
        let crew = &self.crews[member.service()?];
        crew.plain.get(index(member.place))
    }

    /// The order no longer counts as in flight, wherever its target has been meanwhile.
    pub(crate) fn land(&mut self, target: &TargetId, order: OrderId) {
        if let Some(at) = self.find(target)
            && self.member(at).in_flight() == Some(order)
        {
            self.member_mut(at).in_flight = 0;
        }
        for crew in self.aloft.remove(&order).unwrap_or_default() {
            self.crews[crew].in_flight.remove(&order);
        }
    }

    /// Replaces all services. Tests that did not change keep what is known of them; returns every member.
    pub(crate) fn reassign(&mut self, services: &[Arc<Service>]) -> Vec<usize> {
        let old = std::mem::take(&mut self.crews);
        let old_index = std::mem::take(&mut self.crew_index);
        self.selection = Selection::of(services);
        self.services = services.to_vec();
        self.crew_index = services
            .iter()
            .enumerate()
            .map(|(at, service)| (service.name.clone(), at))
            .collect();
        self.crews = services
            .iter()
            .map(|service| {
                let before = old_index.get(&service.name).map(|at| &old[*at]);
                Crew {
                    service: service.clone(),
                    members: Vec::new(),
                    domains: vec![BTreeMap::new(); service.domains.len()],
                    plain: Vec::new(),
                    counted_at: Timestamp::ZERO,
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
        self.aloft.clear();
        for (at, crew) in self.crews.iter().enumerate() {
            for order in &crew.in_flight {
                self.aloft.entry(*order).or_default().insert(at);
            }
        }
        let kept: Vec<Kept> = old
            .iter()
            .map(|crew| {
                let stays = self.crew_index.get(&crew.service.name).copied();
                Kept::of(&crew.service, stays.map(|at| (at, &*services[at])))
            })
            .collect();
        let present: Vec<usize> = (0..self.members.len())
            .filter(|at| self.members[*at].is_some())
            .collect();
        for &at in &present {
            let member = self.members[at].as_mut().expect("just found present");
            let service = self.selection.first(services, &member.target.labels);
            match member.service().map(|before| &kept[before]) {
                Some(kept) if kept.service.is_some() && kept.service == service => {
                    kept.sift(&mut member.views);
                }
                Some(_) | None => member.views = Views::default(),
            }
            self.join(at, service);
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
