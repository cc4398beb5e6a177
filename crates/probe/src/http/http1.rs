//! One HTTP/1.1 exchange on a connection of its own, written and read by hand: no task, no timer, two
//! system calls in the usual case.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    Request,
    response::{Need, Reader, Response},
};
use crate::{Answer, Question};

pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    question: &Question<'_>,
    mut stream: S,
    request: &Request<'_>,
) -> Result<Response, Answer> {
    let bytes = written(request)?;
    let sent = stream.write_all(&bytes).await;
    let mut reader = Reader::new(request.method);
    loop {
        let read = stream.read_buf(reader.buffer()).await;
        match read {
            // A peer may answer and close before it has read the request; its answer counts.
            Ok(0) => {
                return reader.closed().map_err(|why| {
                    sent.as_ref()
                        .err()
                        .map_or_else(|| Answer::fail(why.to_string()), Answer::from_io)
                });
            }
            Ok(_) => {}
            Err(error) => return Err(Answer::from_io(&error)),
        }
        question
            .progress
            .reached("it began to answer and did not end");
        match reader.received() {
            Ok(Need::Nothing) => return Ok(reader.finish()),
            Ok(Need::More) => {}
            Err(why) => return Err(Answer::fail(why.to_string())),
        }
    }
}

/// The request as it goes over the wire. What would break out of its line is the configuration's fault.
fn written(request: &Request<'_>) -> Result<Vec<u8>, Answer> {
    let location = &request.location;
    let mut bytes = Vec::with_capacity(256 + request.body.map_or(0, str::len));
    let mut line = |parts: &[&str]| {
        for part in parts {
            if part.bytes().any(|byte| b"\r\n\0".contains(&byte)) {
                return Err(Answer::unknown(format!(
                    "the request can't hold a line break: {part:?}"
                )));
            }
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        Ok(())
    };
    line(&[request.method, " ", &location.path, " HTTP/1.1"])?;
    if !request.has_header("host") {
        line(&["Host: ", &location.authority()])?;
    }
    if !request.has_header("user-agent") {
        line(&["User-Agent: ", super::USER_AGENT])?;
    }
    if !request.has_header("accept") {
        line(&["Accept: */*"])?;
    }
    line(&["Connection: close"])?;
    for (name, value) in request.headers() {
        line(&[name, ": ", value])?;
    }
    if let Some(body) = request.body
        && !request.has_header("content-length")
    {
        line(&["Content-Length: ", &body.len().to_string()])?;
    }
    line(&[])?;
    bytes.extend_from_slice(request.body.unwrap_or_default().as_bytes());
    Ok(bytes)
}
