//! `series`, `labels` and `label/<name>/values`: what there is to ask for.

use std::{collections::BTreeSet, ops::ControlFlow};

use axum::{
    extract::{Path, State},
    response::Response,
};
use pitcrew_promql::{json, labels::Matcher, storage::Selection};
use pitcrew_tsdb::{GoOn, Listing, Stopped, Store};

use super::{
    Prometheus,
    answer::{Answer, Error},
    arguments::{Arguments, Range},
    queries::Lease,
    query::TRUNCATED,
    syntax::unescaped_name,
};

/// What one series of a list is taken to need in memory, and its text in the answer.
const SERIES_BYTES: usize = 1_024;

/// What a name or value is taken to need.
const TEXT_BYTES: usize = 128;

pub(super) async fn series(
    State(api): State<Prometheus>,
    arguments: Arguments,
) -> Result<Response, Error> {
    let matches = arguments.required_matches()?;
    let most = api.budget.memory / SERIES_BYTES;
    let list = |store: &Store, selection: &Selection<'_>, limit, go_on: &mut GoOn<'_>| {
        store.series(selection, limit, go_on)
    };
    listed(api, &arguments, matches, most, list, json::labels).await
}

pub(super) async fn names(
    State(api): State<Prometheus>,
    arguments: Arguments,
) -> Result<Response, Error> {
    let matches = arguments.matches()?;
    let most = api.budget.memory / TEXT_BYTES;
    let list = |store: &Store, selection: &Selection<'_>, limit, go_on: &mut GoOn<'_>| {
        store.label_names(selection, limit, go_on)
    };
    listed(api, &arguments, matches, most, list, |name, out| {
        json::text(name, out)
    })
    .await
}

pub(super) async fn values(
    State(api): State<Prometheus>,
    Path(name): Path<String>,
    arguments: Arguments,
) -> Result<Response, Error> {
    let name = unescaped_name(&name);
    let matches = arguments.matches()?;
    let most = api.budget.memory / TEXT_BYTES;
    let list = move |store: &Store, selection: &Selection<'_>, limit, go_on: &mut GoOn<'_>| {
        store.label_values(&name, selection, limit, go_on)
    };
    listed(api, &arguments, matches, most, list, |value, out| {
        json::text(value, out)
    })
    .await
}

/// What any of the selectors finds, in order. More than `most` is over the budget.
async fn listed<T: Ord + Send>(
    api: Prometheus,
    arguments: &Arguments,
    mut matches: Vec<Vec<Matcher>>,
    most: usize,
    list: impl Fn(&Store, &Selection<'_>, usize, &mut GoOn<'_>) -> Result<Listing<T>, Stopped>
    + Send
    + 'static,
    write: impl Fn(&T, &mut String) + Send + 'static,
) -> Result<Response, Error> {
    let (range, asked, gzip) = (
        arguments.range()?,
        arguments.limit("limit")?,
        arguments.gzip,
    );
    if matches.is_empty() {
        matches.push(Vec::new());
    }
    let (store, memory) = (api.store()?, api.budget.memory);
    let work = move |lease: &Lease| {
        let limit = asked.unwrap_or(most).min(most);
        let found = union(&store, range, &matches, limit, &list, memory, lease)?;
        if found.truncated && asked.is_none_or(|asked| asked > most) {
            return Err(Error::execution(format!(
                "the answer has more than {most} entries, which is all that fits into query.memory: select less, or set limit"
            )));
        }
        Ok(answer(found, write).response(gzip))
    };
    api.queries.answer(api.budget.timeout, work).await
}

fn union<T: Ord>(
    store: &Store,
    range: Range,
    matches: &[Vec<Matcher>],
    limit: usize,
    list: impl Fn(&Store, &Selection<'_>, usize, &mut GoOn<'_>) -> Result<Listing<T>, Stopped>,
    budget: usize,
    lease: &Lease,
) -> Result<Listing<T>, Error> {
    let mut items = BTreeSet::new();
    let mut warnings = BTreeSet::new();
    let mut truncated = false;
    for matchers in matches {
        let mut go_on = |bytes| match lease.is_over() || bytes > budget {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let found = list(store, &range.of(matchers), limit, &mut go_on);
        lease.check()?;
        let found = found.map_err(|Stopped| {
            Error::execution(format!(
                "finding the series needs more than {budget} bytes of memory (query.memory): select less"
            ))
        })?;
        items.extend(found.items);
        warnings.extend(found.warnings);
        truncated |= found.truncated;
    }
    truncated |= items.len() > limit;
    Ok(Listing {
        items: items.into_iter().take(limit).collect(),
        truncated,
        warnings: warnings.into_iter().collect(),
    })
}

fn answer<T>(found: Listing<T>, write: impl Fn(&T, &mut String)) -> Answer {
    let mut data = String::from("[");
    for (index, item) in found.items.iter().enumerate() {
        data.push_str(if index > 0 { "," } else { "" });
        write(item, &mut data);
    }
    data.push(']');
    let mut warnings = found.warnings;
    if found.truncated {
        warnings.push(TRUNCATED.to_owned());
    }
    Answer {
        data,
        warnings,
        infos: Vec::new(),
    }
}
