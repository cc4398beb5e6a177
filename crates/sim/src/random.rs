//! Small random productions, so that properties are not proved of one configuration only.
//!
//! What comes out is valid, as if a configuration had been read, but need not be wise: thresholds of one, ladders
//! that only hand over, limits of zero, windows, services that nobody may repair.

use std::{sync::Arc, time::Duration};

use pitcrew_model::{
    Action, Autonomy, BreakerRule, Count, Destination, Drain, DrainBy, FleetLimits, Labels, Lemon,
    Limits, Place, Production, Proves, Rate, Receiver, Release, Repair, Selector, Service, Step,
    TcpTest, Test, TestKind, Timestamp, Window,
};

use crate::plan::Dice;

/// A production and how many targets it has, hosts not counted.
#[derive(Clone, Debug)]
pub struct Small {
    pub production: Production,
    pub targets: u32,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// One to five services, one to sixty targets; `start` is where its windows lie around.
#[must_use]
pub fn production(seed: u64, start: Timestamp) -> Small {
    let mut dice = Dice::new(seed, u64::MAX);
    let count = 1 + dice.below(5);
    let mut services: Vec<Arc<Service>> = (1..=count)
        .map(|number| Arc::new(service(&mut dice, &format!("s{number}"), start)))
        .collect();
    if dice.percent(30) {
        let mut hosts = service(&mut dice, "hosts", start);
        hosts.select = Selector(labels("kind", "host"));
        services.push(Arc::new(hosts));
    }
    let most = if dice.percent(50) { 12 } else { 60 };
    let targets = u32::try_from(1 + dice.below(most)).unwrap_or(1);
    let fleet_rate = Rate {
        count: small(&mut dice, &[3, 10, 60, 1_000]),
        per: HOUR,
    };
    let production = Production {
        services,
        receivers: receivers(),
        limits: FleetLimits { fleet_rate },
        digest: format!("random-{seed}"),
        ..Production::default()
    };
    Small {
        production,
        targets,
    }
}

fn labels(name: &str, value: &str) -> Labels {
    Labels::new([(name, value)]).expect("short words are valid labels")
}

fn receivers() -> Vec<Receiver> {
    let receiver = |name: &str| Receiver {
        name: name.parse().expect("a short word is a valid name"),
        destination: Destination::Command {
            command: vec!["true".to_owned()],
        },
    };
    vec![receiver("oncall"), receiver("team")]
}

fn small(dice: &mut Dice, of: &[u32]) -> u32 {
    dice.pick(of).copied().unwrap_or(1)
}

fn service(dice: &mut Dice, name: &str, start: Timestamp) -> Service {
    let tests: Vec<Arc<Test>> = (0..=dice.below(3))
        .map(|number| Arc::new(test(dice, number)))
        .collect();
    let all = ["zone", "rack", "power", "host"];
    let domains = all.iter().filter(|_| dice.percent(40));
    let domains = domains.map(|label| (*label).to_owned()).collect();
    let drain = dice.percent(40).then(|| drain(dice));
    Service {
        name: name.parse().expect("a short word is a valid name"),
        select: Selector(labels("service", name)),
        domains,
        autonomy: autonomy(dice),
        repairs: repairs(dice, &tests, drain.as_ref()),
        tests,
        limits: limits(dice),
        windows: windows(dice, start),
        runs_as: None,
        drain,
    }
}

fn drain(dice: &mut Dice) -> Drain {
    Drain {
        by: DrainBy::Webhook {
            url: "http://127.0.0.1:9/drain".to_owned(),
            timeout: 5 * SECOND,
        },
        lease: SECOND * small(dice, &[30, 120, 600]),
    }
}

fn autonomy(dice: &mut Dice) -> Autonomy {
    match dice.below(10) {
        0 => Autonomy::Observe,
        1 => Autonomy::Propose,
        2 => Autonomy::Approve,
        _ => Autonomy::Act,
    }
}

fn test(dice: &mut Dice, number: usize) -> Test {
    let interval = SECOND * small(dice, &[5, 10, 10, 30]);
    let threshold = |dice: &mut Dice, most| u8::try_from(1 + dice.below(most)).unwrap_or(1);
    Test {
        name: format!("t{number}")
            .parse()
            .expect("a short word is a valid name"),
        kind: kind(dice),
        interval,
        timeout: (interval / 2).max(SECOND),
        failure_threshold: threshold(dice, 5),
        success_threshold: threshold(dice, 3),
        // The first one proves something in most productions.
        proves: if dice.percent(if number == 0 { 80 } else { 50 }) {
            Proves::Down
        } else {
            Proves::Degraded
        },
        place: Place::Server,
    }
}

/// Some see every kind of fault, some only that a process is gone.
fn kind(dice: &mut Dice) -> TestKind {
    let says_ok = TcpTest {
        port: None,
        send: None,
        expect: Some("ok".to_owned()),
    };
    match dice.below(10) {
        0..=2 => TestKind::Process,
        3 => TestKind::Push,
        _ => TestKind::Tcp(says_ok),
    }
}

fn repairs(dice: &mut Dice, tests: &[Arc<Test>], drain: Option<&Drain>) -> Vec<Repair> {
    let mut repairs = Vec::new();
    for number in 0..=dice.below(2) {
        let named = tests.iter().filter(|_| number == 0 || dice.percent(50));
        let when: Vec<_> = named.map(|test| test.name.clone()).collect();
        // Now and then a finding has no repair at all.
        if when.is_empty() || dice.percent(10) {
            continue;
        }
        repairs.push(Repair {
            name: format!("r{number}")
                .parse()
                .expect("a short word is a valid name"),
            when,
            steps: ladder(dice, drain),
        });
    }
    repairs
}

fn ladder(dice: &mut Dice, drain: Option<&Drain>) -> Vec<Step> {
    let step = |action, tries, settle| Step {
        action,
        tries,
        settle,
    };
    let mut steps: Vec<Step> = (0..dice.below(4))
        .map(|_| {
            let tries = u8::try_from(1 + dice.below(3)).unwrap_or(1);
            let settle = SECOND * small(dice, &[10, 30, 60, 300]);
            step(action(dice), tries, settle)
        })
        .collect();
    if let Some(drain) = drain.filter(|_| !steps.is_empty()) {
        let at = dice.below(steps.len());
        let drain = step(Action::Drain(drain.clone()), 2, 20 * SECOND);
        steps.insert(at, drain);
    }
    let to = dice
        .percent(50)
        .then(|| "oncall".parse().expect("a short word is a valid name"));
    steps.push(step(Action::HandOver { to }, 1, Duration::ZERO));
    steps
}

fn action(dice: &mut Dice) -> Action {
    match dice.below(10) {
        0 => Action::Start,
        1 | 2 => Action::Command {
            name: "fix".to_owned(),
            command: vec!["/usr/bin/fix".to_owned(), "{target}".to_owned()],
            timeout: MINUTE,
        },
        3 => Action::Webhook {
            name: "reimage".to_owned(),
            url: "http://127.0.0.1:9/reimage".to_owned(),
            timeout: MINUTE,
        },
        4 => Action::Reboot,
        5 => Action::PowerCycle,
        _ => Action::Restart,
    }
}

fn limits(dice: &mut Dice) -> Limits {
    let percent = |dice: &mut Dice, of: &[u32]| u8::try_from(small(dice, of)).unwrap_or(100);
    let max_unavailable = if dice.percent(70) {
        Count::Percent(percent(dice, &[0, 10, 25, 34, 50, 100]))
    } else {
        Count::Targets(small(dice, &[0, 1, 2, 5]))
    };
    let per_domain = if dice.percent(30) {
        vec![("zone".to_owned(), small(dice, &[1, 2, 5]))]
    } else {
        Vec::new()
    };
    Limits {
        max_unavailable,
        max_in_flight: small(dice, &[1, 1, 1, 2, 5]),
        per_domain,
        rate: Rate {
            count: small(dice, &[1, 3, 6, 20, 100]),
            per: dice.pick(&[10 * MINUTE, HOUR]).copied().unwrap_or(HOUR),
        },
        breaker: BreakerRule {
            count: small(dice, &[2, 3, 5, 10]),
            percent: percent(dice, &[10, 20, 50]),
            within: dice
                .pick(&[MINUTE, 5 * MINUTE, 10 * MINUTE])
                .copied()
                .unwrap_or(MINUTE),
            release: if dice.percent(85) {
                Release::Auto
            } else {
                Release::Manual
            },
        },
        cooldown: MINUTE * small(dice, &[0, 1, 10]),
        probation: MINUTE * small(dice, &[0, 1, 5, 30]),
        lemon: Lemon {
            cases: small(dice, &[2, 3, 5, 100]),
            within: dice
                .pick(&[HOUR, 24 * HOUR, 7 * 24 * HOUR])
                .copied()
                .unwrap_or(HOUR),
        },
    }
}

fn windows(dice: &mut Dice, start: Timestamp) -> Vec<Window> {
    let count = if dice.percent(30) {
        1 + dice.below(2)
    } else {
        0
    };
    (0..count)
        .map(|number| {
            let from = start + dice.between(Duration::ZERO, 2 * HOUR);
            Window {
                name: format!("w{number}"),
                from,
                to: from + dice.between(MINUTE, HOUR),
                autonomy: autonomy(dice),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fleet;

    #[test]
    fn every_seed_gives_a_production_that_has_a_fleet() {
        let start = Timestamp::from_millis(1_767_225_600_000);
        for seed in 0..300 {
            let small = production(seed, start);
            assert_eq!(small.production, production(seed, start).production);
            let fleet = Fleet::generate(&small.production, small.targets, seed).unwrap();
            assert_eq!(fleet.instances(), small.targets, "seed {seed}");
            for service in &small.production.services {
                assert!(!service.tests.is_empty());
                assert!(
                    service
                        .tests
                        .iter()
                        .all(|test| test.timeout <= test.interval)
                );
                assert!(
                    service
                        .repairs
                        .iter()
                        .all(|repair| !repair.steps.is_empty())
                );
            }
        }
    }

    #[test]
    fn seeds_differ() {
        let start = Timestamp::from_millis(1_767_225_600_000);
        assert_ne!(
            production(1, start).production.services,
            production(2, start).production.services
        );
    }
}
