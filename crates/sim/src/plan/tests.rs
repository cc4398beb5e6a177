//! Plans are the same for ever, sorted, and as dense as their rates say.

use std::collections::BTreeMap;

use pitcrew_model::Timestamp;

use super::*;
use crate::{Discovery, Link, ServerTrouble, Sick, random};

const DAY: Duration = Duration::from_secs(86_400);

/// One service of a fleet of `targets`.
fn fleet(targets: u32) -> (Production, Fleet) {
    let mut production = random::production(1, Timestamp::ZERO).production;
    production.services.truncate(1);
    let fleet = Fleet::generate(&production, targets, 1).unwrap();
    (production, fleet)
}

fn kinds(plan: &[Mishap]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for mishap in plan {
        let name = match &mishap.what {
            What::Fault(fault) => format!("{:?}", fault.kind),
            What::Observer {
                how: Sick::Stale(_),
                ..
            } => "Stale".to_owned(),
            What::Observer { how, .. } => format!("{how:?}"),
            What::Cut {
                link: Link::ObserverToServer(_),
                ..
            } => "ObserverCut".to_owned(),
            What::Cut {
                link: Link::ObserverToTargets { .. },
                ..
            } => "HalfBlind".to_owned(),
            What::Cut { link, .. } => format!("{link:?}"),
            What::Server(ServerTrouble::Crash { side, .. }) => format!("{side:?}"),
            What::Discovery {
                how: Discovery::Shrinks(_),
                ..
            } => "Shrinks".to_owned(),
            What::Discovery {
                how: Discovery::Replaces(_),
                ..
            } => "Replaces".to_owned(),
            What::Discovery { how, .. } => format!("{how:?}"),
            What::ClockStep { ms } => format!("Clock{}", if *ms > 0 { "On" } else { "Back" }),
            What::Person(hand) => {
                let hand = format!("{hand:?}");
                format!("Hand{}", hand.split([' ', '{']).next().unwrap())
            }
            What::Blip { .. }
            | What::Network { .. }
            | What::Server(_)
            | What::LedgerFull { .. } => {
                let what = format!("{:?}", mishap.what);
                what.split([' ', '{', '(']).next().unwrap().to_owned()
            }
        };
        *kinds.entry(name).or_default() += 1;
    }
    kinds
}

#[test]
fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
    let (production, fleet) = fleet(40);
    let plan = |seed| draw(&production, &fleet, seed, DAY, &Rates::stormy());
    assert_eq!(plan(7), plan(7));
    assert_ne!(plan(7), plan(8));
}

#[test]
fn a_plan_is_sorted_and_stays_within_its_time_and_its_fleet() {
    let (production, fleet) = fleet(40);
    let plan = draw(&production, &fleet, 3, DAY, &Rates::stormy());
    assert!(plan.is_sorted_by_key(|mishap| mishap.at));
    for mishap in &plan {
        assert!(mishap.at < DAY);
        if let What::Fault(fault) = &mishap.what {
            assert!(!fault.targets.is_empty());
            assert!(fault.targets.iter().all(|target| *target < fleet.len()));
        }
    }
}

#[test]
fn nothing_goes_wrong_when_all_is_calm() {
    let (production, fleet) = fleet(40);
    assert_eq!(draw(&production, &fleet, 3, 30 * DAY, &Rates::calm()), []);
}

#[test]
fn a_storm_has_everything_in_it() {
    let (production, fleet) = fleet(40);
    let kinds = kinds(&draw(&production, &fleet, 3, 10 * DAY, &Rates::stormy()));
    for wanted in [
        "Crash",
        "Hang",
        "Errors",
        "Slow",
        "Intermittent",
        "Permanent",
        "Host",
        "HostHung",
        "HostDead",
        "Domain",
        "Cascade",
        "Deploy",
        "Blip",
        "Silent",
        "LiesFailing",
        "LiesPassing",
        "Stale",
        "KnowsIt",
        "ObserverCut",
        "HalfBlind",
        "ServerToActuators",
        "ActuatorsToServer",
        "Network",
        "BeforeWrite",
        "AfterWrite",
        "AfterSend",
        "Server",
        "ClockOn",
        "ClockBack",
        "LedgerFull",
        "Fails",
        "Empty",
        "Shrinks",
        "Replaces",
        "HandPause",
        "HandHold",
        "HandRestart",
        "HandStop",
        "HandDecide",
    ] {
        assert!(kinds.contains_key(wanted), "no {wanted} in {kinds:?}");
    }
}

#[test]
fn more_of_one_kind_moves_no_other() {
    let (production, fleet) = fleet(40);
    let rates = Rates::stormy();
    let mut more = rates.clone();
    more.target.crash *= 10.0;
    let others = |rates: &Rates| {
        let mut plan = draw(&production, &fleet, 3, DAY, rates);
        plan.retain(|mishap| {
            !matches!(&mishap.what, What::Fault(fault) if fault.kind == FaultKind::Crash && fault.targets.len() == 1)
        });
        plan
    };
    assert_eq!(others(&rates), others(&more));
}

#[test]
fn a_large_fleet_has_as_many_faults_as_its_size_and_rates_say() {
    let (production, fleet) = fleet(100_000);
    let mut rates = Rates::calm();
    rates.target.crash = Rates::default().target.crash;
    rates.places.host = Rates::default().places.host;
    let kinds = kinds(&draw(&production, &fleet, 3, 30 * DAY, &rates));
    // 100,000 targets at 0.1 a month, 10,000 hosts at 1,000 in 1,800 a year.
    assert!((9_600..=10_400).contains(&kinds["Crash"]), "{kinds:?}");
    let hosts = kinds["Host"] + kinds["HostHung"] + kinds["HostDead"];
    assert!((390..=525).contains(&hosts), "{kinds:?}");
}
