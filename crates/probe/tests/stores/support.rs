//! What the tests with real peers share: servers in temporary directories on free ports, and questions.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use pitcrew_model::{
    Address, HelloTest, Labels, Place, Proves, Runner, SourceName, StoreProtocol, Target, TargetId,
    Test, TestKind, TestName, Verdict,
};
use pitcrew_probe::{Answer, ProcessState, ProcessStates, Question, Tools, ask};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// How long a server may take to start, and a condition to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Says so when something that a test needs is not installed; in CI that is a failure.
#[must_use]
pub(crate) fn is_missing(path: &str, package: &str) -> bool {
    if Path::new(path).exists() {
        return false;
    }
    skipped(&format!(
        "{path} is not installed: apt-get install {package}"
    ));
    true
}

pub(crate) fn skipped(why: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "in CI nothing is skipped: {why}"
    );
    eprintln!("skipped: {why}");
}

/// Below the range from which the kernel takes ports for outgoing connections: a port from there can be
/// taken by any client before its server binds it, and a client that tries it may even meet itself.
pub(crate) fn free_port() -> u16 {
    loop {
        let random = RandomState::new().hash_one(std::process::id());
        let port = 10_000 + u16::try_from(random % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A server process that ends with the test.
pub(crate) struct Server {
    child: Child,
    /// What it ends by when it is no longer needed.
    ending: Signal,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_ending_by(command, Signal::KILL)
    }

    pub(crate) fn start_ending_by(command: &mut Command, ending: Signal) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, ending }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        self.signal(Signal::CONT);
        self.signal(self.ending);
        self.child.wait().ok();
    }
}

/// A supervisor that has nothing.
pub(crate) struct NoProcesses;

impl ProcessStates for NoProcesses {
    fn state(&self, _target: &Target, _runner: &Runner) -> ProcessState {
        ProcessState::Unknown {
            why: "nothing is supervised here".to_owned(),
        }
    }
}

pub(crate) fn target(address: Option<&str>, labels: &[(&str, &str)]) -> Target {
    Target {
        id: TargetId::new("probed-1").unwrap(),
        address: address.map(|address| Address(address.into())),
        labels: Labels::new(labels.iter().copied()).unwrap(),
        run_on: None,
        runner: None,
        source: SourceName::new("test").unwrap(),
    }
}

pub(crate) fn test(kind: TestKind, timeout: Duration) -> Test {
    Test {
        name: TestName::new("asked").unwrap(),
        kind,
        interval: Duration::from_secs(10),
        timeout,
        failure_threshold: 1,
        success_threshold: 1,
        proves: Proves::Down,
        place: Place::Server,
    }
}

/// Asks 127.0.0.1:`port` once.
pub(crate) async fn ask_port(port: u16, kind: TestKind, timeout: Duration) -> Answer {
    let target = target(Some(&format!("127.0.0.1:{port}")), &[]);
    let tools = Tools::new(Arc::new(NoProcesses));
    let test = test(kind, timeout);
    ask(Question::new(&target, None, &test, &tools)).await
}

/// What a store answers to somebody who has no credentials.
pub(crate) async fn hello(port: u16, protocol: StoreProtocol, timeout: Duration) -> Answer {
    let test = HelloTest {
        port: None,
        protocol,
    };
    ask_port(port, TestKind::Hello(test), timeout).await
}

/// Asks until the verdict is as wanted; the answer that was.
pub(crate) async fn until(port: u16, kind: &TestKind, verdict: Verdict) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask_port(port, kind.clone(), Duration::from_secs(5)).await;
        if answer.verdict == verdict {
            return answer;
        }
        assert!(Instant::now() < deadline, "never {verdict}: {answer:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[track_caller]
pub(crate) fn check(answer: &Answer, verdict: Verdict, words: &str) {
    assert_eq!(answer.verdict, verdict, "{answer:?}");
    assert!(answer.evidence.as_str().contains(words), "{answer:?}");
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))),
    }
}

/// Reads what the peer sent first, then sends `bytes` and nothing more; for peers that no real server is.
pub(crate) fn peer_that_sends(bytes: &'static [u8], closes: bool) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            stream.write_all(bytes).ok();
            if closes {
                stream.shutdown(std::net::Shutdown::Write).ok();
                stream.read_to_end(&mut Vec::new()).ok();
            } else {
                kept.push(stream);
            }
        }
    });
    port
}

/// Sends `x` for as long as anybody reads.
pub(crate) fn peer_without_end() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::Write;
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || while stream.write_all(&[b'x'; 8_192]).is_ok() {});
        }
    });
    port
}
