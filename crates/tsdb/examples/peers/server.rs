//! The servers that are measured: how each is started, and what its process uses.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use crate::wire::ask;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pitcrew,
    Prometheus,
    VictoriaMetrics,
}

/// All limits that a measurement would meet are out of its way, as those of the others are.
const CONFIGURATION: &str = "\
services: []
metrics:
  series_max: 20000000
  source_series_max: 20000000
  query: { samples: 1000000000, timeout: 10m }
";

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Pitcrew, Kind::Prometheus, Kind::VictoriaMetrics];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Pitcrew => "pitcrew",
            Kind::Prometheus => "prometheus",
            Kind::VictoriaMetrics => "victoria-metrics",
        }
    }

    fn command(self, pitcrew: &Path, directory: &Path, port: u16) -> anyhow::Result<Command> {
        let place = directory.display();
        let data = directory.join("data");
        fs::create_dir_all(&data)?;
        let data = data.display();
        Ok(match self {
            Kind::Pitcrew => {
                fs::write(directory.join("pitcrew.yaml"), CONFIGURATION)?;
                let mut command = Command::new(pitcrew);
                command.args([
                    "serve",
                    &format!("--config={place}"),
                    &format!("--data={data}"),
                    &format!("--listen=127.0.0.1:{port}"),
                    "--log=error",
                ]);
                command
            }
            Kind::Prometheus => {
                let config = directory.join("prometheus.yml");
                fs::write(&config, "global: {}\n")?;
                let mut command = Command::new("prometheus");
                command.args([
                    &format!("--config.file={place}/prometheus.yml"),
                    &format!("--storage.tsdb.path={data}"),
                    &format!("--web.listen-address=127.0.0.1:{port}"),
                    "--storage.tsdb.retention.time=10d",
                    "--web.enable-remote-write-receiver",
                    "--web.enable-admin-api",
                    "--query.max-samples=1000000000",
                    "--query.timeout=10m",
                    "--log.level=error",
                ]);
                command
            }
            Kind::VictoriaMetrics => {
                let mut command = Command::new("victoria-metrics");
                command.args([
                    &format!("-storageDataPath={data}"),
                    &format!("-httpListenAddr=127.0.0.1:{port}"),
                    "-search.maxUniqueTimeseries=20000000",
                    "-search.maxSamplesPerQuery=2000000000",
                    "-search.maxQueryDuration=10m",
                    "-search.disableCache",
                    "-search.latencyOffset=0s",
                    "-loggerLevel=ERROR",
                ]);
                command
            }
        })
    }

    /// Files that hold samples and their index once all is as small as the server makes it.
    pub(crate) fn compacted(self, server: Running, directory: &Path) -> anyhow::Result<u64> {
        let data = directory.join("data");
        match self {
            Kind::Pitcrew => {
                drop(server);
                let metrics = data.join("metrics");
                crate::compact(&metrics)?;
                bytes_in(&metrics.join("parts"))
            }
            Kind::Prometheus => {
                ask(server.port, "POST", "/api/v1/admin/tsdb/snapshot")?;
                bytes_in(&data.join("snapshots"))
            }
            Kind::VictoriaMetrics => {
                ask(server.port, "GET", "/internal/force_flush")?;
                ask(server.port, "GET", "/internal/force_merge")?;
                server.wait_until_idle()?;
                Ok(bytes_in(&data.join("data"))? + bytes_in(&data.join("indexdb"))?)
            }
        }
    }
}

/// A server's process. It ends with this value, by SIGKILL.
pub(crate) struct Running {
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Running {
    pub(crate) fn start(kind: Kind, pitcrew: &Path, directory: &Path) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let log = fs::File::create(directory.join(format!("{}.log", kind.name())))?;
        let child = kind
            .command(pitcrew, directory, port)?
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let child = child.with_context(|| {
            let name = kind.name();
            format!("failed to start {name}; apt-get install -y {name}")
        })?;
        Ok(Running { child, port })
    }

    /// Waits until `ready` says so.
    pub(crate) fn wait_for(&mut self, ready: impl Fn(u16) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(600);
        while !ready(self.port) {
            ensure!(
                self.child.try_wait()?.is_none(),
                "the server ended by itself"
            );
            ensure!(Instant::now() < deadline, "the server didn't get ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// User and system time of the process, in seconds; Linux counts in ticks of 10 ms.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = text.rsplit_once(')').context("a malformed stat line")?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let mut ticks = 0.0;
        for at in [11, 12] {
            ticks += fields
                .get(at)
                .context("a short stat line")?
                .parse::<f64>()?;
        }
        Ok(ticks / 100.0)
    }

    pub(crate) fn resident_bytes(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kilobytes: f64 = kilobytes.context("no VmRSS")?.trim().parse()?;
        Ok(kilobytes * 1024.0)
    }

    /// What was put off is part of the work: waits, two minutes at most, until next to nothing is done.
    pub(crate) fn wait_until_idle(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut quiet = 0;
        while quiet < 3 && Instant::now() < deadline {
            let before = self.cpu_seconds()?;
            std::thread::sleep(Duration::from_millis(700));
            quiet = if self.cpu_seconds()? - before < 0.03 {
                quiet + 1
            } else {
                0
            };
        }
        Ok(())
    }

    /// CPU seconds of the process that something takes, with what it puts off.
    pub(crate) fn measure<T>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, f64)> {
        self.wait_until_idle()?;
        let before = self.cpu_seconds()?;
        let result = work()?;
        self.wait_until_idle()?;
        Ok((result, self.cpu_seconds()? - before))
    }
}

fn bytes_in(path: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    let mut left: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        } else {
            bytes += metadata.len();
        }
    }
    Ok(bytes)
}
