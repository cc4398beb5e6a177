//! OpenTelemetry's metrics over gRPC: one call without streams, so its framing is done by hand: a byte that says
//! whether the message is packed, its length, the message; the status comes in the trailers.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt as _, Full};
use prost::{Message as _, bytes::Bytes};

use super::{
    BODY_BYTES_MAX,
    body::unpacked,
    otlp::{Encoding, take},
};
use crate::http::{desk::Desk, problem::Problem, request::Raw};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// What can become of a call, as gRPC numbers it.
#[derive(Clone, Copy)]
enum Code {
    Ok = 0,
    InvalidArgument = 3,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

impl Code {
    fn value(self) -> HeaderValue {
        HeaderValue::from(self as u16)
    }
}

pub(crate) async fn export(State(desk): State<Desk>, raw: Raw<BODY_BYTES_MAX>) -> Response {
    if !raw
        .header(header::CONTENT_TYPE)
        .starts_with("application/grpc")
    {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Problem::new(status, "this path speaks gRPC; over HTTP: POST /v1/metrics")
            .into_response();
    }
    let telemetry = desk.telemetry.clone();
    let decoded = desk.decoding.run(move || {
        let encoding = raw.header("grpc-encoding");
        let message = message(&raw.bytes, &encoding)?;
        take(&telemetry, Encoding::Protobuf, &message, raw.peer.0)
    });
    match decoded.await {
        Ok(answer) => succeeded(&answer.encode_to_vec()),
        Err(problem) => failed(&problem),
    }
}

/// The one message of a call.
fn message(body: &[u8], encoding: &str) -> Result<Vec<u8>, Problem> {
    let broken = || Problem::bad_request("the body is not one message in gRPC's framing");
    let (head, message) = body.split_first_chunk().ok_or_else(broken)?;
    let [packed, length @ ..]: [u8; 5] = *head;
    if usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err(broken());
    }
    match packed {
        0 => unpacked(message, ""),
        1 => unpacked(message, encoding),
        _ => Err(broken()),
    }
}

fn succeeded(message: &[u8]) -> Response {
    let length = u32::try_from(message.len()).expect("an answer is a line of text at most");
    let mut framed = vec![0];
    framed.extend(length.to_be_bytes());
    framed.extend(message);
    let trailers = HeaderMap::from_iter([(STATUS, Code::Ok.value())]);
    let body = Full::new(Bytes::from(framed)).with_trailers(async { Some(Ok(trailers)) });
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], Body::new(body)).into_response()
}

fn failed(problem: &Problem) -> Response {
    let code = match problem.status() {
        StatusCode::BAD_REQUEST => Code::InvalidArgument,
        StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::Unimplemented,
        StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
        _ => Code::Unavailable,
    };
    let headers = [
        (header::CONTENT_TYPE, CONTENT_TYPE),
        (STATUS, code.value()),
        (MESSAGE, percent_encoded(problem.detail())),
    ];
    (headers, ()).into_response()
}

/// As gRPC writes messages: what is not printable ASCII, and the percent sign, by their bytes.
fn percent_encoded(text: &str) -> HeaderValue {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::try_from(encoded).expect("only printable characters are left")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_of_errors_are_written_as_grpc_wants_them() {
        assert_eq!(percent_encoded("50 %: ä\n"), "50 %25: %C3%A4%0A");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_framing_and_what_is_framed_is_read_back(bytes: Vec<u8>, encoding in "gzip|identity|br|") {
            message(&bytes, &encoding).ok();
            let mut framed = vec![0];
            framed.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
            framed.extend(&bytes);
            prop_assert_eq!(message(&framed, &encoding), Ok(bytes));
        }
    }
}
