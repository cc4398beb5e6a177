//! A real server records while its processes are killed, a person acts, the configuration changes and it is killed
//! itself; then the record through the same policy is the ledger, record by record, and another policy differs.

mod production;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use production::{Production, binary, free_ports, has, send, summary, wait_for};
use rustix::process::Signal;
use serde_json::Value;

const INSTANCES: u16 = 3;

fn yaml(port: u16, autonomy: &str, in_flight: u32) -> String {
    format!(
        "
run:
  - name: web
    instances: {INSTANCES}
    # Slow to come back: whoever waits for one waits long enough to be seen.
    command: [sh, -c, 'sleep 2; exec python3 -m http.server {{port}} --bind 127.0.0.1']
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
    limits: {{ max_in_flight: {in_flight}, cooldown: 1s, probation: 1s, lemon: {{ cases: 50, within: 1h }}, rate: 100/h, breaker: {{ count: 50, percent: 90%, within: 10m }} }}
"
    )
}

fn record_of(production: &Production) -> PathBuf {
    production.path().join("record")
}

fn recording(port: u16) -> Option<Production> {
    if !has("python3", "python3") {
        return None;
    }
    let mut production = Production::new(&yaml(port, "act", 1));
    let record = record_of(&production).display().to_string();
    production.arguments(&["--record", &record]);
    production.serve();
    Some(production)
}

fn healthy(production: &Production) {
    production.wait_until("all to be healthy", "/api/v1/report", |report| {
        let service = &report["services"][0];
        let all = service["healthy"] == INSTANCES && service["targets"] == INSTANCES;
        all.then_some(()).ok_or_else(|| report.to_string())
    });
}

fn kill(production: &Production, target: &str) {
    let pid = wait_for("the process to run", || {
        production.pid_of(target).ok_or_else(|| "none".to_owned())
    });
    send(pid, Signal::KILL);
}

/// `killed` is repaired, from its first failure to its end.
fn break_and_heal(production: &Production, target: &str) {
    let before = production.last_seq();
    kill(production, target);
    production.wait_for_fact_after(before, target, "closed");
}

/// Two are killed at once; while the first comes back, the second waits.
fn one_waits_for_the_other(production: &Production) {
    healthy(production);
    let before = production.last_seq();
    kill(production, "web-1");
    kill(production, "web-3");
    for target in ["web-1", "web-3"] {
        production.wait_for_fact_after(before, target, "closed");
    }
    let records = production.records();
    let waited = records.iter().any(|entry| {
        entry["seq"].as_u64() > Some(before)
            && entry["record"]["fact"]["hold"]["name"] == "max_in_flight"
    });
    assert!(waited, "{}", summary(&records));
}

/// Facts that the server writes about itself and that never pass through the engine.
const SERVERS_OWN: [&str; 5] = [
    "server_started",
    "configuration_refused",
    "process_started",
    "process_stopped",
    "notified",
];

/// The ledger's decisions, start by start.
fn decisions_of_ledger(production: &Production) -> Vec<Vec<Value>> {
    let data = production.data().display().to_string();
    let export = production.says(&["ledger", "export", "--data", &data], 0);
    let mut runs = Vec::new();
    for line in export.lines() {
        let entry: Value = serde_json::from_str(line).expect("a line of JSON");
        let kind = entry["record"]["fact"]["kind"].as_str().expect("a kind");
        if kind == "server_started" {
            runs.push(Vec::new());
        }
        if !SERVERS_OWN.contains(&kind) {
            runs.last_mut()
                .expect("a start")
                .push(entry["record"].clone());
        }
    }
    runs
}

/// What the record's own entries say was decided, start by start.
fn decisions_of_record(path: &PathBuf) -> Vec<Vec<Value>> {
    use pitcrew_sim::record::{Entry, Reader};
    let mut runs = Vec::new();
    for placed in Reader::new(fs::File::open(path).expect("the record")).expect("a record") {
        match placed.expect("an entry").entry {
            Entry::Start(_) => runs.push(Vec::new()),
            Entry::Records(records) => {
                let values = records
                    .iter()
                    .map(|one| serde_json::to_value(one).expect("JSON"));
                let own = |value: &Value| {
                    let kind = value["fact"]["kind"].as_str().expect("a kind");
                    SERVERS_OWN.contains(&kind)
                };
                let run: &mut Vec<Value> = runs.last_mut().expect("a start");
                run.extend(values.filter(|value| !own(value)));
            }
            Entry::Event(_) | Entry::Notices(_) | Entry::Gap(_) | Entry::End => {}
        }
    }
    runs
}

#[test]
fn a_record_is_the_ledger_again_and_another_policy_is_told_apart() {
    let port = free_ports(INSTANCES);
    let Some(mut production) = recording(port) else {
        return;
    };
    let record = record_of(&production);
    healthy(&production);
    let mode = fs::metadata(&record)
        .expect("the record")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "it holds what production answered");

    break_and_heal(&production, "web-1");
    // A person's hand on one that is down, which is held by it and then repaired.
    production.says(&["hold", "web-2", "--for", "1h", "--why", "a drill"], 0);
    let before = production.last_seq();
    kill(&production, "web-2");
    production.wait_for_fact_after(before, "web-2", "held");
    production.says(&["release", "web-2"], 0);
    production.wait_for_fact_after(before, "web-2", "closed");
    healthy(&production);
    one_waits_for_the_other(&production);
    // A reload.
    let before = production.last_seq();
    production.write("production.yaml", &yaml(port, "act", 2));
    wait_for("the new configuration", || {
        let records = production.records();
        let loaded = records.iter().any(|entry| {
            entry["seq"].as_u64() > Some(before)
                && entry["record"]["fact"]["kind"] == "configuration_loaded"
        });
        loaded.then_some(()).ok_or_else(|| summary(&records))
    });
    break_and_heal(&production, "web-1");
    // Killed in the middle of a repair, and started again.
    let before = production.last_seq();
    kill(&production, "web-1");
    production.wait_for_fact_after(before, "web-1", "intent");
    production.kill();
    production.serve();
    production.wait_for_fact_after(before, "web-1", "closed");
    healthy(&production);
    break_and_heal(&production, "web-3");
    let before = production.last_seq();
    production.says(&["order", "web-2", "restart", "--why", "it leaks"], 0);
    production.wait_for_fact_after(before, "web-2", "outcome");

    // While it records, a record can be read.
    let path = record.display().to_string();
    production.says(&["replay", &path], 0);
    assert_eq!(production.stop(), Some(0), "{}", production.log());

    let told = production.says(&["replay", &path], 0);
    assert!(told.contains("decisions in 2 runs, all the same"), "{told}");
    let data = production.data().display().to_string();
    let told = production.says(&["replay", &path, "--data", &data], 0);
    assert!(told.matches("all the same").count() == 3, "{told}");
    let json = production.json(&["replay", &path, "--data", &data]);
    assert_eq!(json["differences"], 0);
    assert_eq!(json["runs"][0]["end"], "cut_off");
    assert_eq!(json["runs"][1]["end"], "stopped");

    let (ledger, recorded) = (
        decisions_of_ledger(&production),
        decisions_of_record(&record),
    );
    assert_eq!(ledger.len(), 2);
    assert!(ledger[0].len() > 30, "{}", ledger[0].len());
    assert_eq!(ledger[1], recorded[1], "the second run, to its end");
    // Which of the two was killed before the other had written its last is not known.
    let both = ledger[0].len().min(recorded[0].len());
    assert_eq!(ledger[0][..both], recorded[0][..both], "the first run");

    another_policy(&production, port, &path);
}

fn another_policy(production: &Production, port: u16, record: &str) {
    let policy = |name: &str, yaml: String| {
        let directory = production.path().join(name);
        fs::create_dir(&directory).expect("a directory");
        let yaml = yaml.replace("{dir}", &production.path().display().to_string());
        fs::write(directory.join("production.yaml"), yaml).expect("a policy");
        directory.display().to_string()
    };
    let watching = policy("watching", yaml(port, "observe", 1));
    let told = production.says(&["replay", record, "--config", &watching], 1);
    assert!(
        told.contains("would not have been repaired that were (autonomy act → observe)"),
        "{told}"
    );
    let json = production.json(&["replay", record, "--config", &watching]);
    assert_eq!(json["alike"], 0, "{json}");
    assert!(json["cases"].as_u64() >= Some(6), "{json}");
    // The person's own order is theirs under any policy.
    assert_eq!(json["now"]["orders"], 1, "{json}");

    let wider = policy("wider", yaml(port, "act", 2));
    let json = production.json(&["replay", record, "--config", &wider]);
    let differences = json["differences"].as_array().expect("a list");
    let earlier = |one: &&Value| one["because"] == "max_in_flight 1 → 2";
    assert!(differences.iter().any(|one| earlier(&one)), "{json:#}");
}

#[test]
fn what_can_not_be_used_is_refused_with_its_place() {
    let production = Production::new(&yaml(free_ports(INSTANCES), "act", 1));
    let file = production.path().join("notes.txt");
    fs::write(&file, "what I must not forget").expect("a file");
    let path = file.display().to_string();
    let told = production.says(&["replay", &path], 2);
    assert!(told.contains("not a record"), "{told}");
    let told = production.says(&["replay", "/nowhere/record"], 2);
    assert!(told.contains("/nowhere/record"), "{told}");

    let configuration = production.configuration();
    let mut served = std::process::Command::new(binary());
    served.args(["serve", "--listen", "127.0.0.1:0", "--config"]);
    served
        .arg(&configuration)
        .arg("--data")
        .arg(production.data());
    let output = served.arg("--record").arg(&file).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("refused to append") && told.contains("notes.txt"),
        "{told}"
    );
    assert_eq!(
        fs::read(&file).expect("the file"),
        b"what I must not forget"
    );
    assert!(!production.data().exists(), "nothing had begun");

    // The first 16 bytes as some later version writes them, with their checksum.
    let newer = [&b"PtCwRec\n\x09\0\0\0"[..], &0x9f4f128b_u32.to_le_bytes()].concat();
    fs::write(&file, newer).expect("a file");
    let told = production.says(&["replay", &path], 2);
    assert!(
        told.contains("version 9") && told.contains("newer"),
        "{told}"
    );
}
