//! Answers in Prometheus' envelope: `{"status":"success","data":…}` or `{"status":"error","errorType":…}`.

use std::{fmt::Write as _, io::Write as _};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use pitcrew_promql::json;

/// Bodies below this aren't worth compressing.
const COMPRESSED_FROM: usize = 1_024;

/// Why there is no answer, in Prometheus' kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorKind {
    BadData,
    Canceled,
    Execution,
    Internal,
    Timeout,
    Unavailable,
}

impl ErrorKind {
    fn name(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Canceled => "canceled",
            Self::Execution => "execution",
            Self::Internal => "internal",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Canceled | Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }

    pub(super) fn bad_data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadData, message)
    }

    pub(super) fn bad_parameter(name: &str, problem: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {problem}"))
    }

    pub(super) fn canceled(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Canceled, message)
    }

    pub(super) fn execution(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Execution, message)
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    pub(super) fn timeout(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Timeout, message)
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// As remote read and federation answer, whose clients show the body as it is.
    pub(super) fn plain(self) -> Response {
        (self.kind.status(), format!("{}\n", self.message)).into_response()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut body = format!(
            "{{\"status\":\"error\",\"errorType\":\"{}\",\"error\":",
            self.kind.name()
        );
        json::text(&self.message, &mut body);
        body.push('}');
        let mut response = typed("application/json", Body::from(body));
        *response.status_mut() = self.kind.status();
        response
    }
}

/// What was found, and what its reader should know.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// JSON.
    pub(super) data: String,
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

impl Answer {
    /// Without anything to be known about it.
    pub(super) fn of(data: impl serde::Serialize) -> Result<Self, Error> {
        let data = serde_json::to_string(&data)
            .map_err(|error| Error::internal(format!("failed to write the answer: {error}")))?;
        Ok(Self {
            data,
            ..Self::default()
        })
    }

    pub(super) fn response(self, gzip: bool) -> Response {
        let mut body = self.data;
        body.insert_str(0, "{\"status\":\"success\",\"data\":");
        for (name, texts) in [("warnings", &self.warnings), ("infos", &self.infos)] {
            if !texts.is_empty() {
                write!(body, ",\"{name}\":[").expect("a string takes everything");
                for (index, text) in texts.iter().enumerate() {
                    body.push_str(if index > 0 { "," } else { "" });
                    json::text(text, &mut body);
                }
                body.push(']');
            }
        }
        body.push('}');
        sent("application/json", body.into_bytes(), gzip)
    }
}

/// A body, compressed where the client takes that and it is worth it.
pub(super) fn sent(media_type: &'static str, body: Vec<u8>, gzip: bool) -> Response {
    if !gzip || body.len() < COMPRESSED_FROM {
        return typed(media_type, Body::from(body));
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    let compressed = encoder.write_all(&body).and_then(|()| encoder.finish());
    let compressed = compressed.expect("memory takes everything");
    let mut response = typed(media_type, Body::from(compressed));
    let encoding = HeaderValue::from_static("gzip");
    response
        .headers_mut()
        .insert(header::CONTENT_ENCODING, encoding);
    response
}

fn typed(media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    response
}
