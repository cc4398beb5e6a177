//! Samples as lines of text: Prometheus' format 0.0.4, and OpenMetrics, which differs in how it spells time.

use std::fmt::Write as _;

use pitcrew_promql::labels::{Labels, METRIC_NAME};

/// How names are spelled that have other characters than letters, digits and underscores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// As they are, in quotes.
    Quoted,
    /// An underscore for each character that the older format doesn't know.
    Underscored,
}

/// `name{label="value"}`; a label that is said to be `empty` is written as that where it is absent.
pub(super) fn series(labels: &Labels, names: Names, empty: Option<&str>, out: &mut String) {
    let empty = empty.filter(|empty| !labels.has(empty));
    let metric = labels.metric_name();
    let is_quoted = names == Names::Quoted && !is_plain(metric, true) && !metric.is_empty();
    if !is_quoted {
        name(metric, names, true, out);
    }
    let others = labels.iter().filter(|label| &*label.name != METRIC_NAME);
    let others = others.map(|label| (&*label.name, &*label.value));
    let mut others = others.chain(empty.map(|name| (name, ""))).peekable();
    if !is_quoted && others.peek().is_none() {
        // What has no label and no name would be no series at all.
        out.push_str(if metric.is_empty() { "{}" } else { "" });
        return;
    }
    out.push('{');
    if is_quoted {
        quoted(metric, out);
    }
    for (index, (label, value)) in others.enumerate() {
        out.push_str(if index > 0 || is_quoted { "," } else { "" });
        name(label, names, false, out);
        out.push('=');
        quoted(value, out);
    }
    out.push('}');
}

/// A metric's or a label's; only a metric's may have colons.
pub(super) fn name(text: &str, names: Names, is_metric: bool, out: &mut String) {
    match names {
        _ if text.is_empty() || is_plain(text, is_metric) => out.push_str(text),
        Names::Quoted => quoted(text, out),
        Names::Underscored => out.extend(text.char_indices().map(|(at, character)| {
            let stays = is_letter(character, is_metric) || (at > 0 && character.is_ascii_digit());
            if stays { character } else { '_' }
        })),
    }
}

fn is_plain(text: &str, is_metric: bool) -> bool {
    let starts_with_digit = text.bytes().next().is_none_or(|byte| byte.is_ascii_digit());
    let is_known = |character: char| is_letter(character, is_metric) || character.is_ascii_digit();
    !starts_with_digit && text.chars().all(is_known)
}

fn is_letter(character: char, is_metric: bool) -> bool {
    character.is_ascii_alphabetic() || character == '_' || (is_metric && character == ':')
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    escaped(text, out);
    out.push('"');
}

fn escaped(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

/// A comment that describes a family: `TYPE`, `HELP` or `UNIT`.
pub(super) fn description(keyword: &str, family: &str, text: &str, out: &mut String) {
    write!(out, "# {keyword} ").expect("a string takes everything");
    name(family, Names::Quoted, true, out);
    out.push(' ');
    escaped(text, out);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_spelled_as_the_formats_ask() {
        for (pairs, as_they_are, underscored) in [
            (&[("__name__", "up")][..], "up", "up"),
            (
                &[("__name__", "a:b"), ("x", "1\n\"\\")],
                r#"a:b{x="1\n\"\\"}"#,
                r#"a:b{x="1\n\"\\"}"#,
            ),
            (
                &[("__name__", "http.requests"), ("a.b", "c")],
                r#"{"http.requests","a.b"="c"}"#,
                r#"http_requests{a_b="c"}"#,
            ),
            (&[("__name__", "9é")], r#"{"9é"}"#, "__"),
            (&[("a", "b")], r#"{a="b"}"#, r#"{a="b"}"#),
            (&[], "{}", "{}"),
        ] {
            let labels = Labels::from_pairs(pairs.iter().copied());
            for (names, expected) in [
                (Names::Quoted, as_they_are),
                (Names::Underscored, underscored),
            ] {
                let mut out = String::new();
                series(&labels, names, None, &mut out);
                assert_eq!(out, expected);
            }
        }
    }

    #[test]
    fn a_label_that_is_said_to_be_empty_is_written_only_where_it_is_absent() {
        for (pairs, expected) in [
            (&[("__name__", "up")][..], r#"up{instance=""}"#),
            (
                &[("__name__", "up"), ("instance", "a")],
                r#"up{instance="a"}"#,
            ),
        ] {
            let mut out = String::new();
            let labels = Labels::from_pairs(pairs.iter().copied());
            series(&labels, Names::Quoted, Some("instance"), &mut out);
            assert_eq!(out, expected);
        }
    }
}
