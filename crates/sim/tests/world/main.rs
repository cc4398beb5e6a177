//! The simulated world: what befalls a small production, and what the report says of it.

mod faults;
mod report;
mod surroundings;

use std::time::Duration;

use pitcrew_model::{Production, Scope};
use pitcrew_sim::{
    Discovery, Fault, FaultKind, Fleet, FleetError, Hand, Level, Link, Mishap, Network, Options,
    Report, ServerTrouble, Sick, Side, SimulateError, What, simulate,
};

/// Two services over zones and racks that may be restarted twice; limits that don't stand in the way.
const PRODUCTION: &str = "
services:
  - name: web
    select: { service: web }
    domains: [zone, rack]
    runs_as: { unit: 'web@{instance}.service' }
    autonomy: act
    tests: [{ name: answers, http: { path: / }, interval: 5s, timeout: 2s }]
    repairs: &ladder
      - name: restart
        when: [answers]
        steps: [{ restart: {}, tries: 2, settle: 60s }, { hand_over: {} }]
    limits: &limits
      { max_in_flight: 4, per_domain: { zone: 4, rack: 4 }, rate: 60/h, probation: 5m, cooldown: 1m, lemon: { cases: 20, within: 1h } }
  - name: cache
    select: { service: cache }
    domains: [zone]
    runs_as: { unit: cache.service }
    autonomy: act
    tests: [{ name: answers, tcp: {}, interval: 10s, timeout: 2s }]
    repairs: *ladder
    limits: { max_in_flight: 4, per_domain: { zone: 4 }, rate: 60/h, probation: 5m, cooldown: 1m }
limits: { fleet_rate: 500/h }
";

fn production(text: &str) -> Production {
    let files = [("simulated.yaml".to_owned(), text.to_owned())];
    match pitcrew_config::parse(&files, &|_| None) {
        Ok(loaded) => loaded.production,
        Err(problems) => panic!("{problems}"),
    }
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

fn at(minute: u64, what: What) -> Mishap {
    Mishap {
        at: minutes(minute),
        what,
    }
}

fn fault(minute: u64, kind: FaultKind, targets: &[u32]) -> Mishap {
    let fault = Fault {
        kind,
        targets: targets.to_vec(),
        heals_after: None,
    };
    at(minute, What::Fault(fault))
}

/// Four hours of 40 targets: 0 to 19 are `web`, 20 to 39 `cache`, 40 to 45 their hosts.
fn play(seed: u64, plan: &[Mishap]) -> Report {
    play_on(&production(PRODUCTION), seed, plan)
}

fn play_on(production: &Production, seed: u64, plan: &[Mishap]) -> Report {
    let options = Options::new(40, minutes(240), seed);
    let report = simulate(production, &options, plan, &mut |_| {})
        .expect("the plan is sorted and about this fleet");
    assert_eq!(
        report.broken,
        [],
        "no invariant is broken: seed {seed}, {plan:?}"
    );
    assert_eq!(report.wrong_targets, 0, "seed {seed}, {plan:?}");
    report
}

fn orders(report: &Report) -> u64 {
    report.orders.values().sum()
}

fn ended(report: &Report, how: &str) -> u64 {
    report.ended.get(how).copied().unwrap_or(0)
}

const STORM: Network = Network {
    lost_percent: 20,
    duplicated_percent: 20,
    late_max: Duration::from_secs(8),
};
