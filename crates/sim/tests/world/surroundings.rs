//! Observers, network, server, ledger, discovery and people misbehave, and nothing unsafe comes of it.

use super::*;

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
