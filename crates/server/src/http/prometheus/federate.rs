//! `/federate`: the current sample of every series that is asked for, as text for another Prometheus to scrape.
//!
//! Native histograms can't be said in this format and are left out, as by Prometheus.

use std::{collections::BTreeMap, fmt::Write as _, ops::ControlFlow};

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::Response,
};
use pitcrew_promql::{
    json,
    labels::{Labels, Matcher},
    storage::{Found, Series, Storage, is_stale},
};

use super::{
    Prometheus,
    answer::{Error, sent},
    arguments::{Arguments, Range},
    exposition::{self, Names},
    queries::Lease,
};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What one series is taken to need in memory, and its line.
const SERIES_BYTES: usize = 1_024;

pub(super) async fn federate(
    State(api): State<Prometheus>,
    headers: HeaderMap,
    arguments: Arguments,
) -> Response {
    let answered = answer(api, &headers, &arguments).await;
    answered.unwrap_or_else(Error::plain)
}

async fn answer(
    api: Prometheus,
    headers: &HeaderMap,
    arguments: &Arguments,
) -> Result<Response, Error> {
    let matches = arguments.matches()?;
    let end_ms = api.now_ms();
    let range = Range {
        start_ms: end_ms
            .saturating_sub(super::millis(api.budget.lookback))
            .saturating_add(1),
        end_ms,
    };
    let accepted = headers
        .get(header::ACCEPT)
        .and_then(|accepted| accepted.to_str().ok());
    let names = match accepted.is_some_and(|accepted| accepted.contains("escaping=allow-utf-8")) {
        true => Names::Quoted,
        false => Names::Underscored,
    };
    let (store, gzip) = (api.store()?, arguments.gzip);
    let bytes_max = api.budget.memory;
    let work = move |lease: &Lease| {
        let mut current = BTreeMap::new();
        for matchers in &matches {
            collect(&*store, range, matchers, bytes_max, &mut current, lease)?;
        }
        Ok(sent(TEXT, text(&current, names).into_bytes(), gzip))
    };
    api.queries.answer(api.budget.timeout, work).await
}

/// By metric, since a metric's lines must be together.
type Current = BTreeMap<(String, Labels), (i64, f64)>;

fn collect(
    store: &impl Storage,
    range: Range,
    matchers: &[Matcher],
    bytes_max: usize,
    current: &mut Current,
    lease: &Lease,
) -> Result<(), Error> {
    let mut held = 0_usize;
    let mut is_too_much = false;
    let selected = store.select(&range.of(matchers), &mut |found| {
        match found {
            Found::Series(series) => {
                if let Some(sample) = last(series, range) {
                    let labels = series.labels.clone();
                    current.insert((labels.metric_name().to_owned(), labels), sample);
                }
            }
            Found::Holding(bytes) => held = bytes,
            Found::Warning(_) => {}
        }
        is_too_much = held.saturating_add(current.len() * SERIES_BYTES) > bytes_max;
        match lease.is_over() || is_too_much {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    selected.map_err(|error| Error::internal(error.to_string()))?;
    lease.check()?;
    if is_too_much {
        return Err(Error::execution(format!(
            "the series need more than {bytes_max} bytes of memory (query.memory): select less"
        )));
    }
    Ok(())
}

/// Nothing where the series has ended, or where its last sample is a histogram.
fn last(series: &Series, range: Range) -> Option<(i64, f64)> {
    let up_to_now = series
        .floats
        .timestamps
        .partition_point(|time_ms| *time_ms <= range.end_ms);
    let index = up_to_now.checked_sub(1)?;
    let (time_ms, value) = (series.floats.timestamps[index], series.floats.values[index]);
    let histograms = &series.histograms.timestamps;
    let is_last = !histograms
        .iter()
        .any(|other_ms| *other_ms > time_ms && *other_ms <= range.end_ms);
    (is_last && time_ms >= range.start_ms && !is_stale(value)).then_some((time_ms, value))
}

fn text(current: &Current, names: Names) -> String {
    let mut out = String::new();
    let mut before: Option<&str> = None;
    for ((metric, labels), (time_ms, value)) in current {
        if before != Some(metric) {
            out.push_str("# TYPE ");
            exposition::name(metric, names, true, &mut out);
            out.push_str(" untyped\n");
            before = Some(metric);
        }
        // With `honor_labels` an absent instance would become that of this server: an empty one stays.
        exposition::series(labels, names, Some("instance"), &mut out);
        writeln!(out, " {} {time_ms}", json::number(*value)).expect("a string takes everything");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::prometheus::budget::tests::Looking;

    #[test]
    fn what_the_store_holds_while_it_looks_counts() {
        let looking = Looking::default();
        let range = Range {
            start_ms: 0,
            end_ms: 1,
        };
        let lease = Lease::begin(std::time::Duration::from_secs(3_600));
        let read = collect(&looking, range, &[], 10 << 10, &mut Current::new(), &lease);
        let why = read.unwrap_err().to_string();
        assert!(why.contains("query.memory"), "{why}");
        assert_eq!(looking.said.get(), 11);
    }
}
