//! What is scraped and what became of it the last time.

use axum::{Json, extract::State};
use serde::Deserialize;

use super::{
    desk::Desk,
    problem::Problem,
    read::{page, page_limit},
    request::Query,
};
use crate::api::{Page, ScrapeStatus};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScrapeQuery {
    after: Option<String>,
    limit: Option<usize>,
}

pub(crate) async fn scrapes(
    State(desk): State<Desk>,
    Query(query): Query<ScrapeQuery>,
) -> Result<Json<Page<ScrapeStatus>>, Problem> {
    let limit = page_limit(query.limit)?;
    let statuses = desk
        .board
        .after(&query.after.unwrap_or_default(), limit + 1);
    Ok(Json(page(statuses, limit, ScrapeStatus::key)))
}
