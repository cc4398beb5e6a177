//! A real HTTP server as inventory: sound, failing, slow, endless and lying.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use futures_util::stream;
use pitcrew_find::Asker;
use pitcrew_model::{Source, SourceKind};
use support::{Heard, ids, source};

mod support;

const GOOD: &str =
    r#"[{"targets":["10.0.0.1:80","10.0.0.2:80"],"labels":{"zone":"a","__meta_url":"x"}}]"#;

fn json(body: impl Into<Body>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json; charset=utf-8")],
        body.into(),
    )
        .into_response()
}

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn pages() -> Router {
    let endless = || {
        let spaces = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 20]));
        json(Body::from_stream(spaces))
    };
    let drip = || {
        let bytes = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Some((Ok::<_, std::io::Error>(vec![b' ']), ()))
        });
        json(Body::from_stream(bytes))
    };
    Router::new()
        .route("/good", get(|| async { json(GOOD) }))
        .route(
            "/headers",
            get(|headers: HeaderMap| async move {
                let wanted = headers["accept"] == "application/json"
                    && headers["x-prometheus-refresh-interval-seconds"] == "60";
                if wanted {
                    json(GOOD)
                } else {
                    StatusCode::BAD_REQUEST.into_response()
                }
            }),
        )
        .route(
            "/500",
            get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, json(GOOD)) }),
        )
        .route("/204", get(|| async { StatusCode::NO_CONTENT }))
        .route("/text", get(|| async { GOOD }))
        .route("/html", get(|| async { json("<html>log in first</html>") }))
        .route("/half", get(|| async { json(&GOOD[..40]) }))
        .route("/object", get(|| async { json(r#"{"data":[]}"#) }))
        .route("/bytes", get(|| async { json(vec![0xff_u8; 100]) }))
        .route(
            "/mixed",
            get(|| async { json(r#"[{"targets":["a:80"]},{"targets":["b b"]}]"#) }),
        )
        .route("/moved", get(|| async { Redirect::temporary("/good") }))
        .route("/around", get(|| async { Redirect::temporary("/around") }))
        .route("/endless", get(move || async move { endless() }))
        .route("/drip", get(move || async move { drip() }))
        .route(
            "/never",
            get(|| async { std::future::pending::<()>().await }),
        )
}

fn http(url: String) -> Source {
    source(
        "http-1",
        SourceKind::Http {
            url,
            refresh: Duration::from_secs(60),
        },
    )
}

async fn ask(path: &str) -> Result<pitcrew_find::Answer, String> {
    let address = serve(pages()).await;
    Asker::new(http(format!("http://{address}{path}")), "/".as_ref())
        .ask()
        .await
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_page_in_prometheus_format_gives_its_targets() {
    for path in ["/good", "/headers", "/moved"] {
        let answer = ask(path).await.unwrap();
        assert_eq!(
            ids(&answer.targets),
            ["10.0.0.1:80", "10.0.0.2:80"],
            "{path}"
        );
        assert_eq!(
            answer.targets[0].labels.to_string(),
            r#"{service="web", zone="a"}"#
        );
    }
}

#[tokio::test]
async fn a_bad_entry_is_left_out_and_named() {
    let answer = ask("/mixed").await.unwrap();
    assert_eq!(ids(&answer.targets), ["a:80"]);
    let problems = answer.problems.to_string();
    assert!(problems.contains("/mixed: entry 2: `b b`"), "{problems}");
}

#[tokio::test]
async fn what_is_no_such_page_is_an_error_that_says_why() {
    for (path, why) in [
        ("/500", "500 Internal Server Error"),
        ("/204", "204"),
        ("/absent", "404"),
        ("/text", "content type is `text/plain"),
        ("/html", "line 1 column 1"),
        ("/half", "EOF"),
        ("/object", "a list of `targets`"),
        ("/bytes", "UTF-8"),
        ("/around", "redirect"),
        ("/endless", "64 MiB"),
    ] {
        let error = ask(path).await.unwrap_err();
        assert!(
            error.contains(why) && error.contains(path),
            "{path}: {error}"
        );
    }
}

#[tokio::test]
async fn a_peer_that_drips_or_never_answers_is_given_up_at_the_deadline() {
    let (drip, never) = tokio::join!(ask("/drip"), ask("/never"));
    for answer in [drip, never] {
        assert!(answer.unwrap_err().contains("no whole answer within 10 s"));
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_speaks_no_http_is_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut asker = Asker::new(http(format!("http://{address}/")), "/".as_ref());
    let garbage = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            .await
            .unwrap();
    };
    let (error, ()) = tokio::join!(asker.ask(), garbage);
    assert!(error.is_err());
    drop(listener);
    let error = asker.ask().await.unwrap_err().to_string();
    assert!(error.contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn no_error_shows_a_password() {
    for url in [
        "http://robot:hunter2@127.0.0.1:1/x?token=hunter2",
        "http://robot:hunter2@[::1/",
        "https://robot:hunter2@127.0.0.1:1/",
    ] {
        let error = Asker::new(http(url.to_owned()), "/".as_ref())
            .ask()
            .await
            .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn plain_http_behind_an_https_address_is_refused() {
    let address = serve(pages()).await;
    let error = Asker::new(http(format!("https://{address}/good")), "/".as_ref())
        .ask()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.map(drop)
    };
    let mut asker = Asker::new(http(format!("https://{address}/good")), "/".as_ref());
    let (answer, handshake) = tokio::join!(asker.ask(), serving);
    let error = answer.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    assert!(handshake.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_inventory_keeps_its_targets_and_comes_back() {
    let page = Arc::new(Mutex::new((StatusCode::OK, GOOD.to_owned())));
    let serving = |State(page): State<Arc<Mutex<(StatusCode, String)>>>| async move {
        let (status, body) = page.lock().unwrap().clone();
        (status, json(body))
    };
    let router = Router::new()
        .route("/", get(serving))
        .with_state(Arc::clone(&page));
    let address = serve(router).await;
    let mut source = http(format!("http://{address}/"));
    source.kind = SourceKind::Http {
        url: format!("http://{address}/"),
        refresh: Duration::from_secs(1),
    };
    let (_finders, mut heard) = Heard::start(vec![source], "/".as_ref());
    heard.wait_for_ids(&["10.0.0.1:80", "10.0.0.2:80"]);
    for (status, body, trouble) in [
        (StatusCode::BAD_GATEWAY, GOOD, "502"),
        (StatusCode::OK, "[]", "no target"),
        (StatusCode::OK, "nonsense", "line 1"),
    ] {
        *page.lock().unwrap() = (status, body.to_owned());
        heard.wait(trouble, |heard| {
            heard.troubles.values().any(|text| text.contains(trouble))
        });
        assert_eq!(heard.targets.len(), 2);
    }
    *page.lock().unwrap() = (
        StatusCode::OK,
        r#"[{"targets":["10.0.0.3:80"]}]"#.to_owned(),
    );
    heard.wait_for_ids(&["10.0.0.3:80"]);
    heard.wait("fine", |heard| heard.troubles.is_empty());
}
