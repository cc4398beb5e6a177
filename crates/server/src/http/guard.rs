//! Who may ask at all: the token, the `Host` a browser was lured to, and how long a request may take.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::{problem::Problem, request::ReadingBody};

/// Answered or refused within this time; streams and tests have deadlines of their own.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Guard {
    listen: SocketAddr,
    /// Of the token: comparing digests takes the same time whatever the guess.
    token_digest: Option<[u8; 32]>,
}

impl Guard {
    pub(crate) fn new(listen: SocketAddr, token: Option<&str>) -> Self {
        Self {
            listen,
            token_digest: token.map(|token| Sha256::digest(token.as_bytes()).into()),
        }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match &self.token_digest {
            Some(digest) => check_token(headers, digest),
            // A page from elsewhere can reach a loopback port through the user's browser; it can't choose
            // the headers that give it away.
            None => self
                .check_host(headers)
                .and_then(|()| check_origin(headers)),
        }
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(host) = headers.get(header::HOST) else {
            return Ok(());
        };
        let host = host.to_str().unwrap_or("");
        if is_loopback_name(host_without_port(host), self.listen.ip()) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!(
                "this server answers to its loopback address only, not to the host `{}`; \
                 to reach it by name, set `server.token_file`",
                host.chars().take(80).collect::<String>()
            ),
        ))
    }
}

fn host_without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_loopback_name(host: &str, listen: IpAddr) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback() || ip == listen)
}

fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let foreign = |what: &str| {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("the request comes from a page of another site ({what})"),
        ))
    };
    if let Some(site) = headers.get("sec-fetch-site")
        && site == "cross-site"
    {
        return foreign("sec-fetch-site");
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or("");
    let name = origin.split_once("://").map_or(origin, |(_, name)| name);
    let here = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if here == Some(name) {
        Ok(())
    } else {
        foreign("origin")
    }
}

fn check_token(headers: &HeaderMap, wanted: &[u8; 32]) -> Result<(), Problem> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' '));
    let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = given else {
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "send the server's token: `Authorization: Bearer …`; \
             on the command line: `--token-file FILE`",
        ));
    };
    let digest = Sha256::digest(token.trim().as_bytes());
    let differing = digest
        .iter()
        .zip(wanted)
        .fold(0, |sum, (a, b)| sum | (a ^ b));
    if differing == 0 {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNAUTHORIZED,
        "the token is not this server's",
    ))
}

pub(crate) async fn admit(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    match guard.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Ends what takes too long: as the client's fault while its body is still coming, as ours afterwards.
pub(crate) async fn deadline(mut request: Request, next: Next) -> Response {
    let reading = ReadingBody::default();
    request.extensions_mut().insert(reading.clone());
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) if reading.0.load(Ordering::Relaxed) => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body was not complete within 10 s",
        )
        .into_response(),
        Err(_elapsed) => Problem::unavailable("no answer within 10 s; try again").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn loopback(token: Option<&str>) -> Guard {
        Guard::new(SocketAddr::from(([127, 0, 0, 1], 7400)), token)
    }

    #[test]
    fn without_a_token_only_loopback_names_are_answered() {
        for host in [
            "127.0.0.1:7400",
            "localhost:7400",
            "localhost",
            "[::1]:7400",
            "127.8.8.8",
        ] {
            assert_eq!(
                loopback(None).check(&headers(&[("host", host)])),
                Ok(()),
                "{host}"
            );
        }
        for host in [
            "rebound.example:7400",
            "10.0.0.1:7400",
            "localhost.example",
            "",
        ] {
            assert!(
                loopback(None).check(&headers(&[("host", host)])).is_err(),
                "{host}"
            );
        }
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let host = ("host", "127.0.0.1:7400");
        for (name, value) in [
            ("origin", "https://elsewhere.example"),
            ("sec-fetch-site", "cross-site"),
            ("origin", "null"),
        ] {
            assert!(
                loopback(None)
                    .check(&headers(&[host, (name, value)]))
                    .is_err(),
                "{name}"
            );
        }
        let own = headers(&[
            host,
            ("origin", "http://127.0.0.1:7400"),
            ("sec-fetch-site", "same-origin"),
        ]);
        assert_eq!(loopback(None).check(&own), Ok(()));
    }

    #[test]
    fn a_token_must_be_the_servers_own() {
        let guard = loopback(Some("correct horse"));
        let with = |value: &str| guard.check(&headers(&[("authorization", value)]));
        assert_eq!(with("Bearer correct horse"), Ok(()));
        assert_eq!(with("bearer correct horse"), Ok(()));
        for wrong in [
            "Bearer correct hors",
            "Bearer ",
            "Basic correct horse",
            "correct horse",
        ] {
            assert!(with(wrong).is_err(), "{wrong}");
        }
        assert!(guard.check(&HeaderMap::new()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics_the_guard(host in ".{0,40}", authorization in ".{0,40}") {
            let mut headers = HeaderMap::new();
            for (name, text) in [("host", host), ("origin", authorization.clone()), ("authorization", authorization)] {
                if let Ok(value) = axum::http::HeaderValue::from_bytes(text.as_bytes()) {
                    headers.insert(name, value);
                }
            }
            loopback(None).check(&headers).ok();
            loopback(Some("correct horse")).check(&headers).ok();
        }
    }
}
