//! Requests to a server that follows: what only the one that leads can do or know is refused, with its address, and every answer says
//! whom it follows.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::problem::Problem;
use crate::{api::Role, standing::Standing};

/// URL of the server that leads, or `unknown`; only from one that follows.
const FOLLOWS: HeaderName = HeaderName::from_static("pitcrew-follows");

/// Who is connected, and what is recorded at this moment.
const LIVE: [&str; 2] = ["/api/v1/hosts", "/api/v1/events"];

/// Questions that come by POST because they may be long; Grafana asks no other way.
const ASKED_BY_POST: [&str; 7] = [
    "/api/v1/query",
    "/api/v1/query_range",
    "/api/v1/query_exemplars",
    "/api/v1/format_query",
    "/api/v1/series",
    "/api/v1/labels",
    "/api/v1/read",
];

pub(crate) async fn refer(
    State(standing): State<Arc<Standing>>,
    request: Request,
    next: Next,
) -> Response {
    if standing.role() == Role::Leads {
        return next.run(request).await;
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD)
        || ASKED_BY_POST.contains(&request.uri().path());
    let leader = standing.leader();
    let mut response = match is_read && !LIVE.contains(&request.uri().path()) {
        true => next.run(request).await,
        false => problem(leader.as_deref()).into_response(),
    };
    let value = HeaderValue::try_from(leader.as_deref().unwrap_or("unknown"));
    if let Ok(value) = value {
        response.headers_mut().insert(FOLLOWS, value);
    }
    response
}

fn problem(leader: Option<&str>) -> Problem {
    let detail = match leader {
        Some(leader) => format!("this server follows; ask {leader}, which leads"),
        None => "this server follows, and no server leads now: try again".to_owned(),
    };
    Problem::unavailable(detail).with("leader", leader)
}
