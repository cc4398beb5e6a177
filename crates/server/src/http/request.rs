//! Parsing requests once, at the border: bodies, queries, ids in paths and who asks.

use std::{
    net::IpAddr,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    body::{Bytes, to_bytes},
    extract::{FromRequest, FromRequestParts, Request},
    http::{
        HeaderMap, StatusCode,
        header::{self, AsHeaderName},
        request::Parts,
    },
};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use super::{desk::Desk, problem::Problem};

/// Bodies of requests, unless a route says otherwise.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

/// Bodies that push observations or alerts.
pub(crate) const PUSH_BYTES_MAX: usize = 8 << 20;

/// Set while the body is being read, so that a deadline knows whose fault it is.
#[derive(Clone, Default)]
pub(crate) struct ReadingBody(pub(crate) Arc<AtomicBool>);

impl ReadingBody {
    fn of(parts: &Parts) -> Self {
        let reading = parts.extensions.get::<Self>();
        reading.cloned().unwrap_or_default()
    }
}

/// A JSON body of at most `BYTES_MAX` bytes.
pub(crate) struct Body<T, const BYTES_MAX: usize = BODY_BYTES_MAX>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned, const BYTES_MAX: usize> FromRequest<S>
    for Body<T, BYTES_MAX>
{
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send the body as JSON, with `Content-Type: application/json`",
            ));
        }
        let bytes = read_body(&parts, body, BYTES_MAX).await?;
        from_json(&bytes).map(Self)
    }
}

/// All of a body, at most `bytes_max` of it.
async fn read_body(
    parts: &Parts,
    body: axum::body::Body,
    bytes_max: usize,
) -> Result<Bytes, Problem> {
    if announced(&parts.headers).is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let reading = ReadingBody::of(parts);
    reading.0.store(true, Ordering::Relaxed);
    let bytes = to_bytes(body, bytes_max).await;
    reading.0.store(false, Ordering::Relaxed);
    bytes.map_err(|error| body_problem(&error, bytes_max))
}

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// A body as it came, of at most `BYTES_MAX` bytes, with its headers and its sender.
pub(crate) struct Raw<const BYTES_MAX: usize> {
    pub(crate) headers: HeaderMap,
    pub(crate) peer: Peer,
    pub(crate) bytes: Bytes,
    /// Given back with the body.
    _room: OwnedSemaphorePermit,
}

impl<const BYTES_MAX: usize> Raw<BYTES_MAX> {
    /// A header in small letters, empty when it is absent.
    pub(crate) fn header(&self, name: impl AsHeaderName) -> String {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().trim().to_ascii_lowercase()
    }
}

impl<const BYTES_MAX: usize> FromRequest<Desk> for Raw<BYTES_MAX> {
    type Rejection = Problem;

    /// Takes room as bytes come.
    async fn from_request(request: Request, desk: &Desk) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let peer = parts.extensions.get::<Peer>().copied();
        if announced(&parts.headers).is_some_and(|length| length > BYTES_MAX) {
            return Err(too_large(BYTES_MAX));
        }
        let reading = ReadingBody::of(&parts);
        reading.0.store(true, Ordering::Relaxed);
        let mut chunks = body.into_data_stream();
        let mut bytes = Vec::new();
        let mut room = desk.decoding.room(0)?;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| body_problem(&error, BYTES_MAX))?;
            if bytes.len() + chunk.len() > BYTES_MAX {
                return Err(too_large(BYTES_MAX));
            }
            room.merge(desk.decoding.room(chunk.len())?);
            bytes.extend_from_slice(&chunk);
        }
        reading.0.store(false, Ordering::Relaxed);
        Ok(Self {
            bytes: bytes.into(),
            peer: peer.expect("every connection says who is at its other end"),
            headers: parts.headers,
            _room: room,
        })
    }
}

/// The length of a body, when its sender says it.
fn announced(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or(kind).trim());
    kind.is_some_and(|kind| {
        kind.eq_ignore_ascii_case("application/json")
            || kind.to_ascii_lowercase().ends_with("+json")
    })
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!(
            "the body is larger than {} MiB; send it in parts",
            bytes_max >> 20
        ),
    )
}

fn body_problem(error: &axum::Error, bytes_max: usize) -> Problem {
    // The limit's own error is found by its words: its type is another crate's.
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = source {
        if cause.to_string().contains("length limit exceeded") {
            return too_large(bytes_max);
        }
        source = cause.source();
    }
    Problem::bad_request(format!("the body ended before its time: {error}"))
}

/// Not JSON is 400, JSON of another shape is 422.
fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let detail = format!("the body is not what this route takes: {error}");
        match error.classify() {
            serde_json::error::Category::Data => Problem::unprocessable(detail),
            serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof => Problem::bad_request(detail),
        }
    })
}

/// A query string in which unknown names are errors (`T` denies them).
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|query| Self(query.0))
            .map_err(|error| Problem::bad_request(error.body_text()))
    }
}

/// The one variable part of a path.
pub(crate) struct Id(pub(crate) String);

impl Id {
    /// `kind` as in the path; what can't be an id names nothing that is here.
    pub(crate) fn parse<T: FromStr>(&self, kind: &str) -> Result<T, Problem> {
        self.0
            .parse()
            .map_err(|_invalid| Problem::not_found(kind, &self.0))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0))
            .map_err(|error| Problem::bad_request(error.body_text()))
    }
}

/// Who asks: what `X-Pitcrew-User` says. It is a name for the record, not a proof; the token is that.
pub(crate) struct By(pub(crate) String);

pub(crate) const USER_HEADER: &str = "x-pitcrew-user";

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(USER_HEADER) else {
            return Ok(Self("api".to_owned()));
        };
        let name = std::str::from_utf8(value.as_bytes()).unwrap_or("").trim();
        if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
            return Err(Problem::bad_request(
                "`X-Pitcrew-User` must be a name of 1 to 128 bytes without control characters",
            ));
        }
        Ok(Self(name.to_owned()))
    }
}
