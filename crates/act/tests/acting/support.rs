//! What all tests here need: places, ports, orders, and waiting for conditions instead of sleeping.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pitcrew_act::{Actuators, Given, Supervisor};
use pitcrew_model::{
    Action, Address, Authority, Labels, LogPolicy, OperationId, Order, OrderId, Run, Runner,
    SourceName, StopPolicy, Target, TargetId, Timestamp,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn id(text: &str) -> OperationId {
    OperationId::new(text).unwrap()
}

pub(crate) fn name(text: &str) -> TargetId {
    TargetId::new(text).unwrap()
}

/// Waits for `condition`; panics with `what` when it does not come.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// `None`, visibly, when the program is missing; a failure where everything must be there.
pub(crate) fn program(path: &str, package: &str) -> Option<PathBuf> {
    if Path::new(path).exists() {
        return Some(PathBuf::from(path));
    }
    skipped(&format!(
        "{path} is not installed: apt-get install {package}"
    ));
    None
}

pub(crate) fn skipped(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    let mut err = std::io::stderr().lock();
    std::io::Write::write_all(&mut err, format!("skipped: {why}\n").as_bytes()).unwrap();
}

/// By a server on this host.
pub(crate) fn given(order: &Order) -> Given {
    Given::exactly(order.given_at)
}

/// A supervisor in a place of its own, whose processes end with the test.
pub(crate) struct Home {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) installation: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let unique = directory.path().file_name().unwrap().to_str().unwrap();
        Self {
            installation: format!("test{}", unique.replace('.', "-")),
            directory,
        }
    }

    pub(crate) fn run_directory(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    pub(crate) fn supervisor(&self) -> Supervisor {
        Supervisor::new(self.run_directory(), self.installation.clone()).unwrap()
    }

    pub(crate) fn actuators(&self) -> Actuators {
        Actuators::new(self.supervisor(), Arc::new(now))
    }

    /// Live processes that carry the marker of `instance`, or of any when it is empty.
    pub(crate) fn marked(&self, instance: &str) -> Vec<u32> {
        marked(&self.installation, instance)
    }

    pub(crate) fn log(&self, instance: &str) -> String {
        let path = self.run_directory().join(format!("logs/{instance}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for pid in self.marked("") {
            kill("KILL", pid);
        }
        // A supervisor that sees its processes go may still write that down while files are removed.
        for _ in 0..100 {
            match std::fs::remove_dir_all(self.directory.path()) {
                Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
                _ => return,
            }
        }
    }
}

pub(crate) fn marked(installation: &str, instance: &str) -> Vec<u32> {
    let marker = format!("PITCREW_SUPERVISED={installation}/{instance}");
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let mut entries = environment.split(|byte| *byte == 0);
            entries.any(|entry| {
                let entry = String::from_utf8_lossy(entry);
                entry == marker || (instance.is_empty() && entry.starts_with(&marker))
            })
        })
        .collect()
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.chars().nth(1));
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

pub(crate) fn kill(signal: &str, pid: u32) {
    assert!(pid > 1);
    let pid = pid.to_string();
    // It may be gone already, which is as good.
    Command::new("kill")
        .args([&format!("-{signal}"), &pid])
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
}

pub(crate) fn run(name: &str, command: &[&str]) -> Run {
    Run {
        name: name.to_owned(),
        instances: 1,
        command: command.iter().map(ToString::to_string).collect(),
        ports: None,
        zones: Vec::new(),
        labels: Labels::default(),
        environment: Vec::new(),
        directory: None,
        user: None,
        stop: StopPolicy {
            grace: Duration::from_secs(5),
            ..StopPolicy::default()
        },
        log: LogPolicy::default(),
    }
}

pub(crate) fn order(operation: &str, target: &str, action: Action, runner: Runner) -> Order {
    Order {
        id: OrderId(7),
        operation: id(operation),
        case: None,
        target: Arc::new(Target {
            id: name(target),
            address: Some(Address("127.0.0.1:80".into())),
            labels: Labels::new([("zone", "a")]).unwrap(),
            run_on: None,
            runner: Some(runner.clone()),
            source: SourceName::new("static").unwrap(),
        }),
        service: None,
        host: None,
        lease: None,
        action,
        runner: Some(runner),
        authority: Authority::Policy,
        repair: None,
        step: 0,
        attempt: 1,
        settle: Duration::from_secs(30),
        given_at: now(),
        expires_at: now() + Order::EXPIRY,
        fence: 1,
        digest: "0123456789abcdef".to_owned(),
        target_is_down: true,
    }
}

/// A real server of the test's own, killed with its children when the test ends.
pub(crate) struct Peer(pub(crate) Child);

impl Drop for Peer {
    fn drop(&mut self) {
        kill("KILL", self.0.id());
        self.0.wait().ok();
    }
}
