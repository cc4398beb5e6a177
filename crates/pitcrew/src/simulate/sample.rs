//! A report made by hand, with something in every part, for the tests of what is drawn from it.

use std::collections::BTreeMap;

use pitcrew_sim::{Broken, Disruption, FaultTally, Report, ServiceTally, Timeline, Unavailable};

pub(crate) fn report() -> Report {
    let steps = 288_u64;
    let wave = |height: u64, at: u64, width: u64| -> Vec<u64> {
        (0..steps)
            .map(|step| height * width.saturating_sub(step.abs_diff(at)) / width)
            .collect()
    };
    let (small, large) = (wave(9, 100, 12), wave(41, 120, 90));
    Report {
        seed: 7,
        configuration: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
            .to_owned(),
        faults_from: "ordinary model".to_owned(),
        targets: 12_000,
        hosts: 1_200,
        observers: 3,
        simulated_seconds: 86_400,
        cases: 1_312,
        ended: counts(&[
            ("cured", 1_001),
            ("self_recovered", 212),
            ("handed_over", 61),
            ("open", 38),
        ]),
        orders: counts(&[
            ("restart done", 1_080),
            ("restart failed", 12),
            ("hand_over done", 61),
        ]),
        false_repairs: 3,
        missed_repairs: 2,
        unavailable_target_minutes: Unavailable {
            with: 18_112,
            without: 143_310,
        },
        faults: [("crash", 700), ("domain", 40)]
            .map(|(name, targets)| {
                let tally = FaultTally {
                    targets,
                    confirmed: targets - 4,
                    cured: targets / 2,
                    by_itself: 3,
                    by_person: 2,
                    lasting: 1,
                };
                (name.to_owned(), tally)
            })
            .into(),
        services: [("web", 8_000), ("cache <b>", 4_000)]
            .map(|(name, targets)| {
                let tally = ServiceTally {
                    targets,
                    cases: targets / 10,
                    orders: targets / 11,
                    called: 12,
                    unavailable_target_minutes: Unavailable {
                        with: targets,
                        without: targets * 9,
                    },
                };
                (name.to_owned(), tally)
            })
            .into(),
        disruption: vec![
            used("web", "max_in_flight", 12, 12, wave(12, 100, 40)),
            used("web in zone=a", "per_domain", 4, 3, wave(3, 90, 30)),
            used("fleet", "fleet_rate", 60, 41, large.clone()),
        ],
        held_by: counts(&[("max_in_flight", 211), ("breaker", 40), ("cooldown", 9)]),
        breaker_trips: 2,
        people_called: 61,
        timeline: Timeline {
            step_seconds: 300,
            down_with: small.clone(),
            down_without: large,
            in_flight: wave(12, 100, 40),
            cases: wave(14, 100, 60),
            called: wave(2, 130, 3),
        },
        assumptions: vec![
            "A person who is called repairs what is down within 30 minutes & goes.".to_owned(),
        ],
        ..Report::default()
    }
}

pub(crate) fn unsafe_report() -> Report {
    Report {
        wrong_targets: 1,
        broken_invariants: 2,
        broken: vec![Broken {
            invariant: 4,
            at_seconds: 4_711,
            what: "<script>alert(1)</script>".to_owned(),
        }],
        ..report()
    }
}

fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

fn used(scope: &str, limit: &str, allowed: u64, most: u64, over_time: Vec<u64>) -> Disruption {
    Disruption {
        scope: scope.to_owned(),
        limit: limit.to_owned(),
        allowed,
        most,
        over_time,
    }
}
