//! The demo does what it promises, and leaves nothing running.

mod production;

use std::{fs, net::TcpStream, process::Command};

use production::{binary, processes_in};
use serde_json::Value;

#[test]
fn the_demo_ends_as_it_should_and_leaves_no_process_behind() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new(binary())
        .args(["demo", "--json"])
        .env("TMPDIR", place.path())
        .output()
        .expect("the demo runs");
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{report}\n{errors}");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let faults = report["faults"].as_array().expect("faults");
    assert_eq!(faults.len(), 8, "{report}");
    for fault in faults {
        assert_eq!(fault["as_it_should"], true, "{fault}");
    }

    assert_eq!(processes_in(place.path()), [0_u32; 0], "processes are left");
    let configuration = report["configuration"].as_str().expect("a path");
    let ports = ports(&fs::read_to_string(configuration).expect("the configuration"));
    assert_eq!(ports.len(), 39);
    for port in ports {
        assert!(
            TcpStream::connect(("127.0.0.1", port)).is_err(),
            "{port} is still served"
        );
    }
    let verified = Command::new(binary())
        .args([
            "ledger",
            "verify",
            "--data",
            report["data"].as_str().expect("a path"),
        ])
        .output()
        .expect("the command runs");
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
}

/// Of all instances of all services.
fn ports(configuration: &str) -> Vec<u16> {
    let numbers = |before: &str| -> Vec<u16> {
        let lines = configuration
            .lines()
            .filter_map(|line| line.split_once(before));
        let numbers = lines.map(|(_, rest)| rest.trim_end_matches([' ', '}']).parse());
        numbers.map(|number| number.expect("a number")).collect()
    };
    let (first, instances) = (numbers("ports: { from: "), numbers("instances: "));
    first
        .iter()
        .zip(instances)
        .flat_map(|(first, count)| *first..first + count)
        .collect()
}
