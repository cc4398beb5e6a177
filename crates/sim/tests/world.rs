//! The simulated world: what befalls a small production, and what the report says of it.

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
    let report = simulate(production, &options, plan, &mut |_| {}).unwrap();
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

#[test]
fn a_day_on_which_nothing_happens_has_no_case_and_no_order() {
    let report = play(1, &[]);
    assert_eq!(
        (report.cases, orders(&report)),
        (0, 0),
        "{:?}",
        report.ended
    );
    assert_eq!((report.people_called, report.breaker_trips), (0, 0));
    assert_eq!(report.unavailable_target_minutes.with, 0);
    assert_eq!((report.targets, report.observers), (40, 3));
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let plan = [
        fault(5, FaultKind::Crash, &[3]),
        fault(20, FaultKind::Intermittent, &[25]),
        at(
            30,
            What::Network {
                how: STORM,
                lasts: minutes(60),
            },
        ),
        fault(40, FaultKind::Hang, &[7, 8]),
        at(
            41,
            What::Server(ServerTrouble::Crash {
                side: Side::AfterSend,
                down: minutes(1),
            }),
        ),
        fault(60, FaultKind::Slow, &[9]),
    ];
    let bytes = |seed| serde_json::to_vec(&play(seed, &plan)).unwrap();
    assert_eq!(bytes(7), bytes(7));
    assert_ne!(bytes(7), bytes(8));
}

const STORM: Network = Network {
    lost_percent: 20,
    duplicated_percent: 20,
    late_max: Duration::from_secs(8),
};

/// Over some seeds, because chance decides whether an order cures.
#[test]
fn what_a_restart_cures_is_cured_and_its_downtime_is_a_fraction() {
    for kind in [FaultKind::Crash, FaultKind::Hang, FaultKind::Errors] {
        let mut cured = 0;
        for seed in 0..8 {
            let report = play(seed, &[fault(10, kind, &[4])]);
            let tally = report.faults.values().next().unwrap();
            assert_eq!((tally.targets, tally.confirmed), (1, 1), "{kind:?}");
            assert_eq!(tally.cured + tally.by_person, 1, "{kind:?} {tally:?}");
            assert_eq!(report.missed_repairs, 0);
            assert_eq!(report.unavailable_target_minutes.without, 120);
            if tally.cured == 1 {
                cured += 1;
                assert_eq!(ended(&report, "cured"), 1, "{:?}", report.ended);
                assert_eq!(report.people_called, 0);
                assert!(report.unavailable_target_minutes.with <= 4);
            } else {
                assert_eq!(report.people_called, 1);
            }
        }
        assert!(cured >= 5, "{kind:?}: {cured} of 8");
    }
}

#[test]
fn what_no_step_cures_is_handed_over_and_ends_when_the_person_has_repaired_it() {
    let report = play(2, &[fault(10, FaultKind::Permanent, &[4])]);
    assert_eq!(ended(&report, "handed over"), 1, "{:?}", report.ended);
    assert_eq!(report.faults["permanent"].by_person, 1);
    assert_eq!(
        orders(&report),
        2,
        "the ladder's two tries: {:?}",
        report.orders
    );
    assert_eq!(report.people_called, 1);
    let minutes = report.unavailable_target_minutes;
    assert!((30..40).contains(&minutes.with), "{minutes:?}");
    assert_eq!(minutes.without, 120);
}

#[test]
fn a_slow_target_fails_only_when_its_answers_miss_the_deadline() {
    let heals = |after| Fault {
        kind: FaultKind::Slow,
        targets: vec![4],
        heals_after: Some(minutes(after)),
    };
    let early = play(3, &[at(10, What::Fault(heals(9)))]);
    assert_eq!((early.cases, early.faults["slow"].by_itself), (0, 1));
    let late = play(3, &[fault(10, FaultKind::Slow, &[4])]);
    assert_eq!(late.faults["slow"].confirmed, 1);
    assert_eq!(late.unavailable_target_minutes.without, 110);
}

#[test]
fn an_intermittent_target_ends_with_an_order_or_a_person_and_is_no_lie() {
    for seed in 0..4 {
        let report = play(seed, &[fault(10, FaultKind::Intermittent, &[4])]);
        let tally = &report.faults["intermittent"];
        assert_eq!(tally.cured + tally.by_person, 1, "{tally:?}");
        assert!(report.cases >= 1);
        assert_eq!(report.false_repairs, 0, "it is ill, also while it passes");
    }
}

#[test]
fn a_host_takes_down_what_runs_on_it_and_no_order_brings_it_back() {
    let production = production(PRODUCTION);
    let fleet = Fleet::generate(&production, 40, 4).unwrap();
    let guests: Vec<u32> = fleet.runs_on(41).collect();
    assert!(guests.len() >= 6, "{guests:?}");
    let report = play(4, &[fault(10, FaultKind::Host, &[41])]);
    let tally = &report.faults["host"];
    assert_eq!(
        tally.targets,
        guests.len() as u64 + 1,
        "with the host itself"
    );
    assert_eq!(tally.cured, 0);
    assert_eq!(tally.by_person, tally.targets);
    assert!(
        !report.orders.keys().any(|order| order.ends_with("done")),
        "{:?}",
        report.orders
    );
}

#[test]
fn a_domain_that_fails_is_found_and_a_person_repairs_all_of_it() {
    let fleet = Fleet::generate(&production(PRODUCTION), 40, 5).unwrap();
    let zone = fleet.members(Level::Zone, 0);
    let report = play(5, &[fault(10, FaultKind::Domain, &zone)]);
    assert_eq!(report.faults["domain"].by_person, zone.len() as u64);
    assert!(report.breaker_trips >= 1);
    assert!(
        report.held_by.contains_key("breaker"),
        "{:?}",
        report.held_by
    );
    let minutes = report.unavailable_target_minutes;
    assert!(minutes.with < minutes.without / 2, "{minutes:?}");
}

#[test]
fn a_cascade_stops_where_it_is_cured() {
    let report = play(
        6,
        &[fault(
            10,
            FaultKind::Cascade,
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        )],
    );
    let struck = report.faults["cascade"].targets;
    assert!((1..10).contains(&struck), "{struck}");
    let minutes = report.unavailable_target_minutes;
    assert!(
        minutes.without > 1_000 && minutes.with < minutes.without / 10,
        "{minutes:?}"
    );
}

#[test]
fn a_bad_release_is_not_restarted_away() {
    let mut release = fault(10, FaultKind::Deploy, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    if let What::Fault(fault) = &mut release.what {
        fault.heals_after = Some(minutes(60));
    }
    let report = play(7, &[release]);
    let tally = &report.faults["deploy"];
    assert_eq!((tally.targets, tally.cured), (10, 0), "{tally:?}");
}

#[test]
fn a_blip_repairs_nothing() {
    let blips = [5, 15, 25].map(|minute| at(minute, What::Blip { target: 4, test: 0 }));
    let report = play(8, &blips);
    assert_eq!(
        (ended(&report, "false alarm"), orders(&report)),
        (3, 0),
        "{:?}",
        report.ended
    );
}

#[test]
fn two_honest_observers_outvote_one_that_lies_and_one_liar_alone_is_believed() {
    let lies = |how| {
        [at(
            10,
            What::Observer {
                observer: 0,
                how,
                lasts: minutes(30),
            },
        )]
    };
    for how in [
        Sick::LiesFailing,
        Sick::KnowsIt,
        Sick::LiesPassing,
        Sick::Silent,
    ] {
        assert_eq!(orders(&play(9, &lies(how))), 0, "{how:?}");
    }
    let alone = Options {
        observers: 1,
        ..Options::new(40, minutes(240), 9)
    };
    let report = simulate(
        &production(PRODUCTION),
        &alone,
        &lies(Sick::LiesFailing),
        &mut |_| {},
    )
    .unwrap();
    assert!(
        report.breaker_trips > 0,
        "a mass failure in one observer's eyes"
    );
    assert_eq!(report.unavailable_target_minutes.without, 0);
}

#[test]
fn a_liar_that_sees_all_pass_does_not_hide_what_the_others_see() {
    let plan = [
        at(
            5,
            What::Observer {
                observer: 1,
                how: Sick::LiesPassing,
                lasts: minutes(60),
            },
        ),
        fault(10, FaultKind::Crash, &[4]),
        at(
            11,
            What::Observer {
                observer: 2,
                how: Sick::Stale(minutes(1)),
                lasts: minutes(60),
            },
        ),
    ];
    let report = play(10, &plan);
    assert_eq!(report.faults["crash"].confirmed, 1);
    assert_eq!(report.missed_repairs, 0);
}

#[test]
fn what_one_observer_can_not_see_is_not_repaired() {
    let half_blind = Link::ObserverToTargets {
        observer: 0,
        zone: 1,
    };
    let report = play(
        11,
        &[at(
            10,
            What::Cut {
                link: half_blind,
                lasts: minutes(30),
            },
        )],
    );
    assert_eq!(orders(&report), 0, "{:?}", report.orders);
    assert!(report.cases > 0, "it was suspected");
}

#[test]
fn cut_observers_delay_a_repair_and_do_not_prevent_it() {
    let mut plan: Vec<Mishap> = (0..3)
        .map(|observer| {
            let link = Link::ObserverToServer(observer);
            at(
                9,
                What::Cut {
                    link,
                    lasts: minutes(20),
                },
            )
        })
        .collect();
    plan.push(fault(10, FaultKind::Crash, &[4]));
    let report = play(12, &plan);
    assert_eq!(report.faults["crash"].cured, 1);
    assert!((19..30).contains(&report.unavailable_target_minutes.with));
}

#[test]
fn an_order_that_never_arrives_is_given_up_after_its_time_and_repaired_all_the_same() {
    for link in [Link::ServerToActuators, Link::ActuatorsToServer] {
        let plan = [
            fault(10, FaultKind::Crash, &[4]),
            at(
                10,
                What::Cut {
                    link,
                    lasts: minutes(5),
                },
            ),
        ];
        let report = play(13, &plan);
        assert_eq!(report.faults["crash"].cured, 1, "{link:?}");
        assert!(
            report.orders.contains_key("restart unknown"),
            "{:?}",
            report.orders
        );
    }
}

#[test]
fn lost_late_doubled_and_reordered_messages_break_nothing() {
    for seed in 0..6 {
        let mut plan = vec![at(
            1,
            What::Network {
                how: STORM,
                lasts: minutes(200),
            },
        )];
        plan.extend((1..12).map(|n| fault(10 * n, FaultKind::Crash, &[u32::try_from(n).unwrap()])));
        let report = play(seed, &plan);
        let tally = &report.faults["crash"];
        assert_eq!(tally.lasting, 0, "{tally:?}");
        assert!(tally.cured >= 8, "{tally:?}");
    }
}

#[test]
fn a_crash_on_any_side_of_the_write_never_doubles_an_order() {
    for side in [Side::BeforeWrite, Side::AfterWrite, Side::AfterSend] {
        for seed in 0..5 {
            let down = Duration::from_secs(3 + 10 * seed);
            let plan = [
                at(9, What::Server(ServerTrouble::Crash { side, down })),
                fault(10, FaultKind::Crash, &[4]),
            ];
            let report = play(seed, &plan);
            let done = report.orders.get("restart done").copied().unwrap_or(0);
            let tally = &report.faults["crash"];
            assert_eq!(tally.cured + tally.by_person, 1, "{side:?} {tally:?}");
            // One cures with 95%; what is never begun is not done.
            assert!((1..=2).contains(&done), "{side:?}: {:?}", report.orders);
            match side {
                Side::BeforeWrite => assert!(!report.orders.contains_key("restart failed")),
                Side::AfterWrite => assert_eq!(report.orders["restart failed"], 1),
                Side::AfterSend => assert!(report.unavailable_target_minutes.with <= 4),
            }
        }
    }
}

#[test]
fn a_pause_and_a_clock_that_is_set_conclude_nothing_and_the_repair_goes_on() {
    let plan = [
        fault(10, FaultKind::Crash, &[4]),
        at(
            10,
            What::Server(ServerTrouble::Pause(Duration::from_secs(40))),
        ),
        fault(30, FaultKind::Crash, &[5]),
        at(30, What::ClockStep { ms: 3_600_000 }),
        fault(60, FaultKind::Crash, &[6]),
        at(60, What::ClockStep { ms: -1_800_000 }),
        at(
            61,
            What::Server(ServerTrouble::Crash {
                side: Side::AfterSend,
                down: minutes(1),
            }),
        ),
        fault(90, FaultKind::Crash, &[7]),
    ];
    let report = play(14, &plan);
    assert_eq!(report.faults["crash"].cured, 4, "{:?}", report.faults);
    assert_eq!(report.missed_repairs, 0);
}

#[test]
fn a_full_ledger_holds_every_order_until_it_has_room() {
    let plan = [
        at(9, What::LedgerFull { lasts: minutes(20) }),
        fault(10, FaultKind::Crash, &[4]),
    ];
    let report = play(15, &plan);
    assert!(
        report.held_by.contains_key("ledger_unwritable"),
        "{:?}",
        report.held_by
    );
    assert_eq!(report.faults["crash"].cured, 1);
    assert!((19..26).contains(&report.unavailable_target_minutes.with));
}

#[test]
fn discovery_that_fails_or_answers_with_little_takes_nothing_out_of_the_tests() {
    for how in [Discovery::Fails, Discovery::Empty, Discovery::Shrinks(80)] {
        let plan = [
            at(
                9,
                What::Discovery {
                    how,
                    lasts: minutes(60),
                },
            ),
            fault(10, FaultKind::Crash, &[4]),
        ];
        let report = play(16, &plan);
        assert_eq!(report.faults["crash"].cured, 1, "{how:?}");
        assert!(report.unavailable_target_minutes.with <= 4, "{how:?}");
    }
}

#[test]
fn targets_that_are_replaced_take_their_cases_with_them() {
    let plan = [
        fault(10, FaultKind::Permanent, &[0, 1, 21, 22]),
        at(
            12,
            What::Discovery {
                how: Discovery::Replaces(100),
                lasts: Duration::ZERO,
            },
        ),
        fault(60, FaultKind::Crash, &[4]),
    ];
    let report = play(17, &plan);
    assert_eq!(ended(&report, "superseded"), 4, "{:?}", report.ended);
    assert_eq!(
        report.faults["crash"].cured, 1,
        "the new ones are repaired, too"
    );
}

#[test]
fn people_pause_hold_stop_and_restart_and_are_left_in_peace() {
    let hand = |minute, hand| at(minute, What::Person(hand));
    let plan = [
        hand(
            8,
            Hand::Hold {
                target: 4,
                lasts: minutes(30),
            },
        ),
        fault(10, FaultKind::Crash, &[4]),
        hand(
            60,
            Hand::Pause {
                scope: Scope::Service("web".parse().unwrap()),
                lasts: minutes(15),
            },
        ),
        fault(61, FaultKind::Crash, &[5]),
        hand(
            100,
            Hand::Stop {
                target: 30,
                lasts: minutes(20),
            },
        ),
        hand(150, Hand::Restart { target: 31 }),
        hand(155, Hand::Restart { target: 32 }),
        hand(160, Hand::Restart { target: 33 }),
        hand(165, Hand::Decide { approve: true }),
    ];
    let report = play(18, &plan);
    assert_eq!(report.faults["crash"].cured, 2, "{:?}", report.faults);
    assert!(
        report.held_by.contains_key("held_by_person"),
        "{:?}",
        report.held_by
    );
    assert!(
        report.held_by.contains_key("paused"),
        "{:?}",
        report.held_by
    );
    assert_eq!(
        report.orders.get("stop done"),
        Some(&1),
        "{:?}",
        report.orders
    );
    assert_eq!(
        report.orders.get("start done"),
        Some(&1),
        "{:?}",
        report.orders
    );
    let down = report.unavailable_target_minutes.with;
    assert!(
        (43..60).contains(&down),
        "the hold's, the pause's and no stop's: {down}"
    );
}

#[test]
fn an_order_that_waits_for_approval_is_given_when_somebody_has_looked() {
    let careful = PRODUCTION.replace("autonomy: act", "autonomy: approve");
    let report = play_on(
        &production(&careful),
        23,
        &[fault(10, FaultKind::Crash, &[4])],
    );
    assert!(
        report.held_by.contains_key("awaiting_approval"),
        "{:?}",
        report.held_by
    );
    assert_eq!(report.faults["crash"].cured, 1);
    let down = report.unavailable_target_minutes.with;
    assert!((10..16).contains(&down), "{down} {:?}", report.orders);
}

#[test]
fn who_only_observes_changes_nothing() {
    let passive = PRODUCTION.replace("autonomy: act", "autonomy: observe");
    let report = play_on(
        &production(&passive),
        20,
        &[fault(10, FaultKind::Crash, &[4])],
    );
    let minutes = report.unavailable_target_minutes;
    assert_eq!(
        (minutes.with, minutes.without, orders(&report)),
        (120, 120, 0)
    );
    assert_eq!(report.timeline.down_with, report.timeline.down_without);
}

#[test]
fn a_third_of_a_service_at_once_is_repaired_within_its_limits() {
    let report = play(21, &[fault(10, FaultKind::Crash, &[0, 1, 2, 3, 4, 5, 6])]);
    assert_eq!(report.faults["crash"].lasting, 0);
    assert!(report.breaker_trips > 0 && report.held_by.contains_key("breaker"));
    for used in report
        .disruption
        .iter()
        .filter(|used| used.limit != "max_unavailable")
    {
        assert!(used.most <= used.allowed, "{used:?}");
    }
}

#[test]
fn the_report_adds_up() {
    let plan = [
        fault(10, FaultKind::Crash, &[0, 21]),
        fault(30, FaultKind::Permanent, &[5]),
        fault(230, FaultKind::Hang, &[6]),
    ];
    let report = play(22, &plan);
    assert_eq!(report.cases, report.ended.values().sum::<u64>());
    let of_services: u64 = report.services.values().map(|service| service.cases).sum();
    assert_eq!(report.cases, of_services);
    assert_eq!(
        report
            .services
            .values()
            .map(|service| service.targets)
            .sum::<u64>(),
        40
    );
    let timeline = &report.timeline;
    let steps = usize::try_from(report.simulated_seconds.div_ceil(timeline.step_seconds)).unwrap();
    assert!(steps <= 288);
    for series in [
        &timeline.down_with,
        &timeline.down_without,
        &timeline.in_flight,
        &timeline.cases,
        &timeline.called,
    ] {
        assert_eq!(series.len(), steps);
    }
    assert_eq!(timeline.cases.iter().sum::<u64>(), report.cases);
    assert_eq!(timeline.called.iter().sum::<u64>(), report.people_called);
    for tally in report.faults.values() {
        let ends = tally.cured + tally.by_itself + tally.by_person + tally.lasting;
        assert_eq!(tally.targets, ends);
    }
    assert!(report.assumptions.len() > 5);
    assert!(
        report
            .disruption
            .iter()
            .all(|used| used.over_time.len() == steps)
    );
}

#[test]
fn a_fleet_is_spread_over_hosts_racks_and_zones_as_its_services_say() {
    let production = production(PRODUCTION);
    let fleet = Fleet::generate(&production, 1_000, 1).unwrap();
    assert_eq!((fleet.instances(), fleet.len()), (1_000, 1_100));
    assert_eq!(fleet.members_of(0).len(), 500);
    assert_eq!(fleet.groups(Level::Zone), 3);
    for target in [0, 499, 500, 999] {
        let host = fleet.host_of(target).unwrap();
        assert!(fleet.runs_on(host).any(|guest| guest == target));
        let (of, named) = (
            &fleet.targets()[target as usize],
            &fleet.targets()[host as usize],
        );
        assert_eq!(of.run_on.as_ref(), Some(&named.id));
        assert_eq!(of.labels.get("zone"), named.labels.get("zone"));
        assert_eq!(fleet.find(&of.id), Some(target));
        for level in Level::ALL {
            assert_eq!(fleet.group_of(level, target), fleet.group_of(level, host));
        }
    }
    let racks = fleet.groups(Level::Rack);
    let all: usize = (0..racks)
        .map(|rack| fleet.members(Level::Rack, rack).len())
        .sum();
    assert_eq!(all, 1_100);
}

#[test]
fn what_can_not_be_simulated_is_said_before_it_begins() {
    let production = production(PRODUCTION);
    let run = |options: &Options, plan: &[Mishap]| {
        simulate(&production, options, plan, &mut |_| {}).unwrap_err()
    };
    let hour = Options::new(10, minutes(60), 1);
    assert_eq!(
        run(&hour, &[fault(1, FaultKind::Crash, &[99])]),
        SimulateError::NoSuchTarget {
            number: 0,
            target: 99,
            targets: 16
        }
    );
    let unsorted = [
        fault(2, FaultKind::Crash, &[1]),
        fault(1, FaultKind::Crash, &[1]),
    ];
    assert_eq!(run(&hour, &unsorted), SimulateError::Unsorted { number: 1 });
    let none = Options::new(0, minutes(60), 1);
    assert_eq!(run(&none, &[]), SimulateError::Fleet(FleetError::NoTargets));
    let blind = Options {
        observers: 0,
        ..hour
    };
    assert_eq!(run(&blind, &[]), SimulateError::Nothing);
    let empty = Production::default();
    assert_eq!(
        Fleet::generate(&empty, 10, 1).unwrap_err(),
        FleetError::NoServices
    );
}
