//! Servers that share a database, each through a relay of its own, and a host with an agent that knows them all.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    postgres::{Relay, Server},
    production::{Production, binary, free_port, processes_in, send, wait_for},
};

/// kill -9 is survived with these; fsync only matters when the machine loses power.
const FAST: &[&str] = &["fsync=off"];

pub(crate) const TARGET: &str = "web-1@web-a";

pub(crate) struct Cluster {
    pub(crate) postgres: Server,
    pub(crate) servers: Vec<Member>,
}

pub(crate) struct Member {
    pub(crate) production: Production,
    pub(crate) relay: Relay,
    agents: u16,
}

/// `state` is where the ledger is, when it is not in the data directory.
pub(crate) fn configuration(agents: u16, state: &str) -> String {
    format!(
        r#"
find:
  - agents: {{}}
services:
  - name: web
    select: {{ service: web }}
    autonomy: act
    tests:
      - {{ name: answers, http: {{ path: / }}, interval: 500ms, timeout: 450ms, failure_threshold: 2, success_threshold: 1 }}
    repairs:
      - {{ name: restart, when: [answers], steps: [{{ restart: {{}}, tries: 50, settle: 10s }}] }}
    limits: {{ cooldown: 1ms, probation: 1s, lemon: {{ cases: 200, within: 1h }}, rate: 1000/h }}
limits: {{ fleet_rate: 1000/h }}
server: {{ listen: "127.0.0.1:0", agents: {{ listen: "127.0.0.1:{agents}" }}, {state} }}
"#
    )
}

impl Cluster {
    /// Of `count` servers, one of which leads.
    pub(crate) fn served(count: usize) -> Self {
        Self::served_with(count, "")
    }

    /// Each has a further file of configuration.
    pub(crate) fn served_with(count: usize, more: &str) -> Self {
        let postgres = Server::start(FAST);
        let member = |_| Member::spawned(&postgres, more);
        let servers = (0..count).map(member).collect();
        let cluster = Self { postgres, servers };
        cluster.leader();
        cluster
    }

    /// Waits until exactly one leads.
    pub(crate) fn leader(&self) -> &Member {
        wait_for("one server to lead", || {
            let leading: Vec<&Member> = self.servers.iter().filter(|one| one.leads()).collect();
            match leading[..] {
                [leader] => Ok(leader),
                _ => Err(self.logs()),
            }
        })
    }

    pub(crate) fn follower(&self) -> &Member {
        let leader = self.leader();
        let mut others = self.servers.iter();
        others
            .find(|one| !std::ptr::eq(*one, leader))
            .expect("there are several")
    }

    pub(crate) fn index_of(&self, member: &Member) -> usize {
        let found = self
            .servers
            .iter()
            .position(|one| std::ptr::eq(one, member));
        found.expect("it is one of these")
    }

    fn logs(&self) -> String {
        let logs = self.servers.iter().map(|one| one.production.log());
        logs.collect::<Vec<_>>().join("\n---\n")
    }

    /// An enrolled agent of all servers, whose host runs one web process.
    pub(crate) fn agent(&self) -> Agent {
        let leader = self.leader();
        let text = leader.production.says(&["enroll", "web-a"], 0);
        let servers = self.servers.iter().map(|one| one.agents).collect();
        let agent = Agent::started(leader.production.path().join("web-a"), &text, servers);
        leader.wait_for_health("healthy");
        agent
    }

    /// One ledger, whoever is asked; each operation that the agent has begun was decided, and was begun once.
    pub(crate) fn check_orders(&self, agent: &Agent) -> Vec<Value> {
        let records = self.leader().production.records();
        let intents: Vec<&Value> = of_kind(&records, "intent").collect();
        let intended: BTreeSet<&str> = intents
            .iter()
            .filter_map(|fact| fact["order"]["operation"].as_str())
            .collect();
        assert_eq!(intended.len(), intents.len(), "each is decided once");
        let begun = agent.begun();
        let distinct: BTreeSet<&str> = begun.iter().map(String::as_str).collect();
        assert_eq!(distinct.len(), begun.len(), "each is begun once: {begun:?}");
        assert!(distinct.is_subset(&intended), "{begun:?} {intended:?}");
        self.leader().production.says(&["ledger", "verify"], 0);
        records
    }
}

fn of_kind<'r>(records: &'r [Value], kind: &'r str) -> impl Iterator<Item = &'r Value> {
    let facts = records.iter().map(|entry| &entry["record"]["fact"]);
    facts.filter(move |fact| fact["kind"] == kind)
}

impl Member {
    fn spawned(postgres: &Server, more: &str) -> Self {
        let relay = Relay::before(postgres.port);
        let agents = free_port();
        let mut production = Production::new(&configuration(agents, &state(relay.port)));
        if !more.is_empty() {
            production.write("more.yaml", more);
        }
        production.environment("PITCREW_DATABASE_PASSWORD", "s3cret-w0rd");
        production.spawn();
        Self {
            production,
            relay,
            agents,
        }
    }

    pub(crate) fn readiness(&self) -> Result<(u16, Value), String> {
        let answer = self.production.request("GET", "/readyz", &[], "")?;
        Ok((answer.status, answer.json()))
    }

    fn leads(&self) -> bool {
        self.readiness().is_ok_and(|(status, _)| status == 200)
    }

    /// Whether or not another one believes so, too.
    pub(crate) fn wait_until_it_leads(&self) {
        wait_for("it to lead", || {
            self.leads()
                .then_some(())
                .ok_or_else(|| self.production.log())
        });
    }

    /// And whom.
    pub(crate) fn wait_until_it_follows(&self, leader: &Member) {
        wait_for("it to follow", || {
            let (status, said) = self.readiness()?;
            let follows = said["role"] == "follows" && said["leader"] == *leader.production.url();
            (follows && status == 503)
                .then_some(())
                .ok_or_else(|| format!("{said}\n{}", self.production.log()))
        });
    }

    pub(crate) fn wait_for_health(&self, health: &str) {
        let path = format!("/api/v1/targets/{TARGET}");
        self.production.wait_until(health, &path, |found| {
            (found["health"] == *health)
                .then_some(())
                .ok_or_else(|| format!("{found}\n{}", self.production.log()))
        });
    }

    /// Waits until nothing is wrong any more and no case is open.
    pub(crate) fn wait_until_calm(&self) {
        self.production
            .wait_until("all to be healthy", "/api/v1/report", |report| {
                let calm = report["services"][0]["healthy"] == 1 && report["cases_open"] == 0;
                calm.then_some(()).ok_or_else(|| report.to_string())
            });
    }
}

/// The setting for a database that is reached at this port; its password is in the environment.
pub(crate) fn state(port: u16) -> String {
    format!(
        "state: {{ postgres: {{ url: \"postgresql://pitcrew:${{PITCREW_DATABASE_PASSWORD}}@127.0.0.1:{port}/ledger\" }} }}"
    )
}

/// A host, ended with the test.
pub(crate) struct Agent {
    directory: PathBuf,
    web: u16,
    child: Child,
}

impl Agent {
    pub(crate) fn started(directory: PathBuf, token: &str, servers: Vec<u16>) -> Self {
        fs::create_dir_all(&directory).expect("the agent's directory");
        let name = directory.display();
        let web = free_port();
        let yaml = format!(
            r#"
address: 127.0.0.1
run:
  - name: web
    command: [python3, -m, http.server, "{web}", --bind, 127.0.0.1, --directory, "{name}"]
    ports: {{ from: {web} }}
    labels: {{ service: web }}
"#
        );
        fs::write(directory.join("host.yaml"), yaml).expect("the host's configuration");
        fs::write(directory.join("token"), token).expect("the token");
        let log = fs::File::create(directory.join("log")).expect("its log");
        let mut command = Command::new(binary());
        command.arg("agent");
        for server in servers {
            command.args(["--server", &format!("127.0.0.1:{server}")]);
        }
        let child = command
            .arg("--token-file")
            .arg(directory.join("token"))
            .arg("--data")
            .arg(directory.join("data"))
            .arg("--config")
            .arg(directory.join("host.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the agent starts");
        Self {
            directory,
            web,
            child,
        }
    }

    pub(crate) fn kill_web(&self) {
        send(self.web_pid(), Signal::KILL);
    }

    /// Which must be there in time.
    fn web_pid(&self) -> u32 {
        let port = self.web.to_string();
        wait_for("the web process", || {
            let is_it = |pid: &u32| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
                words.contains(&b"http.server".as_slice()) && words.contains(&port.as_bytes())
            };
            let mut pids = processes_in(&self.directory).into_iter();
            pids.find(is_it).ok_or_else(|| "it is not there".to_owned())
        })
    }

    /// Operations, as the agent's own journal has them.
    pub(crate) fn begun(&self) -> Vec<String> {
        let journal = self.directory.join("data/run/operations.jsonl");
        let text = fs::read_to_string(journal).unwrap_or_default();
        let lines = text.lines().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["begun"].as_str().map(str::to_owned)
        });
        lines.collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            #[expect(clippy::print_stderr, reason = "what a failed test needs")]
            {
                eprintln!("--- the agent's log\n{log}");
            }
        }
    }
}
