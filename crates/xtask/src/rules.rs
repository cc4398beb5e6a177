//! The dependency rule: decision crates stay pure, and arrows point one way only.
//!
//! Read from `cargo metadata`, so that it can't drift from what is built. A crate that is not named here is
//! an error: its place must be decided first.

mod switches;

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// Each crate and the workspace's crates it may depend on.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("pitcrew-model", &[]),
    ("pitcrew-config", &["pitcrew-model", "pitcrew-promql"]),
    ("pitcrew-engine", &["pitcrew-model"]),
    ("pitcrew-interlock", &["pitcrew-model"]),
    (
        "pitcrew-sim",
        &["pitcrew-model", "pitcrew-engine", "pitcrew-interlock"],
    ),
    ("pitcrew-find", &["pitcrew-model"]),
    ("pitcrew-probe", &["pitcrew-model"]),
    ("pitcrew-act", &["pitcrew-model"]),
    ("pitcrew-ledger", &["pitcrew-model"]),
    ("pitcrew-promql", &[]),
    ("pitcrew-tsdb", &["pitcrew-promql"]),
    ("pitcrew-ingest", &["pitcrew-promql"]),
    ("pitcrew-wire", &["pitcrew-model"]),
    (
        "pitcrew-agent",
        &[
            "pitcrew-model",
            "pitcrew-wire",
            "pitcrew-probe",
            "pitcrew-act",
        ],
    ),
    (
        "pitcrew-server",
        &[
            "pitcrew-model",
            "pitcrew-config",
            "pitcrew-engine",
            "pitcrew-interlock",
            "pitcrew-sim",
            "pitcrew-find",
            "pitcrew-probe",
            "pitcrew-act",
            "pitcrew-ledger",
            "pitcrew-wire",
            "pitcrew-agent",
            "pitcrew-promql",
            "pitcrew-tsdb",
            "pitcrew-ingest",
        ],
    ),
    (
        "pitcrew",
        &[
            "pitcrew-model",
            "pitcrew-config",
            "pitcrew-ledger",
            "pitcrew-probe",
            "pitcrew-server",
            "pitcrew-agent",
            "pitcrew-sim",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that decide, and everything from outside they may use: nothing that reads a clock or does IO.
const PURE: &[(&str, &[&str])] = &[
    ("pitcrew-model", &["serde", "thiserror"]),
    ("pitcrew-engine", &["serde", "sha2"]),
    ("pitcrew-interlock", &[]),
    (
        "pitcrew-sim",
        &[
            "crc32fast",
            "rand",
            "rand_chacha",
            "serde",
            "serde_json",
            "thiserror",
        ],
    ),
    ("pitcrew-promql", &["regex", "thiserror", "twox-hash"]),
];

pub(crate) fn check() -> anyhow::Result<()> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .output()
        .context("failed to run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("failed to read cargo metadata")?;
    let mut broken = broken_rules(&dependencies(&metadata)?);
    broken.extend(switches::broken_rules(
        metadata["packages"].as_array().map_or(&[], Vec::as_slice),
    ));
    for rule in &broken {
        eprintln!("dependency rule: {rule}");
    }
    if !broken.is_empty() {
        bail!(
            "{} broken dependency rules; ARCHITECTURE.md says which crate may depend on which",
            broken.len()
        );
    }
    println!("dependency rule holds for {} crates", MAY_DEPEND_ON.len());
    Ok(())
}

/// Every package of the workspace with its ordinary and build dependencies; tests may use what they like.
fn dependencies(metadata: &Value) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?;
    let name = |value: &Value| {
        value["name"]
            .as_str()
            .map(str::to_owned)
            .context("a package without a name")
    };
    packages
        .iter()
        .map(|package| {
            let listed = package["dependencies"]
                .as_array()
                .context("a package without dependencies")?;
            let used = listed
                .iter()
                .filter(|dependency| dependency["kind"].as_str() != Some("dev"));
            Ok((
                name(package)?,
                used.map(name).collect::<anyhow::Result<_>>()?,
            ))
        })
        .collect()
}

fn broken_rules(packages: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut broken = Vec::new();
    for (package, dependencies) in packages {
        let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(name, _)| name == package) else {
            broken.push(format!(
                "{package} is not in the table of crates: decide its place in xtask's rules first"
            ));
            continue;
        };
        let ours = dependencies
            .iter()
            .filter(|name| packages.contains_key(*name));
        broken.extend(
            ours.filter(|name| !allowed.contains(&name.as_str()))
                .map(|name| format!("{package} may not depend on {name}")),
        );
        if let Some((_, outside)) = PURE.iter().find(|(name, _)| name == package) {
            let foreign = dependencies
                .iter()
                .filter(|name| !packages.contains_key(*name));
            broken.extend(
                foreign
                    .filter(|name| !outside.contains(&name.as_str()))
                    .map(|name| format!("{package} decides and stays pure: it may not use {name}")),
            );
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(package: &str, dependencies: &[&str], expected: &[&str]) {
        let mut packages: BTreeMap<String, Vec<String>> = MAY_DEPEND_ON
            .iter()
            .map(|(name, _)| ((*name).to_owned(), Vec::new()))
            .collect();
        packages.insert(
            package.to_owned(),
            dependencies.iter().map(|name| (*name).to_owned()).collect(),
        );
        assert_eq!(broken_rules(&packages), expected);
    }

    #[test]
    fn arrows_point_one_way() {
        check("pitcrew-engine", &["pitcrew-model", "serde"], &[]);
        check(
            "pitcrew-engine",
            &["pitcrew-probe"],
            &["pitcrew-engine may not depend on pitcrew-probe"],
        );
        check(
            "pitcrew-probe",
            &["pitcrew-act", "tokio"],
            &["pitcrew-probe may not depend on pitcrew-act"],
        );
    }

    #[test]
    fn crates_that_decide_use_no_runtime() {
        check(
            "pitcrew-interlock",
            &["tokio"],
            &["pitcrew-interlock decides and stays pure: it may not use tokio"],
        );
    }

    #[test]
    fn an_unknown_crate_is_an_error() {
        check(
            "pitcrew-extra",
            &[],
            &[
                "pitcrew-extra is not in the table of crates: decide its place in xtask's rules first",
            ],
        );
    }
}
