//! `status/…`, and the lists of rules and alerts that clients ask for and that are empty here.

use std::collections::{BTreeMap, BTreeSet};

use axum::{extract::State, response::Response};
use serde_json::json;

use super::{
    Prometheus,
    answer::{Answer, Error},
    arguments::Arguments,
    queries::Lease,
};
use crate::http::desk::Desk;

/// Which Prometheus' queries and API these are: clients choose by it what they ask.
const PROMETHEUS_VERSION: &str = "3.7.0";

/// Entries of each list of `status/tsdb`, unless the request says otherwise.
const LISTED: usize = 10;

pub(super) async fn build_info() -> Result<Response, Error> {
    let answer = json!({
        "version": PROMETHEUS_VERSION,
        "revision": format!("pitcrew {}", crate::VERSION),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    Ok(Answer::of(answer)?.response(false))
}

pub(super) async fn runtime_info(State(api): State<Prometheus>) -> Result<Response, Error> {
    let store = api.store()?;
    let started = jiff::Timestamp::try_from(api.started).ok();
    let answer = json!({
        "startTime": started.map(|started| started.to_string()),
        "corruptionCount": store.damage().len(),
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    });
    Ok(Answer::of(answer)?.response(false))
}

/// Pitcrew's own configuration is no Prometheus' and may have secrets.
pub(super) async fn config() -> Result<Response, Error> {
    Ok(Answer::of(json!({ "yaml": "" }))?.response(false))
}

/// The budgets of queries, under the names of Prometheus' flags.
pub(super) async fn flags(State(api): State<Prometheus>) -> Result<Response, Error> {
    let budget = api.budget;
    let text = pitcrew_model::format_duration;
    let answer = json!({
        "query.lookback-delta": text(budget.lookback),
        "query.max-concurrency": budget.concurrency.to_string(),
        "query.max-samples": budget.samples.to_string(),
        "query.timeout": text(budget.timeout),
    });
    Ok(Answer::of(answer)?.response(false))
}

/// How much the store holds, and which names and labels have the most series.
pub(super) async fn tsdb(
    State(api): State<Prometheus>,
    arguments: Arguments,
) -> Result<Response, Error> {
    let limit = arguments.limit("limit")?.unwrap_or(LISTED);
    let (store, gzip) = (api.store()?, arguments.gzip);
    let work = move |_lease: &Lease| {
        let (statistics, cardinality) = (store.statistics(), store.cardinality(limit));
        let listed = |list: &[(String, u64)]| -> Vec<_> {
            list.iter()
                .map(|(name, value)| json!({ "name": name, "value": value }))
                .collect()
        };
        let answer = json!({
            "headStats": {
                "numSeries": statistics.series,
                "numLabelPairs": cardinality.label_pairs,
            },
            "seriesCountByMetricName": listed(&cardinality.series_by_name),
            "labelValueCountByLabelName": listed(&cardinality.values_by_label),
            "memoryInBytesByLabelName": [],
            "seriesCountByLabelValuePair": listed(&cardinality.series_by_pair),
        });
        Ok(Answer::of(answer)?.response(gzip))
    };
    api.queries.answer(api.budget.timeout, work).await
}

/// The log is read before the store answers at all.
pub(super) async fn wal_replay(State(api): State<Prometheus>) -> Result<Response, Error> {
    let state = if api.store().is_ok() {
        "done"
    } else {
        "waiting"
    };
    Ok(Answer::of(json!({ "min": 0, "max": 0, "current": 0, "state": state }))?.response(false))
}

/// In Prometheus' words, for those who look for them.
pub(super) async fn healthy() -> &'static str {
    "Prometheus Server is Healthy.\n"
}

pub(super) async fn ready(State(api): State<Prometheus>) -> Result<&'static str, Response> {
    match api.store() {
        Ok(_) => Ok("Prometheus Server is Ready.\n"),
        Err(error) => Err(error.plain()),
    }
}

/// What was said of families is kept by family, not by target.
pub(super) async fn targets_metadata() -> Result<Response, Error> {
    Ok(Answer::of(json!([]))?.response(false))
}

pub(super) async fn scrape_pools(State(desk): State<Desk>) -> Result<Response, Error> {
    let scraped = desk.board.after("", usize::MAX);
    let names: BTreeSet<String> = scraped.into_iter().map(|one| one.scrape).collect();
    Ok(Answer::of(json!({ "scrapePools": names }))?.response(false))
}

pub(super) async fn rules() -> Result<Response, Error> {
    Ok(Answer::of(json!({ "groups": [] }))?.response(false))
}

pub(super) async fn alerts() -> Result<Response, Error> {
    Ok(Answer::of(json!({ "alerts": [] }))?.response(false))
}

/// Where Prometheus sends its alerts: nowhere from here.
pub(super) async fn alertmanagers() -> Result<Response, Error> {
    let none: BTreeMap<&str, [(); 0]> =
        [("activeAlertmanagers", []), ("droppedAlertmanagers", [])].into();
    Ok(Answer::of(none)?.response(false))
}
