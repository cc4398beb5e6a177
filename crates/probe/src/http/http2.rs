//! One HTTP/2 exchange on a connection of its own. The connection is driven by the test itself, so it
//! ends with the test; nothing is spawned.

use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, select};
use h2::client;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use pitcrew_model::HttpTest;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Request,
    response::{HEAD_BYTES_MAX, Response},
};
use crate::{Answer, Question};

/// What came back: the body is cut at [`HttpTest::BODY_BYTES_MAX`].
pub(crate) struct Exchanged {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    question: &Question<'_>,
    stream: S,
    request: &Request<'_>,
) -> Result<Response, Answer> {
    let body = Bytes::copy_from_slice(request.body.unwrap_or_default().as_bytes());
    let exchanged = send(question, stream, written(request)?, body).await?;
    let mut head = Vec::new();
    for (name, value) in &exchanged.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.push(b'\n');
    }
    Ok(Response::new(exchanged.status, head, &exchanged.body))
}

/// Sends one request and reads its whole answer.
pub(crate) async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    question: &Question<'_>,
    stream: S,
    request: http::Request<()>,
    body: Bytes,
) -> Result<Exchanged, Answer> {
    let (sender, connection) = client::Builder::new()
        .enable_push(false)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .handshake(stream)
        .await
        .map_err(|error| answer_of(&error))?;
    let exchange = pin!(exchange_on(question, sender, request, body));
    let exchanged = match select(exchange, pin!(connection)).await {
        Either::Left((exchanged, _connection)) => exchanged,
        Either::Right((Ok(()), exchange)) => exchange.await,
        Either::Right((Err(error), _exchange)) => Err(error),
    };
    exchanged.map_err(|error| answer_of(&error))
}

async fn exchange_on(
    question: &Question<'_>,
    sender: client::SendRequest<Bytes>,
    request: http::Request<()>,
    body: Bytes,
) -> Result<Exchanged, h2::Error> {
    let mut sender = sender.ready().await?;
    let (response, mut sending) = sender.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        sending.send_data(body, true)?;
    }
    let (head, mut incoming) = response.await?.into_parts();
    question
        .progress
        .reached("it began to answer and did not end");
    let mut body = Vec::new();
    while let Some(piece) = incoming.data().await {
        let piece = piece?;
        let room = HttpTest::BODY_BYTES_MAX - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if body.len() == HttpTest::BODY_BYTES_MAX {
            break;
        }
        incoming.flow_control().release_capacity(piece.len())?;
    }
    let trailers = match body.len() {
        HttpTest::BODY_BYTES_MAX => None,
        _ => incoming.trailers().await?,
    };
    Ok(Exchanged {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
        trailers,
    })
}

fn answer_of(error: &h2::Error) -> Answer {
    match error.get_io() {
        Some(io) => Answer::from_io(io),
        None => Answer::fail(format!("HTTP/2: {error}")),
    }
}

fn written(request: &Request<'_>) -> Result<http::Request<()>, Answer> {
    build(request).map_err(|why| Answer::unknown(format!("the request can't be sent: {why}")))
}

fn build(request: &Request<'_>) -> Result<http::Request<()>, http::Error> {
    let location = &request.location;
    let host = request
        .headers()
        .find(|(name, _)| name.eq_ignore_ascii_case("host"))
        .map_or_else(|| location.authority(), |(_, value)| value.to_owned());
    let uri = Uri::builder()
        .scheme(if location.tls { "https" } else { "http" })
        .authority(host)
        .path_and_query(location.path.as_str())
        .build()?;
    let mut built = http::Request::builder()
        .version(Version::HTTP_2)
        .method(Method::from_bytes(request.method.as_bytes())?)
        .uri(uri)
        .body(())?;
    let headers = built.headers_mut();
    headers.insert("user-agent", HeaderValue::from_static(super::USER_AGENT));
    headers.insert("accept", HeaderValue::from_static("*/*"));
    if let Some(body) = request.body {
        headers.insert("content-length", HeaderValue::from(body.len()));
    }
    for (name, value) in request.headers() {
        let name = HeaderName::from_bytes(name.as_bytes())?;
        if name != "host" && name != "connection" {
            headers.insert(name, HeaderValue::from_str(value)?);
        }
    }
    Ok(built)
}
