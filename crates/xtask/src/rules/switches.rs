//! No build for users can be without a guard.
//!
//! The feature `switches` lets guards of engine and interlock be taken away. It may be passed on by the simulator's
//! feature of that name and by nothing else: no other feature, no default, no dependency of any kind. The binary
//! itself refuses to be compiled with it, for whoever asks cargo for all features.

use serde_json::Value;

const SWITCHES: &str = "switches";
/// The only package whose feature may pass it on, and only under the same name.
const MAY_PASS_ON: &str = "pitcrew-sim";

/// What breaks this rule in the packages of `cargo metadata`.
pub(super) fn broken_rules(packages: &[Value]) -> Vec<String> {
    packages.iter().flat_map(broken_by).collect()
}

fn broken_by(package: &Value) -> Vec<String> {
    let name = package["name"]
        .as_str()
        .unwrap_or("a package without a name");
    let features = package["features"].as_object().into_iter().flatten();
    let by_feature = features.filter_map(|(feature, enables)| {
        let passes_it_on = texts(enables).any(is_switch);
        let may = name == MAY_PASS_ON && feature == SWITCHES;
        (passes_it_on && !may).then(|| {
            format!("feature `{feature}` of {name} may not enable `{SWITCHES}`: guards could be taken away")
        })
    });
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let by_dependency = dependencies.filter_map(|dependency| {
        let of = dependency["name"].as_str().unwrap_or_default();
        texts(&dependency["features"]).any(is_switch).then(|| {
            format!("{name} may not use {of} with `{SWITCHES}`: guards could be taken away")
        })
    });
    by_feature.chain(by_dependency).collect()
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// `switches`, `pitcrew-engine/switches` or `pitcrew-engine?/switches`.
fn is_switch(feature: &str) -> bool {
    feature.rsplit('/').next() == Some(SWITCHES)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(name: &str, features: Value, dependencies: Value, broken: usize) {
        let package = json!({ "name": name, "features": features, "dependencies": dependencies });
        let found = broken_rules(std::slice::from_ref(&package));
        assert_eq!(found.len(), broken, "{package}: {found:?}");
    }

    #[test]
    fn only_the_simulator_passes_it_on_and_never_by_default() {
        let on = json!({ "switches": ["pitcrew-engine/switches", "pitcrew-interlock/switches"] });
        check("pitcrew-sim", on.clone(), json!([]), 0);
        check("pitcrew-server", on, json!([]), 1);
        check("pitcrew-engine", json!({ "switches": [] }), json!([]), 0);
        check(
            "pitcrew-engine",
            json!({ "default": ["switches"], "switches": [] }),
            json!([]),
            1,
        );
        check(
            "pitcrew-sim",
            json!({ "fast": ["pitcrew-engine?/switches"] }),
            json!([]),
            1,
        );
    }

    #[test]
    fn no_dependency_turns_it_on() {
        let with = |features: Value| json!([{ "name": "pitcrew-sim", "features": features }]);
        check("pitcrew", json!({}), with(json!([])), 0);
        check("pitcrew", json!({}), with(json!(["switches"])), 1);
    }
}
