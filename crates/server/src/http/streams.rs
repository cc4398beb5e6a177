//! Answers without end: events as they are recorded, and the ledger's export.

use std::{convert::Infallible, io, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::{desk::Desk, problem::Problem, request::Query};
use crate::feed::Item;

/// Records replayed for a listener that comes back; whoever was away longer reads `GET /ledger` first.
const REPLAY_MAX: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventQuery {
    /// Begin after this record, as `Last-Event-ID` says it.
    after: Option<u64>,
}

/// Each record as it is committed (`event: record`, its number as id), each change of a case (`event: case`).
/// A listener that falls behind gets `event: behind` and is let go.
pub(crate) async fn events(
    State(desk): State<Desk>,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let resumed = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok());
    // Listening begins before the replay is read, so that nothing falls between the two.
    let live = desk.feed.listen();
    let mut replayed = Vec::new();
    let mut from = 0;
    if let Some(after) = query.after.or(resumed) {
        let entries = desk
            .readers
            .read(move |reader| reader.after(after, REPLAY_MAX + 1))
            .await?;
        if entries.len() > REPLAY_MAX {
            return Err(Problem::bad_request(format!(
                "more than {REPLAY_MAX} records came since {after}: read them with `GET /api/v1/ledger?after={after}` first"
            )));
        }
        from = entries.last().map_or(after, |entry| entry.seq);
        for entry in entries {
            let data = serde_json::json!({ "seq": entry.seq, "record": entry.record });
            replayed.push(
                Event::default()
                    .event("record")
                    .id(entry.seq.to_string())
                    .data(data.to_string()),
            );
        }
    }
    let stopping = stopped(desk.stopping.clone());
    let events = stream::iter(replayed)
        .chain(live_events(live, from))
        .take_until(stopping);
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(events.map(Ok::<_, Infallible>))
        .keep_alive(keep_alive)
        .into_response())
}

async fn stopped(mut stopping: tokio::sync::watch::Receiver<bool>) {
    // An error means that the server is gone, which is the same.
    stopping.wait_for(|stopping| *stopping).await.ok();
}

fn live_events(live: broadcast::Receiver<Item>, from: u64) -> impl Stream<Item = Event> {
    stream::unfold(Some(live), move |live| async move {
        let mut live = live?;
        loop {
            match live.recv().await {
                Ok(Item::Record { seq, .. }) if seq <= from => {}
                Ok(Item::Record { seq, json }) => {
                    return Some((
                        Event::default()
                            .event("record")
                            .id(seq.to_string())
                            .data(&*json),
                        Some(live),
                    ));
                }
                Ok(Item::Case { json }) => {
                    return Some((Event::default().event("case").data(&*json), Some(live)));
                }
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    let note = format!(
                        "{{\"missed\":{missed},\"what_to_do\":\"connect again with the last id you have\"}}"
                    );
                    return Some((Event::default().event("behind").data(note), None));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}

/// JSON lines, checked as they are written; a broken chain ends the answer with an error, never quietly.
pub(crate) async fn export(State(desk): State<Desk>) -> Response {
    let (chunks, body) = mpsc::channel::<Result<Bytes, io::Error>>(8);
    let readers = desk.long_readers.clone();
    tokio::spawn(async move {
        let mut pipe = Pipe {
            chunks: chunks.clone(),
            pending: Vec::with_capacity(PIPE_BYTES),
        };
        let exported = readers.read(move |reader| reader.export(&mut pipe)).await;
        if let Err(problem) = exported {
            tracing::warn!(?problem, "an export of the ledger ended early");
            // The listener may be what ended it.
            chunks
                .send(Err(io::Error::other("the export ended early")))
                .await
                .ok();
        }
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(ReceiverStream::new(body))).into_response()
}

const PIPE_BYTES: usize = 64 << 10;

/// From the thread that reads the ledger to the response; it waits when the listener is slow.
struct Pipe {
    chunks: mpsc::Sender<Result<Bytes, io::Error>>,
    pending: Vec<u8>,
}

impl io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PIPE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = Bytes::from(std::mem::take(&mut self.pending));
        if chunk.is_empty() {
            return Ok(());
        }
        self.chunks
            .blocking_send(Ok(chunk))
            .map_err(|_closed| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

#[cfg(test)]
mod tests {
    use pitcrew_model::{Fact, Record, Timestamp};

    use super::*;
    use crate::feed::Feed;

    fn records(count: usize) -> Vec<Record> {
        let record = Record {
            at: Timestamp::ZERO,
            case: None,
            order: None,
            target: None,
            service: None,
            fact: Fact::TargetsChanged {
                added: 1,
                removed: 0,
            },
        };
        vec![record; count]
    }

    async fn streamed(feed: Feed, live: broadcast::Receiver<Item>, from: u64) -> String {
        // Its end is the end of the stream.
        drop(feed);
        let events = live_events(live, from).map(Ok::<_, Infallible>);
        let body = Sse::new(events).into_response().into_body();
        let bytes = axum::body::to_bytes(body, 1 << 24).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_listener_that_is_too_slow_is_told_and_let_go() {
        let feed = Feed::new();
        let live = feed.listen();
        feed.publish(|index| index as u64 + 1, &records(10_000), &[]);
        let text = streamed(feed, live, 0).await;
        assert!(text.starts_with("event: behind\n"), "{text}");
        assert_eq!(text.matches("event:").count(), 1);
    }

    #[tokio::test]
    async fn what_was_replayed_is_not_streamed_again() {
        let feed = Feed::new();
        let live = feed.listen();
        feed.publish(|index| index as u64 + 1, &records(3), &[]);
        let text = streamed(feed, live, 2).await;
        assert_eq!(text.matches("event: record").count(), 1);
        assert!(text.contains("id: 3\n"), "{text}");
    }
}
