//! The package on real hosts: what it starts and leaves alone, and upgrades in either order while a case is open.
//!
//! There is one version of the code here; another version is the same code in a package that says so.

use serde_json::Value;

use crate::{
    fleet::{Fleet, VERSION, web},
    production::wait_for,
};

const NEWER: &str = "1.3.0";
/// Host 3 is the server of its own production here.
const SERVER: u8 = 3;
const PRODUCTION: &str = r#"
find:
  - agents: {}
services:
  - name: web
    select: { service: web }
    autonomy: observe
    tests:
      - { name: active, unit: {}, interval: 1s, timeout: 900ms, failure_threshold: 2, success_threshold: 1 }
    limits: { probation: 1s }
server: { listen: "127.0.0.1:7400", agents: { listen: "10.99.0.3:7443" } }
"#;

/// A server and an agent from the package, with a case that nobody repairs.
fn with_an_open_case() -> Option<(Fleet, String)> {
    let fleet = Fleet::healthy()?;
    let lab = &fleet.lab;
    lab.write(SERVER, "/etc/pitcrew/production/all.yaml", PRODUCTION);
    lab.shell(
        SERVER,
        "rm -rf /var/lib/pitcrew/*; systemctl restart pitcrew",
    );
    lab.shell(
        1,
        "systemctl stop pitcrew-agent pitcrew-agent-hands; rm -rf /var/lib/pitcrew-agent/* /var/lib/pitcrew-hands/*",
    );
    let token = lab.shell(SERVER, "pitcrew enroll h1");
    lab.write(1, "/etc/pitcrew/agent-token", &token);
    let options = "PITCREW_SERVER=10.99.0.3:7443\nPITCREW_TOKEN_FILE=/etc/pitcrew/agent-token\n";
    lab.write(1, "/etc/default/pitcrew-agent", options);
    lab.shell(1, "systemctl start pitcrew-agent; systemctl stop web");
    let case = wait_for("a confirmed case", || {
        let cases = ask(&fleet, "cases");
        let items = cases.as_array().ok_or_else(|| cases.to_string())?;
        let open = items.iter().map(|item| &item["case"]);
        let open = open.into_iter().find(|case| case["target"] == web(1));
        let id = open.and_then(|case| case["id"].as_str().map(str::to_owned));
        id.ok_or_else(|| cases.to_string())
    });
    Some((fleet, case))
}

/// What the command says on the server's host.
fn ask(fleet: &Fleet, command: &str) -> Value {
    // The answer is no (exit 1) when something needs a person; it is JSON all the same.
    let line = format!("pitcrew {command} --json || [ $? = 1 ]");
    serde_json::from_str(&fleet.lab.shell(SERVER, &line)).unwrap_or_default()
}

fn upgraded_in_this_order(first: u8, second: u8) {
    let Some((fleet, case)) = with_an_open_case() else {
        return;
    };
    let lab = &fleet.lab;
    for host in [first, second] {
        lab.install(host, NEWER);
        let version = lab.shell(host, "dpkg-query --show --showformat '${Version}' pitcrew");
        assert_eq!(version, NEWER);
        wait_for("the agent at the server, and the same case open", || {
            let (hosts, cases) = (ask(&fleet, "hosts"), ask(&fleet, "cases"));
            let is_connected = hosts[0]["connected_since"].is_number();
            let is_open = cases
                .as_array()
                .is_some_and(|cases| cases.iter().any(|one| one["case"]["id"] == case.as_str()));
            (is_connected && is_open)
                .then_some(())
                .ok_or_else(|| format!("{hosts} {cases}"))
        });
    }
    lab.shell(1, "systemctl start web");
    wait_for("the case to be closed", || {
        let cases = ask(&fleet, "cases");
        (cases.as_array().is_some_and(Vec::is_empty))
            .then_some(())
            .ok_or_else(|| cases.to_string())
    });
    lab.shell(
        SERVER,
        "systemctl stop pitcrew; pitcrew ledger verify --data /var/lib/pitcrew",
    );
    for host in [first, second] {
        lab.install(host, VERSION);
    }
}

#[test]
fn a_case_stays_open_when_the_server_is_upgraded_first() {
    upgraded_in_this_order(SERVER, 1);
}

#[test]
fn a_case_stays_open_when_the_agent_is_upgraded_first() {
    upgraded_in_this_order(1, SERVER);
}

#[test]
fn an_installed_package_starts_nothing_that_nobody_enabled_and_is_removed_without_what_it_knows() {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    let lab = &fleet.lab;
    let state = |unit: &str| {
        let ask = format!("systemctl show --property ActiveState --value {unit}");
        lab.shell(2, &ask).trim().to_owned()
    };
    lab.shell(2, "dpkg --purge pitcrew 2>&1");
    assert_eq!(state("pitcrew-agent"), "inactive");
    assert!(
        lab.file(2, "/var/lib/pitcrew-agent/identity.json").exists(),
        "the host's key is still there"
    );
    lab.install(2, VERSION);
    assert_eq!(state("pitcrew-agent"), "inactive");
    // Without a configuration there is nothing to serve, which is no failure.
    lab.shell(2, "systemctl start pitcrew");
    assert_eq!(state("pitcrew"), "inactive");
}

#[test]
fn an_upgrade_keeps_what_a_person_wrote_and_what_the_agent_runs() {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    let lab = &fleet.lab;
    let configuration = "\
address: 10.99.0.2
labels: { role: host }
run:
  - { name: worker, command: [/bin/sleep, infinity], labels: { service: none } }
";
    lab.write(2, "/etc/pitcrew/host.yaml", configuration);
    // What it runs has the network that it has.
    let network = "PrivateNetwork=no\nRestrictAddressFamilies=\n";
    fleet.set_unit(2, "pitcrew-agent-hands", network);
    lab.shell(2, "systemctl restart pitcrew-agent-hands pitcrew-agent");
    let worker = || lab.shell(2, "pidof sleep || true");
    let before = wait_for("the worker", || {
        let pid = worker();
        (!pid.is_empty())
            .then_some(pid)
            .ok_or_else(|| "none".to_owned())
    });
    fleet.wait_until_connected(2, true);
    let since = fleet.host(2)["connected_since"].clone();
    lab.install(2, NEWER);
    wait_for("the agent to be back", || {
        let now = fleet.host(2)["connected_since"].clone();
        (now.is_number() && now != since)
            .then_some(())
            .ok_or_else(|| now.to_string())
    });
    assert_eq!(worker(), before);
    let kept = std::fs::read_to_string(lab.file(2, "/etc/pitcrew/host.yaml"));
    assert_eq!(kept.expect("the configuration"), configuration);
    lab.shell(2, "kill $(pidof sleep)");
    lab.install(2, VERSION);
}
