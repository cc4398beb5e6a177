//! A real memcached: healthy, full of clients, hung.

use std::{process::Command, time::Duration};

use pitcrew_model::{MemcachedTest, TestKind, Verdict};
use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::support::{Server, ask_port, check, free_port, is_missing, until};

const BINARY: &str = "/usr/bin/memcached";
const KIND: TestKind = TestKind::Memcached(MemcachedTest { port: None });

fn start(options: &[&str]) -> (Server, u16) {
    let port = free_port();
    let mut command = Command::new(BINARY);
    command
        .args(["-u", "root", "-l", "127.0.0.1", "-U", "0", "-p"])
        .arg(port.to_string())
        .args(options);
    (Server::start(&mut command), port)
}

#[tokio::test]
async fn a_healthy_memcached_tells_its_version_and_connections() {
    if is_missing(BINARY, "memcached") {
        return;
    }
    let (_server, port) = start(&[]);
    let answer = until(port, &KIND, Verdict::Pass).await;
    check(&answer, Verdict::Pass, "of 1024 connections");
}

#[tokio::test]
async fn a_memcached_without_room_for_clients_fails() {
    if is_missing(BINARY, "memcached") {
        return;
    }
    let (_server, port) = start(&["-c", "64", "-t", "1"]);
    until(port, &KIND, Verdict::Pass).await;
    let mut held = Vec::new();
    for _ in 0..80 {
        held.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    let answer = until(port, &KIND, Verdict::Fail).await;
    assert!(!held.is_empty(), "{answer:?}");
    drop(held);
    until(port, &KIND, Verdict::Pass).await;
}

#[tokio::test]
async fn a_hung_memcached_is_given_up_at_the_deadline() {
    if is_missing(BINARY, "memcached") {
        return;
    }
    let (server, port) = start(&[]);
    until(port, &KIND, Verdict::Pass).await;
    server.signal(Signal::STOP);
    let answer = ask_port(port, KIND, Duration::from_millis(300)).await;
    check(&answer, Verdict::Fail, "no answer within 300ms");
}
