//! A real Redis: full, hung, locked, and with the wrong role.

use std::{process::Command, time::Duration};

use pitcrew_model::{RedisTest, Secret, StoreProtocol, TestKind, Verdict};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::support::{PATIENCE, Server, ask_port, check, free_port, hello, is_missing, until};

const BINARY: &str = "/usr/bin/redis-server";

struct Redis {
    server: Server,
    port: u16,
    _directory: TempDir,
}

impl Redis {
    async fn start(options: &[&str]) -> Self {
        let (port, directory) = (free_port(), TempDir::new().unwrap());
        let mut command = Command::new(BINARY);
        command
            .args(["--save", "", "--bind", "127.0.0.1"])
            .args(["--port", &port.to_string()])
            .arg("--dir")
            .arg(directory.path())
            .args(options);
        let redis = Self {
            server: Server::start(&mut command),
            port,
            _directory: directory,
        };
        redis.wait_until_it_listens().await;
        redis
    }

    async fn wait_until_it_listens(&self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = TcpStream::connect(("127.0.0.1", self.port)).await {
            assert!(Instant::now() < deadline, "{error}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Commands as a person types them; the bytes of the answers.
    async fn tell(&self, commands: &str, answers: usize) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(commands.as_bytes()).await.unwrap();
        let mut text = String::new();
        while text.lines().count() < answers {
            let mut chunk = [0; 4_096];
            let read = stream.read(&mut chunk).await.unwrap();
            assert!(read > 0, "closed after {text:?}");
            text.push_str(&String::from_utf8_lossy(&chunk[..read]));
        }
        text
    }

    async fn ask(&self, test: RedisTest) -> pitcrew_probe::Answer {
        ask_port(self.port, TestKind::Redis(test), Duration::from_secs(2)).await
    }
}

#[tokio::test]
async fn a_healthy_redis_answers_and_tells_its_role() {
    if is_missing(BINARY, "redis-server") {
        return;
    }
    let redis = Redis::start(&[]).await;
    check(
        &redis.ask(RedisTest::default()).await,
        Verdict::Pass,
        "PONG",
    );
    let role = |role: &str| RedisTest {
        role: Some(role.to_owned()),
        ..RedisTest::default()
    };
    check(
        &redis.ask(role("master")).await,
        Verdict::Pass,
        "master of 0 replicas",
    );
    check(
        &redis.ask(role("slave")).await,
        Verdict::Fail,
        "role is master, wanted slave",
    );
}

#[tokio::test]
async fn a_replica_without_its_master_warns_and_says_so_itself_when_it_must_not_serve() {
    if is_missing(BINARY, "redis-server") {
        return;
    }
    let master = Redis::start(&[]).await;
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]).await;
    let kind = TestKind::Redis(RedisTest {
        role: Some("slave".to_owned()),
        ..RedisTest::default()
    });
    let answer = until(replica.port, &kind, Verdict::Pass).await;
    check(&answer, Verdict::Pass, "link connected");
    drop(master);
    let answer = until(replica.port, &kind, Verdict::Warn).await;
    check(&answer, Verdict::Warn, "link connect");
    replica
        .tell("CONFIG SET replica-serve-stale-data no\r\n", 1)
        .await;
    let answer = until(replica.port, &kind, Verdict::Fail).await;
    check(&answer, Verdict::Fail, "MASTERDOWN");
}

#[tokio::test]
async fn credentials_that_redis_refuses_are_no_failure_of_redis() {
    if is_missing(BINARY, "redis-server") {
        return;
    }
    let redis = Redis::start(&["--requirepass", "correct"]).await;
    let with = |user: Option<&str>, password: Option<&str>| RedisTest {
        user: user.map(str::to_owned),
        password: password.map(Secret::new),
        ..RedisTest::default()
    };
    check(
        &redis.ask(with(None, Some("correct"))).await,
        Verdict::Pass,
        "PONG",
    );
    check(
        &redis.ask(with(Some("default"), Some("correct"))).await,
        Verdict::Pass,
        "PONG",
    );
    check(
        &redis.ask(with(None, None)).await,
        Verdict::Unknown,
        "NOAUTH",
    );
    check(
        &redis.ask(with(None, Some("wrong"))).await,
        Verdict::Unknown,
        "WRONGPASS",
    );
    let answer = hello(redis.port, StoreProtocol::Redis, Duration::from_secs(2)).await;
    check(&answer, Verdict::Pass, "it answers: NOAUTH");
    let open = Redis::start(&[]).await;
    let answer = hello(open.port, StoreProtocol::Redis, Duration::from_secs(2)).await;
    check(&answer, Verdict::Pass, "PONG");
    check(
        &open.ask(with(None, Some("any"))).await,
        Verdict::Unknown,
        "AUTH",
    );
}

#[tokio::test]
async fn a_redis_that_is_full_and_never_evicts_warns() {
    if is_missing(BINARY, "redis-server") {
        return;
    }
    let redis = Redis::start(&["--maxmemory", "2mb"]).await;
    check(
        &redis.ask(RedisTest::default()).await,
        Verdict::Pass,
        "PONG",
    );
    let value = "x".repeat(10_000);
    let mut said = String::new();
    for key in 0..1_000 {
        said = redis.tell(&format!("SET key-{key} {value}\r\n"), 1).await;
        if said.starts_with("-OOM") {
            break;
        }
    }
    assert!(said.starts_with("-OOM"), "{said}");
    let answer = redis.ask(RedisTest::default()).await;
    check(
        &answer,
        Verdict::Warn,
        "out of memory for writes: used_memory",
    );
}

#[tokio::test]
async fn a_redis_that_cannot_persist_fails_in_its_own_words() {
    if is_missing(BINARY, "redis-server") {
        return;
    }
    let redis = Redis::start(&["--save", "3600 1"]).await;
    // It listens before it looks for a snapshot to load, and must have found none.
    redis.tell("PING\r\n", 1).await;
    // A directory where the snapshot's file belongs makes every snapshot fail.
    std::fs::create_dir(redis._directory.path().join("dump.rdb")).unwrap();
    redis.tell("SET key value\r\nBGSAVE\r\n", 2).await;
    let kind = TestKind::Redis(RedisTest::default());
    check(
        &until(redis.port, &kind, Verdict::Fail).await,
        Verdict::Fail,
        "MISCONF",
    );
}

#[tokio::test]
async fn a_redis_without_room_for_clients_fails_in_its_own_words() {
    if is_missing(BINARY, "redis-server") {
        return;
    }
    let redis = Redis::start(&["--maxclients", "1"]).await;
    let mut held = None;
    while held.is_none() {
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port)).await.unwrap();
        stream.write_all(b"PING\r\n").await.unwrap();
        let mut answer = [0; 5];
        let read = stream.read(&mut answer).await.unwrap();
        held = answer[..read].starts_with(b"+PONG").then_some(stream);
    }
    let answer = redis.ask(RedisTest::default()).await;
    check(&answer, Verdict::Fail, "max number of clients reached");
}

#[tokio::test]
async fn a_hung_redis_is_given_up_at_the_deadline_and_recovers() {
    if is_missing(BINARY, "redis-server") {
        return;
    }
    let redis = Redis::start(&[]).await;
    redis.server.signal(Signal::STOP);
    let kind = TestKind::Redis(RedisTest::default());
    let answer = ask_port(redis.port, kind.clone(), Duration::from_millis(300)).await;
    check(
        &answer,
        Verdict::Fail,
        "no answer within 300ms (connected, then silence)",
    );
    let answer = hello(redis.port, StoreProtocol::Redis, Duration::from_millis(300)).await;
    check(&answer, Verdict::Fail, "no answer within 300ms");
    redis.server.signal(Signal::CONT);
    until(redis.port, &kind, Verdict::Pass).await;
}
