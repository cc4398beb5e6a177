//! Remote write that is wrong, hostile or partly so: refused for itself alone.

use crate::{
    message::{Message, VERSION_1, VERSION_2, post, snappy, version_1, version_2, write},
    production::Production,
    stored::{Stored, now_ms},
};

#[test]
fn each_bad_request_is_refused_for_itself_and_the_good_ones_beside_it_are_stored() {
    let mut production = Production::served("services: []\n");
    let now = now_ms();
    let year_9999 = 253_370_764_800_000;
    let good = |value| version_1(&[(&[("__name__", "good"), ("a", "b")], value, now)]);
    assert_eq!(
        write(&production, VERSION_1, snappy(&good(1.0))).status,
        204
    );

    // A few bytes that claim to be gigabytes.
    let bomb = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let answer = write(&production, VERSION_1, bomb);
    assert_eq!(answer.status, 413, "{}", answer.text());
    // Honest ones, beyond the limit.
    let answer = write(&production, VERSION_1, snappy(&vec![0; 40 << 20]));
    assert_eq!(answer.status, 413, "{}", answer.text());
    for (kind, body) in [
        (VERSION_1, b"no snappy at all".to_vec()),
        (VERSION_1, snappy(b"\xff\xff\xff\xff")),
        (VERSION_2, snappy(&Message::default().bytes(5, &[0xff]).0)),
        // A symbol that is not there.
        (
            VERSION_2,
            snappy(&Message::default().bytes(5, &[0x0a, 2, 8, 9]).0),
        ),
    ] {
        let answer = write(&production, kind, body);
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    let answer = write(&production, "text/plain", snappy(&good(1.0)));
    assert_eq!(answer.status, 415, "{}", answer.text());
    let plain = [("content-type", VERSION_1), ("content-encoding", "gzip")];
    assert_eq!(
        post(&production, "/api/v1/write", &plain, good(1.0)).status,
        415
    );

    let megabyte = "x".repeat(1 << 20);
    let mixed = [
        (&[("__name__", "kept_1")][..], 1.0, now),
        (&[("__name__", "long"), ("a", &megabyte)][..], 1.0, now),
        (&[("__name__", "late")][..], 1.0, year_9999),
        (
            &[("__name__", "twice"), ("a", "1"), ("a", "2")][..],
            1.0,
            now,
        ),
        (&[][..], 1.0, now),
        (
            &[("b", "2"), ("a", "1"), ("__name__", "kept_2")][..],
            f64::NAN,
            now,
        ),
    ];
    let answer = write(&production, VERSION_1, snappy(&version_1(&mixed)));
    assert_eq!(answer.status, 400);
    let said = answer.text();
    assert!(said.contains("4 samples were not taken"), "{said}");
    assert!(said.contains("1048576 bytes"), "it names the first: {said}");
    assert_eq!(
        answer.header("x-prometheus-remote-write-samples-written"),
        None
    );
    let answer = write(&production, VERSION_2, snappy(&version_2(&mixed)));
    assert_eq!(answer.status, 400, "{}", answer.text());
    for (name, count) in [("samples", "2"), ("histograms", "0"), ("exemplars", "0")] {
        let name = format!("x-prometheus-remote-write-{name}-written");
        assert_eq!(answer.header(&name), Some(count), "{name}");
    }
    let answer = write(&production, VERSION_2, b"?".to_vec());
    let written = answer.header("x-prometheus-remote-write-samples-written");
    assert_eq!((answer.status, written), (400, Some("0")));

    let two = version_2(&[(&[("__name__", "good"), ("v", "2")], 2.0, now)]);
    let answer = write(&production, VERSION_2, snappy(&two));
    let written = answer.header("x-prometheus-remote-write-samples-written");
    assert_eq!((answer.status, written), (204, Some("1")));

    let text = production.request("GET", "/metrics", &[], "").unwrap().body;
    assert!(
        text.contains("pitcrew_metrics_refused_samples_total{reason=\"labels\"} 6"),
        "{text}"
    );
    assert!(
        text.contains("pitcrew_metrics_refused_samples_total{reason=\"too_new\"} 2"),
        "{text}"
    );
    assert_eq!(production.stop(), Some(0));
    let stored = Stored::of(&production);
    assert_eq!(stored.values("good").len(), 2);
    assert_eq!(stored.value("kept_1"), 1.0);
    assert!(stored.value("kept_2").is_nan());
    for name in ["long", "late", "twice"] {
        assert_eq!(stored.values(name), [], "{name}");
    }
}

#[test]
fn a_source_over_its_limit_of_series_is_told_and_its_known_series_are_taken_all_the_same() {
    const LIMIT: usize = 200;
    let yaml = format!("metrics: {{ source_series_max: {LIMIT} }}\n");
    let mut production = Production::served(&yaml);
    let now = now_ms();
    let values: Vec<String> = (0..LIMIT + 5).map(|number| number.to_string()).collect();
    let labels = values
        .iter()
        .map(|value| [("__name__", "many"), ("a", value.as_str())]);
    let labels: Vec<[(&str, &str); 2]> = labels.collect();
    let message = |count: usize, at_ms: i64| {
        let series = labels[..count]
            .iter()
            .map(|labels| (&labels[..], 1.0, at_ms));
        snappy(&version_1(&series.collect::<Vec<_>>()))
    };
    let answer = write(&production, VERSION_1, message(LIMIT + 5, now));
    assert_eq!(answer.status, 400);
    let said = answer.text();
    assert!(
        said.contains("5 samples were not taken") && said.contains("limit"),
        "{said}"
    );
    let text = production.request("GET", "/metrics", &[], "").unwrap().body;
    let counted = "pitcrew_metrics_refused_samples_total{reason=\"source_limit\"} 5";
    assert!(text.contains(counted), "{text}");
    // Who asks about that time is told that some is missing, and nobody else.
    let asked = |at_ms: i64| {
        let at = at_ms / 1_000;
        let path = format!("/api/v1/query?query=count(many)&time={at}");
        production.get(&path).unwrap()
    };
    let answer = asked(now + 2_000);
    assert_eq!(answer["data"]["result"][0]["value"][1], "200", "{answer}");
    let warnings = answer["warnings"].to_string();
    assert!(
        warnings.contains("were dropped") && warnings.contains("(5 times)"),
        "{answer}"
    );
    let long_ago = asked(now - 3_600_000);
    assert!(long_ago["warnings"].is_null(), "{long_ago}");
    assert_eq!(
        write(&production, VERSION_1, message(LIMIT, now + 1)).status,
        204
    );
    assert_eq!(production.stop(), Some(0));
}
