//! The demo's production: a directory with a configuration, a `pitcrew serve` of its own, and what that runs.

use std::{
    cell::RefCell,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use pitcrew_ledger::Ledger;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    demo::{lease, service, wait_for},
    failure::Failure,
};

/// Services and how many processes each has.
const SERVICES: [(&str, u16); 4] = [("web", 9), ("api", 9), ("cart", 6), ("store", 15)];

pub(crate) struct Production {
    directory: PathBuf,
    server: RefCell<Child>,
    api_port: u16,
    ports: Vec<(String, u16)>,
}

fn io(what: &str) -> impl Fn(std::io::Error) -> Failure {
    let what = what.to_owned();
    move |error| Failure::Refused(format!("the demo failed to {what}: {error}"))
}

impl Production {
    /// Writes the configuration and starts the server.
    pub(crate) fn start() -> Result<Self, Failure> {
        let directory = tempfile::Builder::new()
            .prefix("pitcrew-demo-")
            .tempdir()
            .map_err(io("make a directory"))?
            .keep();
        let services: u16 = SERVICES.iter().map(|(_, instances)| instances).sum();
        let first = free_ports(services + 1)?;
        let program = std::env::current_exe().map_err(io("find its own program"))?;
        let mut ports = Vec::new();
        let mut next = first + 1;
        for (name, instances) in SERVICES {
            for instance in 1..=instances {
                ports.push((format!("{name}-{instance}"), next));
                next += 1;
            }
        }
        let production = directory.join("production");
        fs::create_dir(&production).map_err(io("make a directory"))?;
        let text = configuration(&directory, &program, first);
        fs::write(production.join("pitcrew.yaml"), text).map_err(io("write its configuration"))?;
        lease::renew(&directory.join("lease")).map_err(io("write its lease"))?;
        let log = File::create(directory.join("serve.log")).map_err(io("write a log"))?;
        let server = Command::new(&program)
            .args(["serve", "--log", "info", "--config"])
            .arg(&production)
            .env_remove("PITCREW_LOG")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(io("write a log"))?)
            .stderr(log)
            .process_group()
            .spawn()
            .map_err(io("start `pitcrew serve`"))?;
        Ok(Self {
            directory,
            server: RefCell::new(server),
            api_port: first,
            ports,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.api_port)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.directory.join("production/pitcrew.yaml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub(crate) fn size(&self) -> usize {
        self.ports.len()
    }

    pub(crate) fn renew_lease(&self) -> Result<(), Failure> {
        lease::renew(&self.directory.join("lease")).map_err(io("renew its lease"))
    }

    /// Why the server is not there, when it is not.
    pub(crate) fn server_ended(&self) -> Option<Failure> {
        let status = self.server.borrow_mut().try_wait().ok()??;
        let log = fs::read_to_string(self.directory.join("serve.log")).unwrap_or_default();
        Some(Failure::Refused(format!(
            "`pitcrew serve` ended ({status}):\n{log}"
        )))
    }

    pub(crate) fn ask(&self, target: &str, method: &str, path: &str) -> Result<String, Failure> {
        service::ask(self.port(target)?, method, path).map_err(io(&format!("reach {target}")))
    }

    fn port(&self, target: &str) -> Result<u16, Failure> {
        let known = self.ports.iter().find(|(name, _)| name == target);
        known
            .map(|(_, port)| *port)
            .ok_or_else(|| Failure::Bug(format!("the demo has no {target}")))
    }

    pub(crate) fn signal(&self, target: &str, signal: Signal) -> Result<(), Failure> {
        let pid = self
            .ask(target, "GET", "/pid")?
            .trim()
            .parse()
            .ok()
            .filter(|pid| *pid > 1)
            .and_then(Pid::from_raw);
        let pid =
            pid.ok_or_else(|| Failure::Bug(format!("{target} does not know its process id")))?;
        kill_process(pid, signal).map_err(|error| io(&format!("signal {target}"))(error.into()))
    }

    /// Checks the ledger's chain straight from its files, as anyone can.
    pub(crate) fn verify_ledger(&self) -> Result<Result<u64, String>, Failure> {
        let reader = Ledger::open_read_only(&self.data())
            .map_err(|error| Failure::Refused(error.to_string()))?;
        Ok(reader
            .verify(&mut |_, _| ())
            .map(|verified| verified.entries)
            .map_err(|error| error.to_string()))
    }

    /// Ends the server, and with the lease everything that it runs.
    pub(crate) fn stop(&self) {
        if let Some(pid) = i32::try_from(self.server.borrow().id())
            .ok()
            .and_then(Pid::from_raw)
        {
            kill_process(pid, Signal::TERM).ok();
        }
        let ended = wait_for(Duration::from_secs(10), || {
            Ok(matches!(
                self.server.borrow_mut().try_wait(),
                Ok(Some(_)) | Err(_)
            ))
        });
        if !matches!(ended, Ok(true)) {
            self.server.borrow_mut().kill().ok();
            self.server.borrow_mut().wait().ok();
        }
        // Without its lease every process of the demo ends within a second; a stopped one has to be woken for it.
        fs::remove_file(self.directory.join("lease")).ok();
        wait_for(Duration::from_secs(10), || {
            Ok(!self
                .ports
                .iter()
                .any(|(_, port)| TcpListener::bind(("127.0.0.1", *port)).is_err()))
        })
        .ok();
    }
}

impl Drop for Production {
    fn drop(&mut self) {
        if matches!(self.server.borrow_mut().try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

/// A child in a process group of its own, so that Ctrl-C in the terminal reaches the demo alone.
trait OwnGroup {
    fn process_group(&mut self) -> &mut Self;
}

impl OwnGroup for Command {
    fn process_group(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::process_group(self, 0)
    }
}

/// The first of `count` free ports in a row.
fn free_ports(count: u16) -> Result<u16, Failure> {
    let start = 20_000 + u16::try_from(std::process::id() % 8_000).unwrap_or(0);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    (start..32_000)
        .step_by(usize::from(count))
        .find(|first| (*first..first + count).all(is_free))
        .ok_or_else(|| {
            Failure::Refused(format!(
                "the demo found no {count} free ports in a row on 127.0.0.1"
            ))
        })
}

/// The configuration, commented like one a person would write.
fn configuration(directory: &Path, program: &Path, first: u16) -> String {
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let (place, program) = (quoted(directory), quoted(program));
    let mut text = format!(
        "# The production of `pitcrew demo`: four services, three zones, times short enough to watch.\n\
         server:\n  listen: \"127.0.0.1:{first}\"\n  data: {data}\n\n\
         notify:\n  - name: oncall\n    command: [tee, -a, {calls}]\n\nrun:\n",
        data = quoted(&directory.join("data")),
        calls = quoted(&directory.join("calls.jsonl")),
    );
    let mut next = first + 1;
    for (name, instances) in SERVICES {
        text.push_str(&format!(
            "  - name: {name}\n    instances: {instances}\n    zones: [a, b, c]\n    ports: {{ from: {next} }}\n    \
             command: [{program}, demo-service, --port, \"{{port}}\", --name, \"{name}-{{instance}}\", --directory, {place}]\n    \
             labels: {{ service: {name}, zone: \"{{zone}}\" }}\n    stop: {{ grace: 1s }}\n"
        ));
        next += instances;
    }
    text.push_str("\nservices:\n");
    for (name, _) in SERVICES {
        text.push_str(&format!(
            "  - name: {name}\n    select: {{ service: {name} }}\n    domains: [zone]\n    autonomy: act\n    tests:\n      \
             - name: answers\n        http: {{ path: /healthz, body_matches: \"ok\" }}\n        interval: 1s\n        \
             timeout: 800ms\n    repairs:\n      - name: restart-then-call\n        when: [answers]\n        steps:\n          \
             - restart: {{}}\n            tries: 2\n            settle: 4s\n          - hand_over: {{ to: oncall }}\n    \
             limits:\n      probation: 5s\n      cooldown: 10s\n      rate: 20/h\n      breaker: {{ count: 5, percent: 20%, within: 10m }}\n"
        ));
    }
    text
}
