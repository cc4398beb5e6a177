//! The gRPC test: `grpc.health.v1.Health/Check` (github.com/grpc/grpc, doc/health-checking.md).
//!
//! The question is one string field and the answer one number, so their protobuf is written out here.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use pitcrew_model::GrpcTest;

use crate::{
    Answer, Question, connect,
    http::{http2, http2::Exchanged},
    trust::Protocols,
};

pub(crate) async fn ask(question: &Question<'_>, test: &GrpcTest) -> Answer {
    match check(question, test).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn check(question: &Question<'_>, test: &GrpcTest) -> Result<Answer, Answer> {
    let (host, port) = (question.host()?, question.port(test.port)?);
    let request = request(test, host, port)
        .map_err(|why| Answer::unknown(format!("the request can't be sent: {why}")))?;
    let body = framed(&health_check_request(&test.service));
    let stream = connect::to_host(question, host, port).await?;
    let exchanged = if test.tls {
        let options = &test.tls_options;
        let stream = connect::tls(question, stream, host, options, Protocols::Http2).await?;
        http2::send(question, stream, request, body).await?
    } else {
        http2::send(question, stream, request, body).await?
    };
    Ok(judge(test, &exchanged))
}

fn request(test: &GrpcTest, host: &str, port: u16) -> Result<http::Request<()>, http::Error> {
    let authority = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let uri = Uri::builder()
        .scheme(if test.tls { "https" } else { "http" })
        .authority(authority)
        .path_and_query("/grpc.health.v1.Health/Check")
        .build()?;
    let mut request = http::Request::builder()
        .version(Version::HTTP_2)
        .method(Method::POST)
        .uri(uri)
        .body(())?;
    let headers = request.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    Ok(request)
}

/// `message HealthCheckRequest { string service = 1; }`
fn health_check_request(service: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(service.len() + 4);
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        let mut length = service.len();
        while length > 0x7f {
            message.push(0x80 | u8::try_from(length & 0x7f).unwrap_or_default());
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or_default());
        message.extend_from_slice(service.as_bytes());
    }
    message
}

/// Not compressed, then the length, then the message.
fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(message);
    frame.freeze()
}

fn judge(test: &GrpcTest, exchanged: &Exchanged) -> Answer {
    if exchanged.status != 200 {
        return Answer::fail(format!("HTTP {}, no gRPC", exchanged.status));
    }
    // An answer without a message has its status among the headers.
    let status = exchanged
        .trailers
        .as_ref()
        .and_then(grpc_status)
        .or_else(|| grpc_status(&exchanged.headers));
    match status {
        Some((0, _)) => {}
        Some((5, _)) => {
            return Answer::fail(format!("no service \"{}\" (grpc-status 5)", test.service));
        }
        Some((12, _)) => return Answer::fail("no health service here (grpc-status 12)"),
        Some((code, message)) => return Answer::fail(format!("grpc-status {code}: {message}")),
        None => return Answer::fail("an answer without grpc-status"),
    }
    match serving_status(&exchanged.body) {
        Some(1) => Answer::pass("SERVING"),
        Some(0) => Answer::fail("UNKNOWN, wanted SERVING"),
        Some(2) => Answer::fail("NOT_SERVING"),
        Some(3) => Answer::fail("SERVICE_UNKNOWN"),
        Some(other) => Answer::fail(format!("status {other}, wanted SERVING")),
        None => Answer::fail("what came back is no health answer"),
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<(u32, &str)> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers
        .get("grpc-message")
        .and_then(|message| message.to_str().ok());
    Some((code, message.unwrap_or("no message")))
}

/// `message HealthCheckResponse { ServingStatus status = 1; }` in its frame; unknown fields are skipped.
fn serving_status(frame: &[u8]) -> Option<u64> {
    let (prefix, message) = frame.split_at_checked(5)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
    let mut rest = message.get(..usize::try_from(length).ok()?)?;
    if prefix[0] != 0 {
        return None;
    }
    // An absent field has the value 0.
    let mut status = 0;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => {
                let value = varint(&mut rest)?;
                if key >> 3 == 1 {
                    status = value;
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_service_name_has_a_long_length() {
        let message = health_check_request(&"x".repeat(300));
        assert_eq!(message[..3], [0x0a, 0xac, 0x02]);
        assert_eq!(message.len(), 303);
    }

    #[test]
    fn the_status_is_found_among_unknown_fields() {
        let message = [0x12, 0x01, b'x', 0x08, 0x01, 0x1d, 0, 0, 0, 0];
        assert_eq!(serving_status(&framed(&message)), Some(1));
        assert_eq!(serving_status(&framed(&[])), Some(0));
        assert_eq!(serving_status(&framed(&[0x08])), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            serving_status(&bytes);
            serving_status(&framed(&bytes));
        }
    }
}
