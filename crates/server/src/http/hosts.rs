//! Hosts with an agent: which there are, and a token for a new one.

use axum::{Json, extract::State, http::StatusCode};
use pitcrew_wire::HostName;

use super::{
    desk::Desk,
    problem::Problem,
    request::{Body, By},
};
use crate::{
    api::{EnrolRequest, Enrolment, HostStatus, Page},
    fleet::GOOD_FOR,
};

/// All of them: a host is a line.
pub(crate) async fn hosts(State(desk): State<Desk>) -> Json<Page<HostStatus>> {
    Json(Page {
        items: desk.fleet.hosts(),
        next: None,
    })
}

pub(crate) async fn enrol(
    State(desk): State<Desk>,
    By(by): By,
    Body(request): Body<EnrolRequest>,
) -> Result<Json<Enrolment>, Problem> {
    let host =
        HostName::new(&request.host).map_err(|error| Problem::unprocessable(error.to_string()))?;
    let token = desk
        .fleet
        .enrol(&host)
        .map_err(|why| Problem::new(StatusCode::CONFLICT, why))?;
    tracing::info!(%host, by, "a token to enrol a host was given");
    Ok(Json(Enrolment {
        host: host.to_string(),
        token: token.to_string(),
        expires_at: desk.clock.now() + GOOD_FOR,
    }))
}
