//! The HTTP test against nginx, in every version, with and without TLS.

use std::time::Duration;

use pitcrew_model::{HeaderMatch, HttpTest, HttpVersion, TestKind, TlsOptions, Verdict};
use pitcrew_probe::Answer;
use tempfile::TempDir;

use crate::{
    certificates::Authority,
    liar::{Lie, lie},
    nginx::Nginx,
    support::{ask_port, check, free_port},
};

const PLACES: &str = r#"
    location / { return 200 "ok\n"; add_header X-Zone a; }
    location /down { return 503; }
    location /away { return 302 /; }
    location /round { return 301 /round; }
    location /echo { return 200 "$request_method $http_host $http_x_token|$http_authorization|"; }
"#;

pub(crate) fn http_test(path: &str) -> HttpTest {
    HttpTest {
        tls: false,
        port: None,
        method: "GET".to_owned(),
        path: path.to_owned(),
        headers: vec![],
        body: None,
        status: vec![200],
        body_matches: None,
        body_lacks: None,
        header_matches: vec![],
        redirects_max: 0,
        version: HttpVersion::Any,
        tls_options: TlsOptions::default(),
    }
}

async fn ask(port: u16, http: &HttpTest) -> Answer {
    ask_port(port, TestKind::Http(http.clone()), Duration::from_secs(5)).await
}

/// Everything that doesn't depend on the version; `http` says how to reach it.
async fn judged(port: u16, http: HttpTest) {
    check(&ask(port, &http).await, Verdict::Pass, "HTTP 200");
    let at = |path: &str| HttpTest {
        path: path.to_owned(),
        ..http.clone()
    };
    check(
        &ask(port, &at("/down")).await,
        Verdict::Fail,
        "HTTP 503, wanted 200",
    );
    let either = HttpTest {
        status: vec![200, 301, 302],
        ..at("/down")
    };
    check(
        &ask(port, &either).await,
        Verdict::Fail,
        "HTTP 503, wanted 200, 301 or 302",
    );
    let body = |matches: Option<&str>, lacks: Option<&str>| HttpTest {
        body_matches: matches.map(str::to_owned),
        body_lacks: lacks.map(str::to_owned),
        ..http.clone()
    };
    check(
        &ask(port, &body(Some("^ok$"), Some("no"))).await,
        Verdict::Fail,
        "body lacks /^ok$/: \"ok \"",
    );
    check(
        &ask(port, &body(Some("(?m)^ok$"), Some("no"))).await,
        Verdict::Pass,
        "HTTP 200",
    );
    check(
        &ask(port, &body(None, Some("k"))).await,
        Verdict::Fail,
        "HTTP 200, body has /k/: \"k \"",
    );
    let header = |name: &str, matches: &str| HttpTest {
        header_matches: vec![HeaderMatch {
            name: name.to_owned(),
            matches: matches.to_owned(),
        }],
        ..http.clone()
    };
    check(
        &ask(port, &header("x-zone", "^a$")).await,
        Verdict::Pass,
        "HTTP 200",
    );
    check(
        &ask(port, &header("X-Zone", "b")).await,
        Verdict::Fail,
        "HTTP 200, X-Zone lacks /b/: \"a\"",
    );
    check(
        &ask(port, &header("x-none", "")).await,
        Verdict::Fail,
        "HTTP 200, no header x-none",
    );
    let head = HttpTest {
        method: "HEAD".to_owned(),
        ..http.clone()
    };
    check(&ask(port, &head).await, Verdict::Pass, "HTTP 200");
    let redirects = |path: &str, redirects_max| HttpTest {
        redirects_max,
        ..at(path)
    };
    check(
        &ask(port, &redirects("/away", 0)).await,
        Verdict::Fail,
        "HTTP 302, wanted 200",
    );
    check(
        &ask(port, &redirects("/away", 1)).await,
        Verdict::Pass,
        "HTTP 200",
    );
    check(
        &ask(port, &redirects("/round", 3)).await,
        Verdict::Fail,
        "more than 3 redirects, the last to",
    );
    let posted = HttpTest {
        method: "POST".to_owned(),
        body: Some("hello".to_owned()),
        headers: vec![
            ("X-Token".to_owned(), "t".to_owned()),
            ("Host".to_owned(), "web.test".to_owned()),
        ],
        body_matches: Some(r"^POST web\.test t\|\|$".to_owned()),
        ..at("/echo")
    };
    check(&ask(port, &posted).await, Verdict::Pass, "HTTP 200");
    check(
        &ask(free_port(), &http).await,
        Verdict::Fail,
        "connection refused",
    );
}

#[tokio::test]
async fn http1_is_judged_by_status_headers_body_and_redirects() {
    let Some(nginx) = Nginx::start("", PLACES).await else {
        return;
    };
    judged(nginx.port, http_test("/")).await;
}

#[tokio::test]
async fn http2_in_clear_text_is_judged_the_same() {
    let Some(nginx) = Nginx::start("http2", PLACES).await else {
        return;
    };
    let mut http = http_test("/");
    http.version = HttpVersion::Http2;
    judged(nginx.port, http).await;
}

#[tokio::test]
async fn https_is_judged_the_same_in_every_version() {
    let directory = TempDir::new().unwrap();
    let authority = Authority::new(directory.path());
    let (chain, key) = authority.sign(&["127.0.0.1"], 90);
    let tls = format!(
        "ssl_certificate {}; ssl_certificate_key {}; {PLACES}",
        chain.display(),
        key.display()
    );
    let Some(both) = Nginx::start("ssl http2", &tls).await else {
        return;
    };
    let mut http = http_test("/");
    http.tls = true;
    http.tls_options.ca_file = Some(authority.ca_file());
    for version in [HttpVersion::Any, HttpVersion::Http1, HttpVersion::Http2] {
        http.version = version;
        judged(both.port, http.clone()).await;
    }
    http.tls_options.ca_file = None;
    check(
        &ask(both.port, &http).await,
        Verdict::Fail,
        "certificate is signed by an unknown issuer",
    );
    http.tls_options.insecure = true;
    check(&ask(both.port, &http).await, Verdict::Pass, "HTTP 200");

    let Some(old) = Nginx::start("ssl", &tls).await else {
        return;
    };
    http.version = HttpVersion::Http2;
    let answer = ask(old.port, &http).await;
    assert_eq!(answer.verdict, Verdict::Fail, "{answer:?}");
    http.version = HttpVersion::Any;
    check(&ask(old.port, &http).await, Verdict::Pass, "HTTP 200");
    http.tls = false;
    check(
        &ask(old.port, &http).await,
        Verdict::Fail,
        "HTTP 400, wanted 200",
    );
}

#[tokio::test]
async fn a_frozen_nginx_is_silent_and_well_again_when_it_thaws() {
    let Some(nginx) = Nginx::start("", PLACES).await else {
        return;
    };
    nginx.freeze();
    let kind = TestKind::Http(http_test("/"));
    let answer = ask_port(nginx.port, kind, Duration::from_millis(300)).await;
    check(
        &answer,
        Verdict::Fail,
        "no answer within 300ms (connected, then silence)",
    );
    nginx.thaw();
    check(
        &ask(nginx.port, &http_test("/")).await,
        Verdict::Pass,
        "HTTP 200",
    );
}

#[tokio::test]
async fn what_is_said_in_confidence_does_not_follow_a_redirect_elsewhere() {
    let Some(nginx) = Nginx::start("", PLACES).await else {
        return;
    };
    let to = format!(
        "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://127.0.0.1:{}/echo\r\n\r\n",
        nginx.port
    );
    let port = lie(Lie::Answers(to.leak())).await;
    let mut http = http_test("/");
    http.redirects_max = 1;
    http.headers = vec![
        ("Authorization".to_owned(), "secret".to_owned()),
        ("X-Token".to_owned(), "t".to_owned()),
    ];
    http.body_matches = Some(format!("^GET 127.0.0.1:{} t\\|\\|$", nginx.port));
    check(&ask(port, &http).await, Verdict::Pass, "HTTP 200");
}

#[tokio::test]
async fn a_request_that_would_break_its_line_is_not_sent() {
    let port = lie(Lie::Answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).await;
    let mut http = http_test("/");
    http.headers = vec![("X".to_owned(), "y\r\nZ: z".to_owned())];
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        http.version = version;
        check(
            &ask(port, &http).await,
            Verdict::Unknown,
            "the request can't",
        );
    }
}
