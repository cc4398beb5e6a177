//! `test-policy` as scripts and people meet it: exit codes, what is said, and every example's own scenarios.

mod production;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use production::binary;
use serde_json::Value;
use tempfile::TempDir;

const POLICY: &str = "
services:
  - name: web
    select: { service: web }
    domains: [zone]
    autonomy: act
    runs_as: { unit: web.service }
    tests: [{ name: answers, tcp: {}, interval: 5s }]
    repairs: [{ name: restart, when: [answers], steps: [{ restart: {} }] }]
";

const HOLDS: &str = "\
# A killed target is restarted. And then some.
targets:
  web-1..3  service=web zone=a,b,c

at 1m  web-1 down
at 2m  expect order restart web-1
";

/// A directory with the policy and these scenarios.
fn directory(scenarios: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    let write = |name: &str, text: &str| {
        fs::write(directory.path().join(name), text).expect("a file");
    };
    write("pitcrew.yaml", POLICY);
    scenarios.iter().for_each(|(name, text)| write(name, text));
    directory
}

fn test_policy(directory: &Path, further: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("test-policy").arg(directory).args(further);
    command.output().expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn says(output: &Output, code: i32, expected: &[&str]) {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for expected in expected {
        assert!(said.contains(expected), "`{expected}` is not said:\n{said}");
    }
}

#[test]
fn scenarios_that_hold_are_one_line_each_and_exit_0() {
    let directory = directory(&[("b.scenario", HOLDS), ("a.scenario", HOLDS)]);
    let output = test_policy(directory.path(), &[]);
    assert_eq!(
        text(&output.stdout),
        "✓ a.scenario  A killed target is restarted.\n✓ b.scenario  A killed target is restarted.\nall 2 scenarios hold\n"
    );
    says(&output, 0, &[]);
}

#[test]
fn one_that_does_not_hold_is_shown_with_what_happened_and_exit_1() {
    let fails = HOLDS.replace("expect order restart web-1", "expect no order");
    let directory = directory(&[("fails.scenario", &fails), ("holds.scenario", HOLDS)]);
    let file = directory.path().join("fails.scenario");
    let failure = format!(
        "  {}:6: after 2m wanted `at 2m expect no order`, but there was 1 order: 1m10s web-1 order restart, step 1 try 1",
        file.display()
    );
    let output = test_policy(directory.path(), &[]);
    says(
        &output,
        1,
        &[
            "✗ fails.scenario",
            &failure,
            "1m10s  web-1  confirmed: answers",
            "✓ holds.scenario",
            "1 of 2 scenarios hold",
        ],
    );
}

#[test]
fn a_configuration_of_one_file_has_its_scenarios_beside_it() {
    let directory = directory(&[("holds.scenario", HOLDS)]);
    let mut command = Command::new(binary());
    command.current_dir(directory.path());
    let output = command.args(["test-policy", "pitcrew.yaml"]).output();
    says(&output.expect("the command runs"), 0, &["1 scenario holds"]);
}

#[test]
fn only_the_files_that_are_named_are_run() {
    let directory = directory(&[("holds.scenario", HOLDS), ("bad.scenario", "nonsense\n")]);
    let file = directory.path().join("holds.scenario");
    let output = test_policy(directory.path(), &[&file.to_string_lossy()]);
    says(&output, 0, &["1 scenario holds"]);
}

#[test]
fn a_bad_scenario_is_2_with_every_mistake_at_its_place() {
    let bad = HOLDS
        .replace("web-1 down", "web-1 dwon")
        .replace("at 2m", "at 2q");
    let directory = directory(&[("bad.scenario", &bad), ("holds.scenario", HOLDS)]);
    let file = directory.path().join("bad.scenario");
    let places = [
        format!(
            "{}:5:14: there is no target `dwon`, did you mean `down`?",
            file.display()
        ),
        format!("{}:6:4: `2q` is not a duration", file.display()),
    ];
    let output = test_policy(directory.path(), &[]);
    says(&output, 2, &[&places[0], &places[1], "✓ holds.scenario"]);
    fs::write(&file, b"# \xff\n").expect("a file");
    says(
        &test_policy(directory.path(), &[]),
        2,
        &["bad.scenario:1:3: not UTF-8 from here on"],
    );
    let absent = directory.path().join("absent.scenario");
    let output = test_policy(directory.path(), &[&absent.to_string_lossy()]);
    says(&output, 2, &["absent.scenario:1:1: failed to read it"]);
}

#[test]
fn a_bad_configuration_is_2_as_check_says_it() {
    let directory = directory(&[("holds.scenario", HOLDS)]);
    fs::write(
        directory.path().join("pitcrew.yaml"),
        POLICY.replace("act", "acts"),
    )
    .expect("a file");
    says(
        &test_policy(directory.path(), &[]),
        2,
        &["acts", "nothing applied"],
    );
}

#[test]
fn json_tells_all_of_it() {
    let fails = HOLDS.replace("expect order restart web-1", "expect no order");
    let directory = directory(&[("fails.scenario", &fails), ("holds.scenario", HOLDS)]);
    let output = test_policy(directory.path(), &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let tested: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(tested["ok"], false);
    assert_eq!(tested["scenarios"][0]["failure"]["line"], 6);
    assert_eq!(tested["scenarios"][0]["failure"]["at"], "2m");
    assert_eq!(tested["scenarios"][1]["ok"], true);
    assert_eq!(
        tested["scenarios"][1]["title"],
        "A killed target is restarted. And then some."
    );
}

fn examples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let entries = fs::read_dir(directory).expect("the examples");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut folders: Vec<PathBuf> = paths.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[test]
fn every_example_has_scenarios_and_they_hold() {
    for folder in examples() {
        says(&test_policy(&folder, &[]), 0, &["✓"]);
    }
}

/// The configuration of each example without its scenarios, and the one printed to begin with.
#[test]
fn without_a_scenario_it_is_2_with_one_to_begin_with_that_holds() {
    for folder in examples() {
        let config = fs::read_to_string(folder.join("pitcrew.yaml")).expect("the example");
        let directory = TempDir::new().expect("a directory");
        fs::write(directory.path().join("pitcrew.yaml"), config).expect("a file");
        let secrets = folder.join("secrets");
        if secrets.is_dir() {
            std::os::unix::fs::symlink(&secrets, directory.path().join("secrets")).expect("a link");
        }
        let output = test_policy(directory.path(), &[]);
        says(&output, 2, &["has no *.scenario file", "expect line"]);
        let said = text(&output.stderr);
        let (_, first) = said.split_once("\n\n").expect("an example");
        fs::write(directory.path().join("first.scenario"), first).expect("a file");
        says(
            &test_policy(directory.path(), &[]),
            0,
            &["1 scenario holds"],
        );
    }
}
