//! The loop's own series, from the first second.

use crate::{
    production::{Production, free_port, wait_for},
    stored::{Stored, now_ms},
};

#[test]
fn each_answer_to_a_test_and_what_the_loop_counts_are_series() {
    let (up, down) = (free_port(), free_port());
    let listener = std::net::TcpListener::bind(("127.0.0.1", up)).unwrap();
    let mut production = Production::served(&format!(
        "
find: [{{ static: [{{ targets: ['127.0.0.1:{up}', '127.0.0.1:{down}'], labels: {{ service: web }} }}] }}]
services:
  - name: web
    select: {{ service: web }}
    autonomy: observe
    tests:
      - {{ name: answers, tcp: {{}}, interval: 200ms, timeout: 200ms }}
      - {{ name: pushed, push: {{}}, interval: 1h }}
"
    ));
    production.wait_until("a case", "/api/v1/cases", |page| {
        let any = page["items"]
            .as_array()
            .is_some_and(|items| !items.is_empty());
        any.then_some(()).ok_or_else(|| page.to_string())
    });
    let pushed = serde_json::json!({ "observations": [{
        "target": format!("127.0.0.1:{up}"), "test": "pushed", "verdict": "unknown", "evidence": "?"
    }] });
    let answer = production.post("/api/v1/observations", &pushed);
    assert_eq!(answer.status, 200, "{answer:?}");
    wait_for("what /metrics says to be stored", || {
        let text = production.request("GET", "/metrics", &[], "")?.body;
        let count = text.lines().find_map(|line| {
            line.strip_prefix("pitcrew_metrics_samples_total ")?
                .parse::<u64>()
                .ok()
        });
        (count > Some(200))
            .then_some(())
            .ok_or_else(|| format!("{count:?}"))
    });
    assert_eq!(production.stop(), Some(0));
    drop(listener);
    let stored = Stored::of(&production);
    let at = |port: u16, name: &str| {
        let query = format!(
            "{name}{{target=\"127.0.0.1:{port}\",test=\"answers\",service=\"web\",observer=\"local\"}}[1h]"
        );
        let mut points = stored.points(&query, now_ms());
        assert_eq!(points.len(), 1, "{query}");
        points.remove(0).1
    };
    assert!(
        at(up, "pitcrew_test_up")
            .iter()
            .all(|(_, value)| *value == 1.0)
    );
    assert!(
        at(up, "pitcrew_test_verdict")
            .iter()
            .all(|(_, value)| *value == 0.0)
    );
    assert!(at(down, "pitcrew_test_up").len() >= 3);
    assert!(
        at(down, "pitcrew_test_up")
            .iter()
            .all(|(_, value)| *value == 0.0)
    );
    assert!(
        at(down, "pitcrew_test_verdict")
            .iter()
            .all(|(_, value)| *value == 2.0)
    );
    assert!(
        at(down, "pitcrew_test_duration_seconds")
            .iter()
            .all(|(_, value)| *value < 60.0)
    );
    // No answer is neither up nor down.
    assert_eq!(stored.values("pitcrew_test_up{test=\"pushed\"}"), []);
    assert_eq!(stored.value("pitcrew_test_verdict{test=\"pushed\"}"), 3.0);
    for name in [
        "pitcrew_ready",
        "pitcrew_engine_event_seconds_count",
        "pitcrew_ledger_commit_seconds_sum",
        "pitcrew_metrics_series",
        "up{job=\"pitcrew\"}",
    ] {
        assert_eq!(
            stored.values(&format!("last_over_time({name}[1h])")).len(),
            1,
            "{name}"
        );
    }
}
