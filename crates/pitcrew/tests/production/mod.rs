//! A small production of its own for each test: a configuration in a temporary directory, the real binary
//! serving it on a free port, and everything ended when the test is.
//!
//! Nothing sleeps: tests wait for conditions, each with a deadline, and say what was last seen when it passes.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stderr,
    reason = "shared by several test programs, each of which uses a part"
)]

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::{BuildHasher, Hasher},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// Conditions that a working Pitcrew reaches in a second or so; machines of CI are slow.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_pitcrew")
}

/// Waits until `condition` gives a value; panics at the deadline with what it last said.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let last = match condition() {
            Ok(value) => return value,
            Err(last) => last,
        };
        assert!(
            Instant::now() < deadline,
            "waited for {what} in vain; last seen: {last}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// A port that nobody has, and that no other test is given while this one runs.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` such ports in a row.
///
/// Below the range that the system gives to whoever asks for any port: there, a server that is down for a moment
/// would lose its port to the next connection of some other test.
pub fn free_ports(count: u16) -> u16 {
    static HELD: Mutex<Vec<fs::File>> = Mutex::new(Vec::new());
    loop {
        let random = RandomState::new().build_hasher().finish() % 10_000;
        let first = 10_000 + u16::try_from(random).expect("it is below 10,000");
        let ports: Option<Vec<fs::File>> = (first..first + count).map(hold_port).collect();
        if let Some(ports) = ports {
            HELD.lock().expect("the ports").extend(ports);
            return first;
        }
    }
}

/// By a lock that ends with this process.
fn hold_port(port: u16) -> Option<fs::File> {
    let user = rustix::process::getuid().as_raw();
    let folder = std::env::temp_dir().join(format!("pitcrew-test-ports-{user}"));
    fs::create_dir_all(&folder).expect("a folder for locks");
    let lock = fs::File::create(folder.join(port.to_string())).expect("a lock");
    let is_mine = lock.try_lock().is_ok();
    (is_mine && TcpListener::bind(("127.0.0.1", port)).is_ok()).then_some(lock)
}

/// Whether this machine has `program`; says so when not, and fails in CI.
pub fn has(program: &str, package: &str) -> bool {
    let found = Path::new(program).is_absolute() && Path::new(program).exists()
        || std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|folder| folder.join(program).exists())
        });
    if !found {
        skipped(&format!(
            "{program} is not installed: apt-get install {package}"
        ));
    }
    found
}

/// Says why a test is not run; a failure in CI, which must have everything.
pub fn skipped(why: &str) {
    eprintln!("skipped: {why}");
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "CI must run it: {why}"
    );
}

/// Says how to make the same choices again; shown when the test fails.
pub fn note_seed(seed: u64, test: &str) {
    eprintln!(
        "the same choices again: PITCREW_SEED={seed} cargo nextest run -p pitcrew --test {test}"
    );
}

/// A process of a test's own, ended with the test.
pub struct Process(pub Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("the program starts"))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// By its id only.
    pub fn signal(&self, signal: rustix::process::Signal) {
        send(self.pid(), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub fn send(pid: u32, signal: rustix::process::Signal) {
    assert!(pid > 1, "never a whole group or the first process");
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("the signal is sent");
}

pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some(None | Some('Z' | 'X')))
}

/// A configuration and, while it is served, the server.
pub struct Production {
    directory: tempfile::TempDir,
    pub port: u16,
    server: Option<Child>,
    log: Arc<Mutex<String>>,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    /// Known once it was ready.
    installation: String,
}

impl Production {
    /// Writes `yaml` as the one file of a configuration; the API's port and the data directory are added.
    /// `{dir}` in it becomes the directory of the test, `{port}` stays.
    pub fn new(yaml: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let production = Self {
            directory,
            port: free_port(),
            server: None,
            log: Arc::default(),
            environment: Vec::new(),
            arguments: Vec::new(),
            installation: String::new(),
        };
        fs::create_dir(production.configuration()).expect("the configuration's directory");
        production.write("production.yaml", yaml);
        production
    }

    pub fn served(yaml: &str) -> Self {
        let mut production = Self::new(yaml);
        production.serve();
        production
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn configuration(&self) -> PathBuf {
        self.path().join("production")
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Writes a file of the configuration at once, so that nobody sees half of it.
    pub fn write(&self, name: &str, yaml: &str) {
        let yaml = yaml.replace("{dir}", &self.path().display().to_string());
        let new = self.path().join("new");
        fs::write(&new, yaml).expect("the configuration is written");
        fs::rename(new, self.configuration().join(name)).expect("the configuration is in place");
    }

    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// More of them for `serve`.
    pub fn arguments(&mut self, arguments: &[&str]) {
        let arguments = arguments.iter().map(|one| (*one).to_owned());
        self.arguments.extend(arguments);
    }

    /// Starts the server and waits until it is ready.
    pub fn serve(&mut self) {
        self.spawn();
        let ready = wait_for("the server to be ready", || {
            if let Some(server) = &mut self.server
                && let Some(status) = server.try_wait().expect("its status")
            {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            self.get("/readyz")
        });
        self.installation = ready["installation"]
            .as_str()
            .expect("the installation")
            .to_owned();
    }

    pub fn spawn(&mut self) {
        assert!(self.server.is_none(), "it is already served");
        let mut child = Command::new(binary())
            .arg("serve")
            .arg("--config")
            .arg(self.configuration())
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .arg("--data")
            .arg(self.data())
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let lines = BufReader::new(child.stderr.take().expect("its log"));
        let log = Arc::clone(&self.log);
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut log = log.lock().expect("the log");
                log.push_str(&line);
                log.push('\n');
            }
        });
        self.server = Some(child);
    }

    pub fn server_pid(&self) -> u32 {
        self.server.as_ref().expect("it is served").id()
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    /// SIGTERM, and its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        send(self.server_pid(), rustix::process::Signal::TERM);
        self.ended()
    }

    /// SIGKILL: no goodbye.
    pub fn kill(&mut self) {
        send(self.server_pid(), rustix::process::Signal::KILL);
        self.ended();
    }

    fn ended(&mut self) -> Option<i32> {
        let server = self.server.as_mut().expect("it is served");
        let status = wait_for("the server to end", || {
            server
                .try_wait()
                .expect("its status")
                .ok_or_else(|| "it runs".to_owned())
        });
        self.server = None;
        status.code()
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The command line against this server.
    pub fn pitcrew(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .args(["--server", &self.url()])
            .args(arguments)
            .env_remove("PITCREW_TOKEN_FILE")
            .output()
            .expect("the command runs")
    }

    /// What the command prints; it must end with `code`.
    pub fn says(&self, arguments: &[&str], code: i32) -> String {
        let output = self.pitcrew(arguments);
        let stdout = String::from_utf8(output.stdout).expect("text");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}\n{stdout}\n{stderr}\n{}",
            self.log()
        );
        if code == 0 { stdout } else { stdout + &stderr }
    }

    /// What the command prints with `--json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.pitcrew(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "{arguments:?}: {error}\n{}\n{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// A 2xx answer's body.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        let answer = self.request("GET", path, &[], "")?;
        if (200..300).contains(&answer.status) {
            Ok(answer.json())
        } else {
            Err(format!("{answer:?}"))
        }
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.request("POST", path, &headers, &body.to_string())
            .expect("the server answers")
    }

    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, String> {
        request(self.port, method, path, headers, body)
    }

    /// Waits until `GET path` satisfies `condition`; the error says what is missing.
    pub fn wait_until<T>(
        &self,
        what: &str,
        path: &str,
        mut condition: impl FnMut(&Value) -> Result<T, String>,
    ) -> T {
        wait_for(what, || condition(&self.get(path)?))
    }

    /// Records of the ledger so far.
    pub fn records(&self) -> Vec<Value> {
        let mut records = Vec::new();
        let mut after = 0;
        loop {
            let page = self
                .get(&format!("/api/v1/ledger?after={after}&limit=1000"))
                .expect("the ledger");
            let items = page["items"].as_array().expect("items");
            records.extend(items.iter().cloned());
            match items.last() {
                Some(last) if !page["next"].is_null() => {
                    after = last["seq"].as_u64().expect("a number")
                }
                _ => return records,
            }
        }
    }

    /// Waits for a record of this kind of fact about this target, and gives it.
    pub fn wait_for_fact(&self, target: &str, kind: &str) -> Value {
        self.wait_for_fact_after(0, target, kind)
    }

    /// The same, among records with a number above `seq`.
    pub fn wait_for_fact_after(&self, seq: u64, target: &str, kind: &str) -> Value {
        wait_for(&format!("`{kind}` of {target}"), || {
            let records = self.records();
            let found = records.iter().find(|entry| {
                entry["seq"].as_u64() > Some(seq)
                    && entry["record"]["target"] == target
                    && entry["record"]["fact"]["kind"] == kind
            });
            found.cloned().ok_or_else(|| summary(&records))
        })
    }

    /// The number of the last record so far.
    pub fn last_seq(&self) -> u64 {
        self.records()
            .last()
            .map_or(0, |entry| entry["seq"].as_u64().expect("a number"))
    }

    /// The process id of a supervised target, from the markers that its environment carries.
    pub fn pid_of(&self, target: &str) -> Option<u32> {
        let marker = format!("{}/{target}", self.installation);
        let mut leaders = supervised()
            .into_iter()
            .filter(|one| one.marker == marker && one.is_leader);
        leaders.next().map(|one| one.pid)
    }

    /// All processes that were started for this production and still run, children too.
    pub fn supervised_pids(&self) -> Vec<u32> {
        if self.installation.is_empty() {
            return Vec::new();
        }
        let of_this = format!("{}/", self.installation);
        supervised()
            .into_iter()
            .filter(|one| one.marker.starts_with(&of_this))
            .map(|one| one.pid)
            .collect()
    }
}

impl Production {
    /// Processes that work in this production's directory or name it in their command: what somebody other
    /// than Pitcrew started, and what was started in its place since. `program` is the end of their program's path.
    pub fn processes(&self, program: &str) -> Vec<u32> {
        let mut pids = processes_in(self.path());
        pids.retain(|pid| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with(program))
        });
        pids
    }

    pub fn signal_all(&self, program: &str, signal: rustix::process::Signal) {
        let pids = self.processes(program);
        assert!(!pids.is_empty(), "no {program} runs here");
        for pid in pids {
            // A child may have followed its parent already.
            signal_if_there(pid, signal);
        }
    }
}

fn signal_if_there(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process id");
    rustix::process::kill_process(pid, signal).ok();
}

/// Processes that work in `directory`, or name it in their command.
pub fn processes_in(directory: &Path) -> Vec<u32> {
    let name = directory.as_os_str().as_encoded_bytes();
    let entries = fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let works_there = fs::read_link(format!("/proc/{pid}/cwd"))
            .is_ok_and(|place| place.starts_with(directory));
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        works_there || command.windows(name.len()).any(|part| part == name)
    })
    .collect()
}

/// Kinds and targets, for messages.
pub fn summary(records: &[Value]) -> String {
    let lines = records.iter().map(|entry| {
        let record = &entry["record"];
        format!(
            "{} {} {}",
            record["target"], record["fact"]["kind"], record["fact"]["hold"]["name"]
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

impl Drop for Production {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            server.kill().ok();
            server.wait().ok();
        }
        if thread::panicking() {
            eprintln!("--- the server's log\n{}", self.log());
        }
        for pid in self
            .supervised_pids()
            .into_iter()
            .chain(processes_in(self.path()))
        {
            signal_if_there(pid, rustix::process::Signal::KILL);
        }
    }
}

/// A process that carries the marker of supervised ones.
struct Supervised {
    pid: u32,
    /// `INSTALLATION/NAME`
    marker: String,
    /// And not a child of one.
    is_leader: bool,
}

fn supervised() -> Vec<Supervised> {
    let entries = fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(supervised_process).collect()
}

fn supervised_process(pid: u32) -> Option<Supervised> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = |name: &str| {
        let variables = environment.split(|byte| *byte == 0);
        let mut values = variables.filter_map(|variable| {
            std::str::from_utf8(variable)
                .ok()?
                .strip_prefix(name)?
                .strip_prefix('=')
        });
        values.next().map(str::to_owned)
    };
    Some(Supervised {
        pid,
        marker: value("PITCREW_SUPERVISED")?,
        is_leader: value("PITCREW_PID").and_then(|pid| pid.parse().ok()) == Some(pid),
    })
}

/// An HTTP answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self
            .headers
            .iter()
            .filter(|(have, _)| have.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }
}

/// One request on a connection of its own, byte by byte as given: a client library would hide what tests look for.
pub fn request(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer, String> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        head.push_str(&format!("host: 127.0.0.1:{port}\r\n"));
    }
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length"))
    {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    exchange(port, &head, body).map_err(|error| error.to_string())
}

fn exchange(port: u16, head: &str, body: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(head.as_bytes())?;
    // A server that refuses by the head alone may close before it has read the body.
    stream.write_all(body.as_bytes()).ok();
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    parse_answer(&bytes).ok_or_else(|| {
        read.err().unwrap_or_else(|| {
            std::io::Error::other(format!(
                "not an answer: {}",
                String::from_utf8_lossy(&bytes)
            ))
        })
    })
}

fn parse_answer(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let body = &bytes[end + 4..];
    let is_chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if is_chunked {
        unchunked(body)?
    } else {
        body.to_vec()
    };
    Some(Answer {
        status,
        headers,
        body: String::from_utf8(body).ok()?,
    })
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(line + 2..line + 2 + length)?);
        rest = rest.get(line + 4 + length..)?;
    }
}
