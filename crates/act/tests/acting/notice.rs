//! Notices: delivered, tried again, given up with the reason; never a secret in it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use pitcrew_act::Notifier;
use pitcrew_model::{Destination, Notice, Receiver, ReceiverName, Secret, Urgency};

use crate::support::{Home, free_port, now};

fn receiver(name: &str, destination: Destination) -> Receiver {
    Receiver {
        name: ReceiverName::new(name).unwrap(),
        destination,
    }
}

fn webhook(name: &str, port: u16, path: &str) -> Receiver {
    let url = Secret::new(format!("http://127.0.0.1:{port}/{path}"));
    let headers = vec![("authorization".to_owned(), Secret::new("Bearer hush"))];
    receiver(name, Destination::Webhook { url, headers })
}

fn notice(to: &[&str]) -> Notice {
    Notice {
        to: to
            .iter()
            .map(|name| ReceiverName::new(name).unwrap())
            .collect(),
        at: now(),
        urgency: Urgency::Page,
        case: None,
        target: None,
        service: None,
        summary: "web-7 needs you".into(),
        evidence: vec!["answers failing".into()],
    }
}

/// `/ok` takes it, `/flaky` from the third try on, `/never` refuses for good.
async fn server() -> u16 {
    let tries = Arc::new(AtomicUsize::new(0));
    let flaky = |State(tries): State<Arc<AtomicUsize>>| async move {
        if tries.fetch_add(1, Ordering::SeqCst) < 2 {
            StatusCode::BAD_GATEWAY
        } else {
            StatusCode::OK
        }
    };
    let take = |headers: HeaderMap, body: String| async move {
        let notice: Notice = serde_json::from_str(&body).unwrap();
        assert_eq!(notice.summary, "web-7 needs you");
        if headers["authorization"] == "Bearer hush" {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::UNAUTHORIZED
        }
    };
    let app = Router::new()
        .route("/ok", post(take))
        .route("/flaky", post(flaky))
        .route("/never-secret", post(|| async { StatusCode::FORBIDDEN }))
        .with_state(tries);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn each_receiver_is_told_and_each_failure_has_its_reason() {
    let home = Home::new();
    let port = server().await;
    let file = home.path("notice.json");
    let command = |script: String| Destination::Command {
        command: vec!["sh".into(), "-c".into(), script],
    };
    let notifier = Notifier::new(&[
        webhook("ok", port, "ok"),
        webhook("flaky", port, "flaky"),
        webhook("never", port, "never-secret"),
        webhook("gone", free_port(), "gone-secret"),
        receiver("command", command(format!("cat > {file}"))),
        receiver(
            "broken",
            Destination::Command {
                command: vec!["no-such-program-x".into()],
            },
        ),
    ]);
    let told: Vec<(String, Result<(), String>)> = notifier
        .notify(&notice(&[]))
        .await
        .into_iter()
        .map(|(name, result)| (name.to_string(), result))
        .collect();
    let of = |name: &str| {
        told.iter()
            .find(|(have, _)| have == name)
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(told.len(), 6);
    assert_eq!(of("ok"), Ok(()));
    assert_eq!(of("flaky"), Ok(()));
    assert_eq!(of("never"), Err("answered 403 Forbidden".into()));
    let gone = of("gone").unwrap_err();
    assert!(gone.ends_with("(tried 4 times)"), "{gone}");
    assert!(!gone.contains("secret") && !gone.contains("hush"), "{gone}");
    assert_eq!(of("command"), Ok(()));
    let written: Notice = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(written.summary, "web-7 needs you");
    assert_eq!(
        of("broken"),
        Err("program `no-such-program-x` not found in PATH".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_named_are_told_and_a_name_without_a_receiver_is_an_error() {
    let port = server().await;
    let notifier = Notifier::new(&[webhook("a", port, "ok"), webhook("b", port, "ok")]);
    let told = notifier.notify(&notice(&["b", "nobody"])).await;
    assert_eq!(told.len(), 2);
    assert_eq!(told[0], (ReceiverName::new("b").unwrap(), Ok(())));
    assert!(
        told[1]
            .1
            .as_ref()
            .is_err_and(|why| why.contains("no receiver"))
    );
}
