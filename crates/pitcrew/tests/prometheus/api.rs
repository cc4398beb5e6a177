//! Parameters, answers and errors as Prometheus has them, and what Grafana's data source asks.

use std::io::{Read, Write};

use serde_json::json;

use crate::{
    history::{History, QUIET, ask, data, path, seconds},
    production::{Production, request},
};

#[test]
fn answers_and_errors_are_prometheus_own() {
    let (history, production) = History::served();
    let port = production.port;
    let at = seconds(history.end_ms());
    let instant = data(
        port,
        "/api/v1/query",
        &[("query", r#"temperature{room="attic"}"#), ("time", &at)],
    );
    let at_number: f64 = at.parse().unwrap();
    assert_eq!(
        instant,
        json!({ "resultType": "vector", "result": [
            { "metric": { "__name__": "temperature", "room": "attic" }, "value": [at_number, "29.75"] }
        ] })
    );
    assert_eq!(
        data(
            port,
            "/api/v1/query",
            &[("query", "1e300 * -1e300"), ("time", "1.5")]
        ),
        json!({ "resultType": "scalar", "result": [1.5, "-Inf"] })
    );
    let range = [
        ("query", "scalar(vector(2))"),
        ("start", "10"),
        ("end", "20"),
        ("step", "5s"),
    ];
    assert_eq!(
        data(port, "/api/v1/query_range", &range),
        json!({ "resultType": "matrix", "result": [{ "metric": {}, "values": [[10, "2"], [15, "2"], [20, "2"]] }] })
    );
    for (path, parameters, status, kind, says) in [
        (
            "query",
            &[("query", "sum(")][..],
            400,
            "bad_data",
            r#"invalid parameter "query": 1:5: parse error: "#,
        ),
        (
            "query",
            &[("query", "up"), ("time", "soon")],
            400,
            "bad_data",
            r#"cannot parse "soon" to a valid timestamp"#,
        ),
        (
            "query",
            &[("query", "up"), ("timeout", "long")],
            400,
            "bad_data",
            r#"invalid parameter "timeout""#,
        ),
        (
            "query",
            &[("query", "up"), ("limit", "-1")],
            400,
            "bad_data",
            "limit must be non-negative",
        ),
        (
            "query",
            &[
                ("query", "http_requests_total + on(job) http_requests_total"),
                ("time", &at),
            ],
            422,
            "execution",
            "many-to-many matching not allowed",
        ),
        (
            "query_range",
            &[("query", "up")],
            400,
            "bad_data",
            r#"invalid parameter "start""#,
        ),
        (
            "query_range",
            &[("query", "up"), ("start", "2"), ("end", "1"), ("step", "1")],
            400,
            "bad_data",
            "end timestamp must not be before start time",
        ),
        (
            "query_range",
            &[("query", "up"), ("start", "1"), ("end", "2"), ("step", "0")],
            400,
            "bad_data",
            "zero or negative query resolution step widths are not accepted",
        ),
        (
            "query_range",
            &[
                ("query", "up"),
                ("start", "0"),
                ("end", "11001"),
                ("step", "1"),
            ],
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries",
        ),
        (
            "query_range",
            &[
                ("query", "up[5m]"),
                ("start", "0"),
                ("end", "1"),
                ("step", "1"),
            ],
            400,
            "bad_data",
            "must be Scalar or instant Vector",
        ),
        (
            "series",
            &[],
            400,
            "bad_data",
            "no match[] parameter provided",
        ),
        (
            "series",
            &[("match[]", "{}")],
            400,
            "bad_data",
            r#"invalid parameter "match[]""#,
        ),
        (
            "labels",
            &[("match[]", "rate(up[5m])")],
            400,
            "bad_data",
            "expected a selector",
        ),
        (
            "query_exemplars",
            &[("query", "up(")],
            400,
            "bad_data",
            "parse error",
        ),
        (
            "export",
            &[("match[]", "up"), ("format", "xml")],
            400,
            "bad_data",
            "none of jsonl, prometheus, openmetrics",
        ),
    ] {
        let answer = ask(port, &format!("/api/v1/{path}"), parameters);
        assert_eq!(answer.status, status, "{parameters:?} {answer:?}");
        let json = answer.json();
        assert_eq!(
            (&json["status"], &json["errorType"]),
            (&json!("error"), &json!(kind)),
            "{parameters:?}"
        );
        let error = json["error"].as_str().unwrap();
        assert!(error.contains(says), "{parameters:?}: {error}");
    }
}

/// `POST` with a form for queries and series, `GET` for the rest, as its data source has it.
#[test]
fn grafana_finds_what_it_asks_for() {
    let (history, production) = History::served();
    let port = production.port;
    let form = |path_only: &str, parameters: &[(&str, &str)]| {
        let encoded = path("/", parameters);
        let body = encoded.trim_start_matches("/?");
        let kind = [(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        )];
        let answer = request(port, "POST", path_only, &kind, body).expect("an answer");
        assert_eq!(answer.status, 200, "{path_only} {answer:?}");
        answer.json()
    };
    let (start, end) = (seconds(history.start_ms), seconds(history.end_ms()));
    let range = [("start", start.as_str()), ("end", end.as_str())];
    let query = "sum by (code) (rate(http_requests_total[2m]))";
    let asked = [&[("query", query), ("step", "30")][..], &range].concat();
    let drawn = form("/api/v1/query_range", &asked);
    assert_eq!(
        drawn["data"]["result"].as_array().unwrap().len(),
        2,
        "{drawn}"
    );
    assert_eq!(drawn["infos"], json!(null));
    let noted = form(
        "/api/v1/query",
        &[("query", "rate(temperature[2m])"), ("time", &end)],
    );
    let info = noted["infos"][0].as_str().unwrap();
    assert!(
        info.starts_with("PromQL info: metric might not be a counter") && info.ends_with("(1:6)"),
        "{info}"
    );

    let selector = [("match[]", r#"http_requests_total{code="500"}"#)];
    let series = form("/api/v1/series", &[&selector[..], &range].concat());
    assert_eq!(
        series["data"][1],
        json!({ "__name__": "http_requests_total", "code": "500", "instance": "b", "job": "web" })
    );
    let names = form("/api/v1/labels", &[&selector[..], &range].concat());
    assert_eq!(
        names["data"],
        json!(["__name__", "code", "instance", "job"])
    );
    let values = data(
        port,
        "/api/v1/label/instance/values",
        &[&selector[..], &range].concat(),
    );
    assert_eq!(values, json!(["a", "b"]));
    let few = ask(
        port,
        "/api/v1/label/__name__/values",
        &[("match[]", r#"{job="web"}"#), ("limit", "2")],
    );
    assert_eq!(
        few.json(),
        json!({
            "status": "success",
            "data": ["http_requests_total", "latency_seconds_bucket"],
            "warnings": ["results truncated due to limit"],
        })
    );
    assert_eq!(
        data(port, "/api/v1/metadata", &[("metric", "http_requests")]),
        json!({ "http_requests": [{ "type": "counter", "help": "All of them.", "unit": "" }] })
    );
    assert_eq!(
        data(
            port,
            "/api/v1/query_exemplars",
            &[&[("query", query)][..], &range].concat()
        ),
        json!([])
    );
    let build = data(port, "/api/v1/status/buildinfo", &[]);
    assert!(
        build["version"].as_str().unwrap().starts_with("3."),
        "{build}"
    );
    assert_eq!(data(port, "/api/v1/rules", &[]), json!({ "groups": [] }));
    for (path, says) in [("/-/healthy", "Healthy"), ("/-/ready", "Ready")] {
        let answer = ask(port, path, &[]);
        assert!(
            answer.status == 200 && answer.body.contains(says),
            "{answer:?}"
        );
    }
    assert_eq!(data(port, "/api/v1/targets/metadata", &[]), json!([]));
    assert_eq!(
        data(port, "/api/v1/scrape_pools", &[]),
        json!({ "scrapePools": [] })
    );
    assert_eq!(data(port, "/api/v1/alerts", &[]), json!({ "alerts": [] }));
    assert_eq!(
        data(port, "/api/v1/status/flags", &[])["query.timeout"],
        "2m"
    );
    let tsdb = data(port, "/api/v1/status/tsdb", &[]);
    assert!(
        tsdb["headStats"]["numSeries"].as_u64() >= Some(13),
        "{tsdb}"
    );
    assert_eq!(
        data(port, "/api/v1/format_query", &[("query", "sum(up)by(job)")]),
        json!("sum by (job) (up)")
    );
    let statistics = data(
        port,
        "/api/v1/query",
        &[("query", query), ("time", &end), ("stats", "all")],
    );
    assert_eq!(
        statistics["stats"]["samples"]["totalQueryableSamples"], 32,
        "{statistics}"
    );
}

#[test]
fn names_of_any_letters_and_exemplars_are_asked_for() {
    let production = Production::served(QUIET);
    let port = production.port;
    let text = "# TYPE hits counter\n\
                hits_total{\"http.path\"=\"/α\"} 5 # {trace_id=\"abc\"} 0.25\n\
                # EOF\n";
    let kind = [(
        "content-type",
        "application/openmetrics-text; version=1.0.0",
    )];
    let stored = request(port, "POST", "/api/v1/import", &kind, text).unwrap();
    assert_eq!(stored.json()["data"]["exemplars"], 1, "{stored:?}");
    for name in ["http.path", "U__http_2e_path"] {
        assert_eq!(
            data(port, &format!("/api/v1/label/{name}/values"), &[]),
            json!(["/α"])
        );
    }
    let exemplars = data(
        port,
        "/api/v1/query_exemplars",
        &[("query", "rate(hits_total[5m]) > 0")],
    );
    assert_eq!(
        exemplars[0]["seriesLabels"]["http.path"], "/α",
        "{exemplars}"
    );
    assert_eq!(
        exemplars[0]["exemplars"][0]["labels"],
        json!({ "trace_id": "abc" })
    );
    assert_eq!(exemplars[0]["exemplars"][0]["value"], "0.25");
    let text = ask(port, "/federate", &[("match[]", "hits_total")]).body;
    assert!(
        text.contains("hits_total{http_path=\"/α\",instance=\"\"} 5 "),
        "{text}"
    );
}

#[test]
fn answers_are_compressed_for_those_who_take_it() {
    let (history, production) = History::served();
    let asked = path(
        "/api/v1/query",
        &[
            ("query", "http_requests_total[30m]"),
            ("time", &seconds(history.end_ms())),
        ],
    );
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", production.port)).unwrap();
    let head = format!(
        "GET {asked} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\naccept-encoding: gzip\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&answer[end + 4..])
        .read_to_string(&mut text)
        .unwrap();
    let plain = request(production.port, "GET", &asked, &[], "").unwrap();
    assert_eq!(text, plain.body);
}

#[test]
fn remote_reads_that_are_none_are_refused() {
    let production = Production::served(QUIET);
    let read = |body: &str| request(production.port, "POST", "/api/v1/read", &[], body).unwrap();
    // Snappy: a length, then a piece of so many bytes as they are.
    for (body, says) in [
        ("", "not snappy"),
        ("no snappy at all", "not snappy"),
        // Four gigabytes are claimed, and nothing is there.
        ("\u{7f}\u{7f}", "not snappy"),
        // A matcher that is no regular expression, and one of an unknown kind.
        (
            "\u{0b}\u{28}\n\u{09}\u{1a}\u{07}\u{08}\u{02}\u{12}\u{00}\u{1a}\u{01}(",
            "invalid regular expression",
        ),
        (
            "\u{06}\u{14}\n\u{04}\u{1a}\u{02}\u{08}\u{09}",
            "unknown type 9",
        ),
    ] {
        let answer = read(body);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains(says), "{answer:?}");
    }
}
