//! The simulated fleet: which targets there are, what they run on, and what fails together.
//!
//! Instances come first, in the order of their services, and then the hosts that they run on; a target's position
//! is its [`TargetIndex`] for good. Every place (a host, or a node of a trace) is in one rack, every rack on one
//! power domain, every power domain in one zone, so that what fails together is nested as it is in a room.
//!
//! It knows nothing of faults and decides nothing: mishaps are drawn over it, and the world plays them on it.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use pitcrew_model::{
    InvalidLabel, InvalidName, Labels, Production, Runner, Service, SourceName, Target, TargetId,
};

use super::chance::mix;
use crate::{TargetIndex, trace::Rack};

/// What fails together, from small to large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Host,
    Rack,
    Power,
    Zone,
}

impl Level {
    pub const ALL: [Self; 4] = [Self::Host, Self::Rack, Self::Power, Self::Zone];

    /// What a domain label most likely stands for; a name that says nothing is taken for a zone.
    #[must_use]
    pub fn of_label(label: &str) -> Self {
        match label {
            "host" | "node" | "machine" | "hostname" => Self::Host,
            "rack" | "switch" | "chassis" => Self::Rack,
            "power" | "power_domain" | "pdu" | "feed" | "row" => Self::Power,
            _ => Self::Zone,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    #[error("the configuration has no service that selects anything: there is nothing to simulate")]
    NoServices,
    #[error("a fleet needs at least one target")]
    NoTargets,
    #[error("{0} targets are more than a simulation can hold")]
    TooMany(u64),
    #[error("failed to name a target of service `{service}`: {source}")]
    Name {
        service: String,
        source: InvalidName,
    },
    #[error("failed to label the targets of service `{service}`: {source}")]
    Label {
        service: String,
        source: InvalidLabel,
    },
}

/// With fixed keys, so that the same input gives the same output; never iterated.
pub(crate) type Lookup<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    rack: u32,
    power: u32,
    zone: u32,
    /// The host as a target; nodes of a trace are places without one.
    host: Option<TargetIndex>,
}

/// Lists of numbers by small numbers, without a vector each.
#[derive(Clone, Debug, Default)]
struct Lists {
    begins: Vec<u32>,
    all: Vec<u32>,
}

impl Lists {
    fn new(lists: usize, of: &[u32]) -> Self {
        let mut begins = vec![0u32; lists + 1];
        for &list in of.iter().filter(|list| **list != NONE) {
            begins[list as usize + 1] += 1;
        }
        for at in 0..lists {
            begins[at + 1] += begins[at];
        }
        let mut next = begins.clone();
        let mut all = vec![0; begins[lists] as usize];
        for (target, &list) in (0..).zip(of) {
            if list != NONE {
                all[next[list as usize] as usize] = target;
                next[list as usize] += 1;
            }
        }
        Self { begins, all }
    }

    fn len(&self) -> usize {
        self.begins.len() - 1
    }

    fn get(&self, list: u32) -> &[u32] {
        let at = list as usize;
        match (self.begins.get(at), self.begins.get(at + 1)) {
            (Some(from), Some(to)) => &self.all[*from as usize..*to as usize],
            _ => &[],
        }
    }
}

const NONE: u32 = u32::MAX;

const TARGETS_PER_HOST: u32 = 10;
const HOSTS_PER_RACK: u32 = 4;
const RACKS_PER_POWER_DOMAIN: u32 = 8;
const ZONES: u32 = 3;
/// Even a small fleet has several of each, or nothing could be spread.
const HOSTS_MIN: u32 = 6;

/// The fleet's size, for which 32 bits and memory suffice.
const TARGETS_MAX: u32 = 1 << 26;

#[derive(Clone, Debug)]
pub struct Fleet {
    targets: Vec<Arc<Target>>,
    instances: u32,
    /// Position of the service that selects it; [`NONE`] for those that none does.
    service: Vec<u32>,
    place: Vec<u32>,
    places: Vec<Place>,
    by_place: Lists,
    by_service: Lists,
    /// Places by rack, power domain and zone.
    places_by: [Lists; 3],
    by_id: Lookup<TargetId, TargetIndex>,
}

impl Fleet {
    /// `targets` instances shared evenly over the production's services, and one host for every ten of them.
    pub fn generate(production: &Production, targets: u32, seed: u64) -> Result<Self, FleetError> {
        if targets == 0 {
            return Err(FleetError::NoTargets);
        }
        if targets > TARGETS_MAX {
            return Err(FleetError::TooMany(targets.into()));
        }
        let hosts = targets
            .div_ceil(TARGETS_PER_HOST)
            .max(HOSTS_MIN.min(targets));
        let racks = hosts.div_ceil(HOSTS_PER_RACK).max(ZONES.min(hosts));
        let powers = racks.div_ceil(RACKS_PER_POWER_DOMAIN).max(ZONES.min(racks));
        let zones = ZONES.min(powers);
        let places: Vec<Place> = (0..hosts)
            .map(|host| {
                let (rack, power) = (host % racks, host % racks % powers);
                let zone = power % zones;
                Place {
                    rack,
                    power,
                    zone,
                    host: Some(targets + host),
                }
            })
            .collect();
        let mut builder = Builder::new(production, places)?;
        for (service, share) in builder.shares(targets) {
            let first = mix(seed, &[u64::from(service)]) % u64::from(hosts);
            let first = u32::try_from(first).expect("below the number of hosts");
            for number in 0..share {
                // One after the other, so that instances of one service share as little as they can.
                let place = (first + number) % hosts;
                builder.add_instance(service, number + 1, place)?;
            }
        }
        builder.add_hosts(hosts)?;
        Ok(builder.build())
    }

    /// One target for each node of these racks, rack by rack, shared evenly over the production's services. Rooms
    /// are zones and power domains; nothing runs on anything else.
    pub fn shaped(production: &Production, racks: &[Rack]) -> Result<Self, FleetError> {
        let count: u64 = racks.iter().map(|rack| u64::from(rack.nodes)).sum();
        if count == 0 {
            return Err(FleetError::NoTargets);
        }
        if count > TARGETS_MAX.into() {
            return Err(FleetError::TooMany(count));
        }
        let numbered = (0u32..).zip(racks);
        let places: Vec<Place> = numbered
            .flat_map(|(number, rack)| {
                let place = Place {
                    rack: number,
                    power: rack.room,
                    zone: rack.room,
                    host: None,
                };
                (0..rack.nodes).map(move |_| place)
            })
            .collect();
        let mut builder = Builder::new(production, places)?;
        let usable: Vec<u32> = builder.usable.clone();
        let services = u32::try_from(usable.len()).unwrap_or(NONE);
        for node in 0..u32::try_from(count).unwrap_or(NONE) {
            let service = usable[(node % services) as usize];
            builder.add_instance(service, node / services + 1, node)?;
        }
        Ok(builder.build())
    }

    /// All of them, hosts too.
    #[must_use]
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// Targets that are not hosts: the positions below this number.
    #[must_use]
    pub fn instances(&self) -> u32 {
        self.instances
    }

    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.targets.len()).unwrap_or(NONE)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    #[must_use]
    pub fn find(&self, id: &TargetId) -> Option<TargetIndex> {
        self.by_id.get(id).copied()
    }

    /// Position of the service that selects it, in the production's order.
    #[must_use]
    pub fn service_of(&self, target: TargetIndex) -> Option<usize> {
        let service = self.service[target as usize];
        (service != NONE).then_some(service as usize)
    }

    #[must_use]
    pub fn members_of(&self, service: usize) -> &[TargetIndex] {
        self.by_service.get(u32::try_from(service).unwrap_or(NONE))
    }

    /// The target that takes this one down with it.
    #[must_use]
    pub fn host_of(&self, target: TargetIndex) -> Option<TargetIndex> {
        let host = self.places[self.place[target as usize] as usize].host;
        host.filter(|host| *host != target)
    }

    #[must_use]
    pub fn is_host(&self, target: TargetIndex) -> bool {
        target >= self.instances
    }

    /// What goes down with a host; empty for every other target.
    pub fn runs_on(&self, host: TargetIndex) -> impl Iterator<Item = TargetIndex> {
        let place = self.place[host as usize];
        let is_host = self.places[place as usize].host == Some(host);
        let there = if is_host {
            self.by_place.get(place)
        } else {
            &[]
        };
        there.iter().copied().filter(move |target| *target != host)
    }

    /// How many groups of this level there are.
    #[must_use]
    pub fn groups(&self, level: Level) -> u32 {
        let groups = match self.places_in(level) {
            None => self.places.len(),
            Some(lists) => lists.len(),
        };
        u32::try_from(groups).unwrap_or(NONE)
    }

    #[must_use]
    pub fn group_of(&self, level: Level, target: TargetIndex) -> u32 {
        self.group(level, self.place[target as usize])
    }

    /// All targets of a group, hosts too, in order.
    #[must_use]
    pub fn members(&self, level: Level, group: u32) -> Vec<TargetIndex> {
        let mut all: Vec<TargetIndex> = match self.places_in(level) {
            None => self.by_place.get(group).to_vec(),
            Some(lists) => {
                let places = lists.get(group).iter();
                places
                    .flat_map(|place| self.by_place.get(*place))
                    .copied()
                    .collect()
            }
        };
        all.sort_unstable();
        all
    }

    /// The places in each group; a place is a host's group by itself.
    fn places_in(&self, level: Level) -> Option<&Lists> {
        match level {
            Level::Host => None,
            Level::Rack => Some(&self.places_by[0]),
            Level::Power => Some(&self.places_by[1]),
            Level::Zone => Some(&self.places_by[2]),
        }
    }

    /// Another target stands where one stood.
    pub(crate) fn replace(&mut self, at: TargetIndex, target: Arc<Target>) {
        self.by_id.insert(target.id.clone(), at);
        let old = std::mem::replace(&mut self.targets[at as usize], target);
        self.by_id.remove(&old.id);
    }

    fn group(&self, level: Level, place: u32) -> u32 {
        let at = &self.places[place as usize];
        match level {
            Level::Host => place,
            Level::Rack => at.rack,
            Level::Power => at.power,
            Level::Zone => at.zone,
        }
    }
}

/// Shares what many targets have in common: names and values of labels, the source's name.
struct Builder<'a> {
    production: &'a Production,
    /// Positions of the services that can have targets.
    usable: Vec<u32>,
    /// For each service, those that come before it and might select its targets.
    rivals: Vec<Vec<u32>>,
    places: Vec<Place>,
    values: BTreeMap<(String, u32), Arc<str>>,
    names: BTreeMap<String, Arc<str>>,
    source: SourceName,
    targets: Vec<Arc<Target>>,
    service: Vec<u32>,
    place: Vec<u32>,
    instances: u32,
}

impl<'a> Builder<'a> {
    fn new(production: &'a Production, places: Vec<Place>) -> Result<Self, FleetError> {
        let services = &production.services;
        let positions = (0u32..).zip(services);
        let usable: Vec<u32> = positions
            .filter(|(_, service)| {
                !service.select.0.is_empty() && !service.select.selects(&host_labels())
            })
            .map(|(at, _)| at)
            .collect();
        if usable.is_empty() {
            return Err(FleetError::NoServices);
        }
        let source = production.sources.first().map(|source| source.name.clone());
        let simulated = || SourceName::new("simulated").expect("a short word is a valid name");
        Ok(Self {
            rivals: rivals(services),
            production,
            usable,
            places,
            values: BTreeMap::new(),
            names: BTreeMap::new(),
            source: source.unwrap_or_else(simulated),
            targets: Vec::new(),
            service: Vec::new(),
            place: Vec::new(),
            instances: 0,
        })
    }

    /// How many targets each service gets; the first ones get one more.
    fn shares(&self, targets: u32) -> Vec<(u32, u32)> {
        let services = u32::try_from(self.usable.len()).unwrap_or(NONE);
        let (each, more) = (targets / services, targets % services);
        let usable = (0..).zip(&self.usable);
        usable
            .map(|(at, service)| (*service, each + u32::from(at < more)))
            .collect()
    }

    fn add_instance(&mut self, service: u32, number: u32, place: u32) -> Result<(), FleetError> {
        let of = Arc::clone(&self.production.services[service as usize]);
        let in_service = || of.name.to_string();
        let selected = of.select.0.iter();
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = selected
            .map(|(label, value)| (label.clone(), value.clone()))
            .collect();
        let domains = of.domains.iter();
        for label in domains.filter(|label| of.select.0.get(label).is_none()) {
            let value = self.value(label, place);
            pairs.push((self.shared(label), value));
        }
        let labels = labels_for(&of, pairs, number).map_err(|source| FleetError::Label {
            service: in_service(),
            source,
        })?;
        let id =
            TargetId::new(format!("{}-{number}", of.name)).map_err(|source| FleetError::Name {
                service: in_service(),
                source,
            })?;
        let host = self.places[place as usize].host;
        let run_on = host.map(|_| id_of_host(place));
        let selected = self.selected_by(service, &labels);
        // Where the service says what runs its targets, it must not be overruled.
        let runner = of.runs_as.is_none().then_some(Runner::Supervised);
        self.push(id, labels, run_on, runner, selected, place);
        self.instances += 1;
        Ok(())
    }

    fn add_hosts(&mut self, hosts: u32) -> Result<(), FleetError> {
        let used: std::collections::BTreeSet<String> = self
            .production
            .services
            .iter()
            .flat_map(|service| service.domains.iter().cloned())
            .collect();
        for place in 0..hosts {
            let mut pairs: Vec<(Arc<str>, Arc<str>)> =
                vec![(self.shared("kind"), self.shared("host"))];
            for label in used.iter().filter(|label| *label != "kind") {
                let value = self.value(label, place);
                pairs.push((self.shared(label), value));
            }
            let label_error = |source| FleetError::Label {
                service: "host".to_owned(),
                source,
            };
            let labels = Labels::new(pairs).map_err(label_error)?;
            let id =
                TargetId::new(host_name(place)).expect("a word and a number make a valid name");
            let all = &self.production.services;
            let selected = all
                .iter()
                .position(|service| service.select.selects(&labels));
            let selected = selected.map_or(NONE, |at| u32::try_from(at).unwrap_or(NONE));
            self.push(id, labels, None, Some(Runner::Supervised), selected, place);
        }
        Ok(())
    }

    fn push(
        &mut self,
        id: TargetId,
        labels: Labels,
        run_on: Option<TargetId>,
        runner: Option<Runner>,
        service: u32,
        place: u32,
    ) {
        let source = self.source.clone();
        self.targets.push(Arc::new(Target {
            id,
            address: None,
            labels,
            run_on,
            runner,
            source,
        }));
        self.service.push(service);
        self.place.push(place);
    }

    /// The first that selects it, as the engine and the interlock decide it.
    fn selected_by(&self, service: u32, labels: &Labels) -> u32 {
        let services = &self.production.services;
        let earlier = self.rivals[service as usize].iter().copied();
        earlier
            .chain([service])
            .find(|at| services[*at as usize].select.selects(labels))
            .unwrap_or(NONE)
    }

    fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(name) = self.names.get(text) {
            return Arc::clone(name);
        }
        let name: Arc<str> = text.into();
        self.names.insert(text.to_owned(), Arc::clone(&name));
        name
    }

    /// The value of a domain label at a place: `a` for a zone, `rack-7`, `power-2`, `host12`.
    fn value(&mut self, label: &str, place: u32) -> Arc<str> {
        let (level, at) = (Level::of_label(label), self.places[place as usize]);
        let group = match level {
            Level::Host => place,
            Level::Rack => at.rack,
            Level::Power => at.power,
            Level::Zone => at.zone,
        };
        let made = self
            .values
            .entry((label.to_owned(), group))
            .or_insert_with(|| {
                match level {
                    Level::Host => host_name(place),
                    Level::Zone if group < 26 => {
                        char::from(b'a' + u8::try_from(group).unwrap_or(0)).to_string()
                    }
                    Level::Rack | Level::Power | Level::Zone => format!("{label}-{}", group + 1),
                }
                .into()
            });
        Arc::clone(made)
    }

    fn build(self) -> Fleet {
        let by_id = (0..)
            .zip(&self.targets)
            .map(|(at, target)| (target.id.clone(), at))
            .collect();
        let by = |group: fn(&Place) -> u32| {
            let groups: Vec<u32> = self.places.iter().map(group).collect();
            let most = groups.iter().max().map_or(0, |most| *most as usize + 1);
            Lists::new(most, &groups)
        };
        Fleet {
            places_by: [by(|at| at.rack), by(|at| at.power), by(|at| at.zone)],
            by_place: Lists::new(self.places.len(), &self.place),
            by_service: Lists::new(self.production.services.len(), &self.service),
            targets: self.targets,
            instances: self.instances,
            service: self.service,
            place: self.place,
            places: self.places,
            by_id,
        }
    }
}

fn id_of_host(place: u32) -> TargetId {
    TargetId::new(host_name(place)).expect("a word and a number make a valid name")
}

/// Unlike every instance, whose name ends in a dash and a number.
fn host_name(place: u32) -> String {
    format!("host{}", place + 1)
}

fn host_labels() -> Labels {
    Labels::new([("kind", "host")]).expect("a short word is a valid label")
}

/// Labels that a runner's template asks for are given, too, or nothing could run the target.
fn labels_for(
    service: &Service,
    mut pairs: Vec<(Arc<str>, Arc<str>)>,
    number: u32,
) -> Result<Labels, InvalidLabel> {
    loop {
        let labels = Labels::new(pairs.iter().cloned())?;
        match service
            .runs_as
            .as_ref()
            .map(|template| template.fill(&labels))
        {
            None | Some(Ok(_)) => return Ok(labels),
            Some(Err(absent)) => pairs.push((absent.into(), number.to_string().into())),
        }
    }
}

/// Earlier services whose selectors ask for nothing that a service's targets can't have.
fn rivals(services: &[Arc<Service>]) -> Vec<Vec<u32>> {
    // By one pair of each selector, so that a thousand services are not compared with a thousand others.
    let mut by_pair: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
    let mut by_name: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let mut all = Vec::with_capacity(services.len());
    for (at, service) in (0u32..).zip(services) {
        let mut found: Vec<u32> = Vec::new();
        for (name, value) in service.select.0.iter() {
            found.extend(by_pair.get(&(&**name, &**value)).into_iter().flatten());
        }
        for label in &service.domains {
            found.extend(by_name.get(label.as_str()).into_iter().flatten());
        }
        if service.runs_as.is_some() {
            found.extend(0..at);
        }
        found.sort_unstable();
        found.dedup();
        all.push(found);
        if let Some((name, value)) = service.select.0.iter().next() {
            by_pair.entry((&**name, &**value)).or_default().push(at);
            by_name.entry(&**name).or_default().push(at);
        }
    }
    all
}
