//! Every scenario beside the engine holds, and together they show every limit, phase and ending.

mod incidents;

use incidents::{all, read};

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
