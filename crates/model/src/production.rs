//! Production as code, after parsing: everything that a configuration directory says.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    DnsRecord, Drain, Labels, Limits, MetricsSettings, PowerRule, Rate, ReceiverName, RepairName,
    Runner, RunnerTemplate, Scrape, Selector, ServiceName, SourceName, Target, Test, TestName,
    Timestamp,
};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Production {
    pub sources: Vec<Source>,
    pub services: Vec<Arc<Service>>,
    pub runs: Vec<Run>,
    pub receivers: Vec<Receiver>,
    /// The first rule that names a host is for it.
    #[serde(default)]
    pub power: Vec<PowerRule>,
    pub limits: FleetLimits,
    pub server: ServerSettings,
    #[serde(default)]
    pub metrics: MetricsSettings,
    #[serde(default)]
    pub scrapes: Vec<Arc<Scrape>>,
    /// Hex SHA-256 of the files it was read from, so that records say which configuration decided.
    pub digest: String,
}

/// A discovery source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub name: SourceName,
    pub kind: SourceKind,
    /// Added to every target of this source; a label the source itself gives wins.
    pub labels: Labels,
    pub runs_as: Option<RunnerTemplate>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    Static {
        targets: Vec<String>,
    },
    /// Prometheus `file_sd`: paths may end in a `*` pattern in their last part.
    File {
        paths: Vec<String>,
        refresh: Duration,
    },
    /// Prometheus `http_sd`.
    Http {
        url: String,
        refresh: Duration,
    },
    /// `port` is needed for A and AAAA.
    Dns {
        names: Vec<String>,
        record: DnsRecord,
        port: Option<u16>,
        refresh: Duration,
        server: Option<SocketAddr>,
    },
    /// Every enrolled host and what runs there, as their agents say.
    Agents,
}

/// What users depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub name: ServiceName,
    pub select: Selector,
    /// Labels whose equal values fail together.
    pub domains: Vec<String>,
    pub autonomy: Autonomy,
    pub tests: Vec<Arc<Test>>,
    pub repairs: Vec<Repair>,
    pub limits: Limits,
    pub windows: Vec<Window>,
    /// For targets whose source names no runner.
    pub runs_as: Option<RunnerTemplate>,
    /// How its targets are taken out of use and given back.
    #[serde(default)]
    pub drain: Option<Drain>,
}

impl Service {
    /// The first repair whose `when` names `test`.
    #[must_use]
    pub fn repair_for(&self, test: &TestName) -> Option<&Repair> {
        self.repairs
            .iter()
            .find(|repair| repair.when.contains(test))
    }

    /// What runs `target`: its own runner, or this service's filled in for it.
    #[must_use]
    pub fn runner_for(&self, target: &Target) -> Option<Runner> {
        target.runner.clone().or_else(|| {
            self.runs_as
                .as_ref()
                .and_then(|template| template.fill(&target.labels).ok())
        })
    }

    #[must_use]
    pub fn test(&self, name: &TestName) -> Option<&Arc<Test>> {
        self.tests.iter().find(|test| test.name == *name)
    }

    /// What Pitcrew may do at `now`: the most careful of the service's autonomy and all open windows.
    #[must_use]
    pub fn autonomy_at(&self, now: Timestamp) -> (Autonomy, Option<&Window>) {
        self.windows
            .iter()
            .filter(|window| {
                window.from <= now && now < window.to && window.autonomy < self.autonomy
            })
            .min_by_key(|window| window.autonomy)
            .map_or((self.autonomy, None), |window| {
                (window.autonomy, Some(window))
            })
    }
}

/// How freely a repair may be used; ordered from careful to free.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Autonomy {
    #[default]
    Observe,
    /// Tells its receivers what it would do.
    Propose,
    /// Waits for a person's approval of the exact order.
    Approve,
    Act,
}

impl fmt::Display for Autonomy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Observe => "observe",
            Self::Propose => "propose",
            Self::Approve => "approve",
            Self::Act => "act",
        })
    }
}

/// From `from` (included) to `to` (not included) at most `autonomy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub name: String,
    pub from: Timestamp,
    pub to: Timestamp,
    pub autonomy: Autonomy,
}

/// A ladder of steps for given tests' findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    pub name: RepairName,
    pub when: Vec<TestName>,
    /// Never empty. A ladder that does not end with a hand-over ends with one to every receiver.
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub action: crate::Action,
    pub tries: u8,
    /// How long the target has to pass its tests again after the action.
    #[serde(with = "crate::duration_text")]
    pub settle: Duration,
}

/// What Pitcrew itself keeps running on this host: `instances` processes `NAME-1`, `NAME-2`, ….
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub name: String,
    pub instances: u16,
    /// `{port}`, `{instance}` and `{zone}` are replaced in each argument; never a shell.
    pub command: Vec<String>,
    pub ports: Option<Ports>,
    /// Instances are spread over these in turn: instance 1 is in the first; empty: no `zone` label.
    pub zones: Vec<String>,
    /// Values may hold `{port}`, `{instance}` and `{zone}`.
    pub labels: Labels,
    pub environment: Vec<(String, String)>,
    pub directory: Option<PathBuf>,
    pub user: Option<String>,
    pub stop: StopPolicy,
    pub log: LogPolicy,
}

/// Instance N listens on `from + N - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    pub from: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopPolicy {
    /// `TERM`, `INT`, `QUIT`, `HUP`, …
    pub signal: String,
    /// Then the whole process group is killed.
    #[serde(with = "crate::duration_text")]
    pub grace: Duration,
}

impl Default for StopPolicy {
    fn default() -> Self {
        Self {
            signal: "TERM".to_owned(),
            grace: Duration::from_secs(10),
        }
    }
}

/// Standard output and error of each instance: one current file and `keep` older ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPolicy {
    pub bytes_max: u64,
    pub keep: u8,
}

impl Default for LogPolicy {
    fn default() -> Self {
        Self {
            bytes_max: 10 << 20,
            keep: 3,
        }
    }
}

/// A person, or the way to one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    pub name: ReceiverName,
    pub destination: Destination,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// `POST` of the notice as JSON.
    Webhook {
        url: Secret,
        headers: Vec<(String, Secret)>,
    },
    /// The notice as JSON on standard input.
    Command { command: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetLimits {
    /// Disruptive orders over everything; a person releases it.
    pub fleet_rate: Rate,
}

impl Default for FleetLimits {
    fn default() -> Self {
        Self {
            fleet_rate: Rate {
                count: 60,
                per: Duration::from_secs(3_600),
            },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSettings {
    pub listen: SocketAddr,
    pub data: PathBuf,
    /// Needed to listen on anything but a loopback address: the bearer token every request must carry.
    pub token_file: Option<PathBuf>,
    /// Tests under way at once.
    pub concurrency: usize,
    /// Where agents connect; without it there are none.
    #[serde(default)]
    pub agents: Option<AgentSettings>,
    /// With it the ledger is there instead of in `data`, and several servers can share it.
    #[serde(default)]
    pub postgres: Option<PostgresSettings>,
    /// URL of the API as the other servers and people reach it; as it listens when absent.
    #[serde(default)]
    pub advertise: Option<String>,
}

/// The database that holds the ledger of several servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresSettings {
    /// `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`
    pub url: Secret,
    /// Read at each login, when the URL has no password.
    pub password_file: Option<PathBuf>,
    /// PEM; the system's authorities when absent.
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSettings {
    pub listen: SocketAddr,
    /// How long a host's certificate is good for; the agent renews it when two thirds are over.
    #[serde(with = "crate::duration_text")]
    pub certificate_lifetime: Duration,
    /// How many other hosts ask what a host or the server asks over the network.
    pub observers: u8,
    /// Tests that hold a secret may be asked at any address that a host names, and not only at the one that it connects
    /// from.
    #[serde(default)]
    pub trust_addresses: bool,
    /// Who signs the certificates of hosts instead of an authority of the server's own.
    #[serde(default)]
    pub authority: Option<AuthorityFiles>,
}

impl AgentSettings {
    /// Below this a certificate could end before a lost answer to its renewal is noticed.
    pub const CERTIFICATE_LIFETIME_MIN: Duration = Duration::from_secs(20);
}

/// An authority for certificates: PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityFiles {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            data: PathBuf::from("data"),
            token_file: None,
            concurrency: 512,
            agents: None,
            postgres: None,
            advertise: None,
        }
    }
}

/// Never printed and never serialized in clear.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[secret]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}
