//! The gRPC health test against a small server of `grpc.health.v1` over HTTP/2.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use h2::server;
use http::{HeaderMap, HeaderValue, Response};
use pitcrew_model::{GrpcTest, TestKind, TlsOptions, Verdict};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    certificates::Authority,
    nginx::Nginx,
    support::{ask_port, check},
};

fn grpc(service: &str, options: Option<TlsOptions>) -> TestKind {
    TestKind::Grpc(GrpcTest {
        port: None,
        service: service.to_owned(),
        tls: options.is_some(),
        tls_options: options.unwrap_or_default(),
    })
}

/// Answers health checks: the service's own name is its status.
async fn serve(tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            match &tls {
                None => drop(tokio::spawn(converse(stream))),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        tokio::spawn(converse(stream));
                    }
                }
            }
        }
    });
    port
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    let Ok(mut connection) = server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            assert_eq!(request.headers()["content-type"], "application/grpc");
            let mut incoming = request.into_body();
            let mut body = Vec::new();
            while let Some(Ok(piece)) = incoming.data().await {
                body.extend_from_slice(&piece);
            }
            let service = String::from_utf8_lossy(body.get(7..).unwrap_or_default()).into_owned();
            let status = match service.as_str() {
                "" | "serving" => 1,
                "not-serving" => 2,
                "no-trailers" => 9,
                _ => 0,
            };
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            if status == 0 {
                trailers.insert("grpc-status", HeaderValue::from_static("5"));
                let response = Response::new(());
                let (mut parts, ()) = response.into_parts();
                parts.headers = trailers;
                respond
                    .send_response(Response::from_parts(parts, ()), true)
                    .unwrap();
                return;
            }
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            let frame = Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 0x08, status]);
            sending.send_data(frame, status == 9).unwrap();
            if status != 9 {
                sending.send_trailers(trailers).unwrap();
            }
        });
    }
}

#[tokio::test]
async fn the_servers_word_is_the_evidence() {
    let port = serve(None).await;
    for (service, verdict, words) in [
        ("", Verdict::Pass, "SERVING"),
        ("serving", Verdict::Pass, "SERVING"),
        ("not-serving", Verdict::Fail, "NOT_SERVING"),
        (
            "nobody",
            Verdict::Fail,
            "no service \"nobody\" (grpc-status 5)",
        ),
        (
            "no-trailers",
            Verdict::Fail,
            "an answer without grpc-status",
        ),
    ] {
        let answer = ask_port(port, grpc(service, None), Duration::from_secs(5)).await;
        check(&answer, verdict, words);
    }
}

#[tokio::test]
async fn it_is_asked_over_tls_as_well() {
    let directory = TempDir::new().unwrap();
    let authority = Authority::new(directory.path());
    let (chain, key) = authority.sign(&["127.0.0.1"], 90);
    let chain = CertificateDer::pem_file_iter(chain).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            chain.map(Result::unwrap).collect(),
            PrivateKeyDer::from_pem_file(key).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let port = serve(Some(TlsAcceptor::from(Arc::new(config)))).await;
    let options = TlsOptions {
        ca_file: Some(authority.ca_file()),
        ..TlsOptions::default()
    };
    let answer = ask_port(port, grpc("", Some(options)), Duration::from_secs(5)).await;
    check(&answer, Verdict::Pass, "SERVING");
    let answer = ask_port(
        port,
        grpc("", Some(TlsOptions::default())),
        Duration::from_secs(5),
    )
    .await;
    check(
        &answer,
        Verdict::Fail,
        "certificate is signed by an unknown issuer",
    );
}

#[tokio::test]
async fn a_web_server_is_no_grpc_server() {
    let Some(nginx) = Nginx::start("http2", "location / { return 404; }").await else {
        return;
    };
    let answer = ask_port(nginx.port, grpc("", None), Duration::from_secs(5)).await;
    check(&answer, Verdict::Fail, "HTTP 404, no gRPC");
}
