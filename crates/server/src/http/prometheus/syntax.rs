//! Times, durations, selectors and escaped names as Prometheus' API spells them.

use pitcrew_promql::{
    labels::Matcher,
    parser::{Expr, ExprKind, TimeModifiers, parse},
};

/// Before all samples, and far enough from the ends of 64 bits to be counted with.
pub(super) const LONG_AGO_MS: i64 = -(1 << 61);
/// After all samples.
pub(super) const NEVER_MS: i64 = 1 << 61;

/// How Prometheus' own clients spell the ends of time.
const ENDS_OF_TIME: [(&str, i64); 2] = [
    ("-292273086-05-16T16:47:06Z", LONG_AGO_MS),
    ("292277025-08-18T07:12:54.999999999Z", NEVER_MS),
];

/// Seconds since the epoch, or RFC 3339.
pub(super) fn time_ms(text: &str) -> Result<i64, String> {
    if let Some(time_ms) = text.parse().ok().and_then(milliseconds) {
        return Ok(time_ms);
    }
    if let Some((_, time_ms)) = ENDS_OF_TIME.iter().find(|(end, _)| *end == text) {
        return Ok(*time_ms);
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    match time {
        // Nobody counts on a fraction of a millisecond.
        Ok(time) => Ok(time.as_millisecond()),
        Err(_) => Err(format!("cannot parse {text:?} to a valid timestamp")),
    }
}

/// Seconds, or units as in `1h30m`.
pub(super) fn duration_ms(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse() {
        return milliseconds(seconds).ok_or_else(|| {
            format!("cannot parse {text:?} to a valid duration. It overflows int64")
        });
    }
    let duration = pitcrew_model::parse_duration(text).ok();
    let milliseconds = duration.and_then(|duration| i64::try_from(duration.as_millis()).ok());
    milliseconds
        .filter(|milliseconds| *milliseconds <= NEVER_MS)
        .ok_or_else(|| format!("cannot parse {text:?} to a valid duration"))
}

/// `None` for what is no time that anybody could mean.
#[expect(clippy::cast_possible_truncation, reason = "it is checked to be small")]
fn milliseconds(seconds: f64) -> Option<i64> {
    let milliseconds = (seconds * 1_000.0).round();
    (milliseconds.abs() <= NEVER_MS as f64).then_some(milliseconds as i64)
}

/// Of a selector and nothing else.
pub(super) fn matchers(text: &str) -> Result<Vec<Matcher>, String> {
    let expr = parse(text).map_err(|error| error.to_string())?;
    match expr.kind {
        ExprKind::Selector(selector)
            if selector.time == TimeModifiers::default() && selector.extension.is_none() =>
        {
            Ok(selector.matchers)
        }
        _ => Err(format!(
            "expected a selector such as name{{label=\"value\"}}, not {text:?}"
        )),
    }
}

/// The matchers of every selector in a query.
pub(super) fn selectors(expr: &Expr, found: &mut Vec<Vec<Matcher>>) {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::Text(_) => {}
        ExprKind::Selector(selector) | ExprKind::Range { selector, .. } => {
            found.push(selector.matchers.clone())
        }
        ExprKind::Subquery(subquery) => selectors(&subquery.expr, found),
        ExprKind::Call { args, .. } => args.iter().for_each(|arg| selectors(arg, found)),
        ExprKind::Aggregate(aggregate) => {
            selectors(&aggregate.expr, found);
            aggregate
                .param
                .iter()
                .for_each(|param| selectors(param, found));
        }
        ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => selectors(expr, found),
        ExprKind::Binary(binary) => {
            selectors(&binary.left, found);
            selectors(&binary.right, found);
        }
    }
}

/// The name that stands for in a path: `U__` and `_hex_` for what isn't a letter, digit or underscore. What isn't
/// such an escape is the name itself.
pub(super) fn unescaped_name(text: &str) -> String {
    text.strip_prefix("U__")
        .and_then(unescaped)
        .unwrap_or_else(|| text.to_owned())
}

fn unescaped(mut rest: &str) -> Option<String> {
    let mut name = String::with_capacity(rest.len());
    while let Some((before, after)) = rest.split_once('_') {
        name.push_str(before);
        if let Some(after) = after.strip_prefix('_') {
            name.push('_');
            rest = after;
            continue;
        }
        let (code, after) = after.split_once('_')?;
        let is_code =
            (1..=6).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_hexdigit());
        name.push(char::from_u32(
            u32::from_str_radix(code, 16).ok().filter(|_| is_code)?,
        )?);
        rest = after;
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, expected) in [
            ("1435781430.781", 1_435_781_430_781),
            ("1e9", 1_000_000_000_000),
            ("-1.5", -1_500),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
            ("2015-07-01T22:10:51.781+02:00", 1_435_781_451_781),
            ("-292273086-05-16T16:47:06Z", LONG_AGO_MS),
        ] {
            assert_eq!(time_ms(text), Ok(expected), "{text}");
        }
        for text in ["", "now", "NaN", "inf", "1e300", "2015-07-01"] {
            assert!(time_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_seconds_or_have_units() {
        for (text, expected) in [
            ("15", 15_000),
            ("0.5", 500),
            ("1h30m", 5_400_000),
            ("-1", -1_000),
        ] {
            assert_eq!(duration_ms(text), Ok(expected), "{text}");
        }
        for text in ["", "h", "1x", "NaN", "1e300", "99999999999y"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_selector_is_one() {
        assert_eq!(matchers(r#"up{job="a"}"#).map(|found| found.len()), Ok(2));
        for text in [
            "",
            "rate(up[5m])",
            "up offset 5m",
            "up @ 3",
            "{}",
            "up[5m]",
            "1",
        ] {
            assert!(matchers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn all_selectors_of_a_query_are_found() {
        let query = "sum(rate(a[5m])) + topk(scalar(b), max_over_time(c[1h:5m])) - -(d)";
        let mut found = Vec::new();
        selectors(&parse(query).unwrap(), &mut found);
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn escaped_names_are_read_and_others_stay() {
        for (text, expected) in [
            ("job", "job"),
            ("U__http_2e_status", "http.status"),
            ("U__a__b", "a_b"),
            ("U__a_d800_", "U__a_d800_"),
            ("U__a_2e", "U__a_2e"),
            ("U___3b1_", "α"),
        ] {
            assert_eq!(unescaped_name(text), expected);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_any_of_them_panic(text in "[-0-9a-zA-Z_.:+{}\"]{0,24}") {
            time_ms(&text).ok();
            duration_ms(&text).ok();
            matchers(&text).ok();
            unescaped_name(&format!("U__{text}"));
        }
    }
}
