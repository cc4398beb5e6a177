//! The TCP test and the ways to reach a target at all.

use std::{sync::Arc, time::Duration};

use pitcrew_model::{Place, TcpTest, TestKind, Verdict};
use pitcrew_probe::{Answer, Question, Tools, ask};

use crate::{
    liar::{Lie, lie},
    support::{NoProcesses, ask_port, check, free_port, target, test},
};

const TIMEOUT: Duration = Duration::from_secs(5);

fn tcp(expect: Option<&str>) -> TestKind {
    TestKind::Tcp(TcpTest {
        port: None,
        send: Some("PING\r\n".to_owned()),
        expect: expect.map(str::to_owned),
    })
}

async fn ask_address(address: Option<&str>, place: Place) -> Answer {
    let (target, tools) = (target(address, &[]), Tools::new(Arc::new(NoProcesses)));
    let mut test = test(tcp(None), TIMEOUT);
    test.place = place;
    ask(Question::new(&target, None, &test, &tools)).await
}

#[tokio::test]
async fn what_comes_back_is_matched_and_shown() {
    let port = lie(Lie::Answers("220 ready\r\n")).await;
    let answer = ask_port(port, tcp(Some("^220 r")), TIMEOUT).await;
    check(&answer, Verdict::Pass, "\"220 ready  \"");
    let answer = ask_port(port, tcp(None), TIMEOUT).await;
    check(&answer, Verdict::Pass, "connected");
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let answer = ask_port(free_port(), tcp(None), TIMEOUT).await;
    check(&answer, Verdict::Fail, "connection refused");
}

#[tokio::test]
async fn a_pattern_that_is_none_is_nobodys_failure() {
    let port = lie(Lie::Answers("x")).await;
    let answer = ask_port(port, tcp(Some("(")), TIMEOUT).await;
    check(&answer, Verdict::Unknown, "/(/ is not a pattern");
}

#[tokio::test]
async fn names_are_resolved() {
    let port = lie(Lie::Silence).await;
    let answer = ask_address(Some(&format!("localhost:{port}")), Place::Server).await;
    check(&answer, Verdict::Pass, "connected");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_says_nothing_about_the_target() {
    let answer = ask_address(Some("nowhere.invalid:80"), Place::Server).await;
    assert_eq!(answer.verdict, Verdict::Unknown, "{answer:?}");
}

#[tokio::test]
async fn a_target_without_port_or_address_cannot_be_asked() {
    let answer = ask_address(Some("127.0.0.1"), Place::Server).await;
    check(
        &answer,
        Verdict::Unknown,
        "neither the test nor the target's address has a port",
    );
    let answer = ask_address(None, Place::Server).await;
    check(&answer, Verdict::Unknown, "the target has no address");
}

#[tokio::test]
async fn a_host_test_is_only_asked_on_its_host() {
    let port = lie(Lie::Silence).await;
    let answer = ask_address(Some(&format!("127.0.0.1:{port}")), Place::Host).await;
    check(&answer, Verdict::Pass, "connected");
    let answer = ask_address(Some("192.0.2.1:80"), Place::Host).await;
    check(&answer, Verdict::Unknown, "no agent on the host 192.0.2.1");
}
