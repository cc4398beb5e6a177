//! Making targets: names, labels, hosts and runners, so that the production's services select them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pitcrew_model::{
    InvalidLabel, Labels, Production, Runner, Service, SourceName, Target, TargetId,
};

use super::{Fleet, FleetError, Level, NONE, Place, lists::Lists};

/// Shares what many targets have in common: names and values of labels, the source's name.
pub(super) struct Builder<'a> {
    production: &'a Production,
    /// Positions of the services that can have targets.
    pub(super) usable: Vec<u32>,
    /// For each service, those that come before it and might select its targets.
    rivals: Vec<Vec<u32>>,
    /// Labels that only a service's runner asks for.
    of_runner: Vec<Vec<String>>,
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
    pub(super) fn new(production: &'a Production, places: Vec<Place>) -> Result<Self, FleetError> {
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
        let of_runner = services.iter().map(|service| {
            labels_of_runner(service).map_err(|source| FleetError::Label {
                service: service.name.to_string(),
                source,
            })
        });
        let of_runner = of_runner.collect::<Result<Vec<_>, _>>()?;
        let source = production.sources.first().map(|source| source.name.clone());
        let simulated = || SourceName::new("simulated").expect("a short word is a valid name");
        Ok(Self {
            rivals: rivals(services, &of_runner),
            of_runner,
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
    pub(super) fn shares(&self, targets: u32) -> Vec<(u32, u32)> {
        let services = u32::try_from(self.usable.len()).unwrap_or(NONE);
        let (each, more) = (targets / services, targets % services);
        let usable = (0..).zip(&self.usable);
        usable
            .map(|(at, service)| (*service, each + u32::from(at < more)))
            .collect()
    }

    pub(super) fn add_instance(
        &mut self,
        service: u32,
        number: u32,
        place: u32,
    ) -> Result<(), FleetError> {
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
        for at in 0..self.of_runner[service as usize].len() {
            let label = self.of_runner[service as usize][at].clone();
            pairs.push((self.shared(&label), number.to_string().into()));
        }
        let labels = Labels::new(pairs).map_err(|source| FleetError::Label {
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

    pub(super) fn add_hosts(&mut self, hosts: u32) -> Result<(), FleetError> {
        let used: BTreeSet<String> = self
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

    pub(super) fn build(self) -> Fleet {
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

/// Labels that a runner's template asks for and that no selector and no domain gives: without them nothing could
/// run the targets.
fn labels_of_runner(service: &Service) -> Result<Vec<String>, InvalidLabel> {
    let mut wanted: Vec<String> = Vec::new();
    let Some(template) = &service.runs_as else {
        return Ok(wanted);
    };
    let selected = service.select.0.iter().map(|(name, _)| name.to_string());
    let domains = service.domains.iter().cloned();
    let given: BTreeSet<String> = selected.chain(domains).collect();
    loop {
        let names = given.iter().chain(&wanted);
        let labels = Labels::new(names.map(|name| (name.as_str(), "")))?;
        match template.fill(&labels) {
            Ok(_) => return Ok(wanted),
            Err(absent) => wanted.push(absent),
        }
    }
}

/// Earlier services whose selectors ask for nothing that a service's targets can't have.
fn rivals(services: &[Arc<Service>], of_runner: &[Vec<String>]) -> Vec<Vec<u32>> {
    // By one pair of each selector, so that a thousand services are not compared with a thousand others.
    let mut by_pair: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
    let mut by_name: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let mut all = Vec::with_capacity(services.len());
    for (at, service) in (0u32..).zip(services) {
        let mut found: Vec<u32> = Vec::new();
        for (name, value) in service.select.0.iter() {
            found.extend(by_pair.get(&(&**name, &**value)).into_iter().flatten());
        }
        for label in service.domains.iter().chain(&of_runner[at as usize]) {
            found.extend(by_name.get(label.as_str()).into_iter().flatten());
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
