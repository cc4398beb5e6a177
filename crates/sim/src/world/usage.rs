//! How much of what the limits allow was used, and when: orders in flight from the moment that they left, targets
//! down in truth.

use std::collections::{BTreeMap, BTreeSet};

use pitcrew_model::{Order, OrderId, Production, Rate, Scope, Service};

use super::queue::Millis;
use crate::Disruption;

/// Of domains that are reported: a large fleet has one for every rack.
const DOMAINS_MAX: usize = 50;

/// A number over time, of which each step keeps the most.
#[derive(Clone, Debug, Default)]
struct Gauge {
    now: u64,
    most: Vec<u64>,
}

impl Gauge {
    /// Up to `step` it stayed as it was.
    fn reach(&mut self, step: usize) {
        while self.most.len() <= step {
            self.most.push(self.now);
        }
    }

    fn set(&mut self, step: usize, value: u64) {
        self.reach(step);
        self.now = value;
        self.most[step] = self.most[step].max(value);
    }
}

#[derive(Clone, Debug)]
struct InFlight {
    service: Scope,
    domains: Vec<(String, String)>,
}

#[derive(Debug)]
pub(super) struct Usage {
    step_ms: Millis,
    steps: usize,
    all: Gauge,
    in_flight: BTreeMap<Scope, Gauge>,
    /// With what it allows, which is its service's.
    per_domain: BTreeMap<Scope, (u64, Gauge)>,
    /// Orders of all services in a domain, and the scopes that are held to that number.
    domains: BTreeMap<(String, String), (u64, BTreeSet<Scope>)>,
    flights: BTreeMap<OrderId, InFlight>,
    down: BTreeMap<usize, Gauge>,
    /// When disruptive orders left: of each service, and of all.
    given: BTreeMap<Scope, Vec<Millis>>,
}

impl Usage {
    pub(super) fn new(step_ms: Millis, steps: usize) -> Self {
        Self {
            step_ms,
            steps,
            all: Gauge::default(),
            in_flight: BTreeMap::new(),
            per_domain: BTreeMap::new(),
            domains: BTreeMap::new(),
            flights: BTreeMap::new(),
            down: BTreeMap::new(),
            given: BTreeMap::new(),
        }
    }

    fn step(&self, now: Millis) -> usize {
        let last = self.steps - 1;
        usize::try_from(now / self.step_ms)
            .unwrap_or(last)
            .min(last)
    }

    pub(super) fn left(&mut self, now: Millis, order: &Order, service: &Service) {
        let scope = Scope::Service(service.name.clone());
        if order.action.is_disruptive() {
            for of in [scope.clone(), Scope::Fleet] {
                self.given.entry(of).or_default().push(now);
            }
        }
        let labels = service.domains.iter();
        let domains: Vec<(String, String)> = labels
            .filter_map(|label| {
                let value = order.target.labels.get(label)?;
                Some((label.clone(), value.to_string()))
            })
            .collect();
        for (label, value) in &domains {
            let limits = service.limits.per_domain.iter();
            let mut own = limits.filter(|(name, _)| name == label);
            let allowed = own.next().map_or(1, |(_, most)| u64::from(*most));
            let held = Scope::Domain {
                service: service.name.clone(),
                label: label.clone(),
                value: value.clone(),
            };
            let key = (label.clone(), value.clone());
            self.domains.entry(key).or_default().1.insert(held.clone());
            self.per_domain
                .entry(held)
                .or_insert_with(|| (allowed, Gauge::default()));
        }
        let flight = InFlight {
            service: scope,
            domains,
        };
        self.count(now, &flight, 1);
        self.flights.insert(order.id, flight);
    }

    pub(super) fn landed(&mut self, now: Millis, order: OrderId) {
        if let Some(flight) = self.flights.remove(&order) {
            self.count(now, &flight, -1);
        }
    }

    fn count(&mut self, now: Millis, flight: &InFlight, by: i64) {
        let step = self.step(now);
        self.all.set(step, self.all.now.saturating_add_signed(by));
        let own = self.in_flight.entry(flight.service.clone()).or_default();
        own.set(step, own.now.saturating_add_signed(by));
        for domain in &flight.domains {
            let Some((count, scopes)) = self.domains.get_mut(domain) else {
                continue;
            };
            *count = count.saturating_add_signed(by);
            for scope in scopes.iter() {
                if let Some((_, gauge)) = self.per_domain.get_mut(scope) {
                    gauge.set(step, *count);
                }
            }
        }
    }

    pub(super) fn down(&mut self, now: Millis, service: usize, by: i64) {
        let step = self.step(now);
        let gauge = self.down.entry(service).or_default();
        gauge.set(step, gauge.now.saturating_add_signed(by));
    }

    pub(super) fn close_books(&mut self, now: Millis) {
        let last = self.step(now);
        let domains = self.per_domain.values_mut().map(|(_, gauge)| gauge);
        let others = self.in_flight.values_mut().chain(self.down.values_mut());
        for gauge in domains.chain(others).chain([&mut self.all]) {
            gauge.reach(last);
        }
    }

    pub(super) fn in_flight(&self) -> Vec<u64> {
        self.all.most.clone()
    }

    /// Most used first.
    pub(super) fn report(&self, production: &Production, sizes: &[u64]) -> Vec<Disruption> {
        let mut all = Vec::new();
        for service in &production.services {
            let scope = Scope::Service(service.name.clone());
            if let Some(gauge) = self.in_flight.get(&scope) {
                let allowed = service.limits.max_in_flight.into();
                all.push(disruption(
                    &scope,
                    "max_in_flight",
                    allowed,
                    gauge.most.clone(),
                ));
            }
            if let Some(given) = self.given.get(&scope) {
                all.push(self.rate(&scope, "rate", service.limits.rate, given));
            }
        }
        for (scope, (allowed, gauge)) in &self.per_domain {
            all.push(disruption(
                scope,
                "per_domain",
                *allowed,
                gauge.most.clone(),
            ));
        }
        for (at, gauge) in &self.down {
            let service = &production.services[*at];
            let size = u32::try_from(sizes[*at]).unwrap_or(u32::MAX);
            let allowed = service.limits.unavailable_max(size).into();
            let scope = Scope::Service(service.name.clone());
            all.push(disruption(
                &scope,
                "max_unavailable",
                allowed,
                gauge.most.clone(),
            ));
        }
        if let Some(given) = self.given.get(&Scope::Fleet) {
            let rate = production.limits.fleet_rate;
            all.push(self.rate(&Scope::Fleet, "fleet_rate", rate, given));
        }
        // By how much of it was used; of equals, as they are named.
        all.sort_by(|a, b| {
            let (used_a, used_b) = (a.most * b.allowed.max(1), b.most * a.allowed.max(1));
            used_b
                .cmp(&used_a)
                .then_with(|| (&a.limit, &a.scope).cmp(&(&b.limit, &b.scope)))
        });
        let mut domains = 0;
        all.retain(|used| {
            domains += usize::from(used.limit == "per_domain");
            used.limit != "per_domain" || domains <= DOMAINS_MAX
        });
        all
    }

    /// How many there were in the window that ended at each moment.
    fn rate(&self, scope: &Scope, limit: &str, rate: Rate, given: &[Millis]) -> Disruption {
        let window = super::truth::millis(rate.per);
        let mut over_time = vec![0u64; self.steps];
        let mut oldest = 0;
        for (newest, at) in given.iter().enumerate() {
            while at.saturating_sub(given[oldest]) >= window {
                oldest += 1;
            }
            let within = (newest - oldest + 1) as u64;
            let until = given.get(newest + 1).copied().unwrap_or(Millis::MAX);
            let (from, to) = (
                self.step(*at),
                self.step(until.min(at.saturating_add(window))),
            );
            over_time[from] = over_time[from].max(within);
            // What still counts at the beginning of each later step.
            for (step, most) in over_time.iter_mut().enumerate().take(to + 1).skip(from + 1) {
                let begins = step as u64 * self.step_ms;
                let still = given[oldest..=newest]
                    .iter()
                    .filter(|at| begins - **at < window);
                *most = (*most).max(still.count() as u64);
            }
        }
        disruption(scope, limit, rate.count.into(), over_time)
    }
}

fn disruption(scope: &Scope, limit: &str, allowed: u64, over_time: Vec<u64>) -> Disruption {
    Disruption {
        scope: scope.to_string(),
        limit: limit.to_owned(),
        allowed,
        most: over_time.iter().copied().max().unwrap_or(0),
        over_time,
    }
}
