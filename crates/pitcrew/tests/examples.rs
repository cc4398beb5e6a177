//! Each example is checked as it stands, and served from a copy in which only what would reach beyond this
//! test is changed: fixed ports, other people's addresses, and the freedom to act on this machine's units.

mod production;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use production::{Production, binary, free_ports, has, is_alive, send, wait_for};
use rustix::process::Signal;
use serde_json::Value;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("the example") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("its kind").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

/// Checked in place, then served with `changes` made to its files; ready, and nothing wrong with Pitcrew itself.
fn served(example: &str, changes: &[(&str, &str, &str)]) -> Production {
    let original = examples().join(example);
    let checked = Command::new(binary())
        .arg("check")
        .arg(&original)
        .output()
        .expect("the command runs");
    assert_eq!(
        checked.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    let mut production = Production::new("");
    fs::remove_dir_all(production.configuration()).expect("the empty configuration");
    copy(&original, &production.configuration());
    for (file, text, other) in changes {
        let path = production.configuration().join(file);
        let before = fs::read_to_string(&path).expect("the file");
        assert!(before.contains(text), "{file} has no `{text}` to change");
        fs::write(path, before.replace(text, other)).expect("the change");
    }
    production.environment("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    production.serve();
    let report = production.get("/api/v1/report").expect("the report");
    assert_eq!(
        report["server"]["troubles"],
        Value::Array(Vec::new()),
        "{report}"
    );
    production
}

/// Waits until as many targets of each service are as told.
fn stands(production: &Production, expected: &[(&str, &str, u64)]) {
    production.wait_until(
        "the services to stand as expected",
        "/api/v1/report",
        |report| {
            let services = report["services"].as_array().expect("services");
            let all = services.len() == expected.len()
                && expected.iter().all(|(name, health, count)| {
                    let mut named = services.iter().filter(|service| service["name"] == *name);
                    named.next().is_some_and(|service| {
                        service[health] == *count && service["targets"] == *count
                    })
                });
            all.then_some(())
                .ok_or_else(|| report["services"].to_string())
        },
    );
}

fn nothing_was_done(production: &mut Production) {
    let records = production.records();
    let intents = records
        .iter()
        .filter(|entry| entry["record"]["fact"]["kind"] == "intent");
    assert_eq!(intents.count(), 0, "{}", production::summary(&records));
    assert_eq!(production.stop(), Some(0));
}

#[test]
fn every_example_has_a_test_here() {
    let entries = fs::read_dir(examples()).expect("the examples");
    let folders = entries.filter_map(|entry| {
        let entry = entry.expect("an entry");
        let is_folder = entry.file_type().expect("its kind").is_dir();
        is_folder.then(|| entry.file_name().into_string().expect("text"))
    });
    let mut folders: Vec<String> = folders.collect();
    folders.sort();
    assert_eq!(
        folders,
        ["databases-and-queues", "one-machine", "prometheus-estate"]
    );
}

#[test]
fn one_machine_becomes_healthy_and_heals_as_its_comments_say() {
    if !has("python3", "python3") {
        return;
    }
    let ports = format!("from: {}", free_ports(3));
    let production = served("one-machine", &[("pitcrew.yaml", "from: 8081", &ports)]);
    stands(&production, &[("web", "healthy", 3)]);
    production.says(&["status"], 0);
    let hung = production.pid_of("app-2").expect("app-2 runs");
    send(hung, Signal::STOP);
    let verified = production.wait_for_fact("app-2", "verified");
    assert_eq!(verified["record"]["fact"]["passed"], true, "{verified}");
    assert!(!is_alive(hung));
}

#[test]
fn the_notices_of_one_machine_arrive_in_its_file() {
    if !has("python3", "python3") {
        return;
    }
    let ports = format!("from: {}", free_ports(3));
    let production = served(
        "one-machine",
        &[
            ("pitcrew.yaml", "from: 8081", &ports),
            ("pitcrew.yaml", "settle: 10s", "settle: 1s"),
            ("site/index.html", "all is well", "all is lost"),
        ],
    );
    wait_for("a notice", || {
        let notices = fs::read_to_string(production.configuration().join("notices.jsonl"))
            .unwrap_or_default();
        let lines = notices.lines().map(serde_json::from_str::<Value>);
        let mut of_cases = lines.filter(|notice| {
            notice
                .as_ref()
                .is_ok_and(|notice| notice["case"].is_string())
        });
        of_cases.next().map(drop).ok_or(notices)
    });
}

#[test]
fn the_prometheus_estate_is_found_and_only_observed() {
    let here: [(&str, &str, &str); 2] =
        ["targets/nodes.yaml", "targets/shop.json"].map(|file| (file, "192.0.2.", "127.0.2."));
    let mut production = served("prometheus-estate", &here);
    stands(
        &production,
        &[("shop", "failing", 3), ("nodes", "failing", 3)],
    );
    nothing_was_done(&mut production);
}

#[test]
fn databases_and_queues_are_found_and_tested() {
    let mut production = served(
        "databases-and-queues",
        &[
            ("pitcrew.yaml", "autonomy: act", "autonomy: observe"),
            ("pitcrew.yaml", "autonomy: approve", "autonomy: observe"),
        ],
    );
    let targets = production.json(&["targets"]);
    let targets: Vec<&str> = targets
        .as_array()
        .expect("targets")
        .iter()
        .filter_map(|target| target["target"]["id"].as_str())
        .collect();
    assert_eq!(targets.len(), 5);
    for target in targets {
        let answers = production.json(&["test", target]);
        let results = answers["results"].as_array().expect("results");
        assert!(!results.is_empty(), "{answers}");
        assert!(
            results.iter().all(|result| result["evidence"] != ""),
            "{answers}"
        );
    }
    nothing_was_done(&mut production);
}
