//! The simulated fleet: which targets there are, what they run on, and what fails together.
//!
//! Instances come first, in the order of their services, and then the hosts that they run on; a target's position
//! is its [`TargetIndex`] for good. Every place (a host, or a node of a trace) is in one rack, every rack on one
//! power domain, every power domain in one zone, so that what fails together is nested as it is in a room.
//!
//! It knows nothing of faults and decides nothing: mishaps are drawn over it, and the world plays them on it.

mod builder;
mod lists;

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use builder::Builder;
use lists::Lists;
use pitcrew_model::{InvalidLabel, InvalidName, Production, Target, TargetId};

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
