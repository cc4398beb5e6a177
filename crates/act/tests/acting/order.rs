//! Orders from the word to the outcome: what is refused, what is done once, what a webhook's answer means.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use pitcrew_act::Actuators;
use pitcrew_model::{
    Action, Drain, DrainBy, LeaseTerm, OperationId, Order, OrderId, OutcomeKind, Runner,
};
use tokio::sync::Mutex;

use crate::support::{Home, free_port, given, now, order, run, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_order_is_refused_without_effect() {
    let home = Home::new();
    let actuators = Actuators::new(home.supervisor(), Arc::new(now));
    actuators.admit(5).unwrap();
    let mut late = order("op-late", "web-1", Action::Restart, Runner::Supervised);
    late.fence = 5;
    late.expires_at = now();
    let refused = actuators.carry_out(&late).await;
    assert_eq!(refused.kind, OutcomeKind::Failed);
    assert!(
        refused.detail.starts_with("the order expired at "),
        "{refused:?}"
    );
    let old = Order {
        fence: 4,
        ..order("op-old", "web-1", Action::Restart, Runner::Supervised)
    };
    let refused = actuators.carry_out(&old).await;
    assert_eq!(refused.kind, OutcomeKind::Failed);
    assert!(refused.detail.contains("older server"), "{refused:?}");
    drop(actuators);
    // Also after a restart with a smaller number, which can only be a mistake.
    let again = Actuators::new(home.supervisor(), Arc::new(now));
    assert!(again.admit(4).is_err());
    let old = Order {
        fence: 4,
        ..order("op-old-2", "web-1", Action::Restart, Runner::Supervised)
    };
    assert_eq!(again.carry_out(&old).await.kind, OutcomeKind::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_done_once_however_often_and_however_concurrently_it_is_asked() {
    let home = Home::new();
    let actuators = home.actuators();
    let file = home.path("count");
    let command = ["sh", "-c", &format!("sleep 0.1; echo x >> {file}")]
        .map(str::to_owned)
        .to_vec();
    let action = Action::Command {
        name: "count".into(),
        command,
        timeout: Duration::from_secs(20),
    };
    let order = order("op-1", "web-1", action, Runner::Supervised);
    let (a, b) = tokio::join!(actuators.carry_out(&order), actuators.carry_out(&order));
    assert_eq!(a.kind, OutcomeKind::Done, "{a:?}");
    assert_eq!(a, b);
    assert_eq!(actuators.carry_out(&order).await, a);
    assert_eq!(actuators.reconcile(&order, given(&order)).await, a);
    drop(actuators);
    assert_eq!(home.actuators().carry_out(&order).await, a);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "x\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_goes_on_when_whoever_asked_no_longer_waits() {
    let home = Home::new();
    let actuators = home.actuators();
    let file = home.path("done");
    let command = ["sh", "-c", &format!("sleep 0.3; echo x > {file}")]
        .map(str::to_owned)
        .to_vec();
    let action = Action::Command {
        name: "slow".into(),
        command,
        timeout: Duration::from_secs(20),
    };
    let order = order("op-1", "web-1", action, Runner::Supervised);
    let impatient = tokio::time::timeout(Duration::from_millis(50), actuators.carry_out(&order));
    assert!(impatient.await.is_err());
    let journal = home.run_directory().join("operations.jsonl");
    wait_for("it to begin", || {
        let text = std::fs::read_to_string(&journal).ok()?;
        text.contains("op-1").then_some(())
    });
    assert_eq!(
        actuators.reconcile(&order, given(&order)).await.kind,
        OutcomeKind::Done
    );
    assert!(std::fs::exists(&file).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_before_it_began_was_never_begun_and_never_begins() {
    let home = Home::new();
    let actuators = home.actuators();
    let file = home.path("done");
    let action = Action::Command {
        name: "late".into(),
        command: vec!["touch".into(), file.clone()],
        timeout: Duration::from_secs(20),
    };
    let order = order("op-1", "web-1", action, Runner::Supervised);
    let asked = actuators.reconcile(&order, given(&order)).await;
    assert_eq!(asked.kind, OutcomeKind::Failed, "{asked:?}");
    let late = actuators.carry_out(&order).await;
    assert_eq!(late.kind, OutcomeKind::Failed, "{late:?}");
    assert!(!std::fs::exists(&file).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_of_commands_starts_stops_and_restarts_by_them() {
    let home = Home::new();
    let actuators = home.actuators();
    let file = home.path("said");
    let say = |word: &str| {
        vec![
            "sh".to_owned(),
            "-c".to_owned(),
            format!("echo {word} $0 >> {file}"),
            "{target}".to_owned(),
        ]
    };
    let runner = Runner::Command {
        start: Some(say("start")),
        stop: Some(say("stop")),
        restart: None,
    };
    for (operation, action) in [("op-1", Action::Start), ("op-2", Action::Restart)] {
        let outcome = actuators
            .carry_out(&order(operation, "web-1", action, runner.clone()))
            .await;
        assert_eq!(outcome.kind, OutcomeKind::Done, "{outcome:?}");
    }
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "start web-1\nstop web-1\nstart web-1\n"
    );
    let only_stop = Runner::Command {
        start: None,
        stop: Some(say("stop")),
        restart: None,
    };
    let restart = order("op-3", "web-1", Action::Restart, only_stop.clone());
    assert_eq!(
        actuators.carry_out(&restart).await.kind,
        OutcomeKind::Failed
    );
    assert_eq!(
        actuators.can(&Action::Restart, Some(&only_stop)),
        Err("no command is configured to restart it".into())
    );
    assert_eq!(actuators.can(&Action::Stop, Some(&only_stop)), Ok(()));
    assert!(actuators.can(&Action::Restart, None).is_err());
    assert_eq!(actuators.can(&Action::HandOver { to: None }, None), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn supervised_processes_are_restarted_by_orders() {
    let home = Home::new();
    let supervisor = home.supervisor();
    supervisor.set(&[run("web", &["sleep", "600"])]).await;
    let actuators = Actuators::new(supervisor, Arc::new(now));
    let before = home.marked("web-1");
    let outcome = actuators
        .carry_out(&order("op-1", "web-1", Action::Restart, Runner::Supervised))
        .await;
    assert_eq!(outcome.kind, OutcomeKind::Done, "{outcome:?}");
    assert_ne!(home.marked("web-1"), before);
    let outcome = actuators
        .carry_out(&order("op-2", "web-9", Action::Restart, Runner::Supervised))
        .await;
    assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
}

type Seen = Arc<Mutex<Vec<(String, OperationId)>>>;

async fn answer(
    State(seen): State<Seen>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    let order: Order = serde_json::from_str(&body).unwrap();
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    seen.lock().await.push((key, order.operation.clone()));
    match order.target.id.as_str() {
        "slow" => std::future::pending().await,
        code => {
            let status = StatusCode::from_bytes(code.as_bytes()).unwrap();
            (status, "said\nso".to_owned())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_s_answer_says_whether_it_may_have_taken_effect() {
    let home = Home::new();
    let actuators = home.actuators();
    let seen = Seen::default();
    let app = Router::new()
        .route("/act", post(answer))
        .with_state(Arc::clone(&seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    for (target, port, kind, detail) in [
        ("200", port, OutcomeKind::Done, "answered 200 OK: said so"),
        (
            "302",
            port,
            OutcomeKind::Failed,
            "answered 302 Found: said so",
        ),
        (
            "404",
            port,
            OutcomeKind::Failed,
            "answered 404 Not Found: said so",
        ),
        (
            "503",
            port,
            OutcomeKind::Unknown,
            "answered 503 Service Unavailable: said so",
        ),
        ("slow", port, OutcomeKind::Unknown, "no answer: "),
        ("gone", free_port(), OutcomeKind::Failed, "not sent: "),
    ] {
        let action = Action::Webhook {
            name: "act".into(),
            url: format!("http://127.0.0.1:{port}/act"),
            timeout: Duration::from_millis(800),
        };
        let order = order(&format!("op-{target}"), target, action, Runner::Supervised);
        let outcome = actuators.carry_out(&order).await;
        assert_eq!(outcome.kind, kind, "{target}: {outcome:?}");
        assert!(outcome.detail.starts_with(detail), "{target}: {outcome:?}");
    }
    let seen = seen.lock().await;
    assert_eq!(seen.len(), 5);
    assert!(
        seen.iter()
            .all(|(key, operation)| key == operation.as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_tells_its_command_how_long_and_an_undrain_is_the_other_one() {
    let home = Home::new();
    let actuators = home.actuators();
    let echo = |verb: &str| {
        let words = ["echo", verb, "{target}", "{lease_seconds}", "{until}"];
        words.map(str::to_owned).to_vec()
    };
    let by = DrainBy::Command {
        drain: echo("out"),
        undrain: echo("in"),
        timeout: Duration::from_secs(20),
    };
    let until = now() + Duration::from_secs(3_600);
    let lease = Some(LeaseTerm {
        id: OrderId(7),
        until,
    });
    let drain = Drain {
        by: by.clone(),
        lease: Duration::from_secs(3_600),
    };
    for (operation, action, verb) in [
        ("op-1", Action::Drain(drain), "out"),
        ("op-2", Action::Undrain(by), "in"),
    ] {
        let order = Order {
            lease: lease.clone(),
            ..order(operation, "web-1", action, Runner::Supervised)
        };
        let done = actuators.carry_out(&order).await;
        assert_eq!(done.kind, OutcomeKind::Done, "{done:?}");
        let said = done.detail.rsplit(": ").next().unwrap_or_default();
        let words: Vec<&str> = said.split(' ').collect();
        assert_eq!(words[..2], [verb, "web-1"], "{done:?}");
        let seconds: u64 = words[2].parse().unwrap();
        assert!((3_000..=3_600).contains(&seconds), "{done:?}");
        assert!(done.detail.contains(&until.to_string()), "{done:?}");
    }
    let by_host = Action::Undrain(DrainBy::HostCommand {
        drain: "out".into(),
        undrain: "in".into(),
    });
    assert!(actuators.can(&by_host, None).is_err());
    let refused = actuators
        .carry_out(&order("op-3", "web-1", by_host, Runner::Supervised))
        .await;
    assert_eq!(refused.kind, OutcomeKind::Failed, "{refused:?}");
}
