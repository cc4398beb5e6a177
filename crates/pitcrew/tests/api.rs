//! The HTTP API against the real binary: every route, every kind of error, limits, tokens, streams.

mod production;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use production::{Answer, Production, free_port, wait_for};
use serde_json::{Value, json};

/// One service that fails (nobody listens), one push test, observed only.
fn production() -> Production {
    Production::served(&format!(
        "
services:
  - name: web
    select: {{ service: web }}
    autonomy: observe
    tests:
      - {{ name: answers, tcp: {{}}, interval: 200ms, timeout: 100ms }}
      - {{ name: Backup, push: {{}}, interval: 1h }}
find:
  - static:
      - targets: ['127.0.0.1:{}']
        labels: {{ service: web, zone: a }}
",
        free_port()
    ))
}

fn target_of(production: &Production) -> String {
    production.wait_until("a target", "/api/v1/targets", |page| {
        page["items"][0]["target"]["id"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| page.to_string())
    })
}

#[track_caller]
fn is_problem(answer: &Answer, status: u16, says: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{answer:?}"
    );
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["type"], "about:blank");
    assert!(problem["title"].is_string());
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains(says), "`{says}` is not in: {detail}");
}

#[test]
fn every_route_answers_as_the_document_says() {
    let production = production();
    let target = target_of(&production);
    production.wait_until("a case", "/api/v1/cases", |page| {
        (!page["items"].as_array().is_none_or(Vec::is_empty))
            .then_some(())
            .ok_or_else(|| page.to_string())
    });
    let document = production
        .get("/api/v1/openapi.json")
        .expect("the document");
    assert_eq!(document["openapi"], "3.1.0");
    let mut seen = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            seen.insert(format!("{method} {path}"));
            if path == "/api/v1/events" || method != "get" {
                continue;
            }
            let id = match path.as_str() {
                "/api/v1/cases/{id}" => "case-1",
                "/api/v1/orders/{id}" => continue,
                _ => &target,
            };
            let errors = &operation["responses"]["default"];
            let is_prometheus = errors["$ref"] == "#/components/responses/PrometheusError";
            let asked = match is_prometheus {
                true => "?query=1&match[]=up&start=1&end=2&step=1",
                false => "",
            };
            let asked = path.replace("{id}", id).replace("{name}", "job") + asked;
            let answer = production
                .request("GET", &asked, &[], "")
                .expect("an answer");
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            if !schema.is_null() {
                let mut wrong = Vec::new();
                validate(&document, schema, &answer.json(), path, &mut wrong);
                assert!(
                    wrong.is_empty(),
                    "{path} is not as documented:\n{}\n{}",
                    wrong.join("\n"),
                    answer.body
                );
            }
        }
    }
    for route in [
        "get /api/v1/report",
        "post /api/v1/pause",
        "delete /api/v1/holds/{id}",
        "get /metrics",
    ] {
        assert!(seen.contains(route), "{route} is missing in {seen:?}");
    }
}

/// The part of JSON Schema that the document uses.
fn validate(document: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document
            .pointer(&reference[1..])
            .expect("the reference leads somewhere");
        return validate(document, target, value, at, wrong);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = choices.iter().any(|choice| {
            let mut wrong = Vec::new();
            validate(document, choice, value, at, &mut wrong);
            wrong.is_empty()
        });
        if !fits {
            wrong.push(format!("{at}: {value} is none of the choices"));
        }
        return;
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        wrong.push(format!("{at}: {value} is not one of {values:?}"));
    }
    let right_type = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    if !right_type {
        wrong.push(format!("{at}: {value} is not of type {}", schema["type"]));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("a name");
        if value.get(name).is_none() {
            wrong.push(format!("{at}: `{name}` is missing"));
        }
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            validate(document, member, value, &format!("{at}.{name}"), wrong);
        }
    }
    if !schema["items"].is_null() {
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            validate(
                document,
                &schema["items"],
                item,
                &format!("{at}[{index}]"),
                wrong,
            );
        }
    }
}

#[test]
fn every_error_is_problem_json_that_says_what_to_do() {
    let production = production();
    let get = |path: &str| production.request("GET", path, &[], "").expect("an answer");
    is_problem(&get("/api/v1/nothing"), 404, "openapi.json");
    is_problem(&get("/"), 404, "openapi.json");
    is_problem(&get("/api/v1/cases/case-999"), 404, "case-999");
    is_problem(&get("/api/v1/cases/999"), 404, "999");
    is_problem(&get("/api/v1/targets/nobody"), 404, "/api/v1/targets");
    is_problem(&get("/api/v1/explain/nobody"), 404, "nobody");
    is_problem(&get("/api/v1/targets?limit=0"), 400, "limit");
    is_problem(&get("/api/v1/targets?limit=many"), 400, "limit");
    is_problem(&get("/api/v1/targets?colour=red"), 400, "colour");
    is_problem(&get("/api/v1/cases?after=7"), 400, "case-");
    is_problem(&get("/api/v1/pause"), 405, "GET");
    let method = production
        .request("PUT", "/api/v1/cases", &[], "")
        .expect("an answer");
    is_problem(&method, 405, "PUT");

    let post = |path: &str, body: &str| {
        production
            .request("POST", path, &[("content-type", "application/json")], body)
            .expect("an answer")
    };
    is_problem(&post("/api/v1/pause", "{"), 400, "EOF");
    is_problem(&post("/api/v1/pause", "{}"), 422, "why");
    is_problem(&post("/api/v1/pause", r#"{"why":" "}"#), 422, "why");
    is_problem(
        &post(
            "/api/v1/pause",
            r#"{"why":"x","scope":{"service":"nobody"}}"#,
        ),
        404,
        "nobody",
    );
    is_problem(
        &post("/api/v1/pause", r#"{"why":"x","whence":1}"#),
        422,
        "whence",
    );
    is_problem(
        &post(
            "/api/v1/holds",
            r#"{"target":"nobody","for":"1h","why":"x"}"#,
        ),
        404,
        "nobody",
    );
    is_problem(
        &post(
            "/api/v1/holds",
            r#"{"target":"nobody","for":"90d","why":"x"}"#,
        ),
        422,
        "30d",
    );
    is_problem(
        &post("/api/v1/orders/order-9/approve", r#"{"digest":"0"}"#),
        404,
        "order-9",
    );
    is_problem(&post("/api/v1/resume", "{}"), 409, "neither paused");
    let no_type = production
        .request("POST", "/api/v1/pause", &[], "{}")
        .expect("an answer");
    is_problem(&no_type, 415, "application/json");
    is_problem(
        &post(
            "/api/v1/pause",
            &format!("{{\"why\":\"{}\"}}", "x".repeat(2 << 20)),
        ),
        413,
        "1 MiB",
    );
    let user = [("content-type", "application/json"), ("x-pitcrew-user", "")];
    let unnamed = production
        .request("POST", "/api/v1/pause", &user, r#"{"why":"x"}"#)
        .expect("an answer");
    is_problem(&unnamed, 400, "X-Pitcrew-User");
}

#[test]
fn a_body_that_never_comes_is_408() {
    let production = production();
    let headers = [
        ("content-type", "application/json"),
        ("content-length", "10"),
    ];
    let answer = production
        .request("POST", "/api/v1/pause", &headers, "{")
        .expect("an answer");
    is_problem(&answer, 408, "10 s");
}

#[test]
fn requests_from_elsewhere_are_refused() {
    let production = production();
    let with = |headers: &[(&str, &str)]| {
        production
            .request("GET", "/healthz", headers, "")
            .expect("an answer")
    };
    is_problem(
        &with(&[("host", "rebound.example")]),
        403,
        "rebound.example",
    );
    is_problem(
        &with(&[("origin", "https://elsewhere.example")]),
        403,
        "another site",
    );
    assert_eq!(with(&[("host", "localhost")]).status, 200);
}

#[test]
fn with_a_token_file_only_the_token_opens() {
    let mut production = Production::new("server: { token_file: '{dir}/token' }\n");
    std::fs::write(production.path().join("token"), "0123456789abcdef\n").expect("the token");
    production.spawn();
    wait_for("the server to listen", || {
        production.request("GET", "/healthz", &[], "").map(drop)
    });
    let ask = |headers: &[(&str, &str)]| {
        production
            .request("GET", "/api/v1/report", headers, "")
            .expect("an answer")
    };
    is_problem(&ask(&[]), 401, "--token-file");
    assert_eq!(ask(&[]).header("www-authenticate"), Some("Bearer"));
    is_problem(
        &ask(&[("authorization", "Bearer 0123456789abcdeX")]),
        401,
        "not this server's",
    );
    assert_eq!(
        ask(&[("authorization", "Bearer 0123456789abcdef")]).status,
        200
    );
    assert!(production.says(&["status"], 2).contains("--token-file"));
    let token = production.path().join("token").display().to_string();
    production.says(&["status", "--token-file", &token], 0);
}

#[test]
fn other_addresses_than_loopback_need_a_token() {
    let production = Production::new("server: { listen: '0.0.0.0:0' }\n");
    let output = std::process::Command::new(production::binary())
        .args(["serve", "--config"])
        .arg(production.configuration())
        .arg("--data")
        .arg(production.data())
        .output()
        .expect("the command runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("token_file") && stderr.contains("0.0.0.0:0"),
        "{stderr}"
    );
}

#[test]
fn pauses_and_holds_are_taken_shown_and_lifted() {
    let production = production();
    let target = target_of(&production);
    let paused = production.post("/api/v1/pause", &json!({ "why": "a drill" }));
    assert_eq!(paused.status, 200, "{paused:?}");
    assert_eq!(paused.json()["recorded"], true);
    let report = production.get("/api/v1/report").expect("the report");
    assert_eq!(report["services"][0]["paused"], true, "{report}");
    assert_eq!(production.post("/api/v1/resume", &json!({})).status, 200);

    let held = production.post(
        "/api/v1/holds",
        &json!({ "target": target, "for": "2h", "why": "a drill" }),
    );
    assert_eq!(held.status, 200, "{held:?}");
    let status = production
        .get(&format!("/api/v1/targets/{target}"))
        .expect("the target");
    assert_eq!(status["hold"]["why"], "a drill");
    let release = |expected| {
        let answer = production
            .request("DELETE", &format!("/api/v1/holds/{target}"), &[], "")
            .expect("an answer");
        assert_eq!(answer.status, expected, "{answer:?}");
    };
    release(200);
    release(409);
    let persons = production
        .records()
        .into_iter()
        .filter(|entry| entry["record"]["fact"]["kind"] == "person")
        .count();
    assert_eq!(
        persons, 5,
        "every request is in the ledger, refused ones too"
    );
}

#[test]
fn pushed_results_reach_push_tests_only() {
    let production = production();
    let target = target_of(&production);
    let push = |test: &str, target: &str| {
        production.post("/api/v1/observations", &json!({ "observations": [{ "target": target, "test": test, "verdict": "fail", "evidence": "tape is full" }] }))
    };
    is_problem(&push("answers", &target), 422, "only tests of kind `push`");
    is_problem(&push("Backup", "nobody"), 422, "nobody");
    let taken = push("Backup", &target);
    assert_eq!(
        (taken.status, taken.json()["accepted"].as_u64()),
        (200, Some(1)),
        "{taken:?}"
    );
    production.wait_until(
        "the pushed result",
        &format!("/api/v1/targets/{target}"),
        |status| {
            let tests = status["tests"].as_array().expect("tests");
            let is_there = tests
                .iter()
                .any(|test| test["test"] == "Backup" && test["evidence"] == "tape is full");
            is_there.then_some(()).ok_or_else(|| status.to_string())
        },
    );
}

#[test]
fn an_alert_fails_the_push_test_of_its_name() {
    let production = production();
    let target = target_of(&production);
    let address = production
        .get(&format!("/api/v1/targets/{target}"))
        .expect("the target")["target"]["address"]
        .clone();
    let alert = |name: &str, instance: &Value, status: &str| json!({ "status": status, "labels": { "alertname": name, "instance": instance, "severity": "page" }, "annotations": { "summary": "no backup since Monday" }, "startsAt": "2026-11-22T19:15:19.042Z" });
    let group = json!({ "version": "4", "groupKey": "{}", "status": "firing", "alerts": [
        alert("Backup", &address, "firing"), alert("Backup", &json!("nowhere:1"), "firing"), alert("Other", &address, "firing"),
    ] });
    let answer = production.post("/api/v1/alerts", &group);
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["accepted"], 1);
    let refused: Vec<_> = answer["refused"]
        .as_array()
        .expect("refused")
        .iter()
        .map(|one| one["index"].as_u64())
        .collect();
    assert_eq!(refused, [Some(1), Some(2)], "{answer}");
    production.wait_until(
        "the alert",
        &format!("/api/v1/targets/{target}"),
        |status| {
            let is_there = status["tests"]
                .to_string()
                .contains("firing: no backup since Monday");
            is_there.then_some(()).ok_or_else(|| status.to_string())
        },
    );
}

#[test]
fn lists_come_in_pages_that_join_without_a_gap() {
    let targets: Vec<String> = (1..=25).map(|port| format!("'127.0.0.1:{port}'")).collect();
    let production = Production::served(&format!(
        "
services:
  - {{ name: web, select: {{ service: web }}, tests: [{{ name: answers, tcp: {{}}, interval: 1h, timeout: 1s }}] }}
find:
  - static: [{{ targets: [{}], labels: {{ service: web }} }}]
",
        targets.join(", ")
    ));
    production.wait_until("all targets", "/api/v1/report", |report| {
        (report["services"][0]["targets"] == 25)
            .then_some(())
            .ok_or_else(|| report.to_string())
    });
    let mut seen = Vec::new();
    let mut path = "/api/v1/targets?limit=10".to_owned();
    loop {
        let page = production.get(&path).expect("a page");
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= 10);
        seen.extend(
            items
                .iter()
                .map(|item| item["target"]["id"].as_str().expect("an id").to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/api/v1/targets?limit=10&after={next}");
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted());
    let of_nobody = production
        .get("/api/v1/targets?service=nobody")
        .expect("a page");
    assert_eq!(of_nobody["items"], json!([]));
}

#[test]
fn events_are_streamed_as_they_are_recorded_and_resumed_where_they_stopped() {
    let production = production();
    let listen = |after: u64| {
        let mut stream = TcpStream::connect(("127.0.0.1", production.port)).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a deadline");
        write!(
            stream,
            "GET /api/v1/events?after={after} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
        )
        .expect("the request is sent");
        BufReader::new(stream).lines().map_while(Result::ok)
    };
    let first = listen(0)
        .find(|line| line.starts_with("data: "))
        .expect("a record");
    let first: Value = serde_json::from_str(&first["data: ".len()..]).expect("JSON");
    assert_eq!(first["seq"], 1);
    assert_eq!(first["record"]["fact"]["kind"], "server_started");
    let mut live = listen(1);
    production.post("/api/v1/pause", &json!({ "why": "a drill" }));
    let pause = live
        .find(|line| line.contains("a drill"))
        .expect("the pause is streamed");
    assert!(pause.starts_with("data: "), "{pause}");
}

#[test]
fn metrics_count_what_happens() {
    let production = production();
    wait_for("metrics of a failing target", || {
        let answer = production.request("GET", "/metrics", &[], "")?;
        let wanted = [
            "pitcrew_observations_total{verdict=\"fail\"}",
            "pitcrew_targets{service=\"web\",health=\"failing\"} 1",
            "pitcrew_cases_open{phase=\"",
            "pitcrew_ledger_commit_seconds_bucket",
            "pitcrew_engine_event_seconds_count",
            "pitcrew_probe_missed_rounds_total",
            "pitcrew_ready 1",
            "# EOF",
        ];
        let missing: Vec<_> = wanted
            .iter()
            .filter(|text| !answer.body.contains(**text))
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?} in\n{}", answer.body))
        }
    });
}

#[test]
fn the_ledger_is_verified_and_exported_with_and_without_the_server() {
    let mut production = production();
    production.post("/api/v1/pause", &json!({ "why": "a drill" }));
    assert!(production.says(&["ledger", "verify"], 0).contains("whole"));
    let exported = production.says(&["ledger", "export"], 0);
    let lines: Vec<Value> = exported
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(
        lines
            .iter()
            .any(|line| line["record"]["fact"]["kind"] == "person")
    );
    let data = production.data().display().to_string();
    production.says(&["ledger", "verify", "--data", &data], 0);
    assert_eq!(production.stop(), Some(0));
    let verified = production.json(&["ledger", "verify", "--data", &data]);
    assert!(verified["entries"].as_u64() >= Some(lines.len() as u64));
    let offline = production.says(&["ledger", "export", "--data", &data], 0);
    assert!(offline.starts_with(&exported));
}
