//! The real server as a process, its API, and one real agent.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::Failure;

pub(crate) struct Server {
    program: PathBuf,
    directory: PathBuf,
    pub(crate) api: u16,
    pub(crate) agents: u16,
    process: Option<Process>,
}

/// Killed when it is dropped.
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Process {
    fn start(command: &mut Command, log: &Path) -> Result<Self, Failure> {
        let log = fs::File::create(log)?;
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(command.stderr(log).spawn()?))
    }

    /// Seconds of user and system time, which the kernel counts in ticks of 10 ms.
    pub(crate) fn cpu(&self) -> Result<f64, Failure> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let (_, fields) = text.rsplit_once(')').ok_or("no stat")?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let ticks = |at: usize| {
            fields
                .get(at)
                .ok_or("no times")?
                .parse::<u32>()
                .map_err(Failure::from)
        };
        Ok(f64::from(ticks(11)? + ticks(12)?) / 100.0)
    }

    pub(crate) fn resident_mib(&self) -> Result<f64, Failure> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_ascii_whitespace().next());
        Ok(kib.ok_or("no VmRSS")?.parse::<f64>()? / 1_024.0)
    }
}

fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

const TESTS: [&str; 4] = ["memory: {}", "load: {}", "disk: {}", "failed_units: {}"];

impl Server {
    pub(crate) fn new(program: PathBuf, directory: PathBuf) -> Result<Self, Failure> {
        let server = Self {
            program,
            directory,
            api: free_port()?,
            agents: free_port()?,
            process: None,
        };
        let numbered = |tests: &mut dyn Iterator<Item = (usize, &str)>| -> String {
            let lines = tests.map(|(number, test)| {
                format!("      - {{ name: test-{number}, {test}, interval: 10s }}\n")
            });
            lines.collect()
        };
        let yaml = format!(
            r#"server: {{ listen: "127.0.0.1:{api}", data: {data:?}, agents: {{ listen: "127.0.0.1:{agents}" }} }}
limits: {{ fleet_rate: 100000/h }}
find: [{{ agents: {{}} }}]
services:
  - name: web
    select: {{ service: web }}
    tests:
      - {{ name: runs, process: {{}}, interval: 10s }}
    limits: {{ rate: 100000/h, max_in_flight: 1000, max_unavailable: 90% }}
  - name: real
    select: {{ role: real }}
    tests:
{twenty}  - name: hosts
    select: {{ role: host }}
    tests:
{four}"#,
            api = server.api,
            agents = server.agents,
            data = server.directory.join("data"),
            twenty = numbered(&mut TESTS[..3].iter().cycle().copied().take(20).enumerate()),
            four = numbered(&mut TESTS.iter().copied().enumerate()),
        );
        fs::create_dir_all(server.directory.join("production"))?;
        fs::write(server.directory.join("production/pitcrew.yaml"), yaml)?;
        Ok(server)
    }

    pub(crate) async fn start(&mut self) -> Result<(), Failure> {
        let mut command = Command::new(&self.program);
        command
            .args(["serve", "--log", "warn", "--config"])
            .arg(self.directory.join("production"));
        self.process = Some(Process::start(
            &mut command,
            &self.directory.join("serve.log"),
        )?);
        let api = self.api;
        wait("the server to answer", async || {
            Ok(http(api, "GET", "/readyz", None).await.is_ok())
        })
        .await
    }

    pub(crate) async fn kill(&mut self) -> Result<(), Failure> {
        self.process = None;
        Ok(())
    }

    fn process(&self) -> Result<&Process, Failure> {
        self.process
            .as_ref()
            .ok_or_else(|| "the server is not started".into())
    }

    pub(crate) fn cpu(&self) -> Result<f64, Failure> {
        self.process()?.cpu()
    }

    pub(crate) fn resident_mib(&self) -> Result<f64, Failure> {
        self.process()?.resident_mib()
    }

    pub(crate) async fn wait_for_agents(&self, count: usize) -> Result<(), Failure> {
        let line = format!("pitcrew_agents_connected {count}\n");
        let api = self.api;
        wait("all hosts to be connected", async || {
            Ok(http(api, "GET", "/metrics", None).await?.contains(&line))
        })
        .await
    }

    /// Targets of the simulated services that every test passes on.
    pub(crate) async fn wait_for_healthy(&self, count: usize) -> Result<(), Failure> {
        let count = u64::try_from(count)?;
        let api = self.api;
        wait("all targets to be healthy", async || {
            let report = http(api, "GET", "/api/v1/report", None).await?;
            let report: Value = serde_json::from_str(&report)?;
            let services = report["services"].as_array().into_iter().flatten();
            let healthy = services.filter_map(|service| service["healthy"].as_u64());
            Ok(healthy.sum::<u64>() == count)
        })
        .await
    }

    /// A real agent of a host of the service `real`.
    pub(crate) async fn agent(&self) -> Result<Process, Failure> {
        let (token, host) = (
            self.directory.join("token"),
            self.directory.join("host.yaml"),
        );
        fs::write(&token, token_of(self.api, "real").await?)?;
        fs::write(&host, "labels: { role: real }\n")?;
        let mut command = Command::new(&self.program);
        command
            .args(["agent", "--log", "warn", "--server"])
            .arg(format!("127.0.0.1:{}", self.agents))
            .arg("--token-file")
            .arg(token)
            .arg("--data")
            .arg(self.directory.join("agent"))
            .arg("--config")
            .arg(host);
        Process::start(&mut command, &self.directory.join("agent.log"))
    }
}

pub(crate) async fn token(api: u16, host: &str) -> Result<String, Failure> {
    token_of(api, host).await
}

async fn token_of(api: u16, host: &str) -> Result<String, Failure> {
    let body = json!({ "host": host });
    let answer = http(api, "POST", "/api/v1/hosts", Some(&body)).await?;
    let answer: Value = serde_json::from_str(&answer)?;
    let token = answer["token"].as_str();
    Ok(token
        .ok_or_else(|| format!("no token: {answer}"))?
        .to_owned())
}

pub(crate) async fn order(api: u16, target: &str) -> Result<(), Failure> {
    let body = json!({ "target": target, "action": "restart", "why": "a measurement" });
    http(api, "POST", "/api/v1/orders", Some(&body)).await?;
    Ok(())
}

async fn wait(
    what: &str,
    mut is_so: impl AsyncFnMut() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !is_so().await? {
        if Instant::now() > deadline {
            return Err(format!("in five minutes it did not come about: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The body of the answer; another status than success is an error.
async fn http(
    port: u16,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<String, Failure> {
    let body = body.map_or_else(String::new, Value::to_string);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    match head.split(' ').nth(1) {
        Some(status) if status.starts_with('2') => Ok(body.to_owned()),
        _ => Err(format!("{method} {path}: {answer}").into()),
    }
}
