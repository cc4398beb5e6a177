//! Who is told what, without any connection.

use std::time::Duration;

use pitcrew_model::{Autonomy, Labels, Limits, Place, Proves, Selector, TcpTest, TestKind};
use pitcrew_wire::Protocol;

use super::*;

fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

fn hello(instance: &str) -> Hello {
    Hello {
        protocol: Protocol::OURS,
        version: "0".into(),
        instance: instance.into(),
        boot_id: "b".into(),
    }
}

fn test(name: &str, kind: TestKind) -> Arc<Test> {
    Arc::new(Test {
        name: name.parse().unwrap(),
        kind,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        failure_threshold: 3,
        success_threshold: 2,
        proves: Proves::Down,
        place: Place::Server,
    })
}

fn service() -> Arc<Service> {
    let tcp = TestKind::Tcp(TcpTest {
        port: Some(80),
        send: None,
        expect: None,
    });
    Arc::new(Service {
        name: "web".parse().unwrap(),
        select: Selector::default(),
        domains: Vec::new(),
        autonomy: Autonomy::Observe,
        tests: vec![test("answers", tcp), test("runs", TestKind::Process)],
        repairs: Vec::new(),
        limits: Limits::default(),
        windows: Vec::new(),
        runs_as: None,
        drain: None,
    })
}

fn target(id: String, on: &HostName) -> Arc<Target> {
    Arc::new(Target {
        id: id.parse().unwrap(),
        address: None,
        labels: Labels::default(),
        run_on: Some(on.target()),
        runner: None,
        source: "agents-1".parse().unwrap(),
    })
}

fn joined(sessions: &mut Sessions, host: &HostName) -> Joined {
    let joined = sessions.join(host, hello("1"), Timestamp::ZERO);
    let joined = joined.unwrap_or_else(|taken| panic!("{}", taken.reason));
    sessions.settled(host, joined.serial);
    joined
}

/// What waits to be written: tests that are told, and targets that are taken back.
fn said(joined: &mut Joined) -> Vec<(TargetId, usize)> {
    let messages = std::iter::from_fn(|| joined.to_write.try_next());
    let lines = messages.filter_map(|message| match message {
        ToAgent::Watch { target, tests, .. } => Some((target.id.clone(), tests.len())),
        ToAgent::Unwatch { target } => Some((target, 0)),
        _ => None,
    });
    lines.collect()
}

#[test]
fn the_inside_is_its_own_hosts_the_rest_another_hosts_and_the_same_again_says_nothing() {
    let mut sessions = Sessions::new(2);
    let (a, b) = (host("a"), host("b"));
    let (mut on_a, mut on_b) = (joined(&mut sessions, &a), joined(&mut sessions, &b));
    let web = target("web@a".into(), &a);
    assert!(sessions.watch(&web, &service(), a.clone()));
    assert_eq!(said(&mut on_a), [(web.id.clone(), 1)]);
    assert_eq!(said(&mut on_b), [(web.id.clone(), 1)]);
    assert!(sessions.settle(&sessions.watched()));
    assert_eq!((said(&mut on_a), said(&mut on_b)), (vec![], vec![]));
    sessions.unwatch(&web.id);
    assert_eq!(said(&mut on_a), [(web.id.clone(), 0)]);
}

#[test]
fn what_finds_no_room_is_told_later_and_nothing_is_forgotten() {
    let mut sessions = Sessions::new(2);
    let a = host("a");
    let mut on_a = joined(&mut sessions, &a);
    let count = ASSIGNMENTS_MAX * 2 + 7;
    for number in 0..count {
        sessions.watch(&target(format!("{number}@a"), &a), &service(), a.clone());
    }
    let mut told = said(&mut on_a).len();
    let mut rounds = 0;
    while !sessions.settle(&sessions.watched()) {
        told += said(&mut on_a).len();
        rounds += 1;
        assert!(rounds < 10, "it comes to an end");
    }
    assert_eq!(told + said(&mut on_a).len(), count);
}

#[test]
fn a_second_claimant_is_refused_and_reported_once_when_it_is_certain() {
    let mut sessions = Sessions::new(0);
    let a = host("a");
    joined(&mut sessions, &a);
    // A copy that is started anew each time is the same news.
    let mut claim = |seconds: u64| {
        let now = Timestamp::ZERO + Duration::from_secs(seconds);
        let instance = format!("copy-{seconds}");
        let refused = sessions.join(&a, hello(&instance), now).err();
        refused.map(|taken| taken.are_two)
    };
    assert_eq!(claim(1), Some(false), "it may be the same host, restarted");
    assert_eq!(claim(10), Some(false));
    assert_eq!(claim(20), Some(true));
    assert_eq!(claim(30), Some(false), "once");
}

#[test]
fn the_same_agent_coming_back_takes_its_own_place() {
    let mut sessions = Sessions::new(0);
    let a = host("a");
    let before = joined(&mut sessions, &a);
    let after = joined(&mut sessions, &a);
    assert!(*before.ended.borrow());
    sessions.leave(&a, before.serial);
    assert_eq!(
        sessions.len(),
        1,
        "the end of the old connection is not the new one's"
    );
    sessions.leave(&a, after.serial);
    assert_eq!(sessions.len(), 0);
}

#[test]
fn nobody_waits_for_an_operation_once_whoever_asked_has_given_up() {
    let mut sessions = Sessions::new(0);
    let a = host("a");
    let operation: OperationId = "op-1".parse().unwrap();
    let (first, _) = sessions.wait_for(&a, &operation);
    let (second, mut answered) = sessions.wait_for(&a, &operation);
    sessions.give_up(&operation, first);
    let outcome = || Outcome {
        order: pitcrew_model::OrderId(1),
        kind: pitcrew_model::OutcomeKind::Done,
        at: Timestamp::ZERO,
        detail: String::new(),
    };
    assert!(!sessions.answer(&host("b"), &operation, Ok(outcome())));
    assert!(sessions.answer(&a, &operation, Ok(outcome())));
    assert!(answered.try_recv().is_ok());
    sessions.wait_for(&a, &operation);
    sessions.give_up(&operation, second);
    assert_eq!(sessions.waiting.len(), 1);
    sessions.give_up(&operation, second + 1);
    assert!(sessions.waiting.is_empty());
}
