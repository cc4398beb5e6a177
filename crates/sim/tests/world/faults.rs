//! Each kind of fault is found and ends as it should.

use super::*;

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
