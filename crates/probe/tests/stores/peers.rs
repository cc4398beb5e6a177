//! Peers that are no store at all: closed, silent, dripping, talking without end, speaking something else.

use std::time::Duration;

use pitcrew_model::{
    AmqpTest, MemcachedTest, MysqlTest, PostgresTest, RedisTest, TestKind, TlsOptions, Verdict,
};

use crate::support::{ask_port, check, free_port, peer_that_sends, peer_without_end};

fn all_kinds() -> [TestKind; 5] {
    [
        TestKind::Postgres(PostgresTest {
            port: None,
            socket: None,
            user: "app".to_owned(),
            password: None,
            database: "app".to_owned(),
            query: None,
            replica_lag_max: None,
            tls: false,
            tls_options: TlsOptions::default(),
        }),
        TestKind::Mysql(MysqlTest {
            port: None,
            socket: None,
            user: "app".to_owned(),
            password: None,
            database: None,
            query: None,
        }),
        TestKind::Redis(RedisTest::default()),
        TestKind::Memcached(MemcachedTest::default()),
        TestKind::Amqp(AmqpTest {
            port: None,
            user: "app".to_owned(),
            password: None,
            virtual_host: "/".to_owned(),
            queue: None,
            messages_max: None,
        }),
    ]
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let port = free_port();
    for kind in all_kinds() {
        let answer = ask_port(port, kind, Duration::from_secs(2)).await;
        check(&answer, Verdict::Fail, "connection refused");
    }
}

#[tokio::test]
async fn a_silent_peer_is_given_up_at_the_deadline() {
    let port = peer_that_sends(b"", false);
    for kind in all_kinds() {
        let answer = ask_port(port, kind, Duration::from_millis(200)).await;
        check(
            &answer,
            Verdict::Fail,
            "no answer within 200ms (connected, then silence)",
        );
    }
}

#[tokio::test]
async fn a_peer_that_closes_at_once_fails() {
    let port = peer_that_sends(b"", true);
    for kind in all_kinds() {
        let answer = ask_port(port, kind, Duration::from_secs(2)).await;
        check(&answer, Verdict::Fail, "connection closed");
    }
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_fails() {
    let port = peer_that_sends(
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        true,
    );
    for kind in all_kinds() {
        let name = kind.name();
        let answer = ask_port(port, kind, Duration::from_secs(2)).await;
        assert_eq!(answer.verdict, Verdict::Fail, "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_peer_that_never_ends_fails_within_its_budget() {
    let port = peer_without_end();
    for kind in all_kinds() {
        let name = kind.name();
        let answer = ask_port(port, kind, Duration::from_secs(5)).await;
        assert_eq!(answer.verdict, Verdict::Fail, "{name}: {answer:?}");
        assert!(
            !answer.evidence.as_str().contains("no answer within"),
            "{name}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_target_without_an_address_cannot_be_asked() {
    let target = crate::support::target(None, &[]);
    let tools = pitcrew_probe::Tools::new(std::sync::Arc::new(crate::support::NoProcesses));
    for kind in all_kinds() {
        let test = crate::support::test(kind, Duration::from_secs(1));
        let question = pitcrew_probe::Question::new(&target, None, &test, &tools);
        let answer = pitcrew_probe::ask(question).await;
        check(&answer, Verdict::Unknown, "no address");
    }
}
