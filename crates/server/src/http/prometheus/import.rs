//! `/api/v1/import`: history from elsewhere, as JSON lines, Prometheus' text or OpenMetrics.
//!
//! The body is read as it comes and stored piece by piece, so it may be as long as it likes. What can't be read ends the
//! import and names its line; what came before that line is stored, and sending it again changes nothing.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, header},
    response::Response,
};
use pitcrew_ingest::text;
use pitcrew_tsdb::{Accepted, Batch, Refusal};
use serde_json::json;

use super::{
    Prometheus,
    answer::{Answer, Error},
    arguments::Arguments,
    arriving::Arriving,
    format::Format,
    lines,
    queries::Lease,
};
use crate::telemetry::{Gathered, NotTaken, Telemetry};

/// What is read and stored at a time.
const PIECE_BYTES: usize = 256 << 10;

/// No line may be longer, nor longer than what a message may take.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Samples that are stored at a time.
const BATCH_SAMPLES: usize = 10_000;

/// For how long an import waits while as many are under way as may be.
const PLACE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long one piece may wait until the store has put aside what it holds.
const PIECE_TIMEOUT: Duration = Duration::from_secs(120);

/// Between looks whether it has.
const PAUSE: Duration = Duration::from_millis(200);

/// Whom limits are counted for.
const SOURCE: &str = "import";

/// Refused samples that are named.
const EXAMPLES_MAX: usize = 10;

/// Of the parameter `format`, or else of the body's type.
fn format_of(arguments: &Arguments, headers: &HeaderMap) -> Result<Format, Error> {
    let name = arguments.text("format");
    if !name.is_empty() {
        return Format::named(name);
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    if kind.contains("json") {
        return Ok(Format::JsonLines);
    }
    if kind.starts_with("text/plain") || kind.contains("openmetrics") {
        return Ok(Format::Text(text::Format::of_content_type(&kind)));
    }
    Err(Error::bad_data(
        "say what it is: format=jsonl, format=prometheus or format=openmetrics",
    ))
}

/// The error has the line, from 1, and what is wrong with it.
fn read_text(
    format: text::Format,
    piece: &[u8],
    gathered: &mut Gathered,
) -> Result<(), (usize, String)> {
    text::read(format, piece, gathered).map_err(|error| (error.line, error.why.to_string()))
}

pub(super) async fn import(
    State(api): State<Prometheus>,
    request: Request,
) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    if parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Error::bad_data("send the body as it is, not compressed"));
    }
    let format = format_of(&Arguments::of_query(&parts), &parts.headers)?;
    // Nothing of the body is read before.
    let place = tokio::time::timeout(PLACE_TIMEOUT, api.import_places.acquire()).await;
    let _place = place.map_err(|_elapsed| {
        Error::unavailable("as many imports are under way as may be at once; try again")
    })?;
    let taken = take(&api, format, body).await?;
    Ok(taken.answer()?.response(false))
}

async fn take(api: &Prometheus, format: Format, body: Body) -> Result<Taken, Error> {
    let line_bytes_max = LINE_BYTES_MAX.min(api.telemetry.message_bytes());
    let mut body = Arriving::new(body);
    let mut taken = Taken::default();
    let mut pending = Vec::new();
    // Within what is pending, after the last line that is whole.
    let mut whole = None;
    loop {
        let chunk = body.next().await;
        let chunk = chunk.map_err(|error| taken.broken(error.to_string()))?;
        let is_last = chunk.is_none();
        let chunk = chunk.unwrap_or_default();
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            whole = Some(pending.len() + at + 1);
        }
        pending.extend_from_slice(&chunk);
        if !is_last && pending.len() < PIECE_BYTES {
            continue;
        }
        let end = match whole.take() {
            _ if is_last => pending.len(),
            Some(end) => end,
            None if pending.len() > line_bytes_max => {
                return Err(taken.broken(format!(
                    "line {} is longer than {} MiB",
                    taken.lines + 1,
                    line_bytes_max >> 20
                )));
            }
            None => continue,
        };
        let rest = pending.split_off(end);
        let piece = std::mem::replace(&mut pending, rest);
        let telemetry = std::sync::Arc::clone(&api.telemetry);
        let stored = move |lease: &Lease| {
            let mut taken = taken;
            taken.piece(&telemetry, format, &piece, lease)?;
            Ok(taken)
        };
        taken = api.imports.run(PIECE_TIMEOUT, stored).await?;
        if is_last {
            return taken.ended(format);
        }
    }
}

/// What became of an import so far.
#[derive(Debug, Default)]
struct Taken {
    lines: usize,
    /// Whether the mark that ends an OpenMetrics text was there.
    is_ended: bool,
    samples: u64,
    duplicates: u64,
    new_series: u64,
    exemplars: u64,
    refused: u64,
    examples: Vec<Refusal>,
}

impl Taken {
    fn broken(&self, why: impl Into<String>) -> Error {
        let why = why.into();
        let samples = self.samples + self.duplicates;
        Error::bad_data(format!("{why}; the {samples} samples before it are stored"))
    }

    fn piece(
        &mut self,
        telemetry: &Telemetry,
        format: Format,
        piece: &[u8],
        lease: &Lease,
    ) -> Result<(), Error> {
        let bytes_max = telemetry.message_bytes();
        let empty = || Gathered::within(bytes_max, telemetry.now_ms());
        let mut gathered = empty();
        let mut failed = Ok(());
        let read = match format {
            Format::JsonLines => lines::read(piece, bytes_max, &mut gathered, |gathered| {
                let is_batch = gathered.len() >= BATCH_SAMPLES || gathered.is_half_full();
                if is_batch && failed.is_ok() {
                    let batch = std::mem::replace(gathered, empty());
                    failed = self.store(telemetry, format, &batch, lease);
                }
            }),
            Format::Text(format) => self.text(format, piece, &mut gathered),
        };
        failed?;
        // Also what came before a line that can't be read.
        self.store(telemetry, format, &gathered, lease)?;
        let (line, why) = match read {
            Ok(()) => {
                self.lines += piece.iter().filter(|byte| **byte == b'\n').count();
                return Ok(());
            }
            Err(broken) => broken,
        };
        Err(self.broken(format!("line {}: {why}", self.lines + line)))
    }

    /// The reader wants a text that is whole: each piece is made one.
    fn text(
        &mut self,
        format: text::Format,
        piece: &[u8],
        gathered: &mut Gathered,
    ) -> Result<(), (usize, String)> {
        let is_blank = piece.trim_ascii().is_empty();
        if format == text::Format::Prometheus || (is_blank && self.is_ended) {
            return read_text(format, piece, gathered);
        }
        if self.is_ended {
            return Err((1, "there is more after `# EOF`".to_owned()));
        }
        self.is_ended = piece.trim_ascii_end().ends_with(b"# EOF");
        if self.is_ended {
            return read_text(format, piece, gathered);
        }
        let mut whole = piece.to_vec();
        whole.extend_from_slice(b"\n# EOF\n");
        read_text(format, &whole, gathered)
    }

    fn store(
        &mut self,
        telemetry: &Telemetry,
        format: Format,
        gathered: &Gathered,
        lease: &Lease,
    ) -> Result<(), Error> {
        if gathered.is_too_much {
            let place = format!("lines {} and following", self.lines + 1);
            let most = gathered.bytes_max >> 20;
            return Err(self.broken(format!(
                "{place} take more than {most} MiB: make them shorter"
            )));
        }
        loop {
            let stored = telemetry.backfill(&Batch {
                source: SOURCE,
                scope: format.scope(),
                labels_of: format.labels_of(),
                samples: &gathered.samples(),
                exemplars: &gathered.exemplars(),
                metadata: &gathered.metadata(),
            });
            match stored {
                Ok(accepted) => {
                    self.count(accepted);
                    return Ok(());
                }
                // Faster than it can be written away: wait instead of making the sender do so.
                Err(NotTaken::Store(pitcrew_tsdb::Error::Overloaded { .. }))
                    if !lease.is_over() =>
                {
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(Error::unavailable(error.to_string())),
            }
        }
    }

    fn count(&mut self, accepted: Accepted) {
        self.samples += accepted.samples;
        self.duplicates += accepted.duplicates;
        self.new_series += accepted.new_series;
        self.exemplars += accepted.exemplars;
        for refused in [accepted.refused, accepted.refused_exemplars] {
            self.refused += refused.count;
            let room = EXAMPLES_MAX - self.examples.len();
            self.examples
                .extend(refused.examples.into_iter().take(room));
        }
    }

    fn ended(self, format: Format) -> Result<Self, Error> {
        if format == Format::Text(text::Format::OpenMetrics) && !self.is_ended {
            return Err(self.broken("the text ends without `# EOF`: it was cut off"));
        }
        Ok(self)
    }

    fn answer(&self) -> Result<Answer, Error> {
        let examples: Vec<String> = self.examples.iter().map(ToString::to_string).collect();
        Answer::of(json!({
            "samples": self.samples,
            "duplicates": self.duplicates,
            "new_series": self.new_series,
            "exemplars": self.exemplars,
            "refused": { "count": self.refused, "examples": examples },
        }))
    }
}
