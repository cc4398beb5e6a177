//! What is asked of a target. A test never repairs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{HostTest, MetricTest, TestName};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    pub name: TestName,
    pub kind: TestKind,
    #[serde(with = "crate::duration_text")]
    pub interval: Duration,
    /// The whole test ends by then, whatever the peer does; not longer than `interval`.
    #[serde(with = "crate::duration_text")]
    pub timeout: Duration,
    /// Failed rounds in a row until it is believed.
    pub failure_threshold: u8,
    /// Passed rounds in a row until a recovery is believed.
    pub success_threshold: u8,
    pub proves: Proves,
    pub place: Place,
}

impl Test {
    /// Whether it is about the inside of the target's own host, and can be asked only there.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        let is_inside = matches!(
            self.kind,
            TestKind::Process | TestKind::Unit { .. } | TestKind::Host(_)
        );
        is_inside || self.place == Place::Host
    }
}

/// What a believed failure says about the target's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proves {
    /// The target serves nobody: repairing it takes nothing away.
    Down,
    /// Something is wrong, but it may still serve: repairing it costs its capacity.
    Degraded,
}

/// Where a test runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    #[default]
    Server,
    /// On the target's own host: its answer is about that host (disk, processes).
    Host,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestKind {
    Http(HttpTest),
    Tcp(TcpTest),
    Tls(TlsTest),
    Dns(DnsTest),
    Grpc(GrpcTest),
    Nagios(NagiosTest),
    /// The target's runner says it runs: a supervised process or a listener that is alive.
    Process,
    /// A systemd unit is active; `None` is the unit that the target's runner names.
    Unit {
        name: Option<String>,
    },
    Postgres(PostgresTest),
    Mysql(MysqlTest),
    Redis(RedisTest),
    Memcached(MemcachedTest),
    Amqp(AmqpTest),
    Hello(HelloTest),
    Host(HostTest),
    Metric(MetricTest),
    /// Its results are pushed to `POST /api/v1/observations`; older than `interval` counts as unknown.
    Push,
}

impl TestKind {
    /// The key that names it in a configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
            Self::Dns(_) => "dns",
            Self::Grpc(_) => "grpc",
            Self::Nagios(_) => "nagios",
            Self::Process => "process",
            Self::Unit { .. } => "unit",
            Self::Postgres(_) => "postgres",
            Self::Mysql(_) => "mysql",
            Self::Redis(_) => "redis",
            Self::Memcached(_) => "memcached",
            Self::Amqp(_) => "amqp",
            Self::Hello(_) => "hello",
            Self::Host(test) => test.name(),
            Self::Metric(_) => "metric",
            Self::Push => "push",
        }
    }

    /// Whether it carries a secret, which is never written in clear and so can't travel to another host.
    #[must_use]
    pub fn holds_secret(&self) -> bool {
        match self {
            Self::Postgres(test) => test.password.is_some(),
            Self::Mysql(test) => test.password.is_some(),
            Self::Redis(test) => test.password.is_some(),
            Self::Amqp(test) => test.password.is_some(),
            Self::Http(test) => test.headers.iter().any(|(name, _)| is_credential(name)),
            Self::Tcp(_)
            | Self::Tls(_)
            | Self::Dns(_)
            | Self::Grpc(_)
            | Self::Nagios(_)
            | Self::Process
            | Self::Unit { .. }
            | Self::Memcached(_)
            | Self::Hello(_)
            | Self::Host(_)
            | Self::Metric(_)
            | Self::Push => false,
        }
    }

    /// What a failure of this kind proves unless the configuration says otherwise.
    #[must_use]
    pub fn proves_by_default(&self) -> Proves {
        match self {
            Self::Http(_)
            | Self::Tcp(_)
            | Self::Grpc(_)
            | Self::Process
            | Self::Unit { .. }
            | Self::Postgres(_)
            | Self::Mysql(_)
            | Self::Redis(_)
            | Self::Memcached(_)
            | Self::Amqp(_)
            | Self::Hello(_) => Proves::Down,
            Self::Tls(_)
            | Self::Dns(_)
            | Self::Nagios(_)
            | Self::Host(_)
            | Self::Metric(_)
            | Self::Push => Proves::Degraded,
        }
    }
}

/// In every network test an absent `port` is the port of the target's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpTest {
    pub tls: bool,
    pub port: Option<u16>,
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
    /// Accepted status codes; never empty.
    pub status: Vec<u16>,
    /// Regular expression searched in the first [`HttpTest::BODY_BYTES_MAX`] bytes of the body.
    pub body_matches: Option<String>,
    /// Fails when this one is found there.
    pub body_lacks: Option<String>,
    pub header_matches: Vec<HeaderMatch>,
    /// Redirects followed before the answer counts; 0: a redirect is the answer.
    pub redirects_max: u8,
    pub version: HttpVersion,
    pub tls_options: TlsOptions,
}

/// Whether an HTTP header of this name is there to prove who asks.
#[must_use]
pub fn is_credential(header: &str) -> bool {
    const NAMES: [&str; 5] = [
        "authorization",
        "cookie",
        "proxy-authorization",
        "x-api-key",
        "x-auth-token",
    ];
    NAMES.iter().any(|name| header.eq_ignore_ascii_case(name))
}

impl HttpTest {
    pub const BODY_BYTES_MAX: usize = 1 << 20;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderMatch {
    pub name: String,
    /// Regular expression.
    pub matches: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.1, or what ALPN chooses over TLS.
    #[default]
    Any,
    Http1,
    /// Over TLS by ALPN, in clear text with prior knowledge.
    Http2,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsOptions {
    /// Name asked for and checked; `None` is the target's host.
    pub server_name: Option<String>,
    /// PEM file of certificate authorities to trust instead of the system's.
    pub ca_file: Option<String>,
    /// Accept any certificate; for tests of availability only.
    pub insecure: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpTest {
    pub port: Option<u16>,
    pub send: Option<String>,
    /// Regular expression searched in what comes back, at most 64 KiB.
    pub expect: Option<String>,
}

/// Warns and fails as the first certificate of the chain to expire draws near; fails on a broken chain or name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsTest {
    pub port: Option<u16>,
    #[serde(with = "crate::duration_text")]
    pub warn_before: Duration,
    #[serde(with = "crate::duration_text")]
    pub fail_before: Duration,
    pub options: TlsOptions,
}

/// Asks the target, a DNS server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsTest {
    pub port: Option<u16>,
    pub name: String,
    pub record: DnsRecord,
    /// Each of these must be among the answers; when empty, any answer will do.
    pub answers: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsRecord {
    A,
    Aaaa,
    Srv,
    Txt,
    Mx,
    Cname,
    Ns,
    Ptr,
}

/// `grpc.health.v1.Health/Check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcTest {
    pub port: Option<u16>,
    /// Empty: the server as a whole.
    pub service: String,
    pub tls: bool,
    pub tls_options: TlsOptions,
}

/// Exit 0, 1, 2, 3 is pass, warn, fail, unknown. `{address}`, `{port}` and `{label}` are replaced in each argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NagiosTest {
    pub command: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresTest {
    pub port: Option<u16>,
    /// Directory of a Unix socket, instead of the network.
    pub socket: Option<String>,
    pub user: String,
    pub password: Option<crate::Secret>,
    pub database: String,
    pub query: Option<SqlExpectation>,
    /// Fails when a replica is further behind than this.
    pub replica_lag_max: Option<Duration>,
    pub tls: bool,
    pub tls_options: TlsOptions,
}

/// The first column of the first row, as text, must match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlExpectation {
    pub sql: String,
    /// Regular expression; when absent, any row will do.
    pub matches: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MysqlTest {
    pub port: Option<u16>,
    pub socket: Option<String>,
    pub user: String,
    pub password: Option<crate::Secret>,
    pub database: Option<String>,
    pub query: Option<SqlExpectation>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisTest {
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password: Option<crate::Secret>,
    /// Fails unless the server has this role: `master` or `slave`.
    pub role: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemcachedTest {
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmqpTest {
    pub port: Option<u16>,
    pub user: String,
    pub password: Option<crate::Secret>,
    pub virtual_host: String,
    /// A queue that must exist.
    pub queue: Option<String>,
    /// Fails when that queue holds more messages.
    pub messages_max: Option<u32>,
}

/// Whether a store answers in its own protocol, before anybody is logged in: for where no credentials are
/// known. It sees a store that is gone, hangs or turns everybody away, not what goes wrong after a login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloTest {
    pub port: Option<u16>,
    pub protocol: StoreProtocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreProtocol {
    Postgres,
    Mysql,
    Redis,
    Amqp,
}

impl StoreProtocol {
    /// As a configuration writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
            Self::Amqp => "amqp",
        }
    }
}
