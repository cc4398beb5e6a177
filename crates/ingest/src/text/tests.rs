use proptest::prelude::*;

use super::*;
use crate::testing::Told;

fn told(format: Format, text: &str) -> Vec<String> {
    let mut told = Told::default();
    read(format, text.as_bytes(), &mut told).unwrap();
    told.lines
}

fn refused(format: Format, text: &str) -> String {
    let error = read(format, text.as_bytes(), &mut Told::default());
    error.unwrap_err().to_string()
}

#[test]
fn a_text_of_prometheus_is_told_line_by_line() {
    let text = r#"
# HELP http_requests_total Requests, \"all\" of them.\nReally \o/
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total {method = "post" , code="4}0"} 3
# just a comment
	up NaN
temperature -1.5e-3
limit +Inf
{"dotted.name", a="b"} 1
"#;
    assert_eq!(
        told(Format::Prometheus, text),
        [
            r#"http_requests_total: None "Requests, \"all\" of them.\nReally \\o/" """#,
            r#"http_requests_total: Some(Counter) "" """#,
            r#"__name__="http_requests_total" method="post" code="200": 1027.0 @1395066363000"#,
            r#"__name__="http_requests_total" method="post" code="4}0": 3.0"#,
            r#"__name__="up": NaN"#,
            r#"__name__="temperature": -0.0015"#,
            r#"__name__="limit": inf"#,
            r#"__name__="dotted.name" a="b": 1.0"#,
        ]
    );
}

#[test]
fn open_metrics_has_seconds_exemplars_units_and_an_end() {
    let text = "# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n\
        wait_seconds_bucket{le=\"1.0\"} 17 1520879607.789 # {trace_id=\"KOO5S4vxi0o\"} 0.67 1520879607.5\n\
        wait_seconds_count 17\n# EOF\n";
    assert_eq!(
        told(Format::OpenMetrics, text),
        [
            r#"wait_seconds: Some(Histogram) "" """#,
            r#"wait_seconds: None "" "seconds""#,
            r#"__name__="wait_seconds_bucket" le="1.0": 17.0 @1520879607789"#,
            r#"__name__="wait_seconds_bucket" le="1.0": exemplar trace_id="KOO5S4vxi0o": 0.67 @1520879607500"#,
            r#"__name__="wait_seconds_count": 17.0"#,
        ]
    );
    assert_eq!(
        refused(Format::OpenMetrics, "up 1\n"),
        "line 2: the text ends without `# EOF`: it was cut off"
    );
    assert_eq!(
        refused(Format::OpenMetrics, "# EOF\nup 1"),
        "line 2: there is more after `# EOF`"
    );
}

#[test]
fn a_broken_line_is_named_with_what_is_wrong() {
    for (line, why) in [
        (
            "up",
            "a series is expected, as in name{label=\"value\"}, not `up`",
        ),
        (
            "1up 1",
            "a series is expected, as in name{label=\"value\"}, not `1up 1`",
        ),
        (
            "<html>  ",
            "a series is expected, as in name{label=\"value\"}, not `<html>`",
        ),
        ("up{a=\"b\" 1", "the braces of its labels are not closed"),
        ("up one", "a number is expected, not `one`"),
        ("up 1 now", "a timestamp is expected, not `now`"),
        (
            "up 1 2 3",
            "`3` comes after what should be the end of the line",
        ),
        (
            "up 1 # {a=\"b\"} 1",
            "`# {a=\"b\"} 1` comes after what should be the end of the line",
        ),
        ("# TYPE up thing", "`thing` is no type of a metric"),
        ("# HELP", "a metric's name is missing after # HELP"),
    ] {
        let text = format!("ok 1\n{line}\n");
        assert_eq!(refused(Format::Prometheus, &text), format!("line 2: {why}"));
    }
}

#[test]
fn a_nan_is_never_the_marker_that_ends_a_series() {
    assert_eq!(
        number(b"NaN").map(f64::to_bits),
        Some(0x7ff8_0000_0000_0001)
    );
    assert_eq!(
        number(b"-nan").map(f64::to_bits),
        Some(0x7ff8_0000_0000_0001)
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r#"[a-z#{}"=,\\ \n0-9.]{0,60}"#, bytes: Vec<u8>) {
        for format in [Format::Prometheus, Format::OpenMetrics] {
            read(format, text.as_bytes(), &mut Told::default()).ok();
            read(format, &bytes, &mut Told::default()).ok();
        }
    }

    #[test]
    fn what_is_written_is_read_back(value: f64, at: i64, label in "[^\"\\\\\n]*") {
        let lines = told(Format::Prometheus, &format!("x{{a=\"{label}\"}} {value} {at}\n"));
        let value = if value.is_nan() { f64::NAN } else { value };
        prop_assert_eq!(lines, [format!("__name__=\"x\" a={label:?}: {value:?} @{at}")]);
    }
}
