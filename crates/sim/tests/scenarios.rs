//! Every scenario beside the engine holds, and together they show every limit, phase and ending.

mod incidents;

use std::collections::BTreeSet;

use incidents::{all, read};
use pitcrew_sim::scenario::Story;

#[test]
fn every_scenario_holds() {
    let failures: Vec<String> = all()
        .iter()
        .filter_map(|(name, text)| match read(text) {
            Err(mistakes) => Some(
                mistakes
                    .iter()
                    .map(|mistake| format!("{name}:{mistake}"))
                    .collect::<Vec<_>>()
                    .join("\n"),
            ),
            Ok(scenario) => scenario.run().err().map(|failure| failure.in_file(name)),
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} scenarios don't hold:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn the_same_scenario_tells_the_same_story_every_time() {
    for (name, text) in all() {
        let scenario = read(&text).unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}"));
        let first = scenario.run().map_err(|failure| failure.to_string());
        let second = scenario.run().map_err(|failure| failure.to_string());
        assert_eq!(first, second, "{name}");
    }
}

fn stories() -> Vec<Story> {
    let run = |(name, text): (String, String)| {
        let scenario = read(&text).unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}"));
        scenario.run().unwrap_or_else(|failure| panic!("{failure}"))
    };
    all().into_iter().map(run).collect()
}

/// All of `wanted` that no story shows.
fn missing<'w>(
    wanted: &[&'w str],
    stories: &[Story],
    shown: impl Fn(&Story) -> &BTreeSet<String>,
) -> Vec<&'w str> {
    let is_shown = |name: &&str| stories.iter().any(|story| shown(story).contains(*name));
    wanted
        .iter()
        .copied()
        .filter(|name| !is_shown(name))
        .collect()
}

#[test]
fn together_they_show_every_limit_phase_ending_and_invariant() {
    let stories = stories();
    let none: [&str; 0] = [];
    assert_eq!(missing(&PHASES, &stories, |story| &story.phases), none);
    assert_eq!(missing(&ENDINGS, &stories, |story| &story.endings), none);
    assert_eq!(missing(&HOLDS, &stories, |story| &story.holds), none);
    for why in HANDED_OVER {
        let tells = |story: &Story| story.lines.iter().any(|line| line.what.contains(why));
        assert!(
            stories.iter().any(tells),
            "nothing is handed over for `{why}`"
        );
    }
    let objections: BTreeSet<u8> = stories
        .iter()
        .flat_map(|story| story.objections.iter().copied())
        .collect();
    // 5 is discovery's and the selector's, 7, 8 and 13 are no question of one order.
    assert_eq!(
        objections.into_iter().collect::<Vec<_>>(),
        [1, 2, 3, 4, 6, 7, 9, 10, 11, 12, 14, 15]
    );
}

const PHASES: [&str; 7] = [
    "suspected",
    "confirmed",
    "held",
    "repairing",
    "verifying",
    "probation",
    "closed",
];
const ENDINGS: [&str; 5] = [
    "cured",
    "self-recovered",
    "false alarm",
    "handed over",
    "superseded",
];
const HOLDS: [&str; 20] = [
    "autonomy",
    "awaiting_approval",
    "denied",
    "paused",
    "held_by_person",
    "ledger_unwritable",
    "breaker",
    "observer_suspect",
    "quorum",
    "cooldown",
    "one_at_a_time",
    "max_in_flight",
    "per_domain",
    "max_unavailable",
    "last_healthy",
    "rate",
    "fleet_rate",
    "host_unknown",
    "interlock",
    "handed_over",
];
/// Limits that call a person at once.
const HANDED_OVER: [&str; 3] = [
    "handed over: lemon: ",
    "handed over: it flaps: ",
    "handed over: nothing is known to run this target",
];

/// Fails to compile when a limit is added that the list above lacks.
#[expect(dead_code, reason = "it is the compiler that asks")]
fn every_limit_is_listed(hold: &pitcrew_model::Hold) {
    use pitcrew_model::Hold;
    match hold {
        Hold::Lemon { .. } | Hold::Flapping { .. } | Hold::NoRunner { .. } => {}
        Hold::Autonomy { .. }
        | Hold::AwaitingApproval { .. }
        | Hold::Denied { .. }
        | Hold::Paused { .. }
        | Hold::HeldByPerson { .. }
        | Hold::LedgerUnwritable
        | Hold::Breaker { .. }
        | Hold::ObserverSuspect { .. }
        | Hold::Quorum { .. }
        | Hold::Cooldown { .. }
        | Hold::OneAtATime { .. }
        | Hold::MaxInFlight { .. }
        | Hold::PerDomain { .. }
        | Hold::MaxUnavailable { .. }
        | Hold::LastHealthy { .. }
        | Hold::Rate { .. }
        | Hold::FleetRate { .. }
        | Hold::HostUnknown { .. }
        | Hold::Interlock { .. }
        | Hold::HandedOver { .. } => {}
    }
}
