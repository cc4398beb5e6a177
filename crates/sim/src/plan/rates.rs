//! How often what goes wrong.
//!
//! Where a number was published, its source is beside it; every other one is an assumption and says so. All are
//! times in 30 days, of one target, one host and so on, so that they hold for a fleet of any size.

/// How often in 30 days; 0 is never.
pub type PerMonth = f64;

#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    pub target: TargetRates,
    pub places: PlaceRates,
    pub service: ServiceRates,
    /// 30 % of all targets at once.
    pub third_of_everything: PerMonth,
    pub observer: ObserverRates,
    pub network: NetworkRates,
    pub server: ServerRates,
    pub discovery: DiscoveryRates,
    pub people: PeopleRates,
    /// Everything that ends by itself lasts this many times less than in an ordinary production.
    pub hurry: u32,
}

/// Of each target that is not a host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetRates {
    pub crash: PerMonth,
    pub hang: PerMonth,
    pub errors: PerMonth,
    pub slow: PerMonth,
    /// It flaps: some rounds fail and some pass.
    pub intermittent: PerMonth,
    pub permanent: PerMonth,
    /// One round fails though nothing is wrong.
    pub blip: PerMonth,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaceRates {
    pub host: PerMonth,
    pub rack: PerMonth,
    /// Half of its packets are lost, so that all in it flap.
    pub wonky_rack: PerMonth,
    pub power: PerMonth,
    pub zone: PerMonth,
}

/// Of each service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServiceRates {
    pub cascade: PerMonth,
    pub deploy: PerMonth,
    /// 30 % of its targets at once.
    pub third: PerMonth,
}

/// Of each observer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObserverRates {
    /// How many there are to fall ill.
    pub count: usize,
    pub silent: PerMonth,
    pub lies_failing: PerMonth,
    pub lies_passing: PerMonth,
    pub stale: PerMonth,
    pub knows_it: PerMonth,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkRates {
    /// An observer can't reach the server.
    pub observer_cut: PerMonth,
    /// An observer can't reach one zone, whose targets are well.
    pub observer_half_blind: PerMonth,
    pub orders_cut: PerMonth,
    /// Orders arrive and outcomes don't.
    pub outcomes_cut: PerMonth,
    /// Messages are lost, late and doubled.
    pub weather: PerMonth,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerRates {
    pub crash: PerMonth,
    pub pause: PerMonth,
    pub clock_step: PerMonth,
    pub ledger_full: PerMonth,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiscoveryRates {
    pub fails: PerMonth,
    pub empty: PerMonth,
    pub shrinks: PerMonth,
    pub replaces: PerMonth,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeopleRates {
    pub pause: PerMonth,
    pub hold: PerMonth,
    pub restart: PerMonth,
    pub stop: PerMonth,
    pub decide: PerMonth,
}

const YEAR_IN_MONTHS: f64 = 365.0 / 30.0;

/// An ordinary production.
///
/// Hosts, racks, wonky racks, power and overheating are of the first year of a cluster of 1,800 servers in racks
/// of 40: 1,000 machine failures, 20 rack failures, 5 racks that lose half their packets, one power distribution
/// unit that takes 500 to 1,000 servers with it, and every second year the cooling of all (J. Dean, Google I/O
/// 2008, and "Designs, Lessons and Advice from Building Large Distributed Systems", LADIS 2009).
///
/// Assumed, since nothing public counts them per instance: one process in five fails in a month, mostly by a
/// crash, and one in fifty for good; one round in a month fails for no reason; a service has a bad release every
/// two months (most outages are changes: Site Reliability Engineering, O'Reilly 2016, chapter 1, says roughly
/// 70 %) and a cascade once a year; what observes and decides is as unreliable as one server.
impl Default for Rates {
    fn default() -> Self {
        Self {
            target: TargetRates {
                crash: 0.10,
                hang: 0.04,
                errors: 0.04,
                slow: 0.02,
                intermittent: 0.005,
                permanent: 0.004,
                blip: 1.0,
            },
            places: PlaceRates {
                host: 1_000.0 / 1_800.0 / YEAR_IN_MONTHS,
                rack: 20.0 / 45.0 / YEAR_IN_MONTHS,
                wonky_rack: 5.0 / 45.0 / YEAR_IN_MONTHS,
                power: 1.0 / 2.4 / YEAR_IN_MONTHS,
                zone: 0.5 / YEAR_IN_MONTHS,
            },
            service: ServiceRates {
                cascade: 1.0 / YEAR_IN_MONTHS,
                deploy: 0.5,
                third: 1.0 / YEAR_IN_MONTHS,
            },
            third_of_everything: 0.5 / YEAR_IN_MONTHS,
            observer: ObserverRates {
                count: 3,
                silent: 0.5,
                lies_failing: 0.1,
                lies_passing: 0.02,
                stale: 0.1,
                knows_it: 0.2,
            },
            network: NetworkRates {
                observer_cut: 0.5,
                observer_half_blind: 0.5,
                orders_cut: 0.2,
                outcomes_cut: 0.2,
                weather: 2.0,
            },
            server: ServerRates {
                crash: 0.2,
                pause: 0.5,
                clock_step: 0.1,
                ledger_full: 0.1,
            },
            discovery: DiscoveryRates {
                fails: 2.0,
                empty: 0.1,
                shrinks: 0.1,
                replaces: 0.2,
            },
            people: PeopleRates {
                pause: 4.0,
                hold: 8.0,
                restart: 20.0,
                stop: 4.0,
                decide: 60.0,
            },
            hurry: 1,
        }
    }
}

impl Rates {
    /// Nothing goes wrong.
    #[must_use]
    pub fn calm() -> Self {
        Self::default().times(0.0)
    }

    /// For the property tests: in a fleet of dozens, most kinds of mishaps within hours, and minutes apart.
    #[must_use]
    pub fn stormy() -> Self {
        const HOURLY: f64 = 24.0 * 30.0;
        let often = Self::default().times(1.0);
        Self {
            target: TargetRates {
                crash: 0.3 * HOURLY,
                hang: 0.1 * HOURLY,
                errors: 0.1 * HOURLY,
                slow: 0.05 * HOURLY,
                intermittent: 0.03 * HOURLY,
                permanent: 0.01 * HOURLY,
                blip: 0.5 * HOURLY,
            },
            places: PlaceRates {
                host: 0.1 * HOURLY,
                rack: 0.05 * HOURLY,
                wonky_rack: 0.03 * HOURLY,
                power: 0.05 * HOURLY,
                zone: 0.03 * HOURLY,
            },
            service: ServiceRates {
                cascade: 0.1 * HOURLY,
                deploy: 0.1 * HOURLY,
                third: 0.1 * HOURLY,
            },
            third_of_everything: 0.1 * HOURLY,
            observer: ObserverRates {
                silent: 0.3 * HOURLY,
                lies_failing: 0.2 * HOURLY,
                lies_passing: 0.2 * HOURLY,
                stale: 0.2 * HOURLY,
                knows_it: 0.2 * HOURLY,
                ..often.observer
            },
            network: NetworkRates {
                observer_cut: 0.3 * HOURLY,
                observer_half_blind: 0.3 * HOURLY,
                orders_cut: 0.3 * HOURLY,
                outcomes_cut: 0.3 * HOURLY,
                weather: 0.5 * HOURLY,
            },
            server: ServerRates {
                crash: 1.0 * HOURLY,
                pause: 0.5 * HOURLY,
                clock_step: 0.3 * HOURLY,
                ledger_full: 0.3 * HOURLY,
            },
            discovery: DiscoveryRates {
                fails: 0.3 * HOURLY,
                empty: 0.2 * HOURLY,
                shrinks: 0.2 * HOURLY,
                replaces: 0.2 * HOURLY,
            },
            people: PeopleRates {
                pause: 0.3 * HOURLY,
                hold: 0.5 * HOURLY,
                restart: 0.5 * HOURLY,
                stop: 0.3 * HOURLY,
                decide: 2.0 * HOURLY,
            },
            hurry: 20,
        }
    }

    /// Everything so many times as often.
    #[must_use]
    pub fn times(mut self, factor: f64) -> Self {
        for rate in self.all() {
            *rate *= factor;
        }
        self
    }

    fn all(&mut self) -> Vec<&mut PerMonth> {
        let Self {
            target,
            places,
            service,
            third_of_everything,
            observer,
            network,
            server,
            discovery,
            people,
            hurry: _,
        } = self;
        vec![
            &mut target.crash,
            &mut target.hang,
            &mut target.errors,
            &mut target.slow,
            &mut target.intermittent,
            &mut target.permanent,
            &mut target.blip,
            &mut places.host,
            &mut places.rack,
            &mut places.wonky_rack,
            &mut places.power,
            &mut places.zone,
            &mut service.cascade,
            &mut service.deploy,
            &mut service.third,
            third_of_everything,
            &mut observer.silent,
            &mut observer.lies_failing,
            &mut observer.lies_passing,
            &mut observer.stale,
            &mut observer.knows_it,
            &mut network.observer_cut,
            &mut network.observer_half_blind,
            &mut network.orders_cut,
            &mut network.outcomes_cut,
            &mut network.weather,
            &mut server.crash,
            &mut server.pause,
            &mut server.clock_step,
            &mut server.ledger_full,
            &mut discovery.fails,
            &mut discovery.empty,
            &mut discovery.shrinks,
            &mut discovery.replaces,
            &mut people.pause,
            &mut people.hold,
            &mut people.restart,
            &mut people.stop,
            &mut people.decide,
        ]
    }

    /// What was assumed, one sentence each.
    #[must_use]
    pub fn assumptions(&self) -> Vec<String> {
        let Self {
            target, service, ..
        } = self;
        vec![
            format!(
                "faults of a target in 30 days: {} crashes, {} hangs, {} with errors, {} slow, {} flapping, {} for good",
                target.crash, target.hang, target.errors, target.slow, target.intermittent, target.permanent
            ),
            format!("{} rounds of a target in 30 days fail for no reason", target.blip),
            format!(
                "each service has {} bad releases and {:.2} cascades in 30 days",
                service.deploy, service.cascade
            ),
            "hosts, racks, power and cooling fail as in a cluster's first year (J. Dean, LADIS 2009)".to_owned(),
            "faults of one target need a repair in four of five cases and end by themselves in the fifth".to_owned(),
        ]
    }
}
