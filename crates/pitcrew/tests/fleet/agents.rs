//! A production with agents: the server's configuration, and agents as processes of the test.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::production::{Production, binary, free_port, send, wait_for};

/// A server that listens for agents on `agents`, and a service of everything labelled `web` that is repaired.
pub(crate) struct Fleet {
    pub(crate) production: Production,
    pub(crate) agents: u16,
}

/// `more` are further settings of the listener for agents.
fn configuration(agents: u16, more: &str) -> String {
    format!(
        r#"
find:
  - agents: {{}}
services:
  - name: web
    select: {{ service: web }}
    domains: [host]
    autonomy: act
    drain: {{ command: {{ drain: take_out, undrain: give_back }}, lease: 30s }}
    tests:
      - {{ name: answers, http: {{ path: / }}, interval: 1s, timeout: 900ms, failure_threshold: 2, success_threshold: 1 }}
      - {{ name: runs, process: {{}}, interval: 1s, timeout: 900ms, failure_threshold: 2, success_threshold: 1 }}
    repairs:
      - {{ name: restart, when: [answers, runs], steps: [{{ restart: {{}}, settle: 20s }}, {{ command: {{ name: mark }} }}] }}
    limits: {{ cooldown: 1s, probation: 1s }}
  - name: hosts
    select: {{ zone: a }}
    tests:
      - {{ name: memory, memory: {{ warn_below: 0%, fail_below: 0% }}, interval: 1s, timeout: 900ms }}
      - {{ name: plugin, nagios: {{ command: [/bin/true] }}, on: host, interval: 1s, timeout: 900ms }}
server: {{ listen: "127.0.0.1:0", agents: {{ listen: "127.0.0.1:{agents}", {more} }} }}
"#
    )
}

impl Fleet {
    pub(crate) fn served() -> Self {
        Self::served_with("")
    }

    pub(crate) fn served_with(more: &str) -> Self {
        let agents = free_port();
        Self {
            production: Production::served(&configuration(agents, more)),
            agents,
        }
    }

    /// A token for `host`, in a file.
    pub(crate) fn token(&self, host: &str) -> PathBuf {
        let text = self.production.says(&["enroll", host], 0);
        let file = self.production.path().join(format!("{host}.token"));
        fs::write(&file, text).expect("the token is written");
        file
    }

    /// An enrolled agent whose host runs one `web` process.
    pub(crate) fn agent(&self, host: &str) -> Agent {
        self.agent_with(host, "")
    }

    /// The same, with more in the host's configuration.
    pub(crate) fn agent_with(&self, host: &str, more: &str) -> Agent {
        let token = self.token(host);
        let mut agent = Agent::new(self, host, &token, more);
        agent.start();
        self.wait_until_connected(host, true);
        agent
    }

    pub(crate) fn wait_until_connected(&self, host: &str, connected: bool) {
        wait_for(&format!("{host} connected: {connected}"), || {
            let hosts = self.production.get("/api/v1/hosts")?;
            let items = hosts["items"].as_array().ok_or("no items")?;
            let found = items.iter().find(|item| item["host"] == host);
            let is_connected = found.is_some_and(|item| !item["connected_since"].is_null());
            (is_connected == connected)
                .then_some(())
                .ok_or_else(|| hosts.to_string())
        });
    }

    /// Waits until every test of `target` has been answered as `verdict` says, and gives the target.
    pub(crate) fn wait_for_health(&self, target: &str, health: &str) -> Value {
        wait_for(&format!("{target} to be {health}"), || {
            let found = self.target(target)?;
            (found["health"] == health)
                .then_some(found.clone())
                .ok_or_else(|| found.to_string())
        })
    }

    pub(crate) fn target(&self, target: &str) -> Result<Value, String> {
        let page = self.production.get("/api/v1/targets?limit=1000")?;
        let items = page["items"].as_array().ok_or("no items")?;
        let found = items.iter().find(|item| item["target"]["id"] == target);
        found.cloned().ok_or_else(|| page.to_string())
    }

    /// How many connections and messages were refused for this reason.
    pub(crate) fn refused(&self, reason: &str) -> u64 {
        let wanted = format!("pitcrew_agents_refused_total{{reason=\"{reason}\"}} ");
        let answer = self.production.request("GET", "/metrics", &[], "");
        let text = answer.expect("the metrics").body;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&wanted).map(str::to_owned));
        line.map_or(0, |count| count.trim().parse().expect("a number"))
    }
}

/// One agent, ended with the test.
pub(crate) struct Agent {
    pub(crate) directory: PathBuf,
    token: PathBuf,
    server: u16,
    pub(crate) web: u16,
    child: Option<Child>,
    log: Arc<Mutex<String>>,
}

impl Agent {
    pub(crate) fn new(fleet: &Fleet, host: &str, token: &Path, more: &str) -> Self {
        let directory = fleet.production.path().join(host);
        fs::create_dir_all(&directory).expect("the agent's directory");
        let web = free_port();
        let name = directory.display();
        let yaml = format!(
            r#"
address: 127.0.0.1
labels: {{ zone: a }}
plugins: [/bin/true]
commands:
  - {{ name: mark, command: [/usr/bin/touch, "{name}/marked"] }}
  - {{ name: take_out, command: [/usr/bin/touch, "{name}/drained"] }}
  - {{ name: give_back, command: [/bin/rm, -f, "{name}/drained"] }}
run:
  - name: web
    command: [python3, -m, http.server, "{web}", --bind, 127.0.0.1, --directory, "{name}"]
    ports: {{ from: {web} }}
    labels: {{ service: web }}
{more}
"#
        );
        fs::write(directory.join("host.yaml"), yaml).expect("the host's configuration");
        Self {
            directory,
            token: token.to_owned(),
            server: fleet.agents,
            web,
            child: None,
            log: Arc::default(),
        }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .arg("agent")
            .args(["--server", &format!("127.0.0.1:{}", self.server)])
            .arg("--token-file")
            .arg(&self.token)
            .arg("--data")
            .arg(self.directory.join("data"))
            .arg("--config")
            .arg(self.directory.join("host.yaml"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn start(&mut self) {
        let mut child = self
            .command()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the agent starts");
        let lines = BufReader::new(child.stderr.take().expect("its log"));
        let log = Arc::clone(&self.log);
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut log = log.lock().expect("the log");
                log.push_str(&line);
                log.push('\n');
            }
        });
        self.child = Some(child);
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    pub(crate) fn wait_for_log(&self, part: &str) {
        wait_for(&format!("the agent to say `{part}`"), || {
            let log = self.log();
            log.contains(part).then_some(()).ok_or(log)
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.child.as_ref().expect("it runs").id(), signal);
    }

    /// SIGTERM.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let mut child = self.child.take().expect("it runs");
        child.wait().expect("it ends");
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
        if thread::panicking() {
            #[expect(clippy::print_stderr, reason = "what a failed test needs")]
            {
                eprintln!("--- the agent's log\n{}", self.log());
            }
        }
    }
}
