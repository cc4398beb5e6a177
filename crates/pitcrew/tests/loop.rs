//! The loop on real processes: killed, they come back without a person; held, paused and forbidden, they don't;
//! and nothing is lost or done twice when Pitcrew itself is killed.

mod production;

use production::{Production, free_ports, has, is_alive, send, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

/// `instances` small web servers that Pitcrew runs, tested four times a second.
fn web(instances: u16, autonomy: &str) -> Option<Production> {
    if !has("python3", "python3") {
        return None;
    }
    let mut production = Production::new(&web_yaml(instances, autonomy, free_ports(instances)));
    production.serve();
    Some(production)
}

fn web_yaml(instances: u16, autonomy: &str, port: u16) -> String {
    format!(
        "
run:
  - name: web
    instances: {instances}
    command: [python3, -m, http.server, '{{port}}', --bind, 127.0.0.1]
    directory: '{{dir}}'
    ports: {{ from: {port} }}
    labels: {{ service: web }}
    stop: {{ signal: TERM, grace: 2s }}
services:
  - name: web
    select: {{ service: web }}
    autonomy: {autonomy}
    tests:
      - name: answers
        http: {{ path: / }}
        interval: 250ms
        timeout: 200ms
        failure_threshold: 2
        success_threshold: 2
    repairs:
      - name: restart-then-person
        when: [answers]
        steps:
          - {{ restart: {{}}, tries: 2, settle: 10s }}
          - {{ hand_over: {{}} }}
    limits: {{ cooldown: 1s, probation: 1s, lemon: {{ cases: 50, within: 1h }}, rate: 100/h }}
"
    )
}

fn healthy(production: &Production, count: u64) {
    production.wait_until("all to be healthy", "/api/v1/report", |report| {
        let service = &report["services"][0];
        let all = service["healthy"] == count && service["targets"] == count;
        all.then_some(()).ok_or_else(|| report.to_string())
    });
}

fn facts(production: &Production, target: &str, kind: &str) -> Vec<Value> {
    let records = production.records().into_iter();
    let of_target = records.filter(|entry| {
        entry["record"]["target"] == target && entry["record"]["fact"]["kind"] == kind
    });
    of_target.map(|entry| entry["record"].clone()).collect()
}

#[test]
fn a_killed_process_comes_back_and_the_whole_story_is_told() {
    let Some(production) = web(3, "act") else {
        return;
    };
    healthy(&production, 3);
    production.says(&["status"], 0);
    let before = production.pid_of("web-2").expect("web-2 runs");
    send(before, Signal::KILL);
    let closed = production.wait_for_fact("web-2", "closed");
    assert_eq!(closed["record"]["fact"]["ending"], "cured", "{closed}");
    healthy(&production, 3);
    let after = production.pid_of("web-2").expect("web-2 runs again");
    assert!(before != after && is_alive(after));
    assert_eq!(
        facts(&production, "web-2", "intent").len(),
        1,
        "one restart was enough"
    );
    for other in ["web-1", "web-3"] {
        assert!(
            facts(&production, other, "intent").is_empty(),
            "{other} was left alone"
        );
    }

    let case = closed["record"]["case"].as_str().expect("a case");
    for id in [case, "web-2", "order-1"] {
        let story = production.says(&["explain", id], 0);
        for word in [
            "web-2", "believed", "order", "restart", "verified", "closed", "cured",
        ] {
            assert!(
                story.contains(word),
                "`{word}` is missing in the story of {id}:\n{story}"
            );
        }
    }
    let cases = production.says(&["cases", "--state", "all"], 0);
    assert!(cases.contains(case) && cases.contains("cured"), "{cases}");
    assert!(production.says(&["orders"], 0).contains("restart"));
    assert!(production.says(&["targets"], 0).contains("web-2"));
    assert!(production.says(&["limits"], 0).contains("max_in_flight"));
    assert!(production.says(&["status"], 0).contains("3 healthy"));
    assert!(production.says(&["test", "web-2"], 0).contains("pass"));
}

#[test]
fn a_hung_process_is_restarted_too() {
    let Some(production) = web(2, "act") else {
        return;
    };
    healthy(&production, 2);
    let before = production.pid_of("web-1").expect("web-1 runs");
    send(before, Signal::STOP);
    assert_eq!(
        production.wait_for_fact("web-1", "closed")["record"]["fact"]["ending"],
        "cured"
    );
    assert!(!is_alive(before), "the hung process is gone");
    healthy(&production, 2);
}

#[test]
fn a_target_under_a_persons_hand_is_left_alone_until_it_is_released() {
    let Some(production) = web(2, "act") else {
        return;
    };
    healthy(&production, 2);
    assert!(
        production
            .says(&["hold", "web-1", "--for", "1h", "--why", "a drill"], 0)
            .contains("pitcrew release web-1")
    );
    send(
        production.pid_of("web-1").expect("web-1 runs"),
        Signal::KILL,
    );
    let held = production.wait_for_fact("web-1", "held");
    assert_eq!(
        held["record"]["fact"]["hold"]["name"], "held_by_person",
        "{held}"
    );
    let story = production.says(&["explain", "web-1"], 0);
    assert!(
        story.contains("a drill") && story.contains("pitcrew release web-1"),
        "{story}"
    );
    assert!(
        production
            .says(&["test", "web-1"], 1)
            .contains("connection refused")
    );
    production.says(&["order", "web-1", "restart", "--why", "impatience"], 1);
    assert!(facts(&production, "web-1", "intent").is_empty());
    production.says(&["release", "web-1"], 0);
    production.wait_for_fact("web-1", "intent");
    healthy(&production, 2);
}

#[test]
fn nothing_new_is_done_while_paused() {
    let Some(production) = web(2, "act") else {
        return;
    };
    healthy(&production, 2);
    production.says(&["pause", "--why", "a drill"], 0);
    send(
        production.pid_of("web-1").expect("web-1 runs"),
        Signal::KILL,
    );
    let held = production.wait_for_fact("web-1", "held");
    assert_eq!(held["record"]["fact"]["hold"]["name"], "paused", "{held}");
    let status = production.says(&["status"], 1);
    assert!(
        status.contains("needs you") && status.contains("a drill"),
        "{status}"
    );
    assert!(
        production
            .says(&["order", "web-1", "restart", "--why", "x"], 1)
            .contains("a drill")
    );
    production.says(&["resume"], 0);
    production.wait_for_fact("web-1", "intent");
    healthy(&production, 2);
}

#[test]
fn a_pause_is_shown_with_who_and_why_and_one_of_nothing_is_refused() {
    let Some(production) = web(2, "act") else {
        return;
    };
    healthy(&production, 2);
    let typo = production.says(&["pause", "web:zone=q", "--why", "power work"], 1);
    assert!(
        typo.contains("`zone` is not one of the domains of `web`"),
        "{typo}"
    );
    production.says(&["pause", "--why", "a drill"], 0);
    let status = production.says(&["status"], 0);
    let first = status.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("everything is paused by ")
            && first.ends_with(": a drill; `pitcrew resume` lifts it"),
        "{status}"
    );
    let other = production.says(&["resume", "web"], 1);
    assert!(other.contains("paused: fleet"), "{other}");
    production.says(&["resume"], 0);
    production.says(&["pause", "web", "--why", "release 4.2"], 0);
    let status = production.says(&["status"], 0);
    assert!(
        status.contains("release 4.2; `pitcrew resume web` lifts it"),
        "{status}"
    );
}

#[test]
fn a_stopped_target_is_shown_once_and_says_how_to_give_it_back() {
    let Some(production) = web(2, "act") else {
        return;
    };
    healthy(&production, 2);
    let said = production.says(&["order", "web-1", "stop", "--why", "a look inside"], 0);
    assert!(said.contains("pitcrew order web-1 start --why …"), "{said}");
    production.wait_for_fact("web-1", "outcome");
    let status = production.says(&["status"], 0);
    assert!(status.contains("(1 on hold)"), "{status}");
    let story = production.says(&["explain", "web-1"], 0);
    assert!(story.contains("pitcrew release web-1"), "{story}");
    let refused = production.says(&["hold", "web-1", "--for", "1h", "--why", "x"], 1);
    assert!(refused.contains("until it is started"), "{refused}");
}

#[test]
fn an_order_that_waits_is_given_when_a_person_approves_exactly_it() {
    let Some(production) = web(2, "approve") else {
        return;
    };
    healthy(&production, 2);
    send(
        production.pid_of("web-1").expect("web-1 runs"),
        Signal::KILL,
    );
    let order = production.wait_until("an order that waits", "/api/v1/orders", |page| {
        page["items"][0]["order"]["id"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| page.to_string())
    });
    assert!(
        production
            .says(&["orders"], 0)
            .contains(&format!("pitcrew approve {order}"))
    );
    assert!(
        production
            .says(&["explain", "web-1"], 0)
            .contains(&format!("pitcrew approve {order}"))
    );
    let story = production.says(&["explain", &order], 0);
    assert!(
        story.contains("believed") && story.contains("wanted"),
        "{story}"
    );
    assert!(
        production
            .says(&["approve", &order, "--digest", "0000000000000000"], 1)
            .contains("digest")
    );
    assert!(facts(&production, "web-1", "intent").is_empty());
    production.says(&["approve", &order], 0);
    production.wait_for_fact("web-1", "intent");
    healthy(&production, 2);
    assert!(
        production
            .says(&["explain", "web-1"], 0)
            .contains("approved by")
    );
}

#[test]
fn a_denied_order_is_not_given() {
    let Some(production) = web(2, "approve") else {
        return;
    };
    healthy(&production, 2);
    send(
        production.pid_of("web-1").expect("web-1 runs"),
        Signal::KILL,
    );
    let order = production.wait_until("an order that waits", "/api/v1/orders", |page| {
        page["items"][0]["order"]["id"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| page.to_string())
    });
    production.says(&["deny", &order], 0);
    let story = production.says(&["explain", "web-1"], 0);
    assert!(
        story.contains("denied by") && story.contains("pitcrew order web-1 restart"),
        "{story}"
    );
    production.says(&["approve", &order], 1);
    assert!(facts(&production, "web-1", "intent").is_empty());
}

#[test]
fn what_only_observes_touches_nothing_and_a_person_may_order() {
    let Some(production) = web(2, "observe") else {
        return;
    };
    healthy(&production, 2);
    send(
        production.pid_of("web-1").expect("web-1 runs"),
        Signal::KILL,
    );
    let held = production.wait_for_fact("web-1", "held");
    assert_eq!(held["record"]["fact"]["hold"]["name"], "autonomy", "{held}");
    assert!(
        production
            .says(&["order", "web-1", "reimage", "--why", "x"], 2)
            .contains("restart, start, stop")
    );
    let given = production.says(&["order", "web-1", "restart", "--why", "by hand"], 0);
    assert!(given.contains("order-"), "{given}");
    healthy(&production, 2);
    let intents = facts(&production, "web-1", "intent");
    assert_eq!(intents.len(), 1);
    assert_eq!(
        intents[0]["fact"]["order"]["authority"]["person"]["why"],
        "by hand"
    );
}

#[test]
fn a_person_may_not_take_the_last_healthy_one() {
    let Some(production) = web(2, "observe") else {
        return;
    };
    healthy(&production, 2);
    send(
        production.pid_of("web-1").expect("web-1 runs"),
        Signal::KILL,
    );
    production.wait_for_fact("web-1", "confirmed");
    let refused = production.says(&["order", "web-2", "restart", "--why", "x"], 1);
    assert!(refused.contains("refused"), "{refused}");
    assert!(facts(&production, "web-2", "intent").is_empty());
}

#[test]
fn killed_and_started_again_it_takes_over_what_runs() {
    let Some(mut production) = web(3, "act") else {
        return;
    };
    healthy(&production, 3);
    production.says(&["hold", "web-3", "--for", "1h", "--why", "a drill"], 0);
    let pids: Vec<u32> = (1..=3)
        .filter_map(|number| production.pid_of(&format!("web-{number}")))
        .collect();
    assert_eq!(pids.len(), 3);
    production.kill();
    assert!(
        pids.iter().all(|pid| is_alive(*pid)),
        "processes live on without Pitcrew"
    );
    send(pids[0], Signal::KILL);
    production.serve();
    healthy(&production, 3);
    assert_eq!(
        production.pid_of("web-2"),
        Some(pids[1]),
        "taken over, not started again"
    );
    assert_eq!(
        production.pid_of("web-3"),
        Some(pids[2]),
        "taken over, not started again"
    );
    assert!(is_alive(production.pid_of("web-1").expect("web-1 runs")));
    assert_eq!(production.supervised_pids().len(), 3, "none twice");
    let held = production.get("/api/v1/targets/web-3").expect("web-3");
    assert_eq!(held["hold"]["why"], "a drill", "the hold survived");
    assert!(production.says(&["ledger", "verify"], 0).contains("whole"));
    assert_eq!(production.stop(), Some(0));
    assert_eq!(
        production.supervised_pids().len(),
        3,
        "they outlive a stop too"
    );
}

/// Killed at another moment of a repair each time: nothing is lost, and nothing is done twice without being asked about.
#[test]
fn killed_in_the_middle_of_a_repair_it_goes_on_from_there() {
    let Some(mut production) = web(2, "act") else {
        return;
    };
    healthy(&production, 2);
    for kind in ["confirmed", "intent", "outcome", "verified"] {
        let before = production.records().len();
        send(
            production.pid_of("web-1").expect("web-1 runs"),
            Signal::KILL,
        );
        wait_for(&format!("a new record of kind {kind}"), || {
            let records = production.records();
            let new = records
                .iter()
                .skip(before)
                .any(|entry| entry["record"]["fact"]["kind"] == kind);
            if new {
                Ok(())
            } else {
                Err(production::summary(&records))
            }
        });
        production.kill();
        production.serve();
        healthy(&production, 2);
        assert_eq!(
            production.supervised_pids().len(),
            2,
            "after {kind}: none twice"
        );
        production.wait_until("no open case", "/api/v1/cases", |page| {
            page["items"]
                .as_array()
                .is_some_and(Vec::is_empty)
                .then_some(())
                .ok_or_else(|| page.to_string())
        });
    }
    production.says(&["ledger", "verify"], 0);
    let intents = facts(&production, "web-1", "intent").len();
    assert!(intents <= 8, "{intents} restarts for four failures");
}

#[test]
fn a_good_configuration_is_taken_over_and_a_bad_one_refused_loudly() {
    let Some(production) = web(2, "act") else {
        return;
    };
    healthy(&production, 2);
    let port = production.get("/api/v1/targets/web-1").expect("web-1")["target"]["address"]
        .as_str()
        .expect("an address")
        .rsplit_once(':')
        .expect("a port")
        .1
        .parse::<u16>()
        .expect("a number");
    let digest = |report: &Value| report["server"]["configuration"]["digest"].clone();
    let first = digest(&production.get("/api/v1/report").expect("the report"));

    production.write(
        "production.yaml",
        &web_yaml(2, "act", port).replace("path: /", "path: /, statuz: [200]"),
    );
    let refused = production.wait_until("the refusal", "/api/v1/report", |report| {
        let errors = report["server"]["configuration"]["refused"]["errors"].as_array();
        errors.cloned().ok_or_else(|| report.to_string())
    });
    assert!(
        refused[0]
            .as_str()
            .is_some_and(|error| error.contains("statuz")),
        "{refused:?}"
    );
    assert!(production.log().contains("statuz"));
    assert!(production.says(&["status"], 1).contains("pitcrew check"));
    assert_eq!(
        digest(&production.get("/api/v1/report").expect("the report")),
        first
    );
    send(
        production.pid_of("web-1").expect("web-1 runs"),
        Signal::KILL,
    );
    production.wait_for_fact("web-1", "intent");
    healthy(&production, 2);

    production.write("production.yaml", &web_yaml(1, "observe", port));
    production.wait_until("the new configuration", "/api/v1/report", |report| {
        let service = &report["services"][0];
        let is_new = service["autonomy"] == "observe"
            && service["targets"] == 1
            && report["server"]["configuration"]["refused"].is_null();
        is_new.then_some(()).ok_or_else(|| report.to_string())
    });
    wait_for("web-2 to be stopped", || {
        production
            .pid_of("web-2")
            .map_or(Ok(()), |pid| Err(format!("it is {pid}")))
    });
    assert!(digest(&production.get("/api/v1/report").expect("the report")) != first);
}

#[test]
fn sighup_reloads_at_once() {
    let Some(production) = web(1, "act") else {
        return;
    };
    healthy(&production, 1);
    let before = production.records().len();
    send(production.server_pid(), Signal::HUP);
    wait_for("the reload", || {
        let records = production.records();
        let loaded = records
            .iter()
            .skip(before)
            .any(|entry| entry["record"]["fact"]["kind"] == "configuration_loaded");
        if loaded {
            Ok(())
        } else {
            Err(production::summary(&records))
        }
    });
    healthy(&production, 1);
}

#[test]
fn a_second_server_on_the_same_data_is_turned_away() {
    let Some(production) = web(1, "act") else {
        return;
    };
    let output = std::process::Command::new(production::binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(production.configuration())
        .arg("--data")
        .arg(production.data())
        .output()
        .expect("the command runs");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains(&production.server_pid().to_string()),
        "it names the holder: {stderr}"
    );
}

#[test]
fn the_answer_to_a_person_names_the_record() {
    let Some(production) = web(2, "act") else {
        return;
    };
    healthy(&production, 2);
    let headers = [
        ("content-type", "application/json"),
        ("x-pitcrew-user", "ada@desk"),
    ];
    let body = json!({ "why": "a drill", "scope": { "service": "web" } }).to_string();
    let answer = production
        .request("POST", "/api/v1/pause", &headers, &body)
        .expect("an answer")
        .json();
    assert_eq!(answer["record"]["fact"]["by"], "ada@desk");
    assert!(
        production
            .records()
            .iter()
            .any(|entry| entry["record"] == answer["record"])
    );
}

/// SQLite's own lock, held by somebody else: the ledger can be read but not written.
fn hold_the_ledger(production: &Production) -> production::Process {
    use std::io::{BufRead, BufReader};
    let program = "import sqlite3, sys, time
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
c.execute('BEGIN IMMEDIATE')
print('held', flush=True)
time.sleep(600)";
    let mut child = std::process::Command::new("python3")
        .args(["-c", program])
        .arg(production.data().join("ledger.db"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output"))
        .read_line(&mut line)
        .expect("a line");
    assert_eq!(line, "held\n");
    production::Process(child)
}

#[test]
fn while_the_ledger_cannot_be_written_nothing_new_is_done_and_everybody_sees_why() {
    let Some(production) = web(2, "act") else {
        return;
    };
    healthy(&production, 2);
    let holder = hold_the_ledger(&production);
    send(
        production.pid_of("web-1").expect("web-1 runs"),
        Signal::KILL,
    );
    wait_for("the server to say that it is not ready", || {
        let answer = production.request("GET", "/readyz", &[], "")?;
        let says_why = answer.status == 503 && answer.body.contains("the ledger can't be written");
        if says_why { Ok(()) } else { Err(answer.body) }
    });
    production.wait_until("the case to be held", "/api/v1/cases", |page| {
        let held = page["items"][0]["case"]["phase"]["held"]["name"] == "ledger_unwritable";
        held.then_some(()).ok_or_else(|| page.to_string())
    });
    assert!(production.pid_of("web-1").is_none(), "no order was given");
    assert!(
        production
            .says(&["status"], 1)
            .contains("the ledger can't be written")
    );
    drop(holder);
    healthy(&production, 2);
    production.wait_for_fact("web-1", "intent");
    let records = production.records();
    assert!(
        records
            .iter()
            .any(|entry| entry["record"]["fact"]["kind"] == "ledger_recovered"),
        "{}",
        production::summary(&records)
    );
    production.says(&["status"], 0);
    production.says(&["ledger", "verify"], 0);
}

#[test]
fn after_a_long_pause_nothing_seen_before_counts() {
    let Some(production) = web(2, "act") else {
        return;
    };
    healthy(&production, 2);
    send(production.server_pid(), Signal::STOP);
    // The pause itself is what is tested: it must be longer than the 5 s that count as one.
    std::thread::sleep(std::time::Duration::from_secs(7));
    send(production.server_pid(), Signal::CONT);
    wait_for("the pause in the ledger", || {
        let records = production.records();
        let woke = records
            .iter()
            .any(|entry| entry["record"]["fact"]["kind"] == "woke");
        if woke {
            Ok(())
        } else {
            Err(production::summary(&records))
        }
    });
    healthy(&production, 2);
    for target in ["web-1", "web-2"] {
        assert!(
            facts(&production, target, "intent").is_empty(),
            "{target} was left alone"
        );
    }
}

#[test]
fn what_cannot_be_cured_is_handed_to_a_person_with_the_evidence() {
    if !has("sh", "dash") {
        return;
    }
    let mut production = Production::new(
        "
run:
  - { name: doomed, instances: 1, command: [sh, -c, 'exit 7'], labels: { service: doomed } }
services:
  - name: doomed
    select: { service: doomed }
    autonomy: act
    tests: [{ name: runs, process: {}, interval: 200ms, timeout: 200ms, failure_threshold: 2 }]
    repairs:
      - name: restart-then-person
        when: [runs]
        steps: [{ restart: {}, tries: 2, settle: 1s }, { hand_over: { to: oncall } }]
    limits: { cooldown: 1s, rate: 100/h }
notify:
  - { name: oncall, command: [sh, -c, 'cat >> {dir}/told'] }
",
    );
    production.serve();
    let told = wait_for("the person to be told", || {
        let told = std::fs::read_to_string(production.path().join("told")).unwrap_or_default();
        if told.contains("doomed") {
            Ok(told)
        } else {
            Err(told)
        }
    });
    assert!(told.contains("exit") && told.contains("evidence"), "{told}");
    production.wait_for_fact("doomed-1", "handed_over");
    production.wait_for_fact("doomed-1", "notified");
    let intents = facts(&production, "doomed-1", "intent");
    let restarts = intents
        .iter()
        .filter(|record| record["fact"]["order"]["action"] == "restart")
        .count();
    assert_eq!(restarts, 2, "{intents:?}");
    let status = production.says(&["status"], 1);
    assert!(status.contains("needs you"), "{status}");
    let case = production.get("/api/v1/cases").expect("cases")["items"][0]["case"]["id"]
        .as_str()
        .expect("a case")
        .to_owned();
    let story = production.says(&["explain", &case], 0);
    assert!(
        story.contains("handed") && story.contains(&format!("pitcrew close {case}")),
        "{story}"
    );
    production.says(&["close", &case, "--why", "it was doomed"], 0);
    production.says(&["close", &case, "--why", "it was doomed"], 1);
}

/// Whoever broke an inventory must not make production vanish from under its repairs, not even across a restart.
#[test]
fn a_source_that_turns_empty_keeps_its_targets_over_a_restart_too() {
    let mut production = Production::new(
        "
find:
  - file: { paths: ['targets.json'], refresh: 1s }
services:
  - { name: web, select: { service: web }, tests: [{ name: answers, tcp: {}, interval: 1h, timeout: 1s }] }
",
    );
    let inventory = production.configuration().join("targets.json");
    std::fs::write(
        &inventory,
        r#"[{"targets":["127.0.0.1:1","127.0.0.1:2","127.0.0.1:3"],"labels":{"service":"web"}}]"#,
    )
    .expect("the inventory");
    production.serve();
    let all_three = |production: &Production| {
        production.wait_until("three targets", "/api/v1/report", |report| {
            (report["services"][0]["targets"] == 3)
                .then_some(())
                .ok_or_else(|| report.to_string())
        });
    };
    let refused = |production: &Production, after: u64| {
        wait_for("the empty answer to be refused", || {
            let records = production.records();
            let refused = records.iter().any(|entry| {
                entry["seq"].as_u64() > Some(after)
                    && entry["record"]["fact"]["trouble"]["empty"]["last"] == 3
            });
            if refused {
                Ok(())
            } else {
                Err(production::summary(&records))
            }
        });
    };
    all_three(&production);
    wait_for("what was found to be kept", || {
        let kept =
            std::fs::read_to_string(production.data().join("found.json")).unwrap_or_default();
        if kept.contains("127.0.0.1:3") {
            Ok(())
        } else {
            Err(kept)
        }
    });
    std::fs::write(&inventory, "[]").expect("the inventory");
    refused(&production, 0);
    all_three(&production);
    let before = production.last_seq();
    production.kill();
    production.serve();
    refused(&production, before);
    all_three(&production);
}

#[test]
fn a_source_that_shrinks_is_not_obeyed_until_a_person_says_that_it_is_right() {
    let listed = |names: &[&str]| json!([{ "targets": names, "labels": { "service": "web" } }]);
    let mut production = Production::new(
        "
find:
  - file: { paths: [../targets.json], refresh: 1s }
services:
  - { name: web, select: { service: web }, tests: [{ name: answers, tcp: {}, interval: 1s }] }
",
    );
    let file = production.path().join("targets.json");
    let write = |names: &[&str]| std::fs::write(&file, listed(names).to_string()).unwrap();
    write(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]);
    production.serve();
    let count = |production: &Production, wanted: usize| {
        production.wait_until("the targets", "/api/v1/targets", |targets| {
            let have = targets["items"].as_array().map_or(0, Vec::len);
            (have == wanted)
                .then_some(())
                .ok_or_else(|| targets.to_string())
        });
    };
    count(&production, 3);
    let source = || {
        let mut records = production.records().into_iter();
        records.find_map(|entry| {
            let fact = &entry["record"]["fact"];
            let refused = fact["kind"] == "source" && fact["trouble"]["shrank"]["now"] == 1;
            refused.then(|| fact["source"].as_str().unwrap().to_owned())
        })
    };
    let refused = production.says(&["accept", "file-1", "--why", "too early"], 1);
    assert!(
        refused.contains("no answer of file-1 is refused"),
        "{refused}"
    );
    write(&["127.0.0.1:1"]);
    let source = wait_for("the shrunken answer to be refused", || {
        source().ok_or_else(|| production::summary(&production.records()))
    });
    count(&production, 3);
    production.says(&["accept", &source, "--why", "two were retired"], 0);
    count(&production, 1);
}
