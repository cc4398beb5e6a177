//! Orders to a host: what they cure, and what they never do.

use rustix::process::Signal;

use crate::{
    agents::Fleet,
    production::{is_alive, send, wait_for},
};

/// The process that listens on an agent's port for `web`.
fn web_pid(fleet: &Fleet, port: u16) -> u32 {
    let port = port.to_string();
    wait_for("the web process", || {
        let pids = crate::production::processes_in(fleet.production.path());
        let is_it = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            words.contains(&b"http.server".as_slice()) && words.contains(&port.as_bytes())
        };
        pids.into_iter()
            .find(is_it)
            .ok_or_else(|| "it is not there".to_owned())
    })
}

#[test]
fn a_killed_process_is_restarted_by_its_host_and_verified_by_the_server() {
    let fleet = Fleet::served();
    let agent = fleet.agent("web-a");
    fleet.wait_for_health("web-1@web-a", "healthy");
    let before = web_pid(&fleet, agent.web);
    send(before, Signal::KILL);
    let outcome = fleet.production.wait_for_fact("web-1@web-a", "outcome");
    assert_eq!(
        outcome["record"]["fact"]["outcome"]["kind"], "done",
        "{outcome}"
    );
    let verified = fleet.production.wait_for_fact("web-1@web-a", "verified");
    assert_eq!(verified["record"]["fact"]["passed"], true, "{verified}");
    let observers = verified["record"]["fact"]["observers"].to_string();
    assert!(observers.contains("local"), "{observers}");
    let closed = fleet.production.wait_for_fact("web-1@web-a", "closed");
    assert_eq!(closed["record"]["fact"]["ending"], "cured", "{closed}");
    assert!(!is_alive(before) && web_pid(&fleet, agent.web) != before);
}

#[test]
fn the_host_keeps_its_own_limit_whatever_is_ordered() {
    let fleet = Fleet::served();
    let agent = fleet.agent_with("web-a", "limits: { disruptive: 1/h }");
    fleet.wait_for_health("web-1@web-a", "healthy");
    send(web_pid(&fleet, agent.web), Signal::KILL);
    let cured = fleet.production.wait_for_fact("web-1@web-a", "closed");
    let seq = cured["seq"].as_u64().expect("a number");
    fleet.wait_for_health("web-1@web-a", "healthy");
    send(web_pid(&fleet, agent.web), Signal::KILL);
    let outcome = fleet
        .production
        .wait_for_fact_after(seq, "web-1@web-a", "outcome");
    let outcome = &outcome["record"]["fact"]["outcome"];
    assert_eq!(outcome["kind"], "failed", "{outcome}");
    assert!(
        outcome["detail"]
            .to_string()
            .contains("host's own limit of 1/h"),
        "{outcome}"
    );
}

#[test]
fn a_host_whose_agent_is_killed_is_unknown_and_nothing_is_done_to_it() {
    let fleet = Fleet::served();
    let mut agent = fleet.agent("web-a");
    fleet.wait_for_health("web-1@web-a", "healthy");
    fleet.wait_for_health("web-a", "healthy");
    let pid = web_pid(&fleet, agent.web);
    agent.kill();
    fleet.wait_until_connected("web-a", false);
    let listed = fleet.production.says(&["hosts"], 1);
    assert!(
        listed.contains("web-a") && listed.contains("not connected"),
        "{listed}"
    );
    // What only it could see is unknown, not failing.
    fleet.wait_for_health("web-a", "unknown");
    assert!(is_alive(pid), "what it supervised lives on");
    let records = fleet.production.records();
    let intents = records
        .iter()
        .filter(|entry| entry["record"]["fact"]["kind"] == "intent");
    assert_eq!(intents.count(), 0, "nothing was ordered");
    agent.start();
    fleet.wait_until_connected("web-a", true);
    fleet.wait_for_health("web-1@web-a", "healthy");
    assert_eq!(
        web_pid(&fleet, agent.web),
        pid,
        "it was taken over, not started twice"
    );
}

#[test]
fn an_order_for_a_host_that_is_away_has_no_effect_and_says_so() {
    let fleet = Fleet::served();
    let mut agent = fleet.agent("web-a");
    fleet.wait_for_health("web-1@web-a", "healthy");
    let pid = web_pid(&fleet, agent.web);
    agent.kill();
    fleet.wait_until_connected("web-a", false);
    send(pid, Signal::KILL);
    let outcome = fleet.production.wait_for_fact("web-1@web-a", "outcome");
    let outcome = &outcome["record"]["fact"]["outcome"];
    assert_eq!(outcome["kind"], "failed", "{outcome}");
    assert!(
        outcome["detail"].to_string().contains("not connected"),
        "{outcome}"
    );
}

#[test]
fn a_server_that_is_killed_in_the_middle_of_an_order_finds_out_what_became_of_it_and_repeats_nothing()
 {
    let mut fleet = Fleet::served();
    let agent = fleet.agent("web-a");
    fleet.wait_for_health("web-1@web-a", "healthy");
    send(web_pid(&fleet, agent.web), Signal::KILL);
    wait_for("an intent", || {
        let records = fleet.production.records();
        let mut kinds = records.iter().map(|entry| &entry["record"]["fact"]["kind"]);
        kinds
            .any(|kind| kind == "intent")
            .then_some(())
            .ok_or_else(|| "none yet".to_owned())
    });
    fleet.production.kill();
    fleet.production.serve();
    fleet.wait_until_connected("web-a", true);
    let outcome = fleet.production.wait_for_fact("web-1@web-a", "outcome");
    let kind = outcome["record"]["fact"]["outcome"]["kind"].as_str();
    assert!(matches!(kind, Some("done" | "failed")), "{outcome}");
    fleet.wait_for_health("web-1@web-a", "healthy");
    let records = fleet.production.records();
    let operations: std::collections::BTreeSet<String> = records
        .iter()
        .filter(|entry| entry["record"]["fact"]["kind"] == "intent")
        .map(|entry| entry["record"]["fact"]["order"]["operation"].to_string())
        .collect();
    let journal = std::fs::read_to_string(agent.directory.join("data/run/operations.jsonl"));
    let journal = journal.expect("the agent's journal");
    for operation in &operations {
        let begun = journal.matches(&format!("{{\"begun\":{operation}")).count();
        assert!(begun <= 1, "{operation} was begun {begun} times");
    }
}

#[test]
fn an_old_server_that_is_back_is_not_obeyed() {
    let fleet = Fleet::served();
    let mut agent = fleet.agent("web-a");
    fleet.wait_for_health("web-1@web-a", "healthy");
    // A newer server has been here: the agent has seen its fence.
    agent.stop();
    let fence = agent.directory.join("data/run/fence");
    std::fs::write(fence, "1000").expect("the fence is written");
    agent.start();
    fleet.wait_until_connected("web-a", true);
    fleet.wait_for_health("web-1@web-a", "healthy");
    send(web_pid(&fleet, agent.web), Signal::KILL);
    let outcome = fleet.production.wait_for_fact("web-1@web-a", "outcome");
    let outcome = &outcome["record"]["fact"]["outcome"];
    assert_eq!(outcome["kind"], "failed", "{outcome}");
    assert!(
        outcome["detail"].to_string().contains("older server"),
        "{outcome}"
    );
}

#[test]
fn a_target_is_seen_from_several_places_and_from_inside_by_its_own_host_only() {
    let fleet = Fleet::served();
    let _agents = ["web-a", "web-b", "web-c"].map(|host| fleet.agent(host));
    wait_for("two other hosts to see web-a's process", || {
        let target = fleet.target("web-1@web-a")?;
        let tests = target["tests"].as_array().ok_or("no tests")?;
        let mut seen: Vec<String> = tests
            .iter()
            .filter(|test| test["verdict"] == "pass")
            .map(|test| format!("{} {}", test["test"], test["observer"]).replace('"', ""))
            .collect();
        seen.sort();
        let wanted = [
            "answers local",
            "answers web-b",
            "answers web-c",
            "runs web-a",
        ];
        (seen == wanted)
            .then_some(())
            .ok_or_else(|| target.to_string())
    });
}

#[test]
fn a_command_is_ordered_by_name_and_is_what_the_host_says_it_is() {
    let fleet = Fleet::served();
    let agent = fleet.agent("web-a");
    // One instance is never disrupted, so a second one of the service is there.
    let _other = fleet.agent("web-b");
    fleet.wait_for_health("web-1@web-a", "healthy");
    fleet.wait_for_health("web-1@web-b", "healthy");
    fleet
        .production
        .says(&["order", "web-1@web-a", "mark", "--why", "a test"], 0);
    let outcome = fleet.production.wait_for_fact("web-1@web-a", "outcome");
    assert_eq!(
        outcome["record"]["fact"]["outcome"]["kind"], "done",
        "{outcome}"
    );
    assert!(agent.directory.join("marked").exists());
}

#[test]
fn an_agent_that_stood_still_with_an_order_is_asked_what_became_of_it_and_does_it_once() {
    let fleet = Fleet::served();
    let agent = fleet.agent("web-a");
    fleet.wait_for_health("web-1@web-a", "healthy");
    agent.signal(Signal::STOP);
    send(web_pid(&fleet, agent.web), Signal::KILL);
    fleet.production.wait_for_fact("web-1@web-a", "intent");
    fleet.wait_until_connected("web-a", false);
    agent.signal(Signal::CONT);
    let outcome = fleet.production.wait_for_fact("web-1@web-a", "outcome");
    let lost = "the connection was lost after it was sent";
    assert!(fleet.production.log().contains(lost), "{outcome}");
    fleet.production.wait_for_fact("web-1@web-a", "closed");
    fleet.wait_for_health("web-1@web-a", "healthy");
    let operation = &outcome["record"]["order"];
    assert!(!operation.is_null(), "{outcome}");
    let journal = std::fs::read_to_string(agent.directory.join("data/run/operations.jsonl"));
    let journal = journal.expect("the agent's journal");
    let begun: Vec<&str> = journal
        .lines()
        .filter(|line| line.contains("\"begun\""))
        .collect();
    let distinct: std::collections::BTreeSet<&str> = begun.iter().copied().collect();
    assert_eq!(begun.len(), distinct.len(), "{journal}");
}
