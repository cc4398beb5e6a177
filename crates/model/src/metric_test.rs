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
    /// that it is put into; in a pattern (`=~`, `!~`, the last argument of `label_replace`) its characters match themselves
    /// alone, in a replacement (the third argument) they stand for themselves. What is in braces there as a part of
    /// the pattern's or the replacement's own language, `\p{L}` or `${1}`, is no name.
    ///
    /// # Errors
    /// Those of `value`, and a value with a backquote where backquotes quote.
    pub fn fill<E: From<Unquotable>>(
        &self,
        mut value: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<String, E> {
        let mut filled = String::with_capacity(self.expr.len());
        let mut rest = self.expr.as_str();
        let mut around = Around::default();
        let mut within: Option<Literal> = None;
        while let Some(character) = rest.chars().next() {
            let (taken, after) = rest.split_at(character.len_utf8());
            rest = after;
            let Some(literal) = &mut within else {
                if character == '#' {
                    let end = rest.find('\n').unwrap_or(rest.len());
                    filled.push('#');
                    filled.push_str(&rest[..end]);
                    rest = &rest[end..];
                    continue;
                }
                if matches!(character, '"' | '\'' | '`') {
                    within = Some(Literal::begin(character, around.role()));
                } else {
                    around.pass(character);
                }
                filled.push_str(taken);
                continue;
            };
            if character == literal.quote {
                within = None;
            } else if character == '\\' && literal.quote != '`' {
                let escaped = rest.chars().next();
                filled.push('\\');
                filled.extend(escaped);
                literal.pass(escaped.filter(|escaped| *escaped == '\\').unwrap_or(' '));
                rest = &rest[escaped.map_or(0, char::len_utf8)..];
                continue;
            } else if character == '{'
                && literal.may_have_a_name()
                && let Some(name) = placeholder(rest)
            {
                literal.put(&value(name)?, &mut filled)?;
                rest = &rest[name.len() + 1..];
                continue;
            } else {
                literal.pass(character);
            }
            filled.push_str(taken);
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

/// What a string is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Text,
    Pattern,
    /// What a pattern's match is replaced by.
    Replacement,
}

/// What of an expression surrounds a string.
#[derive(Default)]
struct Around {
    /// All before it but blanks, comments and strings.
    text: String,
    /// Of each bracket that is open: whether it is that of `label_replace`, and commas so far.
    open: Vec<(bool, usize)>,
}

impl Around {
    fn pass(&mut self, character: char) {
        match character {
            '(' => self.open.push((self.text.ends_with("label_replace"), 0)),
            '{' | '[' => self.open.push((false, 0)),
            ')' | '}' | ']' => drop(self.open.pop()),
            ',' => {
                if let Some((_, commas)) = self.open.last_mut() {
                    *commas += 1;
                }
            }
            _ => {}
        }
        if !character.is_whitespace() {
            self.text.push(character);
        }
    }

    fn role(&self) -> Role {
        match self.open.last() {
            Some((true, 2)) => Role::Replacement,
            Some((true, 4)) => Role::Pattern,
            _ if self.text.ends_with("=~") || self.text.ends_with("!~") => Role::Pattern,
            _ => Role::Text,
        }
    }
}

/// A string within an expression.
struct Literal {
    quote: char,
    role: Role,
    /// The character before, and whether a backslash takes its usual meaning from it; as the string means them.
    last: char,
    is_escaped: bool,
    /// In a replacement, after a dollar that is not one itself: the bytes so far of the group's name.
    group: Option<usize>,
}

impl Literal {
    fn begin(quote: char, role: Role) -> Self {
        Self {
            quote,
            role,
            last: ' ',
            is_escaped: false,
            group: None,
        }
    }

    fn pass(&mut self, character: char) {
        self.is_escaped = self.last == '\\' && !self.is_escaped;
        self.last = character;
        self.group = match (self.group, character) {
            (Some(0), '$') => None,
            (_, '$') => Some(0),
            (Some(bytes), 'a'..='z' | 'A'..='Z' | '0'..='9' | '_') => Some(bytes + 1),
            _ => None,
        };
    }

    /// Whether a brace that comes now is not the string's own.
    fn may_have_a_name(&self) -> bool {
        match self.role {
            Role::Text => true,
            Role::Replacement => self.group != Some(0),
            Role::Pattern if self.is_escaped => !"pPxuUb".contains(self.last),
            Role::Pattern => self.last != '\\',
        }
    }

    fn put(&mut self, value: &str, out: &mut String) -> Result<(), Unquotable> {
        if self.role == Role::Replacement
            && let Some(bytes @ 1..) = self.group
        {
            // Or the value would be a part of the group's name.
            out.insert(out.len() - bytes, '{');
            out.push('}');
        }
        self.pass(' ');
        let value = match self.role {
            Role::Pattern => pattern_of(value),
            Role::Replacement => value.replace('$', "$$"),
            Role::Text => value.to_owned(),
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

/// A regular expression that matches this text; within `[…]` one that matches its characters.
fn pattern_of(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(character) {
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
            (
                "up{a=~ # a comment\n`[{t}]`}",
                "a-z",
                "up{a=~ # a comment\n`[t:a\\-z]`}",
            ),
            // The last argument is a pattern, the third what replaces its match.
            (
                "label_replace(up{a='{t}',b='c'}, 'x', `{t}$1`, 'y', `{t}`)",
                "$1.",
                r"label_replace(up{a='t:$1.',b='c'}, 'x', `t:$$1.$1`, 'y', `t:\$1\.`)",
            ),
            (
                "label_join(up, 'x', '{t}', 'y', '{t}')",
                ".",
                "label_join(up, 'x', 't:.', 'y', 't:.')",
            ),
            // A group's name ends where the value begins; two dollars are one.
            (
                "label_replace(up, 'x', '$1{t}-$a_b{t}{u}', 'y', '(.*)')",
                "x",
                "label_replace(up, 'x', '${1}t:x-${a_b}t:xu:x', 'y', '(.*)')",
            ),
            (
                "label_replace(up, 'x', '$1.{t} $${t} $$1{t} $$${t}', 'y', '(.*)')",
                "x",
                "label_replace(up, 'x', '$1.t:x $$t:x $$1t:x $$${t}', 'y', '(.*)')",
            ),
            // Braces of the pattern's own language.
            (r"up{a=~`\p{L}\.{t}`}", "x", r"up{a=~`\p{L}\.t:x`}"),
            (
                r#"up{a=~"\\{t} \\\\{t}"}"#,
                "x",
                r#"up{a=~"\\{t} \\\\t:x"}"#,
            ),
            (
                "label_replace(up, 'x', '${t}', 'y', '(?P<t>.*)')",
                "x",
                "label_replace(up, 'x', '${t}', 'y', '(?P<t>.*)')",
            ),
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
