//! Regular expressions as Prometheus reads them, which is as Go does.
//!
//! Both dialects are nearly the same. What differs is rewritten before compiling: Perl's classes are ASCII only,
//! within brackets nothing but `[:name:]` nests, and `\\Q…\\E` quotes.

use regex::Regex;

/// A pattern that is no regular expression.
#[derive(Debug, thiserror::Error)]
#[error("invalid regular expression {pattern:?}")]
pub struct MatcherError {
    /// What was given.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: Box<regex::Error>,
}

/// A regular expression that must match the whole value; `.` matches a newline, too.
pub fn anchored(pattern: &str) -> Result<Regex, MatcherError> {
    Regex::new(&format!("^(?s:{})$", rewritten(pattern))).map_err(|source| MatcherError {
        pattern: pattern.to_owned(),
        source: Box::new(source),
    })
}

fn rewritten(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut in_class = false;
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => escape(after, in_class, &mut out),
            '[' if !in_class => {
                in_class = true;
                class_start(after, &mut out)
            }
            '[' if after.starts_with(':') && after.contains(":]") => {
                let end = after.find(":]").map_or(after.len(), |end| end + 2);
                out.push('[');
                out.push_str(&after[..end]);
                &after[end..]
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
                after
            }
            // Here these would begin a set within the set, or be an operation on sets.
            '[' | '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
                after
            }
            _ => {
                out.push(c);
                after
            }
        };
    }
    out
}

/// A bracket right after the opening one, or after its negation, is a literal.
fn class_start<'a>(after: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = after;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = after;
    }
    rest
}

fn escape<'a>(after: &'a str, in_class: bool, out: &mut String) -> &'a str {
    let Some(c) = after.chars().next() else {
        out.push('\\');
        return after;
    };
    let rest = &after[c.len_utf8()..];
    let class = match c {
        'd' | 'D' => "0-9",
        'w' | 'W' => "0-9A-Za-z_",
        's' | 'S' => "\\t\\n\\f\\r ",
        'b' | 'B' if !in_class => {
            out.push_str(if c == 'b' { "(?-u:\\b)" } else { "(?-u:\\B)" });
            return rest;
        }
        'Q' if !in_class => {
            let end = rest.find("\\E").unwrap_or(rest.len());
            out.push_str(&regex::escape(&rest[..end]));
            return rest[end..].strip_prefix("\\E").unwrap_or("");
        }
        _ => {
            out.push('\\');
            out.push(c);
            return rest;
        }
    };
    match (c.is_ascii_uppercase(), in_class) {
        (true, _) => out.extend(["[^", class, "]"]),
        (false, true) => out.push_str(class),
        (false, false) => out.extend(["[", class, "]"]),
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        anchored(pattern).unwrap().is_match(value)
    }

    #[test]
    fn classes_are_those_of_ascii() {
        assert!(matches(r"\d+", "12") && !matches(r"\d+", "١٢"));
        assert!(matches(r"[\w.]+", "a_1.b") && !matches(r"\w", "é"));
        assert!(matches(r"\W", "é") && matches(r"[^\s]", "\u{a0}"));
        assert!(matches(r"a\b.*", "a b"));
        assert!(matches(r".", "é"));
    }

    #[test]
    fn brackets_hold_characters_only() {
        assert!(matches("[a[b]", "[") && matches("[a&&b]", "&") && matches("[]a]", "]"));
        assert!(matches("[^]a]", "b") && !matches("[^]a]", "]"));
        assert!(matches("[[:alpha:]-]+", "a-b"));
        assert!(matches(r"[\]\[]+", "[]"));
    }

    #[test]
    fn quoted_text_is_literal() {
        assert!(matches(r"\Qa.b\E.", "a.bc") && !matches(r"\Qa.b\E", "axb"));
    }
}
