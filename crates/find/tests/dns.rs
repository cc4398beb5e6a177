//! A real DNS server on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use pitcrew_find::{Answer, Asker, FindError};
use pitcrew_model::{DnsRecord, SourceKind};
use support::{ids, source};

mod support;

struct Dnsmasq {
    process: Child,
    address: SocketAddr,
}

impl Dnsmasq {
    fn start(arguments: &[&str]) -> Option<Self> {
        // Free for UDP at this moment is the best that can be known.
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new("/usr/sbin/dnsmasq")
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--user=root",
            ])
            .args([
                "--pid-file=",
                "--log-facility=-",
                "--listen-address=127.0.0.1",
                "--bind-interfaces",
            ])
            .arg(format!("--port={port}"))
            .args(arguments)
            .stderr(Stdio::null())
            .spawn();
        let process = match process {
            Ok(process) => process,
            Err(error) => {
                eprintln!("skipped: dnsmasq does not start ({error}): apt-get install dnsmasq");
                assert!(std::env::var_os("CI").is_none(), "CI must have dnsmasq");
                return None;
            }
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let server = Self { process, address };
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "dnsmasq is never ready");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(server)
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

async fn ask(
    server: SocketAddr,
    names: &[&str],
    record: DnsRecord,
    port: Option<u16>,
) -> Result<Answer, FindError> {
    let kind = SourceKind::Dns {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        record,
        port,
        refresh: Duration::from_secs(30),
        server: Some(server),
    };
    Asker::new(source("dns-1", kind), "/".as_ref()).ask().await
}

const ZONE: [&str; 9] = [
    "--local=/example.test/",
    "--host-record=a.example.test,10.0.0.1",
    "--host-record=a.example.test,10.0.0.2",
    "--host-record=six.example.test,2001:db8::1",
    "--srv-host=_web._tcp.example.test,a.example.test,8080,0,5",
    "--srv-host=_web._tcp.example.test,b.example.test,8081,0,5",
    "--srv-host=_gone._tcp.example.test",
    "--txt-record=only-text.example.test,hello",
    "--cname=alias.example.test,a.example.test",
];

#[tokio::test]
async fn names_list_targets_by_address_and_by_service() {
    let Some(server) = Dnsmasq::start(&ZONE) else {
        return;
    };
    for (name, record, port, expected) in [
        (
            "a.example.test",
            DnsRecord::A,
            Some(80),
            &["10.0.0.1:80", "10.0.0.2:80"][..],
        ),
        (
            "a.example.test.",
            DnsRecord::A,
            Some(80),
            &["10.0.0.1:80", "10.0.0.2:80"],
        ),
        (
            "alias.example.test",
            DnsRecord::A,
            Some(80),
            &["10.0.0.1:80", "10.0.0.2:80"],
        ),
        (
            "six.example.test",
            DnsRecord::Aaaa,
            Some(80),
            &["[2001:db8::1]:80"],
        ),
        (
            "_web._tcp.example.test",
            DnsRecord::Srv,
            None,
            &["a.example.test:8080", "b.example.test:8081"],
        ),
        ("_gone._tcp.example.test", DnsRecord::Srv, None, &[]),
        ("no-such.example.test", DnsRecord::A, Some(80), &[]),
        ("only-text.example.test", DnsRecord::A, Some(80), &[]),
    ] {
        let answer = ask(server.address, &[name], record, port).await.unwrap();
        assert_eq!(ids(&answer.targets), expected, "{name}");
        assert!(answer.problems.is_empty(), "{name}: {}", answer.problems);
    }
}

#[tokio::test]
async fn a_name_that_can_not_be_resolved_fails_only_itself() {
    let Some(server) = Dnsmasq::start(&ZONE) else {
        return;
    };
    // Without an upstream server dnsmasq refuses what it does not know itself.
    let names = ["a.example.test", "elsewhere.test"];
    let answer = ask(server.address, &names, DnsRecord::A, Some(80))
        .await
        .unwrap();
    assert_eq!(answer.targets.len(), 2);
    assert!(
        answer.problems.to_string().contains("elsewhere.test A: "),
        "{}",
        answer.problems
    );
    let error = ask(server.address, &names[1..], DnsRecord::A, Some(80))
        .await
        .unwrap_err();
    assert!(matches!(error, FindError::Nothing(_)), "{error}");
}

#[tokio::test]
async fn many_addresses_come_over_tcp_when_they_do_not_fit_a_packet() {
    let records: Vec<String> = (0..200)
        .map(|number| format!("--host-record=many.example.test,10.1.0.{number}"))
        .collect();
    let arguments: Vec<&str> = records.iter().map(String::as_str).collect();
    let Some(server) = Dnsmasq::start(&arguments) else {
        return;
    };
    let answer = ask(
        server.address,
        &["many.example.test"],
        DnsRecord::A,
        Some(80),
    )
    .await
    .unwrap();
    assert_eq!(answer.targets.len(), 200);
}

#[tokio::test]
async fn a_server_that_is_silent_or_absent_is_no_empty_answer() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent_address = silent.local_addr().unwrap();
    let absent_address = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let names = ["a.example.test"];
    let (silent_answer, absent_answer) = tokio::join!(
        ask(silent_address, &names, DnsRecord::A, Some(80)),
        ask(absent_address, &names, DnsRecord::Srv, None),
    );
    assert!(silent_answer.is_err());
    assert!(absent_answer.is_err());
}

#[tokio::test]
async fn a_server_that_fails_or_sends_garbage_is_no_empty_answer() {
    for (what, reply) in [
        ("SERVFAIL", reply_with_code as fn(&[u8]) -> Vec<u8>),
        ("garbage", |question| vec![0xff; question.len()]),
    ] {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                socket
                    .send_to(&reply(&buffer[..length]), peer)
                    .await
                    .unwrap();
            }
        });
        let answer = ask(address, &["a.example.test"], DnsRecord::A, Some(80)).await;
        assert!(answer.is_err(), "{what}: {answer:?}");
        serving.abort();
    }
}

/// The question again, as a response with code 2.
fn reply_with_code(question: &[u8]) -> Vec<u8> {
    let mut reply = question.to_vec();
    reply[2] |= 0x80;
    reply[3] = (reply[3] & 0xf0) | 2;
    reply
}

#[tokio::test]
async fn a_name_that_is_none_and_a_record_that_lists_nothing_are_errors() {
    let never_asked = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = never_asked.local_addr().unwrap();
    let long = "x".repeat(300);
    for (name, record) in [
        (".", DnsRecord::A),
        ("..", DnsRecord::A),
        (long.as_str(), DnsRecord::A),
        ("a", DnsRecord::Txt),
    ] {
        let answer = ask(address, &[name], record, Some(80)).await;
        assert!(answer.is_err(), "{name}: {answer:?}");
    }
    never_asked.set_nonblocking(true).unwrap();
    assert!(never_asked.recv(&mut [0; 512]).is_err(), "it was asked");
}
