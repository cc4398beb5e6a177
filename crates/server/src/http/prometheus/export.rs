//! `/api/v1/export`: samples as they are, series after series, as JSON lines, Prometheus' text or OpenMetrics.
//!
//! Series come metric by metric, so that neither the server nor a reader must hold them all. JSON lines have everything;
//! text has no words for native histograms, for which the export ends with an error, for the marks that end series, which
//! are left out, nor for the bits of a NaN.

use std::{fmt::Write as _, ops::ControlFlow};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use pitcrew_ingest::text;
use pitcrew_promql::{
    json,
    labels::{METRIC_NAME, Matcher},
    storage::{Found, Series, Storage, is_stale},
};
use pitcrew_tsdb::{Metadata, Stopped, Store};
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    Prometheus,
    answer::Error,
    arguments::{Arguments, Range},
    exposition::{self, Names},
    format::Format,
    lines::Line,
    queries::Lease,
    sending::{Chunk, Sending},
};
use crate::http::paced::PATIENCE;

/// Sent at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// So that a reader needn't hold a long series at once.
const LINE_SAMPLES_MAX: usize = 10_000;

/// An export that takes longer is no export.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

/// An error within the first chunk is the answer; a later one breaks the answer off.
pub(super) async fn export(
    State(api): State<Prometheus>,
    arguments: Arguments,
) -> Result<Response, Error> {
    let format = match arguments.text("format") {
        "" => Format::JsonLines,
        name => Format::named(name)?,
    };
    let (matches, range) = (arguments.required_matches()?, arguments.range()?);
    let store = api.store()?;
    let (sending, mut sent) = Sending::begin(PATIENCE);
    let runtime = Handle::current();
    tokio::spawn(async move {
        let chunks = sending.chunks.clone();
        let work = move |lease: &Lease| {
            let pending = String::with_capacity(CHUNK_BYTES);
            Export {
                store: &store,
                format,
                range,
                lease,
                chunks,
                runtime,
                pending,
            }
            .run(&matches)
        };
        sending.end(api.exports.run(TIMEOUT, work)).await;
    });
    let first = match sent.next().await {
        None => Bytes::new(),
        Some(Ok(chunk)) => chunk,
        Some(Err(error)) => return Err(error),
    };
    let chunks = stream::iter([Ok(first)]).chain(sent);
    let mut response = Body::from_stream(chunks).into_response();
    let media_type = HeaderValue::from_static(format.media_type());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}

struct Export<'a> {
    store: &'a Store,
    format: Format,
    range: Range,
    lease: &'a Lease,
    chunks: mpsc::Sender<Chunk>,
    runtime: Handle,
    pending: String,
}

impl Export<'_> {
    fn run(mut self, matches: &[Vec<Matcher>]) -> Result<(), Error> {
        for family in self.families(matches)? {
            self.describe(&family);
            for name in &family.names {
                for (index, matchers) in matches.iter().enumerate() {
                    let mut of_name = matchers.clone();
                    of_name.push(Matcher::equal(METRIC_NAME, name));
                    self.select(&of_name, &matches[..index])?;
                }
            }
        }
        if self.format == Format::Text(text::Format::OpenMetrics) {
            self.pending.push_str("# EOF\n");
        }
        self.send()
    }

    /// Metrics of one family come together, as text wants it.
    fn families(&self, matches: &[Vec<Matcher>]) -> Result<Vec<Family>, Error> {
        let mut names: Vec<String> = Vec::new();
        for matchers in matches {
            let selection = self.range.of(matchers);
            let mut go_on = |_| match self.lease.is_over() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            };
            let found = self
                .store
                .label_values(METRIC_NAME, &selection, usize::MAX, &mut go_on);
            names.extend(found.map_err(|Stopped| self.lease.error())?.items);
        }
        // What has no name at all.
        names.push(String::new());
        let mut families: Vec<Family> = Vec::new();
        let mut placed: Vec<(Option<Metadata>, String)> = names
            .into_iter()
            .map(|name| (self.family_of(&name), name))
            .collect();
        let key = |(known, name): &(Option<Metadata>, String)| {
            let family = known
                .as_ref()
                .map_or_else(|| name.clone(), |known| known.family.clone());
            (family, name.clone())
        };
        placed.sort_by_key(key);
        placed.dedup();
        for (known, name) in placed {
            match families.last_mut() {
                Some(last) if known.is_some() && last.known == known => last.names.push(name),
                _ => families.push(Family {
                    known,
                    names: vec![name],
                }),
            }
        }
        Ok(families)
    }

    fn family_of(&self, name: &str) -> Option<Metadata> {
        const SUFFIXES: [&str; 7] = [
            "", "_total", "_bucket", "_sum", "_count", "_info", "_created",
        ];
        let families = SUFFIXES
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix));
        let mut known = families.filter_map(|family| self.store.metadata(Some(family), 1).pop());
        known.next()
    }

    fn describe(&mut self, family: &Family) {
        let (Format::Text(format), Some(known)) = (self.format, &family.known) else {
            return;
        };
        let is_total =
            known.kind == "counter" && family.names.iter().any(|name| name.ends_with("_total"));
        let bare = known.family.strip_suffix("_total").unwrap_or(&known.family);
        // The older format calls a counter by its whole name, OpenMetrics without what all counters end in.
        let (name, kind) = match (format, known.kind.as_str()) {
            (text::Format::OpenMetrics, kind) => (
                if is_total {
                    bare.to_owned()
                } else {
                    known.family.clone()
                },
                kind,
            ),
            (text::Format::Prometheus, "counter") if is_total => {
                (format!("{bare}_total"), "counter")
            }
            (text::Format::Prometheus, kind @ ("counter" | "gauge" | "histogram" | "summary")) => {
                (known.family.clone(), kind)
            }
            (text::Format::Prometheus, _) => (known.family.clone(), "untyped"),
        };
        exposition::description("TYPE", &name, kind, &mut self.pending);
        if format == text::Format::OpenMetrics && !known.unit.is_empty() {
            exposition::description("UNIT", &name, &known.unit, &mut self.pending);
        }
        if !known.help.is_empty() {
            exposition::description("HELP", &name, &known.help, &mut self.pending);
        }
    }

    /// Series that fit none of the selectors before, which have given them already.
    fn select(&mut self, matchers: &[Matcher], before: &[Vec<Matcher>]) -> Result<(), Error> {
        let mut written = Ok(());
        let (store, range) = (self.store, self.range);
        let selected = store.select(&range.of(matchers), &mut |found| {
            match found {
                Found::Series(series) if !is_given(series, before) => written = self.series(series),
                Found::Series(_) => {}
                Found::Holding(_) => written = self.lease.check(),
                // A hole in what is kept elsewhere would be taken for the truth.
                Found::Warning(warning) => {
                    written = Err(Error::execution(format!(
                        "some of it can't be exported: {warning}"
                    )));
                }
            }
            match written {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        selected.map_err(|error| Error::internal(error.to_string()))?;
        written
    }

    fn series(&mut self, series: &Series) -> Result<(), Error> {
        self.lease.check()?;
        let within = |timestamps: &[i64]| {
            let from = timestamps.partition_point(|time_ms| *time_ms < self.range.start_ms);
            from..timestamps
                .partition_point(|time_ms| *time_ms <= self.range.end_ms)
                .max(from)
        };
        let floats = within(&series.floats.timestamps);
        let histograms = within(&series.histograms.timestamps);
        match self.format {
            Format::JsonLines => {
                for chunk in chunks(floats) {
                    self.line(&Line::of(series, chunk, 0..0))?;
                }
                for chunk in chunks(histograms) {
                    self.line(&Line::of(series, 0..0, chunk))?;
                }
                Ok(())
            }
            Format::Text(_) if !histograms.is_empty() => Err(Error::execution(format!(
                "{} has native histograms, for which text has no words: export as jsonl, or select without it",
                series.labels
            ))),
            Format::Text(format) => self.text(format, series, floats),
        }
    }

    fn line(&mut self, line: &Line) -> Result<(), Error> {
        let text = serde_json::to_string(line);
        let text =
            text.map_err(|error| Error::internal(format!("failed to write a line: {error}")))?;
        self.pending.push_str(&text);
        self.pending.push('\n');
        self.send_if_full()
    }

    fn text(
        &mut self,
        format: text::Format,
        series: &Series,
        samples: std::ops::Range<usize>,
    ) -> Result<(), Error> {
        let mut name = String::new();
        exposition::series(&series.labels, Names::Quoted, None, &mut name);
        for index in samples {
            let (value, time_ms) = (series.floats.values[index], series.floats.timestamps[index]);
            if is_stale(value) {
                continue;
            }
            let pending = &mut self.pending;
            write!(pending, "{name} {} ", json::number(value)).expect("a string takes everything");
            match format {
                text::Format::OpenMetrics => json::time(time_ms, pending),
                text::Format::Prometheus => {
                    write!(pending, "{time_ms}").expect("a string takes everything")
                }
            }
            pending.push('\n');
            self.send_if_full()?;
        }
        Ok(())
    }

    fn send_if_full(&mut self) -> Result<(), Error> {
        match self.pending.len() < CHUNK_BYTES {
            true => Ok(()),
            false => self.send(),
        }
    }

    fn send(&mut self) -> Result<(), Error> {
        let chunk = std::mem::take(&mut self.pending);
        let sent = self.chunks.send(Ok(Bytes::from(chunk)));
        // Also where the connection is well: one of HTTP/2 may leave a single answer unread.
        let sent = async { tokio::time::timeout(PATIENCE, sent).await };
        match self.runtime.block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_closed)) => Err(Error::canceled("nobody reads the export any more")),
            Err(_elapsed) => Err(Error::canceled("the export is read too slowly")),
        }
    }
}

/// Metrics that are described together.
struct Family {
    known: Option<Metadata>,
    names: Vec<String>,
}

fn is_given(series: &Series, before: &[Vec<Matcher>]) -> bool {
    let fits = |matcher: &Matcher| matcher.matches(series.labels.get(matcher.name()));
    before.iter().any(|matchers| matchers.iter().all(fits))
}

fn chunks(range: std::ops::Range<usize>) -> impl Iterator<Item = std::ops::Range<usize>> {
    let end = range.end;
    range
        .step_by(LINE_SAMPLES_MAX)
        .map(move |start| start..(start + LINE_SAMPLES_MAX).min(end))
}
