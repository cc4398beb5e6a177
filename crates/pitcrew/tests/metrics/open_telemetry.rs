//! OpenTelemetry's metrics over HTTP, in JSON and in protobuf, and over gRPC.

use std::io::Write as _;

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    message::{Message, block_on, post},
    production::Production,
    stored::{Stored, now_ms},
};

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn as_json(name: &str, temporality: u8) -> Vec<u8> {
    let now = (now_ms() * 1_000_000).to_string();
    let point = json!({ "timeUnixNano": now, "asDouble": 3.5, "attributes": [{ "key": "http.route", "value": { "stringValue": "/a" } }] });
    let sum = json!({ "aggregationTemporality": temporality, "isMonotonic": true, "dataPoints": [point] });
    let attribute = json!({ "key": "service.name", "value": { "stringValue": "shop" } });
    json!({ "resourceMetrics": [{
        "resource": { "attributes": [attribute] },
        "scopeMetrics": [{ "metrics": [{ "name": name, "unit": "s", "sum": sum }] }],
    }] })
    .to_string()
    .into_bytes()
}

/// A gauge of one point, as protobuf.
fn as_protobuf(name: &str) -> Vec<u8> {
    let nanos = u64::try_from(now_ms()).unwrap() * 1_000_000;
    let mut point = Message::default();
    point.0.push(3 << 3 | 1);
    point.0.extend(nanos.to_le_bytes());
    let point = point.double(4, 2.5);
    let gauge = Message::default().bytes(1, &point.0);
    let metric = Message::default()
        .bytes(1, name.as_bytes())
        .bytes(5, &gauge.0);
    let scope = Message::default().bytes(2, &metric.0);
    let resource = Message::default().bytes(2, &scope.0);
    Message::default().bytes(1, &resource.0).0
}

/// Status of the call and its message, whole.
async fn call(port: u16, head: u8, encoding: &str, message: Vec<u8>) -> (String, Vec<u8>) {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let mut framed = vec![head];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    let path = "opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    let request = Request::post(format!("http://127.0.0.1:{port}/{path}"))
        .header("content-type", "application/grpc")
        .header("grpc-encoding", encoding)
        .header("te", "trailers")
        .body(Full::new(Bytes::from(framed)))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let early = answer.headers().get("grpc-status").cloned();
    let body = answer.into_body().collect().await.unwrap();
    let status = early.or_else(|| body.trailers()?.get("grpc-status").cloned());
    connection.abort();
    let status = status.unwrap().to_str().unwrap().to_owned();
    (status, body.to_bytes().to_vec())
}

#[test]
fn metrics_come_in_json_in_protobuf_packed_and_over_grpc_on_the_same_port() {
    let mut production = Production::served("services: []\n");
    let json_headers = [("content-type", "application/json")];
    let answer = post(&production, "/v1/metrics", &json_headers, as_json("a", 2));
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "{\"partialSuccess\":null}")
    );
    let headers = [json_headers[0], ("content-encoding", "gzip")];
    let packed = gzip(&as_json("b", 2));
    let prometheus = "/api/v1/otlp/v1/metrics";
    assert_eq!(post(&production, prometheus, &headers, packed).status, 200);
    let protobuf = [("content-type", "application/x-protobuf")];
    let answer = post(&production, "/v1/metrics", &protobuf, as_protobuf("c"));
    assert_eq!((answer.status, answer.body.len()), (200, 0));

    // Differences would have to be added up: the answer says so, and nobody sends them again.
    let answer = post(&production, "/v1/metrics", &json_headers, as_json("d", 1));
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("cumulative"), "{}", answer.text());
    let answer = post(&production, "/v1/metrics", &json_headers, b"{".to_vec());
    assert_eq!(answer.status, 400, "{}", answer.text());

    let (plain, packed, broken) = block_on(async {
        let port = production.port;
        (
            call(port, 0, "identity", as_protobuf("e")).await,
            call(port, 1, "gzip", gzip(&as_protobuf("f"))).await,
            call(port, 0, "identity", vec![0xff; 8]).await,
        )
    });
    assert_eq!(plain, ("0".to_owned(), vec![0; 5]));
    assert_eq!(packed.0, "0");
    assert_eq!(broken.0, "3", "INVALID_ARGUMENT");

    assert_eq!(production.stop(), Some(0));
    let stored = Stored::of(&production);
    for name in ["a_seconds_total", "b_seconds_total"] {
        let labels = format!("{{__name__=\"{name}\", http_route=\"/a\", job=\"shop\"}}");
        assert_eq!(stored.values(name), [(labels, 3.5)]);
    }
    for name in ["c", "e", "f"] {
        assert_eq!(stored.value(name), 2.5, "{name}");
    }
    assert_eq!(stored.values("d_seconds_total"), []);
}
