//! A server and three hosts with an agent, each of which serves a page as the unit `web.service`.

use std::{collections::BTreeSet, fs, thread};

use serde_json::Value;

use crate::{
    lab::{HOSTS, Lab, SERVER_ADDRESS},
    production::{Production, wait_for},
};

const AGENTS: u16 = 7443;
/// What the agent did is written here before it does it.
const JOURNAL: &str = "/var/lib/pitcrew-hands/run/operations.jsonl";
pub(crate) const VERSION: &str = "1.2.0";

const OBSERVATIONS_A_ROUND: u64 = 12;

/// What differs from incident to incident.
pub(crate) struct Choices<'a> {
    pub(crate) certificate_lifetime: &'a str,
    /// The first step for a page that does not answer.
    pub(crate) step: &'a str,
    /// Further sections of the configuration.
    pub(crate) more: &'a str,
}

impl Default for Choices<'_> {
    fn default() -> Self {
        Self {
            certificate_lifetime: "24h",
            step: "{ restart: {}, settle: 20s }",
            more: "",
        }
    }
}

fn configuration(choices: &Choices<'_>) -> String {
    let Choices {
        certificate_lifetime,
        step,
        more,
    } = choices;
    format!(
        r#"
find:
  - agents: {{}}
services:
  - name: web
    select: {{ service: web }}
    domains: [host]
    autonomy: act
    tests:
      - {{ name: answers, http: {{ path: /, body_matches: "all is well" }}, interval: 1s, timeout: 900ms, failure_threshold: 3, success_threshold: 1 }}
      - {{ name: active, unit: {{}}, interval: 1s, timeout: 900ms, failure_threshold: 3, success_threshold: 1 }}
    repairs:
      - {{ name: restart, when: [answers, active], steps: [{step}] }}
    limits: {{ cooldown: 1s, probation: 1s }}
  - name: hosts
    select: {{ role: host }}
    autonomy: act
    tests:
      - {{ name: room, disk: {{ path: /srv, warn_below: 10%, fail_below: 5% }}, interval: 1s, timeout: 900ms, failure_threshold: 2, success_threshold: 1 }}
    repairs:
      - {{ name: clean, when: [room], steps: [{{ command: {{ name: clean }}, settle: 20s }}] }}
    limits: {{ cooldown: 1s, probation: 1s }}
server: {{ agents: {{ listen: "{SERVER_ADDRESS}:{AGENTS}", observers: 2, certificate_lifetime: {certificate_lifetime} }} }}
{more}"#
    )
}

fn host_configuration(host: u8) -> String {
    format!(
        r#"
address: 10.99.0.{host}
labels: {{ role: host }}
units:
  - {{ unit: web.service, name: web, address: "10.99.0.{host}:80", labels: {{ service: web }} }}
commands:
  - {{ name: clean, command: [/bin/rm, --force, /srv/filler], timeout: 10s }}
limits: {{ disruptive: 20/h }}
"#
    )
}

const WEB_UNIT: &str = "[Service]
Type=exec
ExecStartPre=/bin/sh -c 'echo started >> /run/web-starts'
ExecStart=/usr/sbin/nginx -c /etc/web.conf
";
/// The boot's id of a container is mounted over the machine's, which these two would uncover.
const IN_A_CONTAINER: &str = "[Service]\nProtectKernelTunables=no\nProtectControlGroups=no\n";
const WEB: &str = "daemon off; worker_processes 1; pid /run/web.pid;
events {}
http { access_log off; server { listen 80; location / { return 200 'all is well'; } } }
";

pub(crate) struct Fleet {
    pub(crate) lab: Lab,
    pub(crate) production: Production,
}

impl Fleet {
    /// All healthy and seen from everywhere; `None` when there is no lab here.
    pub(crate) fn healthy() -> Option<Self> {
        Some(Self::healthy_with(Lab::find()?, &Choices::default()))
    }

    pub(crate) fn healthy_with(lab: Lab, choices: &Choices<'_>) -> Self {
        let production = Production::served(&configuration(choices));
        // Before three hosts at once want it.
        lab.package(VERSION);
        let fleet = Self { lab, production };
        thread::scope(|hosts| {
            for host in HOSTS {
                let fleet = &fleet;
                hosts.spawn(move || fleet.enrol(host));
            }
        });
        for host in HOSTS {
            fleet.wait_until_seen(host);
        }
        fleet
    }

    /// As a person would: the package, the host's configuration, a token.
    fn enrol(&self, host: u8) {
        let lab = &self.lab;
        if !lab.file(host, "/run/prepared").exists() {
            lab.write(host, "/etc/systemd/system/web.service", WEB_UNIT);
            lab.write(host, "/etc/web.conf", WEB);
            for unit in ["pitcrew-agent", "pitcrew-agent-hands"] {
                let path = format!("/etc/systemd/system/{unit}.service.d/container.conf");
                lab.write(host, &path, IN_A_CONTAINER);
            }
            lab.install(host, VERSION);
            lab.write(host, "/run/prepared", "");
        }
        // First, or the agent of the incident before takes the new token.
        lab.shell(
            host,
            "systemctl stop pitcrew-agent pitcrew-agent-hands web
             rm -rf /var/lib/pitcrew-agent/* /var/lib/pitcrew-hands/* /run/systemd/system/*.d /run/web-starts
             rm -f /etc/systemd/system/multi-user.target.wants/web.service
             systemctl daemon-reload; systemctl reset-failed",
        );
        let token = self.production.says(&["enroll", &name(host)], 0);
        lab.write(host, "/etc/pitcrew/agent-token", &token);
        lab.write(host, "/etc/pitcrew/host.yaml", &host_configuration(host));
        let options = format!(
            "PITCREW_SERVER={SERVER_ADDRESS}:{AGENTS}\nPITCREW_TOKEN_FILE=/etc/pitcrew/agent-token\n"
        );
        lab.write(host, "/etc/default/pitcrew-agent", &options);
        lab.shell(
            host,
            "systemctl enable --now pitcrew-agent; systemctl start web",
        );
        self.wait_until_connected(host, true);
    }

    /// By the server, two other hosts and its own agent.
    pub(crate) fn wait_until_seen(&self, host: u8) {
        let target = web(host);
        wait_for(&format!("{target} to be seen by all"), || {
            let found = self.target(&target)?;
            let tests = found["tests"].as_array().ok_or("no tests")?;
            let passed = tests.iter().filter(|test| test["verdict"] == "pass");
            (passed.count() == 4 && found["health"] == "healthy")
                .then_some(())
                .ok_or_else(|| found.to_string())
        });
    }

    pub(crate) fn wait_until_connected(&self, host: u8, connected: bool) {
        wait_for(&format!("{} connected: {connected}", name(host)), || {
            let hosts = self.production.get("/api/v1/hosts")?;
            let items = hosts["items"].as_array().ok_or("no items")?;
            let found = items.iter().find(|item| item["host"] == name(host));
            let is_connected = found.is_some_and(|item| !item["connected_since"].is_null());
            (is_connected == connected)
                .then_some(())
                .ok_or_else(|| hosts.to_string())
        });
    }

    pub(crate) fn target(&self, target: &str) -> Result<Value, String> {
        let page = self.production.get("/api/v1/targets?limit=1000")?;
        let items = page["items"].as_array().ok_or("no items")?;
        let found = items.iter().find(|item| item["target"]["id"] == target);
        found.cloned().ok_or_else(|| page.to_string())
    }

    pub(crate) fn wait_for_health(&self, target: &str, health: &str) {
        wait_for(&format!("{target} to be {health}"), || {
            let found = self.target(target)?;
            (found["health"] == health)
                .then_some(())
                .ok_or_else(|| found.to_string())
        });
    }

    /// Until it is back as another boot than `before`.
    pub(crate) fn wait_for_another_boot(&self, host: u8, before: &Value) {
        self.wait_until_connected(host, true);
        wait_for("another boot", || {
            let now = self.host(host)["boot_id"].clone();
            (now != *before && !now.is_null())
                .then_some(())
                .ok_or_else(|| now.to_string())
        });
    }

    /// What one test of a target last said to one observer.
    pub(crate) fn verdict(&self, target: &str, test: &str, observer: &str) -> Option<String> {
        let found = self.target(target).ok()?;
        let tests = found["tests"].as_array()?;
        let said = tests
            .iter()
            .find(|said| said["test"] == test && said["observer"] == observer)?;
        said["verdict"].as_str().map(str::to_owned)
    }

    /// Runs `fault`; the target must be cured by `action`, as seen by others than its own host.
    pub(crate) fn cured(&self, target: &str, action: &str, fault: impl FnOnce()) {
        let before = self.production.last_seq();
        fault();
        let fact = |kind| self.production.wait_for_fact_after(before, target, kind);
        let order = fact("intent");
        let given = &order["record"]["fact"]["order"]["action"];
        assert_eq!(action_of(given), action, "{order}");
        let outcome = fact("outcome");
        assert_eq!(
            outcome["record"]["fact"]["outcome"]["kind"], "done",
            "{outcome}"
        );
        let closed = fact("closed");
        assert_eq!(closed["record"]["fact"]["ending"], "cured", "{closed}");
        self.wait_for_health(target, "healthy");
    }

    /// Orders given so far, as `TARGET ACTION`.
    pub(crate) fn orders(&self) -> Vec<String> {
        let records = self.production.records();
        let intents = records
            .iter()
            .filter(|entry| entry["record"]["fact"]["kind"] == "intent");
        intents
            .map(|entry| {
                let order = &entry["record"]["fact"]["order"];
                let target = entry["record"]["target"].as_str().unwrap_or("?");
                format!("{target} {}", action_of(&order["action"]))
            })
            .collect()
    }

    /// Operations that the host's agent has begun, each as often as it was.
    pub(crate) fn begun(&self, host: u8) -> Vec<String> {
        let journal = fs::read_to_string(self.lab.file(host, JOURNAL)).unwrap_or_default();
        let entries = journal
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        entries
            .filter_map(|entry| entry["begun"].as_str().map(str::to_owned))
            .collect()
    }

    pub(crate) fn begun_once(&self, host: u8) {
        let begun = self.begun(host);
        let distinct: BTreeSet<&String> = begun.iter().collect();
        assert_eq!(begun.len(), distinct.len(), "{begun:?}");
    }

    /// How often the host's systemd has started the unit since it was prepared.
    pub(crate) fn starts(&self, host: u8) -> usize {
        let said = self.lab.shell(host, "cat /run/web-starts");
        said.lines().count()
    }

    /// As long as the server takes for so many more rounds of a test: what it would do wrong, it has done by then.
    pub(crate) fn rounds(&self, count: u32) {
        let asked = || {
            let answer = self.production.request("GET", "/metrics", &[], "").ok()?;
            let lines = answer.body.lines();
            lines
                .filter(|line| line.starts_with("pitcrew_observations_total{"))
                .map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
                .sum::<Option<u64>>()
        };
        let before = asked().expect("the count of observations");
        let after = before + u64::from(count) * OBSERVATIONS_A_ROUND;
        wait_for("more rounds of tests", || {
            let now = asked().ok_or("no count")?;
            (now >= after).then_some(()).ok_or_else(|| now.to_string())
        });
    }

    pub(crate) fn host(&self, host: u8) -> Value {
        let hosts = self.production.get("/api/v1/hosts").expect("the hosts");
        let items = hosts["items"].as_array().expect("items");
        let found = items.iter().find(|item| item["host"] == name(host));
        found.cloned().expect("an enrolled host")
    }

    /// How many connections and messages were refused for this reason.
    pub(crate) fn refused(&self, reason: &str) -> u64 {
        let wanted = format!("pitcrew_agents_refused_total{{reason=\"{reason}\"}} ");
        let answer = self.production.request("GET", "/metrics", &[], "");
        let text = answer.expect("the metrics").body;
        let count = text.lines().find_map(|line| line.strip_prefix(&wanted));
        count.map_or(0, |count| count.trim().parse().expect("a number"))
    }

    /// Settings of the agent's unit until the next incident.
    pub(crate) fn set_unit(&self, host: u8, unit: &str, settings: &str) {
        let path = format!("/run/systemd/system/{unit}.service.d/incident.conf");
        self.lab
            .write(host, &path, &format!("[Service]\n{settings}\n"));
        self.lab.shell(host, "systemctl daemon-reload");
    }

    pub(crate) fn log_of(&self, host: u8) -> String {
        let ask = "journalctl --quiet --no-pager --output cat --lines 60 --unit 'pitcrew-agent*'";
        self.lab.shell(host, ask)
    }
}

fn action_of(action: &Value) -> &str {
    let kind = action.as_object().and_then(|action| action.keys().next());
    kind.map(String::as_str).or(action.as_str()).unwrap_or("?")
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if thread::panicking() {
            for host in HOSTS {
                self.lab.on(host, "thaw", &[]);
                #[expect(clippy::print_stderr, reason = "what a failed test needs")]
                {
                    eprintln!("--- the agent of {}\n{}", name(host), self.log_of(host));
                }
            }
        }
    }
}

pub(crate) fn name(host: u8) -> String {
    format!("h{host}")
}

pub(crate) fn web(host: u8) -> String {
    format!("web@{}", name(host))
}
