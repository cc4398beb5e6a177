//! `POST /api/v1/write`: Prometheus' remote write, 1.0 and 2.0.
//!
//! Answers are those of the specification: 204; 400 for what will never be taken, also when only a part of the
//! message was, and then the rest is stored; 415 for another format; 429 and 5xx for what may come again. Of a message
//! of version 2 the headers say how much was written, whatever the status.

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use pitcrew_ingest::remote_write::{self, RequestError, Version};
use pitcrew_tsdb::Accepted;

use super::{BODY_BYTES_MAX, MESSAGE_BYTES_MAX, refused, store};
use crate::{
    http::{desk::Desk, problem::Problem, request::Raw},
    telemetry::{Form, Gathered},
};

const SAMPLES: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// What became of a message.
struct Written {
    accepted: Accepted,
    refused: Option<(u64, String)>,
}

pub(crate) async fn write(
    State(desk): State<Desk>,
    raw: Raw<BODY_BYTES_MAX>,
) -> Result<Response, Problem> {
    let version = version(&raw)?;
    let telemetry = desk.telemetry.clone();
    let decoded = desk.decoding.run(move || {
        let mut message = Vec::new();
        remote_write::decompress(&raw.bytes, MESSAGE_BYTES_MAX, &mut message)?;
        let mut gathered = Gathered::within(telemetry.message_bytes(), telemetry.now_ms());
        remote_write::read(version, &message, &mut gathered)?;
        let form = match version {
            Version::One => Form::Messages,
            Version::Two => Form::Pairs,
        };
        let accepted = store(&telemetry, &gathered, form, ("remote write", raw.peer.0))?;
        Ok(Written {
            refused: refused(&accepted, &gathered),
            accepted,
        })
    });
    let mut response = match decoded.await {
        Ok(written) => answer(version, &written),
        Err(problem) => problem.into_response(),
    };
    if version == Version::Two {
        // Nothing of a message that was refused as a whole was written, and only the headers say so.
        for name in [SAMPLES, HISTOGRAMS, EXEMPLARS] {
            let entry = response.headers_mut().entry(name);
            entry.or_insert(HeaderValue::from_static("0"));
        }
    }
    Ok(response)
}

fn version(raw: &Raw<BODY_BYTES_MAX>) -> Result<Version, Problem> {
    let unsupported = |detail: String| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
    let encoding = raw.header(header::CONTENT_ENCODING);
    // Early senders of version 1 say neither what it is nor how it is packed: there was only one way.
    if !matches!(&*encoding, "" | "snappy") {
        return Err(unsupported(
            "send the message compressed by snappy".to_owned(),
        ));
    }
    let kind = raw.headers.get(header::CONTENT_TYPE);
    let Some(kind) = kind else {
        return Ok(Version::One);
    };
    let kind = kind.to_str().unwrap_or_default();
    Version::of_content_type(kind).map_err(|error| unsupported(error.to_string()))
}

fn answer(version: Version, written: &Written) -> Response {
    let mut response = match &written.refused {
        None => StatusCode::NO_CONTENT.into_response(),
        Some((count, first)) => Problem::bad_request(format!(
            "{count} samples were not taken and never will be, all others were; the first: {first}"
        ))
        .into_response(),
    };
    if version == Version::Two {
        let accepted = &written.accepted;
        let samples = accepted.samples + accepted.duplicates - accepted.histograms;
        for (name, count) in [
            (SAMPLES, samples),
            (HISTOGRAMS, accepted.histograms),
            (EXEMPLARS, accepted.exemplars),
        ] {
            response
                .headers_mut()
                .insert(name, HeaderValue::from(count));
        }
    }
    response
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
            }
            _ => Self::bad_request(error.to_string()),
        }
    }
}
