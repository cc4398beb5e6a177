//! The HTTP test: a fresh connection, one request, redirects where allowed, and the judgement.

mod http1;
pub(crate) mod http2;
mod judge;
mod location;
mod response;

use pitcrew_model::{HttpTest, HttpVersion, TlsOptions, is_credential};
use tokio_rustls::client::TlsStream;

pub(crate) use self::response::excerpt;
use self::{location::Location, response::Response};
use crate::{Answer, Question, connect, trust::Protocols};

const USER_AGENT: &str = concat!("pitcrew/", env!("CARGO_PKG_VERSION"));

pub(crate) async fn ask(question: &Question<'_>, test: &HttpTest) -> Answer {
    match last_response(question, test).await {
        Ok(response) => judge::judge(question.tools, test, &response),
        Err(answer) => answer,
    }
}

/// What is asked, of whom; changes on the way through redirects.
pub(super) struct Request<'a> {
    location: Location,
    method: &'a str,
    body: Option<&'a str>,
    headers: &'a [(String, String)],
    /// The first location's host: what `headers` says in confidence is for it alone.
    at_origin: bool,
}

impl Request<'_> {
    /// The test's headers that may be told to this host.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| self.at_origin || !is_confidential(name))
    }

    pub(super) fn has_header(&self, name: &str) -> bool {
        self.headers()
            .any(|(have, _)| have.eq_ignore_ascii_case(name))
    }

    /// Where the response sends us, when it is a redirect that says where.
    fn redirect<'r>(&self, response: &'r Response) -> Option<&'r [u8]> {
        if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        response.values("location").next()
    }

    /// As browsers do: 301, 302 and 303 ask again by GET without the body.
    fn follow(&mut self, response: &Response, reference: &[u8]) -> Result<(), Answer> {
        let next = self.location.redirected(reference).ok_or_else(|| {
            let to = excerpt(reference, 80);
            Answer::fail(format!("HTTP {}, redirect to \"{to}\"", response.status))
        })?;
        self.at_origin &= next.same_origin(&self.location);
        self.location = next;
        if !matches!(response.status, 307 | 308) && self.method != "HEAD" {
            (self.method, self.body) = ("GET", None);
        }
        Ok(())
    }
}

fn is_confidential(header: &str) -> bool {
    is_credential(header) || header.eq_ignore_ascii_case("host")
}

async fn last_response(question: &Question<'_>, test: &HttpTest) -> Result<Response, Answer> {
    let mut request = Request {
        location: Location {
            tls: test.tls,
            host: question.host()?.to_owned(),
            port: question
                .port(test.port)
                .unwrap_or_else(|_| location::usual_port(test.tls)),
            path: test.path.clone(),
        },
        method: &test.method,
        body: test.body.as_deref(),
        headers: &test.headers,
        at_origin: true,
    };
    let mut followed = 0;
    loop {
        let response = exchange(question, test, &request).await?;
        let Some(reference) = request.redirect(&response) else {
            return Ok(response);
        };
        if test.redirects_max == 0 {
            return Ok(response);
        }
        if followed == test.redirects_max {
            return Err(Answer::fail(format!(
                "more than {followed} redirects, the last to \"{}\"",
                excerpt(reference, 80)
            )));
        }
        followed += 1;
        request.follow(&response, reference)?;
    }
}

async fn exchange(
    question: &Question<'_>,
    test: &HttpTest,
    request: &Request<'_>,
) -> Result<Response, Answer> {
    let Location {
        tls, host, port, ..
    } = &request.location;
    let stream = connect::to_host(question, host, *port).await?;
    if *tls {
        return Box::pin(exchange_by_tls(question, test, request, stream)).await;
    }
    match test.version {
        HttpVersion::Any | HttpVersion::Http1 => http1::exchange(question, stream, request).await,
        HttpVersion::Http2 => Box::pin(http2::exchange(question, stream, request)).await,
    }
}

async fn exchange_by_tls(
    question: &Question<'_>,
    test: &HttpTest,
    request: &Request<'_>,
    stream: tokio::net::TcpStream,
) -> Result<Response, Answer> {
    let protocols = match test.version {
        HttpVersion::Any => Protocols::AnyHttp,
        HttpVersion::Http1 => Protocols::Http1,
        HttpVersion::Http2 => Protocols::Http2,
    };
    let mut options = TlsOptions::clone(&test.tls_options);
    if !request.at_origin {
        options.server_name = None;
    }
    let host = &request.location.host;
    let stream = connect::tls(question, stream, host, &options, protocols).await?;
    match (chosen(&stream), test.version) {
        (Some(b"h2"), _) => http2::exchange(question, stream, request).await,
        (_, HttpVersion::Http2) => Err(Answer::fail("the peer does not offer HTTP/2")),
        _ => http1::exchange(question, stream, request).await,
    }
}

fn chosen(stream: &TlsStream<tokio::net::TcpStream>) -> Option<&[u8]> {
    stream.get_ref().1.alpn_protocol()
}
