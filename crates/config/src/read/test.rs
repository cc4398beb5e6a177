//! What all tests have in common; their kinds are in `test_network` and `test_store`.

use std::time::Duration;

use pitcrew_model::{HostTest, Place, Proves, Test, TestKind, TestName};

use super::{
    test_host as host, test_metric as metric, test_network as network, test_store as store,
};
use crate::{
    fields::Fields,
    place::Span,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional, required},
    tree::{Entry, Node, Value},
    values,
};

const THRESHOLD: Kind = Kind::Whole { min: 1, max: 255 };
const NOT_HERE: &str = "there is no such test in this version; a Nagios plugin can do it: `nagios: { command: [\"check_…\"] }`";

pub(crate) const TEST: Shape = Shape::new(
    "test",
    "What is asked of each target, again and again.",
    &[
        required("name", values::NAME, "Its name, unique in the service."),
        optional("http", Kind::Shape(&network::HTTP), "An HTTP request and what its answer must be."),
        optional("tcp", Kind::Shape(&network::TCP), "A TCP connection."),
        optional("tls", Kind::Shape(&network::TLS), "A certificate: its chain, its name and when it expires."),
        optional("dns", Kind::Shape(&network::DNS), "A question to the target, a DNS server."),
        optional("grpc", Kind::Shape(&network::GRPC), "The gRPC health check."),
        optional("nagios", Kind::Shape(&NAGIOS), "Any Nagios plugin: exit code 0, 1, 2, 3 is pass, warn, fail, unknown."),
        optional("process", Kind::Shape(&PROCESS), "The process that runs the target is alive."),
        optional("unit", Kind::Either(&[Kind::Text, Kind::Shape(&UNIT)]), "A systemd unit is active."),
        optional("postgres", Kind::Shape(&store::POSTGRES), "PostgreSQL lets us in and answers."),
        optional("mysql", Kind::Shape(&store::MYSQL), "MySQL or MariaDB lets us in and answers."),
        optional("redis", Kind::Shape(&store::REDIS), "Redis answers PING."),
        optional("memcached", Kind::Shape(&store::MEMCACHED), "Memcached answers."),
        optional("amqp", Kind::Shape(&store::AMQP), "RabbitMQ lets us in."),
        optional("hello", Kind::Shape(&store::HELLO), "A store answers in its own protocol, whoever it would let in."),
        optional("disk", Kind::Shape(&host::DISK), "A file system of the host takes writes and has room."),
        optional("memory", Kind::Shape(&host::MEMORY), "The host has memory left."),
        optional("load", Kind::Shape(&host::LOAD), "The host's load for each core."),
        optional("failed_units", Kind::Shape(&host::FAILED_UNITS), "No unit of the host's systemd has failed."),
        optional("clock_offset", Kind::Shape(&host::CLOCK_OFFSET), "The clock of an agent's host shows the server's time."),
        optional("kernel_errors", Kind::Shape(&host::KERNEL_ERRORS), "The host's kernel has logged no error lately."),
        optional("metric", Kind::Shape(&metric::METRIC), "A PromQL expression over the server's own metrics."),
        optional("push", Kind::Shape(&PUSH), "Results are pushed to `POST /api/v1/observations`; older than `interval` counts as unknown."),
        defaulted("interval", values::DURATION, "10s", "How often each target is asked."),
        optional("timeout", values::DURATION, "When an answer is too late. Default: 2s (10s for `nagios`), at most `interval`."),
        defaulted("failure_threshold", THRESHOLD, "3", "Failed rounds in a row until it is believed."),
        defaulted("success_threshold", THRESHOLD, "2", "Passed rounds in a row until a recovery is believed."),
        optional("proves", Kind::OneOf(&["down", "degraded"]), "What a failure says: `down`: the target serves nobody, repairing it takes nothing away; `degraded`: it may still serve. Default: `degraded` for `tls`, `dns`, `nagios`, `disk`, `memory`, `load`, `failed_units`, `clock_offset`, `kernel_errors`, `metric` and `push`, `down` for the others."),
        defaulted("on", Kind::OneOf(&["server", "host"]), "server", "Where it runs: `host` is the target's own host."),
    ],
)
.with_exactly_one(&[
    "http", "tcp", "tls", "dns", "grpc", "nagios", "process", "unit", "postgres", "mysql", "redis",
    "memcached", "amqp", "hello", "disk", "memory", "load", "failed_units", "clock_offset",
    "kernel_errors", "metric", "push",
])
.refusing(&[
    ("https", "write `http: { tls: true }`"),
    ("icmp", NOT_HERE),
    ("ping", NOT_HERE),
    ("smtp", NOT_HERE),
    ("ssh", NOT_HERE),
    ("udp", NOT_HERE),
    ("ldap", NOT_HERE),
    ("mariadb", "write `mysql`"),
    ("postgresql", "write `postgres`"),
    ("rabbitmq", "write `amqp`"),
    ("command", "write `nagios: { command: […] }`: its exit code 0, 1, 2, 3 is pass, warn, fail, unknown"),
]);

const NAGIOS: Shape = Shape::new(
    "nagios test",
    "Any Nagios plugin.",
    &[required(
        "command",
        values::TEXTS,
        "Program and arguments, no shell; `{address}`, `{port}` and `{label}` are replaced.",
    )],
);

const PROCESS: Shape = Shape::new(
    "process test",
    "The process that runs the target is alive.",
    &[],
);

const UNIT: Shape = Shape::new(
    "unit test",
    "A systemd unit is active.",
    &[optional(
        "name",
        Kind::Text,
        "The unit. Default: the one that `runs_as` names.",
    )],
);

const PUSH: Shape = Shape::new("push test", "Results are pushed by others.", &[]);

/// More often than this a test measures itself.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

pub(crate) struct ReadTest {
    /// As it can be referred to, also when the rest could not be read.
    pub(crate) name: TestName,
    pub(crate) name_at: Span,
    pub(crate) test: Option<Test>,
}

pub(crate) fn test(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<ReadTest> {
    let fields = reader.fields(node, &TEST)?;
    let name = fields.value(reader, "name", values::name);
    let kind = fields.only().and_then(|entry| kind(reader, &fields, entry));
    let interval = fields.or_default(reader, "interval", interval);
    let timeout = timeout(reader, &fields, interval);
    let failure_threshold = fields.whole_or_default(reader, "failure_threshold");
    let success_threshold = fields.whole_or_default(reader, "success_threshold");
    let proves = fields.value(reader, "proves", |text| {
        values::one_of(text, &["down", "degraded"]).map(|word| match word {
            "down" => Proves::Down,
            _ => Proves::Degraded,
        })
    });
    let place = fields.or_default(reader, "on", |text| {
        values::one_of(text, &["server", "host"]).map(|word| match word {
            "host" => Place::Host,
            _ => Place::Server,
        })
    });
    if place == Place::Host && matches!(kind, Some(TestKind::Metric(_))) {
        reader.error(
            fields.place_of("on"),
            "the server's metrics are asked by the server itself",
        );
    }
    let name: TestName = name?;
    Some(ReadTest {
        name_at: fields.place_of("name"),
        test: kind.map(|kind| Test {
            name: name.clone(),
            proves: proves.unwrap_or_else(|| kind.proves_by_default()),
            kind,
            interval,
            timeout,
            failure_threshold,
            success_threshold,
            place,
        }),
        name,
    })
}

fn interval(text: &str) -> Result<Duration, String> {
    match values::some_duration(text)? {
        short if short < INTERVAL_MIN => Err(format!("`{text}` is too short: 10ms is possible")),
        interval => Ok(interval),
    }
}

fn timeout(reader: &mut Reader<'_>, fields: &Fields<'_>, interval: Duration) -> Duration {
    let seconds = match fields.only() {
        Some(entry) if entry.key == "nagios" => 10,
        _ => 2,
    };
    let default = Duration::from_secs(seconds).min(interval);
    let Some(timeout) = fields.value(reader, "timeout", values::some_duration) else {
        return default;
    };
    if timeout > interval {
        reader.error(
            fields.place_of("timeout"),
            format!(
                "`timeout` {} is longer than `interval` {}",
                pitcrew_model::format_duration(timeout),
                pitcrew_model::format_duration(interval)
            ),
        );
    }
    timeout
}

fn kind(reader: &mut Reader<'_>, fields: &Fields<'_>, entry: &Entry<'_>) -> Option<TestKind> {
    if entry.key == "unit" {
        return unit(reader, entry);
    }
    let inner = fields.inner(reader, &entry.key)?;
    Some(match &*entry.key {
        "http" => TestKind::Http(network::http(reader, &inner)?),
        "tcp" => TestKind::Tcp(network::tcp(reader, &inner)),
        "tls" => TestKind::Tls(network::tls(reader, &inner)),
        "dns" => TestKind::Dns(network::dns(reader, &inner)?),
        "grpc" => TestKind::Grpc(network::grpc(reader, &inner)),
        "nagios" => TestKind::Nagios(nagios(reader, &inner)?),
        "process" => TestKind::Process,
        "postgres" => TestKind::Postgres(store::postgres(reader, &inner)?),
        "mysql" => TestKind::Mysql(store::mysql(reader, &inner)?),
        "redis" => TestKind::Redis(store::redis(reader, &inner)),
        "memcached" => TestKind::Memcached(store::memcached(reader, &inner)),
        "amqp" => TestKind::Amqp(store::amqp(reader, &inner)?),
        "hello" => TestKind::Hello(store::hello(reader, &inner)?),
        "disk" => TestKind::Host(host::disk(reader, &inner)),
        "memory" => TestKind::Host(host::memory(reader, &inner)),
        "load" => TestKind::Host(host::load(reader, &inner)),
        "failed_units" => TestKind::Host(HostTest::FailedUnits),
        "clock_offset" => TestKind::Host(host::clock_offset(reader, &inner)),
        "kernel_errors" => TestKind::Host(host::kernel_errors(reader, &inner)),
        "metric" => TestKind::Metric(metric::metric(reader, &inner)?),
        _ => TestKind::Push,
    })
}

fn nagios(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<pitcrew_model::NagiosTest> {
    use super::labels::{Placeholders, command};
    let command = command(reader, fields, "command", Placeholders::Command)?;
    Some(pitcrew_model::NagiosTest { command })
}

fn unit(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<TestKind> {
    let name = match entry.node.value {
        Value::Scalar { .. } => {
            Some(reader.parsed("unit", &entry.node, &Kind::Text, values::not_empty)?)
        }
        Value::Null | Value::List(_) | Value::Map(_) => {
            let fields = reader.fields(&entry.node, &UNIT)?;
            fields.value(reader, "name", values::not_empty)
        }
    };
    Some(TestKind::Unit { name })
}
