//! The fleet, the report, and what can't be simulated.

use super::*;

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
fn a_target_has_what_its_service_and_its_runner_ask_for() {
    let production = production(PRODUCTION);
    let fleet = Fleet::generate(&production, 40, 1).unwrap();
    for target in 0..fleet.instances() {
        let of = &fleet.targets()[target as usize];
        let service = &production.services[fleet.service_of(target).unwrap()];
        assert!(service.select.selects(&of.labels), "{of:?}");
        assert!(service.runner_for(of).is_some(), "{of:?}");
        assert!(
            service
                .domains
                .iter()
                .all(|label| of.labels.get(label).is_some())
        );
    }
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
