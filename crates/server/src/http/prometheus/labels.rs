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
    arguments::Arguments,
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
    let list = |store: &Store, selection: &Selection<'_>, limit, go_on: &mut GoOn<'_>| {
        store.series(selection, limit, go_on)
    };
    listed(api, &arguments, matches, SERIES_BYTES, list, json::labels).await
}

pub(super) async fn names(
    State(api): State<Prometheus>,
    arguments: Arguments,
) -> Result<Response, Error> {
    let matches = arguments.matches()?;
    let list = |store: &Store, selection: &Selection<'_>, limit, go_on: &mut GoOn<'_>| {
        store.label_names(selection, limit, go_on)
    };
    listed(api, &arguments, matches, TEXT_BYTES, list, |name, out| {
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
    let list = move |store: &Store, selection: &Selection<'_>, limit, go_on: &mut GoOn<'_>| {
        store.label_values(&name, selection, limit, go_on)
    };
    listed(api, &arguments, matches, TEXT_BYTES, list, |value, out| {
        json::text(value, out)
    })
    .await
}

/// What any of the selectors finds, in order. More than fits into the budget, each as long as said, is over it.
async fn listed<T: Ord + Send>(
    api: Prometheus,
    arguments: &Arguments,
    mut matches: Vec<Vec<Matcher>>,
    item_bytes: usize,
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
        let most = memory / item_bytes;
        let limit = asked.unwrap_or(most).min(most);
        let list =
            |selection: &Selection<'_>, go_on: &mut GoOn<'_>| list(&store, selection, limit, go_on);
        let selections: Vec<_> = matches.iter().map(|matchers| range.of(matchers)).collect();
        let found = union(&selections, limit, list, (memory, item_bytes), lease)?;
        if found.truncated && asked.is_none_or(|asked| asked > most) {
            return Err(Error::execution(format!(
                "the answer has more than {most} entries, which is all that fits into query.memory: select less, or set limit"
            )));
        }
        Ok(answer(found, write).response(gzip))
    };
    api.queries.answer(api.budget.timeout, work).await
}

/// At no time more than the limit is kept of what was found so far, and it counts while the next selector's is.
fn union<T: Ord>(
    selections: &[Selection<'_>],
    limit: usize,
    list: impl Fn(&Selection<'_>, &mut GoOn<'_>) -> Result<Listing<T>, Stopped>,
    (budget, item_bytes): (usize, usize),
    lease: &Lease,
) -> Result<Listing<T>, Error> {
    let mut items = BTreeSet::new();
    let mut warnings = BTreeSet::new();
    let mut truncated = false;
    for selection in selections {
        let held = items.len() * item_bytes;
        let mut go_on = |bytes: usize| match lease.is_over() || held.saturating_add(bytes) > budget
        {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let found = list(selection, &mut go_on);
        lease.check()?;
        let found = found.map_err(|Stopped| {
            Error::execution(format!(
                "finding the series needs more than {budget} bytes of memory (query.memory): select less"
            ))
        })?;
        items.extend(found.items);
        warnings.extend(found.warnings);
        truncated |= found.truncated;
        while items.len() > limit {
            items.pop_last();
            truncated = true;
        }
    }
    Ok(Listing {
        items: items.into_iter().collect(),
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

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    const EVERYTHING: Selection<'static> = Selection {
        matchers: &[],
        start_ms: 0,
        end_ms: 1,
    };

    /// Of selectors that find ten numbers each, of which none is another's; while it looks, a list holds 50 bytes.
    fn union_of(selectors: usize, limit: usize, budget: usize) -> Result<Listing<usize>, Error> {
        let listed = Cell::new(0);
        let list = |_: &Selection<'_>, go_on: &mut GoOn<'_>| match go_on(50) {
            ControlFlow::Break(()) => Err(Stopped),
            ControlFlow::Continue(()) => {
                let first = listed.replace(listed.get() + 10);
                Ok(Listing {
                    items: (first..first + 10).collect(),
                    truncated: false,
                    warnings: Vec::new(),
                })
            }
        };
        let lease = Lease::begin(Duration::from_secs(3_600));
        union(
            &vec![EVERYTHING; selectors],
            limit,
            list,
            (budget, 10),
            &lease,
        )
    }

    #[test]
    fn selectors_together_find_no_more_than_the_limit() {
        let found = union_of(100, 15, 200).unwrap();
        assert!(found.truncated);
        assert!(found.items.into_iter().eq(0..15));
        assert!(!union_of(2, 20, 200).unwrap().truncated);
    }

    #[test]
    fn what_was_found_before_counts_while_the_next_is_looked_for() {
        assert!(union_of(2, 20, 150).is_ok());
        let why = union_of(2, 20, 149).unwrap_err().to_string();
        assert!(why.contains("query.memory"), "{why}");
    }
}
