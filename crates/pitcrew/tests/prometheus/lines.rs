//! The command line: queries as tables and plots, samples into files and back.

use std::fs;

use serde_json::{Value, json};

use crate::{
    history::{History, QUIET, data, seconds},
    production::Production,
};

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn a_query_is_a_table_a_plot_or_an_error_that_points() {
    let (history, production) = History::served();
    let at = seconds(history.end_ms());
    let table = production.says(
        &["query", r#"http_requests_total{code="500"}"#, "--at", &at],
        0,
    );
    assert_eq!(
        table,
        "all: http_requests_total{code=\"500\",job=\"web\"}\n\
         instance  value\n\
         a           120\n\
         b            99\n"
    );
    let one = production.says(
        &["query", r#"temperature{room="attic"} > 0"#, "--at", &at],
        0,
    );
    assert_eq!(one, "temperature{room=\"attic\"}  29.75\n");
    assert_eq!(
        production.says(&["query", "temperature > 1e9", "--at", &at], 0),
        "no series\n"
    );

    let from = seconds(history.start_ms);
    let plot = [
        "query",
        "sum by (instance) (http_requests_total)",
        "--from",
        &from,
        "--to",
        &at,
    ];
    let plot = production.says(&plot, 0);
    assert!(
        plot.lines().all(|line| line.chars().count() <= 80),
        "{plot}"
    );
    assert!(
        plot.contains("a  {instance=\"a\"}") && plot.contains("b  {instance=\"b\"}"),
        "{plot}"
    );

    let stored = production.json(&["query", "count(http_requests_total)", "--at", &at]);
    assert_eq!(stored["data"]["result"][0]["value"][1], "4");

    let broken = production.says(&["query", "sum(rate(x[5m])", "--at", &at], 2);
    assert!(
        broken.contains("\n  sum(rate(x[5m])\n                 ^"),
        "{broken}"
    );
    let noted = production.pitcrew(&["query", "rate(temperature[5m])", "--at", &at]);
    assert!(
        String::from_utf8_lossy(&noted.stderr)
            .contains("note: PromQL info: metric might not be a counter")
    );
    production.says(&["query", "up", "--from", "yesterday"], 2);
    production.says(&["query", "up", "--to", "1h"], 2);
}

/// Every bit: unusual NaNs, marks that end series, minus zero, starts of counters, native histograms.
#[test]
fn json_lines_are_read_back_bit_for_bit() {
    let first = Production::served(QUIET);
    let at_ms = History::until_now().start_ms;
    let times = |count: i64| {
        (0..count)
            .map(|index| at_ms + index * 60_000)
            .collect::<Vec<_>>()
    };
    let histogram = json!({
        "count": 6.0, "sum": "-Infinity", "schema": 2, "zero_threshold": 0.001, "zero_count": 1.0,
        "negative": [[-3, 2.0]], "positive": [[1, 1.0], [7, 2.0]], "reset": "gauge",
    });
    let odd = json!({
        "metric": { "__name__": "odd", "a.b": "line\nend \"é\"" },
        "values": [-0.0, null, "stale", "NaN:fff8000000000000", "Infinity", 5e-324, 0.1, 1.7976931348623157e308],
        "timestamps": times(8),
    });
    let started = json!({
        "metric": { "__name__": "started_total" },
        "values": [1.0, 2.0],
        "timestamps": times(2),
        "starts": [at_ms - 5, at_ms - 5],
    });
    let native = json!({
        "metric": { "__name__": "native" },
        "histograms": [histogram, histogram],
        "histogram_timestamps": times(2),
    });
    let file = first.path().join("samples.jsonl");
    fs::write(&file, format!("{odd}\n\n{started}\n{native}\n")).unwrap();
    let file = file.to_str().unwrap();
    let told = first.says(&["metrics", "import", file], 0);
    assert_eq!(told, "stored: 12 samples of 3 new series\n");
    let again = first.says(&["metrics", "import", file], 0);
    assert!(
        again.contains("0 samples of 0 new series, 12 samples were there already"),
        "{again}"
    );

    let selectors = ["odd", "started_total", "native", r#"{__name__=~"od.*"}"#];
    let export = [&["metrics", "export"][..], &selectors].concat();
    let exported = first.says(&export, 0);
    assert_eq!(lines(&exported), [native, odd, started]);

    let second = Production::served(QUIET);
    let copy = second.path().join("copy.jsonl");
    fs::write(&copy, &exported).unwrap();
    second.says(&["metrics", "import", copy.to_str().unwrap()], 0);
    assert_eq!(second.says(&export, 0), exported);
}

#[test]
fn text_is_read_back_as_far_as_it_has_words() {
    let (history, production) = History::served();
    let exported = production.says(
        &[
            "metrics",
            "export",
            r#"{__name__=~".+",job!="pitcrew"}"#,
            "--from",
            "2h",
            "--format",
            "openmetrics",
        ],
        0,
    );
    assert!(
        exported.contains("# TYPE http_requests counter\n# HELP http_requests All of them.\n"),
        "{exported}"
    );
    assert!(exported.ends_with("# EOF\n"));
    let second = Production::served(QUIET);
    let copy = second.path().join("copy");
    for format in ["openmetrics", "prometheus"] {
        let selector = r#"{__name__=~"http.*|temp.*|lat.*"}"#;
        let exported = production.says(&["metrics", "export", selector, "--format", format], 0);
        fs::write(&copy, exported).unwrap();
        let told = second.says(&["metrics", "import", copy.to_str().unwrap(), "--json"], 0);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(
            told["samples"].as_u64().unwrap() + told["duplicates"].as_u64().unwrap(),
            1_500,
            "{told}"
        );
    }
    let at = seconds(history.end_ms());
    for query in [
        r#"{__name__=~"http.*|temp.*|lat.*"}"#,
        "sum_over_time(temperature[25m])",
    ] {
        let of = |port| data(port, "/api/v1/query", &[("query", query), ("time", &at)]);
        assert_eq!(of(second.port), of(production.port), "{query}");
    }
}

#[test]
fn a_line_that_is_no_sample_ends_an_import_and_is_named() {
    let production = Production::served(QUIET);
    let write = |name: &str, text: &str| {
        let path = production.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (name, text, says) in [
        ("a.prom", "up 1\nup{ 2\nup 3\n", "line 2: "),
        (
            "b.om",
            "up 1\n",
            "the text ends without `# EOF`: it was cut off; the 1 samples before it are stored",
        ),
        (
            "c.jsonl",
            "{\"metric\":{},\"values\":[1]}\n",
            "line 1: there are 1 values, 0 timestamps",
        ),
        ("d.jsonl", "\n\nno\n", "line 3: "),
        ("e.om", "up 1\n# EOF\nup 2\n", "there is more after `# EOF`"),
    ] {
        let told = production.says(&["metrics", "import", &write(name, text)], 2);
        assert!(told.contains(says), "{name}: {told}");
    }
    let old = write(
        "old.jsonl",
        "{\"metric\":{\"__name__\":\"x\"},\"values\":[1],\"timestamps\":[1000]}\n",
    );
    let told = production.says(&["metrics", "import", &old], 1);
    assert!(
        told.contains("1 refused") && told.contains("is too old"),
        "{told}"
    );
    production.says(&["metrics", "import", "/nowhere"], 2);
}

#[test]
fn a_backup_is_the_store_as_it_was_and_can_be_put_in_its_place() {
    let mut production = Production::served(QUIET);
    let import = |production: &Production, name: &str| {
        let path = production.path().join(name);
        fs::write(&path, format!("{name} 1\n")).unwrap();
        production.says(
            &[
                "metrics",
                "import",
                "--format",
                "prometheus",
                path.to_str().unwrap(),
            ],
            0,
        );
    };
    import(&production, "before");
    let told = production.says(&["metrics", "backup", "first"], 0);
    let backup = production.data().join("metrics-backups/first");
    assert_eq!(
        fs::canonicalize(told.trim()).unwrap(),
        fs::canonicalize(&backup).unwrap()
    );
    import(&production, "after");
    let again = production.says(&["metrics", "backup", "first"], 2);
    assert!(again.contains("there is a backup first already"), "{again}");

    let names = |production: &Production| {
        let query = "group by (__name__) ({__name__=~\"before|after\"})";
        production.json(&["query", query])["data"]["result"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(names(&production), 2);
    production.stop();
    let store = production.data().join("metrics");
    fs::rename(&store, production.data().join("metrics-damaged")).unwrap();
    fs::rename(&backup, &store).unwrap();
    production.serve();
    assert_eq!(names(&production), 1);
}
