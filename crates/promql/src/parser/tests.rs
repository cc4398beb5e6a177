//! What parses, how it is printed, and what an error says.

use super::*;

fn printed(query: &str) -> String {
    match parse(query) {
        Ok(expr) => expr.to_string(),
        Err(error) => panic!("{query}: {error}"),
    }
}

fn error(query: &str) -> String {
    parse(query).unwrap_err().to_string()
}

#[test]
fn what_is_printed_parses_to_the_same() {
    for query in [
        r#"sum by (job, "a.b") (rate(http_requests_total{code=~"5.."}[5m] offset -1m)) / on (job) group_left (zone) up"#,
        "-a ^ 2 * b",
        "a + fill_left(-Inf) fill_right(3) b",
        "foo[1h:5m] @ start() offset 5m",
        "foo[5m + step() * (2 ^ -1)] anchored",
        "metric @ 100 smoothed",
        r#"{"metric.name", "label name"="x"}"#,
        "topk without (a) (5, x) >/ 3",
        "other + fill(0) fill",
        "sum + avg",
        "1 - -1",
        r#"info(x, {data=~".+"})"#,
        "a offset min_of(step(), 1s) + 8000",
        r#""a\xc5z\n""#,
        "a == bool 1",
        "a and ignoring (x) b or c unless d",
    ] {
        let once = printed(query);
        assert_eq!(printed(&once), once, "{query}");
    }
}

#[test]
fn operators_bind_as_in_the_manual() {
    for (query, grouped) in [
        ("1 + 2 * 3", "1 + (2 * 3)"),
        ("2 ^ 3 ^ 2", "2 ^ (3 ^ 2)"),
        ("a or b and c", "a or (b and c)"),
        ("-a * b", "(-a) * b"),
        ("a > b + 1", "a > (b + 1)"),
        ("a offset 2 ^ 2", "(a offset 2) ^ 2"),
    ] {
        let strip = |text: &str| parse(text).map(|expr| without_parens(&expr));
        assert_eq!(strip(query), strip(grouped), "{query}");
    }
    assert_eq!(printed("-a ^ 2"), "-a ^ 2");
    assert!(matches!(
        parse("-a ^ 2").unwrap().kind,
        ExprKind::Unary { .. }
    ));
}

/// The shape alone.
fn without_parens(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Paren(inner) => without_parens(inner),
        ExprKind::Binary(binary) => format!(
            "[{} {} {}]",
            without_parens(&binary.left),
            binary.op.symbol(),
            without_parens(&binary.right)
        ),
        ExprKind::Unary { expr, .. } => format!("neg[{}]", without_parens(expr)),
        _ => expr.to_string(),
    }
}

#[test]
fn errors_say_where_and_what() {
    for (query, expected) in [
        (
            "sum(",
            "1:5: parse error: unexpected the end of the query, expected an expression",
        ),
        (
            "foo{",
            "1:5: parse error: unexpected the end of the query among matchers, expected a label",
        ),
        (
            "\n  foo bar",
            "2:7: parse error: unexpected \"bar\", expected an operator or the end",
        ),
        (
            "rate(foo)",
            "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
        ),
        ("nope(1)", "1:1: parse error: unknown function \"nope\""),
        (
            "{}",
            "1:1: parse error: vector selector must contain at least one non-empty matcher",
        ),
        (
            "1 == 2",
            "1:1: parse error: comparisons between scalars must use BOOL modifier",
        ),
        (
            "foo[5m1h]",
            "1:5: parse error: bad duration \"5m1h\": units go from years to milliseconds, each once",
        ),
        (
            "foo{a=\"b\"",
            "1:10: parse error: unexpected the end of the query among matchers, expected \",\" or \"}\"",
        ),
        (
            "foo offset 5m offset 1m",
            "1:15: parse error: offset may not be set multiple times",
        ),
        ("\"a", "1:1: parse error: unterminated string"),
        (
            "a + on (x) 1",
            "1:1: parse error: vector matching and fill modifiers are only allowed between instant vectors",
        ),
    ] {
        assert_eq!(error(query), expected);
    }
}

#[test]
fn a_metric_has_one_name() {
    for query in [
        r#"a{__name__="b"}"#,
        r#"{"a", __name__="b"}"#,
        r#"{"a", "b"}"#,
        r#"a{"b"}"#,
        r#"{__name__="a", "b"}"#,
    ] {
        assert!(
            error(query).ends_with("metric name must not be set twice"),
            "{query}"
        );
    }
    assert!(parse(r#"{__name__="a", __name__=~"b"}"#).is_ok());
}

#[test]
fn nesting_beyond_the_bound_is_an_error() {
    for (open, close) in [
        ("(", ")"),
        ("-", ""),
        ("abs(", ")"),
        ("", " + 1"),
        ("1 ^ ", ""),
    ] {
        for depth in [1000, 100_000] {
            let query = format!("{}x{}", open.repeat(depth), close.repeat(depth));
            assert!(error(&query).contains("nested more than"), "{open}{close}");
        }
    }
    assert!(error(&format!("x[{}1{}]", "(".repeat(1000), ")".repeat(1000))).contains("nested"));
}

#[test]
fn keywords_are_names_where_nothing_else_fits() {
    assert_eq!(printed("sum(by)"), "sum(by)");
    assert_eq!(printed("offset offset 1"), "offset offset 1");
    assert_eq!(printed("{on=\"x\"}"), "{on=\"x\"}");
    assert!(parse("bool").is_err());
}
