//! Remote read: another Prometheus asks for the samples themselves and evaluates its query over them.
//!
//! Samples are given whole and bit for bit, as a stream of chunks or, to those who don't know that, one by one; what
//! starts a counter is not part of the protocol. Native histograms have no chunks here: where there are any, all
//! samples come one by one.

mod chunked;
mod message;
mod xor;

use std::ops::ControlFlow;

use axum::{
    body::Body,
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use pitcrew_promql::{
    labels::{MatchOp, Matcher},
    storage::{Found, Series, Storage},
};
use pitcrew_tsdb::Store;
use prost::Message;

use super::{
    Prometheus,
    answer::Error,
    arguments::{Range, read_whole},
    budget::Budget,
    queries::Lease,
};
use message::{Encoded, ReadRequest, SAMPLES, STREAMED_CHUNKS, Wanted};

/// Of a request once it is decompressed: it has nothing but matchers.
const REQUEST_BYTES_MAX: usize = 1 << 20;

pub(super) async fn read(State(api): State<Prometheus>, request: Request) -> Response {
    answer(api, request.into_body())
        .await
        .unwrap_or_else(Error::plain)
}

async fn answer(api: Prometheus, body: Body) -> Result<Response, Error> {
    let bytes = read_whole(body).await?;
    let request = decoded(&bytes)?;
    let (store, budget) = (api.store()?, api.budget);
    let work = move |lease: &Lease| {
        if request.accepted.first() == Some(&STREAMED_CHUNKS)
            && let Some(frames) = frames(&store, &request.queries, &budget, lease)?
        {
            return Ok(([(header::CONTENT_TYPE, chunked::MEDIA_TYPE)], frames).into_response());
        }
        if !request.accepted.is_empty() && !request.accepted.contains(&SAMPLES) {
            return Err(Error::execution(
                "there are native histograms, which are read as samples only: accept samples, too",
            ));
        }
        let message = results(&store, &request.queries, &budget, lease)?;
        let body = snap::raw::Encoder::new().compress_vec(&message);
        let body = body.map_err(|error| {
            Error::execution(format!("the answer can't be compressed: {error}"))
        })?;
        let headers = [
            (header::CONTENT_TYPE, "application/x-protobuf"),
            (header::CONTENT_ENCODING, "snappy"),
        ];
        Ok((headers, body).into_response())
    };
    api.queries.answer(api.budget.timeout, work).await
}

/// From time and matchers of each query.
type Queries = Vec<(Range, Vec<Matcher>)>;

struct Asked {
    queries: Queries,
    accepted: Vec<i32>,
}

fn decoded(bytes: &[u8]) -> Result<Asked, Error> {
    let length = snap::raw::decompress_len(bytes).ok();
    if length.is_none_or(|length| length > REQUEST_BYTES_MAX) {
        return Err(Error::bad_data(
            "the request is not snappy, or larger than 1 MiB",
        ));
    }
    let message = snap::raw::Decoder::new().decompress_vec(bytes);
    let message =
        message.map_err(|error| Error::bad_data(format!("the request is not snappy: {error}")))?;
    let request = ReadRequest::decode(&*message)
        .map_err(|error| Error::bad_data(format!("the request is no ReadRequest: {error}")))?;
    let queries = request.queries.iter().map(query);
    Ok(Asked {
        queries: queries.collect::<Result<_, _>>()?,
        accepted: request.accepted,
    })
}

fn query(wanted: &Wanted) -> Result<(Range, Vec<Matcher>), Error> {
    let range = Range {
        start_ms: wanted.start_ms.max(super::syntax::LONG_AGO_MS),
        end_ms: wanted.end_ms.min(super::syntax::NEVER_MS),
    };
    let matchers = wanted.matchers.iter().map(|matcher| {
        let op = match matcher.op {
            0 => MatchOp::Equal,
            1 => MatchOp::NotEqual,
            2 => MatchOp::Matches,
            3 => MatchOp::NotMatches,
            other => {
                return Err(Error::bad_data(format!(
                    "a matcher has the unknown type {other}"
                )));
            }
        };
        Matcher::new(&matcher.name, op, &matcher.value)
            .map_err(|error| Error::bad_data(error.to_string()))
    });
    Ok((range, matchers.collect::<Result<_, _>>()?))
}

/// The frames of all queries, or nothing where one of them finds native histograms.
fn frames(
    store: &Store,
    queries: &Queries,
    budget: &Budget,
    lease: &Lease,
) -> Result<Option<Vec<u8>>, Error> {
    let mut frames = Vec::new();
    for (index, (range, matchers)) in queries.iter().enumerate() {
        let mut has_histograms = false;
        let left = budget.memory.saturating_sub(frames.len());
        let found = series(store, *range, matchers, left, lease, |series| {
            has_histograms = !message::within(&series.histograms.timestamps, *range).is_empty();
            match has_histograms {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(chunked::encoded(series, *range, index)),
            }
        })?;
        if has_histograms {
            return Ok(None);
        }
        for one in found {
            frames.extend_from_slice(&one.message);
        }
    }
    Ok(Some(frames))
}

/// One result for each query, each with its series in the order of their labels.
fn results(
    store: &Store,
    queries: &Queries,
    budget: &Budget,
    lease: &Lease,
) -> Result<Vec<u8>, Error> {
    let mut response = Vec::new();
    for (range, matchers) in queries {
        let left = budget.memory.saturating_sub(response.len());
        let found = series(store, *range, matchers, left, lease, |series| {
            ControlFlow::Continue(message::encoded(series, *range))
        })?;
        message::put_result(&found, &mut response);
    }
    Ok(response)
}

/// In the order of their labels, on which readers rely.
fn series(
    store: &impl Storage,
    range: Range,
    matchers: &[Matcher],
    bytes_max: usize,
    lease: &Lease,
    mut encode: impl FnMut(&Series) -> ControlFlow<(), Option<Encoded>>,
) -> Result<Vec<Encoded>, Error> {
    let mut found = Vec::new();
    // Of what was found, and of what the store holds while it looks.
    let (mut bytes, mut held) = (0, 0_usize);
    let selected = store.select(&range.of(matchers), &mut |one| {
        match one {
            Found::Series(series) => {
                if let Some(encoded) = encode(series)? {
                    // Once here and once more within the answer.
                    bytes += 2 * encoded.message.len();
                    found.push(encoded);
                }
            }
            Found::Holding(bytes) => held = bytes,
            Found::Warning(_) => {}
        }
        match lease.is_over() || held.saturating_add(bytes) > bytes_max {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    selected.map_err(|error| Error::internal(error.to_string()))?;
    lease.check()?;
    if held.saturating_add(bytes) > bytes_max {
        return Err(Error::execution(
            "the samples need more memory than a query may take (query.memory): read less at a time",
        ));
    }
    found.sort_by(|left, right| left.labels.cmp(&right.labels));
    Ok(found)
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
        let read = series(&looking, range, &[], 10 << 10, &lease, |_| {
            ControlFlow::Continue(None)
        });
        let why = read.err().expect("it is over the budget").to_string();
        assert!(why.contains("query.memory"), "{why}");
        assert_eq!(looking.said.get(), 11);
    }
}
