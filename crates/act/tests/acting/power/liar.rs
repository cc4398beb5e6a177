//! A controller of the test's own that speaks Redfish and lies: what no real one can be made to do.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use pitcrew_model::{OutcomeKind, PowerController, Secret};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::cycle;
use crate::support::Home;

/// What it does wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    /// It takes orders and does nothing.
    OkWithoutEffect,
    /// It can only switch off and on.
    NoRestart,
    Stalls,
    StallsOnReset,
    Garbage,
    Endless,
    Redirects,
    RedirectsReset,
    /// Its answers name another machine.
    NamesAnother,
    TwoSystems,
    SaysNo,
}

struct Machine {
    lie: Lie,
    power: &'static str,
    resets: Vec<String>,
}

type Shared = Arc<Mutex<Machine>>;

const SYSTEM: &str = "/redfish/v1/Systems/1";

async fn systems(State(machine): State<Shared>) -> Response {
    let lie = machine.lock().await.lie;
    let mut members = vec![json!({ "@odata.id": SYSTEM })];
    match lie {
        Lie::Stalls => std::future::pending().await,
        Lie::Garbage => return "<html>login</html>".into_response(),
        Lie::Endless => return "x".repeat(4 << 20).into_response(),
        Lie::Redirects => return elsewhere(),
        Lie::NamesAnother => {
            members = vec![json!({ "@odata.id": "http://127.0.0.1:1/redfish/v1/Systems/1" })]
        }
        Lie::TwoSystems => members.push(json!({ "@odata.id": "/redfish/v1/Systems/2" })),
        _ => {}
    }
    Json(json!({ "Members": members })).into_response()
}

fn elsewhere() -> Response {
    let to = [(header::LOCATION, "http://127.0.0.1:1/redfish/v1/Systems")];
    (StatusCode::TEMPORARY_REDIRECT, to).into_response()
}

async fn system(State(machine): State<Shared>, Path(_id): Path<String>) -> Json<Value> {
    let machine = machine.lock().await;
    let kinds = match machine.lie {
        Lie::NoRestart | Lie::OkWithoutEffect => json!(["On", "ForceOff"]),
        _ => json!(["On", "ForceOff", "ForceRestart"]),
    };
    Json(json!({
        "Name": "machine", "SerialNumber": "S-1", "PowerState": machine.power,
        "Actions": { "#ComputerSystem.Reset": {
            "target": format!("{SYSTEM}/Actions/ComputerSystem.Reset"),
            "ResetType@Redfish.AllowableValues": kinds,
        } },
    }))
}

async fn reset(
    State(machine): State<Shared>,
    Path(_id): Path<String>,
    Json(wanted): Json<Value>,
) -> Response {
    let mut machine = machine.lock().await;
    let kind = wanted["ResetType"].as_str().unwrap().to_owned();
    machine.resets.push(kind.clone());
    match (machine.lie, kind.as_str()) {
        (Lie::StallsOnReset, _) => {
            drop(machine);
            std::future::pending().await
        }
        (Lie::RedirectsReset, _) => return elsewhere(),
        (Lie::SaysNo, _) => {
            let error = json!({ "error": { "message": "the machine is locked" } });
            return (StatusCode::CONFLICT, Json(error)).into_response();
        }
        (Lie::OkWithoutEffect, _) => {}
        (_, "ForceOff") => machine.power = "Off",
        (_, _) => machine.power = "On",
    }
    StatusCode::NO_CONTENT.into_response()
}

struct Liar {
    machine: Shared,
    url: String,
}

impl Liar {
    async fn start(lie: Lie, power: &'static str) -> Self {
        let machine = Arc::new(Mutex::new(Machine {
            lie,
            power,
            resets: Vec::new(),
        }));
        let router = Router::new()
            .route("/redfish/v1/Systems", get(systems))
            .route("/redfish/v1/Systems/{id}", get(system))
            .route(
                "/redfish/v1/Systems/{id}/Actions/ComputerSystem.Reset",
                post(reset),
            )
            .with_state(Arc::clone(&machine));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { machine, url }
    }

    async fn cycle(&self) -> pitcrew_model::Outcome {
        let controller = PowerController::Redfish {
            url: self.url.clone(),
            username: "pitcrew".into(),
            password: Secret::new("s3cret"),
            authorities: None,
            system: None,
        };
        cycle(&Home::new(), "op-1", controller).await
    }

    async fn resets(&self) -> Vec<String> {
        self.machine.lock().await.resets.clone()
    }
}

async fn check(lie: Lie, power: &'static str, kind: OutcomeKind, says: &str, resets: &[&str]) {
    let liar = Liar::start(lie, power).await;
    let outcome = liar.cycle().await;
    assert_eq!(outcome.kind, kind, "{outcome:?}");
    assert!(outcome.detail.contains(says), "{outcome:?}");
    assert!(!outcome.detail.contains("s3cret"), "{outcome:?}");
    assert_eq!(liar.resets().await, resets);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_on_is_restarted_and_one_that_is_off_is_switched_on() {
    let done = OutcomeKind::Done;
    check(
        Lie::None,
        "On",
        done,
        "machine, S-1) was on; ForceRestart",
        &["ForceRestart"],
    )
    .await;
    check(Lie::None, "Off", done, "was off; On", &["On"]).await;
    check(
        Lie::NoRestart,
        "On",
        done,
        "ForceOff and On",
        &["ForceOff", "On"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_of_redfish_ends_it_before_anything_is_cut() {
    let failed = OutcomeKind::Failed;
    check(Lie::Garbage, "On", failed, "not what Redfish answers", &[]).await;
    check(Lie::Endless, "On", failed, "longer than 512 KiB", &[]).await;
    check(Lie::Redirects, "On", failed, "answered 307", &[]).await;
    check(
        Lie::NamesAnother,
        "On",
        failed,
        "no path of Redfish on this controller",
        &[],
    )
    .await;
    check(
        Lie::TwoSystems,
        "On",
        failed,
        "has 2 systems: name one",
        &[],
    )
    .await;
    check(
        Lie::None,
        "Melted",
        failed,
        "its power state is `Melted`",
        &[],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_has_no_effect_and_says_why() {
    let says = "409 Conflict: the machine is locked";
    check(
        Lie::SaysNo,
        "On",
        OutcomeKind::Failed,
        says,
        &["ForceRestart"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_stalls_is_given_up() {
    let failed = check(Lie::Stalls, "On", OutcomeKind::Failed, "timed out", &[]);
    let unclear = check(
        Lie::StallsOnReset,
        "On",
        OutcomeKind::Unknown,
        "ForceRestart was not answered",
        &["ForceRestart"],
    );
    let both = async { tokio::join!(failed, unclear) };
    tokio::time::timeout(Duration::from_secs(120), both)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_taken_effect_is_said_so_and_not_repeated() {
    let unknown = OutcomeKind::Unknown;
    let redirected = check(
        Lie::RedirectsReset,
        "On",
        unknown,
        "answered 307",
        &["ForceRestart"],
    );
    let nothing_done = check(
        Lie::OkWithoutEffect,
        "On",
        unknown,
        "still On",
        &["ForceOff"],
    );
    tokio::join!(redirected, nothing_done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_with_the_certificate_of_another_is_told_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let believed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = own.signing_key.serialize_der();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.try_into().unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let handshake = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.map(|_| ())
    });
    let controller = PowerController::Redfish {
        url: format!("https://{address}"),
        username: "pitcrew".into(),
        password: Secret::new("s3cret"),
        authorities: Some(believed.cert.pem()),
        system: None,
    };
    let outcome = cycle(&Home::new(), "op-1", controller).await;
    assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
    assert!(outcome.detail.contains("certificate"), "{outcome:?}");
    assert!(handshake.await.unwrap().is_err(), "no request went over it");
}
