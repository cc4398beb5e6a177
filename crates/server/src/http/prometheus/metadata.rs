//! `metadata`, `query_exemplars` and `format_query`.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use pitcrew_promql::{json, labels::Labels, parser::parse};
use pitcrew_tsdb::Exemplar;
use serde_json::json;

use super::{
    Prometheus,
    answer::{Answer, Error},
    arguments::Arguments,
    queries::Lease,
    syntax,
};

/// What is known of metric families: one record each, since what was said last replaces what was said before.
pub(super) async fn metadata(
    State(api): State<Prometheus>,
    arguments: Arguments,
) -> Result<Response, Error> {
    let limit = arguments.limit("limit")?.unwrap_or(usize::MAX);
    arguments.limit("limit_per_metric")?;
    let family = Some(arguments.text("metric").to_owned()).filter(|family| !family.is_empty());
    let (store, gzip) = (api.store()?, arguments.gzip);
    let work = move |_lease: &Lease| {
        let known = store.metadata(family.as_deref(), limit);
        let families: BTreeMap<_, _> = known
            .iter()
            .map(|known| {
                let record = json!({ "type": known.kind, "help": known.help, "unit": known.unit });
                (&known.family, [record])
            })
            .collect();
        Ok(Answer::of(families)?.response(gzip))
    };
    api.queries.answer(api.budget.timeout, work).await
}

/// Of all series that the query selects anywhere.
pub(super) async fn exemplars(
    State(api): State<Prometheus>,
    arguments: Arguments,
) -> Result<Response, Error> {
    let range = arguments.range()?;
    let query = arguments.text("query").to_owned();
    let (store, gzip) = (api.store()?, arguments.gzip);
    let work = move |lease: &Lease| {
        let expr = parse(&query).map_err(|error| Error::bad_parameter("query", error))?;
        let mut selectors = Vec::new();
        syntax::selectors(&expr, &mut selectors);
        let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for matchers in &selectors {
            lease.check()?;
            found.extend(store.exemplars(&range.of(matchers)));
        }
        let answer = Answer {
            data: series_with_exemplars(&found),
            ..Answer::default()
        };
        Ok(answer.response(gzip))
    };
    api.queries.answer(api.budget.timeout, work).await
}

fn series_with_exemplars(found: &BTreeMap<Labels, Vec<Exemplar>>) -> String {
    let mut out = String::from("[");
    for (index, (labels, exemplars)) in found.iter().enumerate() {
        out.push_str(if index > 0 { "," } else { "" });
        out.push_str("{\"seriesLabels\":");
        json::labels(labels, &mut out);
        out.push_str(",\"exemplars\":[");
        for (index, exemplar) in exemplars.iter().enumerate() {
            out.push_str(if index > 0 {
                ",{\"labels\":"
            } else {
                "{\"labels\":"
            });
            json::labels(&exemplar.labels, &mut out);
            out.push_str(",\"value\":\"");
            out.push_str(&json::number(exemplar.value));
            out.push_str("\",\"timestamp\":");
            json::time(exemplar.timestamp_ms, &mut out);
            out.push('}');
        }
        out.push_str("]}");
    }
    out.push(']');
    out
}

/// The query as it was understood, on one line.
pub(super) async fn format_query(
    State(api): State<Prometheus>,
    arguments: Arguments,
) -> Result<Response, Error> {
    let (query, gzip) = (arguments.text("query").to_owned(), arguments.gzip);
    // The depth of a query is bounded, the stack of its thread is chosen for it.
    let work = move |_lease: &Lease| {
        let expr = parse(&query).map_err(|error| Error::bad_parameter("query", error))?;
        Ok(Answer::of(expr.to_string())?.response(gzip))
    };
    api.queries.answer(api.budget.timeout, work).await
}
