//! A test that asks the server's own metrics.

use std::{fmt::Write as _, time::Duration};

use serde::{Deserialize, Serialize};

/// A PromQL expression, and when its value is bad. Without thresholds it is a comparison: what must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricTest {
    /// `{target}`, `{address}`, `{host}`, `{port}` and every label's `{name}` are replaced within its strings.
    pub expr: String,
    /// The mean over this time counts instead of the value now.
    pub over: Option<Duration>,
    pub warn_above: Option<Threshold>,
    pub fail_above: Option<Threshold>,
    pub warn_below: Option<Threshold>,
    pub fail_below: Option<Threshold>,
}

/// A finite number that a value is compared with.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Threshold(pub f64);

impl PartialEq for Threshold {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Threshold {}

/// A value that can't stand in an expression's string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` can't stand between backquotes; use double quotes")]
pub struct Unquotable {
    pub value: String,
}

impl MetricTest {
    /// Whether the expression says what must hold.
    #[must_use]
    pub fn is_condition(&self) -> bool {
        let thresholds = [
            self.warn_above,
            self.fail_above,
            self.warn_below,
            self.fail_below,
        ];
        thresholds.iter().all(Option::is_none)
    }

    /// The expression for one target. `value` says what stands for a name. Whatever it says stays within the string
    /// that it is put into, and in a string that is a pattern matches itself alone.
    ///
    /// # Errors
    /// Those of `value`, and a value with a backquote where backquotes quote.
    pub fn fill<E: From<Unquotable>>(
        &self,
        mut value: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<String, E> {
        let mut filled = String::with_capacity(self.expr.len());
        let mut rest = self.expr.as_str();
        let mut within: Option<Literal> = None;
        while let Some(character) = rest.chars().next() {
            let (taken, after) = rest.split_at(character.len_utf8());
            rest = after;
            match (within, character) {
                (None, '#') => {
                    let end = rest.find('\n').unwrap_or(rest.len());
                    filled.push('#');
                    filled.push_str(&rest[..end]);
                    rest = &rest[end..];
                }
                (None, '"' | '\'' | '`') => {
                    let before = filled.trim_end();
                    within = Some(Literal {
                        quote: character,
                        is_pattern: before.ends_with("=~") || before.ends_with("!~"),
                    });
                    filled.push(character);
                }
                (Some(literal), '\\') if literal.quote != '`' => {
                    let escaped = rest.chars().next().map_or(0, char::len_utf8);
                    filled.push('\\');
                    filled.push_str(&rest[..escaped]);
                    rest = &rest[escaped..];
                }
                (Some(literal), '{') => match placeholder(rest) {
                    Some(name) => {
                        literal.put(&value(name)?, &mut filled)?;
                        rest = &rest[name.len() + 1..];
                    }
                    None => filled.push('{'),
                },
                (Some(literal), _) if literal.quote == character => {
                    within = None;
                    filled.push(character);
                }
                _ => filled.push_str(taken),
            }
        }
        Ok(filled)
    }
}

/// The name in braces, given what comes after the opening one.
fn placeholder(rest: &str) -> Option<&str> {
    let (name, _) = rest.split_once('}')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some(name)
}

/// A string within an expression.
#[derive(Clone, Copy)]
struct Literal {
    quote: char,
    is_pattern: bool,
}

impl Literal {
    fn put(self, value: &str, out: &mut String) -> Result<(), Unquotable> {
        let value = match self.is_pattern {
            true => pattern_of(value),
            false => value.to_owned(),
        };
        if self.quote == '`' {
            if value.contains('`') {
                return Err(Unquotable { value });
            }
            out.push_str(&value);
            return Ok(());
        }
        for character in value.chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                _ if character == self.quote => {
                    out.push('\\');
                    out.push(character);
                }
                _ if character.is_control() => {
                    write!(out, "\\u{:04x}", u32::from(character))
                        .expect("a string takes everything");
                }
                _ => out.push(character),
            }
        }
        Ok(())
    }
}

/// A regular expression that matches this text.
fn pattern_of(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if r"\.+*?()|[]{}^$".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(expr: &str, value: &str) -> Result<String, Unquotable> {
        let test = MetricTest {
            expr: expr.to_owned(),
            over: None,
            warn_above: None,
            fail_above: None,
            warn_below: None,
            fail_below: None,
        };
        test.fill(|name| Ok(format!("{name}:{value}")))
    }

    #[test]
    fn names_are_replaced_within_strings_and_can_not_leave_them() {
        for (expr, value, expected) in [
            (r#"up{a="{target}"}"#, "x", r#"up{a="target:x"}"#),
            (
                r#"up{a="{t}"}"#,
                "\"} or vector(1)",
                r#"up{a="t:\"} or vector(1)"}"#,
            ),
            (r"up{a='{t}'}", r"'\", r"up{a='t:\'\\'}"),
            ("up{a='{t}'}", "\n\u{1}", r"up{a='t:\n\u0001'}"),
            (r#"up{a=~"{t}.*"}"#, "a.b", r#"up{a=~"t:a\\.b.*"}"#),
            (r"up{a !~ `{t}`}", "a.b", r"up{a !~ `t:a\.b`}"),
            (r#"up{a="\"{t}"}"#, "x", r#"up{a="\"t:x"}"#),
            // No names: a quantifier, a selector, a comment.
            (r#"up{a=~"x{2}"} # "{t}""#, "x", r#"up{a=~"x{2}"} # "{t}""#),
            ("sum by (a) ({a})", "x", "sum by (a) ({a})"),
        ] {
            assert_eq!(filled(expr, value).as_deref(), Ok(expected), "{expr}");
        }
        assert!(filled("up{a=`{t}`}", "a`b").is_err());
    }
}
