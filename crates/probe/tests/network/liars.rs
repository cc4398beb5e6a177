//! Whatever the peer does, the test ends by its deadline and says what was seen.

use std::time::{Duration, Instant};

use pitcrew_model::{
    DnsRecord, DnsTest, GrpcTest, TcpTest, TestKind, TlsOptions, TlsTest, Verdict,
};

use crate::{
    http::http_test,
    liar::{Lie, lie},
    support::{ask_port, check, free_port},
};

const TIMEOUT: Duration = Duration::from_millis(600);

async fn ask_liar(how: Lie, kind: TestKind) -> pitcrew_probe::Answer {
    let port = lie(how).await;
    let began = Instant::now();
    let answer = ask_port(port, kind, TIMEOUT).await;
    // Not a figure of speed: far beyond any deadline kept.
    assert!(
        began.elapsed() < TIMEOUT + Duration::from_secs(5),
        "{how:?}"
    );
    answer
}

#[tokio::test]
async fn http_ends_by_its_deadline_whatever_the_peer_does() {
    use Verdict::{Fail, Pass};
    for (how, verdict, words) in [
        (
            Lie::Silence,
            Fail,
            "no answer within 600ms (connected, then silence)",
        ),
        (Lie::ClosesAtOnce, Fail, "c"),
        (Lie::Resets, Fail, "connection reset"),
        (
            Lie::Drips,
            Fail,
            "no answer within 600ms (it began to answer and did not end)",
        ),
        (Lie::HeadersWithoutEnd, Fail, "headers of more than 64 KiB"),
        (Lie::BodyWithoutEnd, Pass, "HTTP 200"),
        (Lie::ChunksWithoutEnd, Pass, "HTTP 200"),
        (
            Lie::HalfABody,
            Fail,
            "no answer within 600ms (it began to answer and did not end)",
        ),
        (
            Lie::HalfABodyClosed,
            Fail,
            "HTTP 200, closed after 5 bytes of the body",
        ),
        (Lie::Garbage, Fail, "not HTTP"),
    ] {
        let answer = ask_liar(how, TestKind::Http(http_test("/"))).await;
        assert_eq!(answer.verdict, verdict, "{how:?}: {answer:?}");
        assert!(
            answer.evidence.as_str().contains(words),
            "{how:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn http2_ends_by_its_deadline_whatever_the_peer_does() {
    for how in [
        Lie::Silence,
        Lie::ClosesAtOnce,
        Lie::Resets,
        Lie::Drips,
        Lie::BodyWithoutEnd,
        Lie::Garbage,
    ] {
        let mut http = http_test("/");
        http.version = pitcrew_model::HttpVersion::Http2;
        let answer = ask_liar(how, TestKind::Http(http)).await;
        assert_eq!(answer.verdict, Verdict::Fail, "{how:?}: {answer:?}");
    }
}

#[tokio::test]
async fn grpc_ends_by_its_deadline_whatever_the_peer_does() {
    for how in [
        Lie::Silence,
        Lie::ClosesAtOnce,
        Lie::Resets,
        Lie::Drips,
        Lie::BodyWithoutEnd,
    ] {
        let grpc = GrpcTest {
            port: None,
            service: String::new(),
            tls: false,
            tls_options: TlsOptions::default(),
        };
        let answer = ask_liar(how, TestKind::Grpc(grpc)).await;
        assert_eq!(answer.verdict, Verdict::Fail, "{how:?}: {answer:?}");
    }
}

#[tokio::test]
async fn tls_ends_by_its_deadline_whatever_the_peer_does() {
    for (how, words) in [
        (
            Lie::Silence,
            "no answer within 600ms (connected, TLS handshake not finished)",
        ),
        (Lie::ClosesAtOnce, "c"),
        (Lie::Drips, "the peer does not speak TLS"),
        (Lie::BodyWithoutEnd, "the peer does not speak TLS"),
    ] {
        let tls = TlsTest {
            port: None,
            warn_before: Duration::ZERO,
            fail_before: Duration::ZERO,
            options: TlsOptions {
                insecure: true,
                ..TlsOptions::default()
            },
        };
        let answer = ask_liar(how, TestKind::Tls(tls)).await;
        assert_eq!(answer.verdict, Verdict::Fail, "{how:?}: {answer:?}");
        assert!(
            answer.evidence.as_str().contains(words),
            "{how:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn tcp_ends_by_its_deadline_whatever_the_peer_does() {
    for (how, words) in [
        (
            Lie::Silence,
            "no answer within 600ms (connected, then silence)",
        ),
        (Lie::ClosesAtOnce, "c"),
        (
            Lie::Drips,
            "no answer within 600ms (connected, what came does not match)",
        ),
        (Lie::BodyWithoutEnd, "no /ready/ in the first 64 KiB"),
        (
            Lie::HalfABodyClosed,
            "closed, no /ready/ in: \"HTTP/1.1 200 OK",
        ),
    ] {
        let tcp = TcpTest {
            port: None,
            send: Some("hello\r\n".to_owned()),
            expect: Some("ready".to_owned()),
        };
        let answer = ask_liar(how, TestKind::Tcp(tcp)).await;
        assert_eq!(answer.verdict, Verdict::Fail, "{how:?}: {answer:?}");
        assert!(
            answer.evidence.as_str().contains(words),
            "{how:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_dns_server_that_is_silent_or_babbles_fails_by_the_deadline() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let kind = TestKind::Dns(DnsTest {
        port: None,
        name: "web.test".to_owned(),
        record: DnsRecord::A,
        answers: vec![],
    });
    let answer = ask_port(port, kind.clone(), TIMEOUT).await;
    check(
        &answer,
        Verdict::Fail,
        "no answer within 600ms (asked, then silence)",
    );
    tokio::spawn(async move {
        let mut question = [0; 512];
        while let Ok((_, from)) = socket.recv_from(&mut question).await {
            socket.send_to(b"no DNS at all", from).await.ok();
        }
    });
    let answer = ask_port(port, kind.clone(), TIMEOUT).await;
    check(
        &answer,
        Verdict::Fail,
        "(asked, what came back is no answer)",
    );
    let answer = ask_port(free_port(), kind, TIMEOUT).await;
    check(&answer, Verdict::Fail, "connection refused");
}
