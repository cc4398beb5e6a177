//! Tests that ask the server's own metrics.

use serde_json::{Value, json};

use crate::{
    message::{VERSION_1, snappy, version_1, write},
    production::Production,
    stored::now_ms,
};

const WELL: &str = "10.9.9.1:80";
const ILL: &str = "10.9.9.2:80";

/// Verdict and evidence of a test that is asked now.
fn asked(production: &Production, target: &str, test: &str) -> (String, String) {
    let answer = production.post(
        &format!("/api/v1/targets/{target}/test"),
        &json!({ "tests": [test] }),
    );
    let results = answer.json();
    let result = &results["results"][0];
    let text = |member: &Value| {
        member
            .as_str()
            .unwrap_or_else(|| panic!("{results}"))
            .to_owned()
    };
    (text(&result["verdict"]), text(&result["evidence"]))
}

#[test]
fn a_metric_fails_a_target_and_what_is_not_known_of_it_is_unknown_with_the_reason() {
    let production = Production::served(&format!(
        "
find: [{{ static: [{{ targets: ['{WELL}', '{ILL}'], labels: {{ service: web }} }}] }}]
metrics: {{ query: {{ samples: 50 }} }}
services:
  - name: web
    select: {{ service: web }}
    autonomy: observe
    tests:
      - {{ name: errors, interval: 300ms, metric: {{ expr: 'errors{{instance=\"{{address}}\"}}', warn_above: 3, fail_above: 5 }} }}
      - {{ name: mean, interval: 1h, metric: {{ expr: 'errors{{instance=~\"{{host}}:.*\"}}', over: 10s, fail_above: 5 }} }}
      - {{ name: ready, interval: 1h, metric: {{ expr: 'ready{{instance=\"{{address}}\"}} == 1' }} }}
      - {{ name: zone, interval: 1h, metric: {{ expr: 'ready{{zone=\"{{zone}}\"}} == 1' }} }}
      - {{ name: both, interval: 1h, metric: {{ expr: '{{__name__=~\"ready|errors\", instance=\"{{address}}\"}} < 5' }} }}
      - {{ name: mean-of-both, interval: 1h, metric: {{ expr: '{{__name__=~\"ready|errors\", instance=\"{{address}}\"}}', over: 10s, fail_above: 5 }} }}
      - {{ name: huge, interval: 1h, metric: {{ expr: 'count(count_over_time(many[1h:1s]))', fail_above: 0 }} }}
"
    ));
    // A mean over a time begins at a whole second.
    let now = now_ms() - 5_000;
    let errors = |target| [("__name__", "errors"), ("instance", target)];
    let numbers: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let many = numbers
        .iter()
        .map(|number| [("__name__", "many"), ("n", number.as_str())]);
    let many: Vec<[(&str, &str); 2]> = many.collect();
    let (well, ill) = (errors(WELL), errors(ILL));
    let ready = [("__name__", "ready"), ("instance", WELL)];
    let mut series = vec![
        (&well[..], 1.0, now),
        (&ill[..], 9.0, now),
        (&ready[..], 1.0, now),
    ];
    series.extend(many.iter().map(|labels| (&labels[..], 1.0, now)));
    let message = version_1(&series);
    assert_eq!(write(&production, VERSION_1, snappy(&message)).status, 204);
    production.wait_for_fact(ILL, "confirmed");
    for (target, test, verdict, words) in [
        (WELL, "errors", "pass", "1 {__name__=\"errors\""),
        (ILL, "errors", "fail", "9 is above 5"),
        (WELL, "mean", "pass", "1 {__name__=\"errors\", instance="),
        (ILL, "mean", "fail", "9 is above 5"),
        (WELL, "ready", "pass", "it holds"),
        (ILL, "ready", "unknown", "no data"),
        (WELL, "both", "pass", "it holds {__name__=\""),
        (ILL, "both", "fail", "it does not hold {__name__=\"errors\""),
        (WELL, "mean-of-both", "pass", "the worst of 2"),
        (ILL, "mean-of-both", "fail", "9 is above 5"),
        (WELL, "zone", "unknown", "{zone}"),
        (WELL, "huge", "unknown", "samples"),
    ] {
        let (found, evidence) = asked(&production, target, test);
        assert_eq!(found, verdict, "{test} of {target}: {evidence}");
        assert!(evidence.contains(words), "{test} of {target}: {evidence}");
    }
    let cases = production.get("/api/v1/cases").unwrap();
    assert_eq!(cases["items"].as_array().map(Vec::len), Some(1), "{cases}");
}
