//! Hosts with an agent: which there are, a token for a new one, and what a person says of one.

use axum::{Json, extract::State, http::StatusCode};
use pitcrew_wire::HostName;
use serde::Deserialize;

use super::{
    desk::Desk,
    problem::Problem,
    read::{page, page_limit},
    request::{Body, By, Query},
};
use crate::{
    api::{Enrolment, HostRequest, HostStatus, Page},
    fleet::GOOD_FOR,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostQuery {
    after: Option<String>,
    limit: Option<usize>,
}

pub(crate) async fn hosts(
    State(desk): State<Desk>,
    Query(query): Query<HostQuery>,
) -> Result<Json<Page<HostStatus>>, Problem> {
    let limit = page_limit(query.limit)?;
    let after = query.after.unwrap_or_default();
    let hosts = desk.fleet.hosts_after(&after, limit + 1);
    Ok(Json(page(hosts, limit, |host| host.host.clone())))
}

pub(crate) async fn enrol(
    State(desk): State<Desk>,
    By(by): By,
    Body(request): Body<HostRequest>,
) -> Result<Json<Enrolment>, Problem> {
    let host = named(&request)?;
    let token = desk.fleet.enrol(&host).map_err(conflict)?;
    tracing::info!(%host, by, "a token to enrol a host was given");
    Ok(Json(Enrolment {
        host: host.to_string(),
        token: token.to_string(),
        expires_at: desk.clock.now() + GOOD_FOR,
    }))
}

pub(crate) async fn revoke(
    State(desk): State<Desk>,
    By(by): By,
    Body(request): Body<HostRequest>,
) -> Result<Json<HostStatus>, Problem> {
    let host = named(&request)?;
    desk.fleet.revoke(&host).map_err(conflict)?;
    tracing::warn!(%host, by, "what proves to be this host was revoked");
    Ok(Json(desk.fleet.status(&host)))
}

pub(crate) async fn accept(
    State(desk): State<Desk>,
    By(by): By,
    Body(request): Body<HostRequest>,
) -> Result<Json<HostStatus>, Problem> {
    let host = named(&request)?;
    desk.fleet.accept(&host).map_err(conflict)?;
    tracing::warn!(%host, by, "what this host said last was accepted");
    Ok(Json(desk.fleet.status(&host)))
}

fn named(request: &HostRequest) -> Result<HostName, Problem> {
    HostName::new(&request.host).map_err(|error| Problem::unprocessable(error.to_string()))
}

fn conflict(why: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, why)
}
