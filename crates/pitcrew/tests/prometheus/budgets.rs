//! Queries that want too much fail and say what they wanted; the loop goes on.

use std::{io::Write, net::TcpStream};

use crate::{
    history::{History, QUIET, ask, path, seconds},
    production::{Production, request, wait_for},
};

/// Minutes of work, in pieces of a second.
fn endless() -> String {
    let piece = "sum_over_time((sum(rate(http_requests_total[5m])))[2h:10ms])";
    [piece; 90].join(" + ")
}

fn served(query: &str) -> Production {
    let production = Production::served(&format!("{QUIET}metrics: {{ query: {query} }}\n"));
    let file = History::until_now().file(&production);
    production.says(&["metrics", "import", file.to_str().expect("a path")], 0);
    production
}

#[test]
fn a_query_over_its_budget_of_samples_fails_and_names_it() {
    let production = served("{ samples: 2000 }");
    let range = [("start", "0"), ("end", "11000"), ("step", "1")];
    let nested = "(".repeat(1_000) + "1" + &")".repeat(1_000);
    for (query, status, says) in [
        ("sum(temperature)", 200, ""),
        ("vector(1)", 422, "query.samples"),
        (nested.as_str(), 400, "100"),
    ] {
        let parameters = [&[("query", query)][..], &range].concat();
        let answer = ask(production.port, "/api/v1/query_range", &parameters);
        assert_eq!(answer.status, status, "{query} {answer:?}");
        assert!(answer.body.contains(says), "{query} {answer:?}");
    }
}

/// Rows count while they are made: a selector of a few series over many steps ends before it has them all.
#[test]
fn a_query_over_its_budget_of_memory_fails_and_names_it() {
    let production = served("{ memory: 12KiB }");
    let end = seconds(History::until_now().end_ms());
    let fixed = format!("temperature @ {end}");
    for (query, parameters, says) in [
        (
            "{job=\"web\"}[1h]",
            vec![("time", end.as_str())],
            "query.memory",
        ),
        (
            fixed.as_str(),
            vec![("start", "0"), ("end", "1800"), ("step", "10")],
            "query.memory",
        ),
        (
            "1",
            vec![("start", "0"), ("end", "11000"), ("step", "1")],
            "use a longer step",
        ),
    ] {
        let path = match parameters.len() {
            1 => "/api/v1/query",
            _ => "/api/v1/query_range",
        };
        let parameters = [&[("query", query)][..], &parameters].concat();
        let answer = ask(production.port, path, &parameters);
        assert_eq!(answer.status, 422, "{query} {answer:?}");
        assert!(answer.body.contains(says), "{query} {answer:?}");
    }
    let listed = ask(
        production.port,
        "/api/v1/series",
        &[("match[]", "{job=\"web\"}")],
    );
    assert_eq!(listed.status, 200, "{listed:?}");
    let all = ask(
        production.port,
        "/api/v1/series",
        &[("match[]", "{__name__=~\"http.*|lat.*|temp.*\"}")],
    );
    assert_eq!(all.status, 422, "{all:?}");
    assert!(all.body.contains("query.memory"), "{all:?}");
}

#[test]
fn a_query_ends_at_its_deadline_and_the_server_is_well() {
    let production = served("{ concurrency: 1 }");
    let timed_out = ask(
        production.port,
        "/api/v1/query",
        &[("query", &endless()), ("timeout", "500ms")],
    );
    assert_eq!(timed_out.status, 503, "{timed_out:?}");
    assert_eq!(timed_out.json()["errorType"], "timeout", "{timed_out:?}");
    assert!(timed_out.body.contains("query.timeout"), "{timed_out:?}");
    assert_eq!(
        ask(production.port, "/api/v1/query", &[("query", "1")]).status,
        200
    );
    assert_eq!(ask(production.port, "/readyz", &[]).status, 200);
}

/// With one query at a time, the next one is answered only when the abandoned one has ended.
#[test]
fn a_client_that_goes_away_ends_its_query() {
    let production = served("{ concurrency: 1 }");
    let mut abandoned = TcpStream::connect(("127.0.0.1", production.port)).unwrap();
    let asked = path("/api/v1/query", &[("query", &endless())]);
    abandoned
        .write_all(format!("GET {asked} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())
        .unwrap();
    let next = |timeout: &str| {
        let asked = path("/api/v1/query", &[("query", "1"), ("timeout", timeout)]);
        request(production.port, "GET", &asked, &[], "").expect("an answer")
    };
    wait_for("the query to run", || match next("100ms") {
        waiting if waiting.body.contains("query queue") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // Other routes don't wait for it.
    assert_eq!(ask(production.port, "/readyz", &[]).status, 200);
    drop(abandoned);
    wait_for("an answer to the next one", || match next("20s") {
        answered if answered.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
