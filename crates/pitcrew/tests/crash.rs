//! `pitcrew serve` killed at random moments while production breaks: nothing decided is lost, nothing is done
//! twice, and what it runs is neither left alone nor started beside itself.

mod production;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use production::{Production, binary, free_ports, has, note_seed, send, summary, wait_for};
use rustix::process::Signal;
use serde_json::Value;

const INSTANCES: u16 = 3;
const ROUNDS: u32 = 15;

/// Xorshift: enough to scatter moments, and the same everywhere for a seed.
struct Random(u64);

impl Random {
    /// `PITCREW_SEED`, or another one each time.
    fn seeded() -> Self {
        let seed = std::env::var("PITCREW_SEED").map_or_else(
            |_| {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .expect("after 1970");
                u64::from(now.subsec_nanos()) | 1
            },
            |seed| seed.parse().expect("PITCREW_SEED is a number above 0"),
        );
        note_seed(seed, "crash");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// A moment is what is tested here, so this waits for time and not for a condition.
    fn pause(&mut self, limit_ms: u64) {
        thread::sleep(Duration::from_millis(self.below(limit_ms)));
    }
}

fn yaml() -> String {
    format!(
        "
run:
  - name: web
    instances: {INSTANCES}
    command: [/bin/busybox, httpd, -f, -p, '127.0.0.1:{{port}}', -h, '{{dir}}/site']
    ports: {{ from: {} }}
    labels: {{ service: web }}
    stop: {{ grace: 500ms }}
services:
  - name: web
    select: {{ service: web }}
    autonomy: act
    tests: [{{ name: answers, http: {{ path: / }}, interval: 300ms, timeout: 280ms, failure_threshold: 2, success_threshold: 2 }}]
    repairs: [{{ name: restart, when: [answers], steps: [{{ restart: {{}}, tries: 50, settle: 5s }}] }}]
    limits: {{ cooldown: 1ms, probation: 300ms, lemon: {{ cases: 200, within: 1h }}, rate: 1000/h }}
limits: {{ fleet_rate: 1000/h }}
",
        free_ports(INSTANCES)
    )
}

fn names() -> impl Iterator<Item = String> {
    (1..=INSTANCES).map(|number| format!("web-{number}"))
}

fn break_one(production: &Production, random: &mut Random) {
    let name = format!("web-{}", random.below(u64::from(INSTANCES)) + 1);
    let signal = if random.below(3) == 0 {
        Signal::STOP
    } else {
        Signal::KILL
    };
    // Whoever is being restarted just now is broken enough.
    if let Some(pid) = production.pid_of(&name) {
        send(pid, signal);
    }
}

fn calm(production: &Production) {
    production.wait_until("all to be healthy", "/api/v1/report", |report| {
        let service = &report["services"][0];
        let all = service["healthy"] == INSTANCES && report["cases_open"] == 0;
        all.then_some(()).ok_or_else(|| report.to_string())
    });
}

#[test]
fn killed_at_random_moments_it_loses_nothing_and_repeats_nothing() {
    if !has("/bin/busybox", "busybox-static") {
        return;
    }
    let mut random = Random::seeded();
    let mut production = Production::new(&yaml());
    fs::create_dir(production.path().join("site")).expect("the site");
    fs::write(production.path().join("site/index.html"), "all is well").expect("the page");
    production.serve();
    calm(&production);
    for _ in 0..ROUNDS {
        break_one(&production, &mut random);
        random.pause(1_500);
        let known = production.records();
        production.kill();
        if random.below(3) == 0 {
            break_one(&production, &mut random);
        }
        while random.below(3) == 0 {
            production.spawn();
            random.pause(300);
            production.kill();
        }
        production.serve();
        let kept = production.records();
        assert_eq!(
            kept[..known.len()],
            known,
            "what was in the ledger is in it"
        );
        if random.below(2) == 0 {
            calm(&production);
        }
    }
    calm(&production);
    each_runs_once(&production);
    // What the API shows may be ahead of the ledger by one commit; what is on disk after a stop is all of it.
    assert_eq!(production.stop(), Some(0));
    ledger(&production, "verify");
    let exported = ledger(&production, "export");
    let records = exported.lines().map(serde_json::from_str);
    let records: Vec<Value> = records.collect::<Result<_, _>>().expect("JSON lines");
    nothing_was_lost_or_repeated(&records);
}

/// Straight from the files: no server runs.
fn ledger(production: &Production, what: &str) -> String {
    let output = Command::new(binary())
        .args(["ledger", what, "--data"])
        .arg(production.data())
        .output()
        .expect("the command runs");
    assert_eq!(output.status.code(), Some(0), "{what}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// One process of each name and no other: none beside it, none that is stopped, none that nobody knows.
fn each_runs_once(production: &Production) {
    let leaders: BTreeSet<u32> = names()
        .filter_map(|name| production.pid_of(&name))
        .collect();
    assert_eq!(leaders.len(), usize::from(INSTANCES));
    // The server forks for a moment to answer a test.
    wait_for("no other process", || {
        let all: BTreeSet<u32> = production.supervised_pids().into_iter().collect();
        (all == leaders)
            .then_some(())
            .ok_or_else(|| format!("{all:?}, not only {leaders:?}"))
    });
}

fn nothing_was_lost_or_repeated(records: &[Value]) {
    let mut operations = BTreeSet::new();
    let mut under_way: BTreeMap<String, String> = BTreeMap::new();
    let mut cases_open = BTreeSet::new();
    let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
    for entry in records {
        let record = &entry["record"];
        let (target, fact) = (text(&record["target"]), &record["fact"]);
        match fact["kind"].as_str() {
            Some("confirmed") => drop(cases_open.insert(text(&record["case"]))),
            Some("closed") => drop(cases_open.remove(&text(&record["case"]))),
            Some("intent") => {
                let operation = text(&fact["order"]["operation"]);
                assert!(
                    operations.insert(operation),
                    "an operation was repeated: {entry}"
                );
                let other = under_way.insert(target, text(&fact["order"]["id"]));
                assert_eq!(other, None, "another order has no outcome yet: {entry}");
            }
            Some("outcome") => {
                let order = text(&fact["outcome"]["order"]);
                assert_eq!(
                    under_way.remove(&target),
                    Some(order),
                    "whose outcome? {entry}"
                );
            }
            _ => {}
        }
    }
    assert!(
        !operations.is_empty(),
        "nothing was done:\n{}",
        summary(records)
    );
    assert!(
        under_way.is_empty(),
        "orders without an outcome: {under_way:?}"
    );
    assert!(
        cases_open.is_empty(),
        "cases without an end: {cases_open:?}"
    );
}
