//! Metrics that others bring: Prometheus' remote write, OpenTelemetry over HTTP and gRPC.
//!
//! A request is read, decoded and stored as a whole or refused; samples that can't be stored are named in the answer
//! and harm no others. What can never be taken is the client's error, so that it doesn't come again; what may be
//! taken later is ours.

mod body;
mod grpc;
mod otlp;
mod remote_write;

use std::{net::IpAddr, sync::Arc};

use axum::http::StatusCode;
use pitcrew_tsdb::{Accepted, Batch};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use grpc::export as otlp_grpc;
pub(crate) use otlp::export as otlp_http;
pub(crate) use remote_write::write;

use super::problem::Problem;
use crate::telemetry::{Form, Gathered, NotTaken, Telemetry};

/// Bodies as they come.
const BODY_BYTES_MAX: usize = 16 << 20;

/// The same when decompressed.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Messages decompressed and decoded at once: each takes several times its size, and only one writes at a time.
const DECODING_MAX: usize = 2;

/// All bodies that are being read or wait to be decoded, in KiB.
const ROOM_KIB: usize = 64 << 10;

/// Turns of those who decode, and room for what they are to decode.
#[derive(Clone)]
pub(crate) struct Decoding {
    turns: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

impl Default for Decoding {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(DECODING_MAX)),
            room: Arc::new(Semaphore::new(ROOM_KIB)),
        }
    }
}

impl Decoding {
    /// For so many bytes that have come. Nobody waits for it, or whoever sends slowly would keep all others waiting.
    pub(crate) fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(kib);
        room.map_err(|_full| Problem::unavailable("too many bodies come at once; try again"))
    }

    /// Decodes and stores on a thread that may block. A client that gives up meanwhile changes nothing.
    async fn run<T: Send + 'static>(
        &self,
        decode: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_closed| stopping())?;
        let running = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            decode()
        });
        let done = running.await;
        done.map_err(|_panicked| {
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "reading the request broke off; this is a bug, please report it",
            )
        })?
    }
}

fn stopping() -> Problem {
    Problem::unavailable("the server is stopping")
}

/// Stores what a message said. `kind` and who sent it name the source that limits are counted for.
fn store(
    telemetry: &Telemetry,
    gathered: &Gathered,
    form: Form,
    (kind, peer): (&str, IpAddr),
) -> Result<Accepted, Problem> {
    if gathered.is_too_much {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "what the message says takes more than {} MiB; send it in parts",
                gathered.bytes_max >> 20
            ),
        ));
    }
    let source = format!("{kind} from {}", peer.to_canonical());
    let appended = telemetry.append(&Batch {
        source: &source,
        scope: form.scope(),
        labels_of: &|key, out| form.labels(key, out),
        samples: &gathered.samples(),
        exemplars: &gathered.exemplars(),
        metadata: &gathered.metadata(),
    });
    appended.map_err(Problem::from)
}

/// How many samples of a message were not taken, and what is wrong with the first of them. Exemplars that were not are
/// only counted: sending the message again would not help them.
fn refused(accepted: &Accepted, gathered: &Gathered) -> Option<(u64, String)> {
    let count = accepted.refused.count + gathered.bad_histograms;
    let first = accepted.refused.examples.first().map(ToString::to_string);
    let why = first.or_else(|| gathered.why_bad.clone())?;
    Some((count, why))
}

impl From<NotTaken> for Problem {
    fn from(not_taken: NotTaken) -> Self {
        let detail = not_taken.to_string();
        // Also of an overload: senders give up at a 429 unless they are told not to.
        Self::unavailable(detail)
    }
}
