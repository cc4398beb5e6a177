//! A real RabbitMQ: queues that fill, logins that are refused, a broker that hangs.

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use pitcrew_model::{AmqpTest, Secret, StoreProtocol, TestKind, Verdict};
use pitcrew_probe::Answer;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{PATIENCE, Server, ask_port, check, free_port, hello, is_missing, until};

/// The Debian wrapper changes to its package's user; the script behind it runs as whoever calls it.
const BINARY: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

const DEFINITIONS: &str = r#"{
    "users": [
        {"name": "app", "password": "correct", "tags": ""},
        {"name": "stranger", "password": "correct", "tags": ""}
    ],
    "vhosts": [{"name": "/"}, {"name": "full"}],
    "permissions": [
        {"user": "app", "vhost": "/", "configure": "^jobs$", "write": ".*", "read": ".*"},
        {"user": "app", "vhost": "full", "configure": ".*", "write": ".*", "read": ".*"}
    ],
    "queues": [
        {"name": "jobs", "vhost": "/", "durable": true, "auto_delete": false, "arguments": {}}
    ]
}"#;

struct Rabbitmq {
    group: Child,
    port: u16,
    _port_mapper: Server,
    _directory: TempDir,
}

impl Rabbitmq {
    /// With users `app` and `stranger`, and an empty queue `jobs`.
    async fn start() -> Self {
        let (port, mapper_port, directory) = (free_port(), free_port(), TempDir::new().unwrap());
        let path = |name: &str| directory.path().join(name);
        fs::write(path("definitions.json"), DEFINITIONS).unwrap();
        let settings = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nload_definitions = {}\n",
            path("definitions.json").display()
        );
        fs::write(path("rabbitmq.conf"), settings).unwrap();
        fs::write(path("enabled_plugins"), "[].\n").unwrap();
        // Erlang would leave its own port mapper behind; this one ends with the test.
        let port_mapper = Server::start(Command::new("/usr/bin/epmd").args([
            "-address",
            "127.0.0.1",
            "-port",
            &mapper_port.to_string(),
        ]));
        let group = Command::new(BINARY)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", directory.path())
            .env("ERL_EPMD_PORT", mapper_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", format!("probe{port}@localhost"))
            .env("RABBITMQ_DIST_PORT", free_port().to_string())
            .env("RABBITMQ_MNESIA_BASE", path("data"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let rabbitmq = Self {
            group,
            port,
            _port_mapper: port_mapper,
            _directory: directory,
        };
        until(port, &TestKind::Amqp(app(Some("jobs"))), Verdict::Pass).await;
        rabbitmq
    }

    fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(i32::try_from(self.group.id()).unwrap()).unwrap();
        kill_process_group(group, signal).unwrap();
    }

    async fn ask(&self, test: AmqpTest) -> Answer {
        ask_port(self.port, TestKind::Amqp(test), Duration::from_secs(5)).await
    }
}

impl Drop for Rabbitmq {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.group.wait().ok();
    }
}

fn app(queue: Option<&str>) -> AmqpTest {
    AmqpTest {
        port: None,
        user: "app".to_owned(),
        password: Some(Secret::new("correct")),
        virtual_host: "/".to_owned(),
        queue: queue.map(str::to_owned),
        messages_max: None,
    }
}

/// Publishes `count` messages to the queue `jobs` in the simplest way that AMQP has.
async fn publish(port: u16, count: usize) {
    let frame = |kind: u8, channel: u16, payload: &[u8]| {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&channel.to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes.push(0xce);
        bytes
    };
    let mut published = frame(1, 1, b"\x00\x14\x00\x0a\x00");
    for _ in 0..count {
        published.extend(frame(1, 1, b"\x00\x3c\x00\x28\x00\x00\x00\x04jobs\x00"));
        published.extend(frame(
            2,
            1,
            b"\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00",
        ));
        published.extend(frame(3, 1, b"hi"));
    }
    // channel.close, answered once everything before it was handled.
    published.extend(frame(1, 1, b"\x00\x14\x00\x28\x00\xc8\x00\x00\x00\x00\x00"));
    let start_ok =
        b"\x00\x0a\x00\x0b\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x0c\x00app\x00correct\x05en_US";
    let tune_ok = frame(1, 0, b"\x00\x0a\x00\x1f\x07\xff\x00\x02\x00\x00\x00\x00");
    let open = frame(1, 0, b"\x00\x0a\x00\x28\x01/\x00\x00");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut answers = Vec::new();
    for bytes in [
        b"AMQP\x00\x00\x09\x01".to_vec(),
        frame(1, 0, start_ok),
        [tune_ok, open].concat(),
        published,
    ] {
        stream.write_all(&bytes).await.unwrap();
        assert!(stream.read_buf(&mut answers).await.unwrap() > 0);
    }
    while !answers.windows(4).any(|bytes| bytes == b"\x00\x14\x00\x29") {
        assert!(stream.read_buf(&mut answers).await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_broker_is_asked_about_its_queues_and_refusals_are_not_its_failure() {
    if is_missing(BINARY, "rabbitmq-server") {
        return;
    }
    let rabbitmq = Rabbitmq::start().await;
    check(&rabbitmq.ask(app(None)).await, Verdict::Pass, "RabbitMQ 3.");
    check(
        &rabbitmq.ask(app(None)).await,
        Verdict::Pass,
        "virtual host / is open",
    );
    check(
        &rabbitmq.ask(app(Some("jobs"))).await,
        Verdict::Pass,
        "queue jobs has 0 messages and 0 consumers",
    );
    check(
        &rabbitmq.ask(app(Some("none"))).await,
        Verdict::Fail,
        "404 NOT_FOUND - no queue 'none' in vhost '/'",
    );

    let limited = AmqpTest {
        messages_max: Some(2),
        ..app(Some("jobs"))
    };
    check(
        &rabbitmq.ask(limited.clone()).await,
        Verdict::Pass,
        "0 messages",
    );
    timeout(PATIENCE, publish(rabbitmq.port, 3)).await.unwrap();
    let answer = until(rabbitmq.port, &TestKind::Amqp(limited), Verdict::Fail).await;
    check(
        &answer,
        Verdict::Fail,
        "3 messages and 0 consumers, at most 2 are wanted",
    );

    let wrong = AmqpTest {
        password: Some(Secret::new("wrong")),
        ..app(None)
    };
    check(
        &rabbitmq.ask(wrong).await,
        Verdict::Unknown,
        "403 ACCESS_REFUSED - Login was refused",
    );
    let stranger = AmqpTest {
        user: "stranger".to_owned(),
        ..app(None)
    };
    check(
        &rabbitmq.ask(stranger).await,
        Verdict::Unknown,
        "530 NOT_ALLOWED",
    );
    let nowhere = AmqpTest {
        virtual_host: "nowhere".to_owned(),
        ..app(None)
    };
    check(
        &rabbitmq.ask(nowhere).await,
        Verdict::Unknown,
        "530 NOT_ALLOWED",
    );
    let long = app(Some("x".repeat(300).as_str()));
    check(
        &rabbitmq.ask(long).await,
        Verdict::Unknown,
        "longer than AMQP's names can be",
    );

    let greeted = hello(rabbitmq.port, StoreProtocol::Amqp, Duration::from_secs(5)).await;
    check(&greeted, Verdict::Pass, "RabbitMQ 3.");

    rabbitmq.signal(Signal::STOP);
    let kind = TestKind::Amqp(app(None));
    let answer = ask_port(rabbitmq.port, kind.clone(), Duration::from_millis(300)).await;
    check(&answer, Verdict::Fail, "no answer within 300ms");
    rabbitmq.signal(Signal::CONT);
    until(rabbitmq.port, &kind, Verdict::Pass).await;
}
