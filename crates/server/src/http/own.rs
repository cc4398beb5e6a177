//! How the server itself does: `/healthz`, `/readyz`, `/metrics`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{desk::Desk, problem::Problem};
use crate::{api::ServerStatus, metrics::Scraped};

/// The process answers.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// It decides and records: 200, otherwise 503; either way the body says what is wrong.
pub(crate) async fn readyz(State(desk): State<Desk>) -> (StatusCode, Json<ServerStatus>) {
    let mut status = desk.status();
    let decides = tokio::time::timeout(Duration::from_secs(2), desk.inbox.flush()).await;
    if !matches!(decides, Ok(Ok(()))) {
        status.ready = false;
        status
            .troubles
            .push("the engine has not answered within 2 s".to_owned());
    }
    let code = if status.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(status))
}

pub(crate) async fn metrics(State(desk): State<Desk>) -> Result<Response, Problem> {
    let text = metrics_text(&desk).await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

pub(super) async fn metrics_text(desk: &Desk) -> Result<String, Problem> {
    let services = desk.overview.services(&desk.inbox).await?;
    let cases = desk.inbox.ask(|engine, _now| {
        let mut cases = BTreeMap::new();
        for case in engine.cases().filter(|case| case.is_open()) {
            *cases.entry(case.phase.name()).or_insert(0) += 1;
        }
        cases.into_iter().collect()
    });
    let cases = cases.await?;
    let scraped = Scraped {
        services,
        cases,
        scrapes: desk.board.counts(),
        missed_rounds: desk.scheduler.statistics().missed_rounds,
        events_waiting: desk.inbox.depth(),
        ready: desk.standing.status().ready,
    };
    // They are registered already; this reads what is a state.
    let telemetry = Arc::clone(&desk.telemetry);
    let refreshed = tokio::task::spawn_blocking(move || telemetry.refresh_counts());
    if let Err(error) = refreshed.await {
        return Err(Problem::unavailable(format!(
            "the store's state can't be read: {error}"
        )));
    }
    let text = desk.metrics.text(&scraped);
    text.map_err(|_error| Problem::unavailable("the metrics can't be written"))
}
