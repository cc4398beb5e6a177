//! Matchers: which series a selector selects.
//!
//! Regular expressions are anchored at both ends and `.` matches a newline too, as in Prometheus. A pattern
//! that is a mere list of words is compared without an automaton.

use std::fmt;

use regex::Regex;

use super::pattern::{MatcherError, anchored};

/// How a label's value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    NotMatches,
}

impl fmt::Display for MatchOp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Matches => "=~",
            MatchOp::NotMatches => "!~",
        })
    }
}

/// One condition on one label; a missing label has the empty value.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    pattern: Option<Pattern>,
}

#[derive(Debug, Clone)]
enum Pattern {
    /// In order.
    Words(Vec<String>),
    Everything,
    /// Everything but the empty value.
    Something,
    Regex(Regex),
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Matcher {
    /// Compiles the pattern where the operator asks for one.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Matches | MatchOp::NotMatches => Some(Pattern::compile(&value)?),
        };
        Ok(Matcher {
            name,
            op,
            value,
            pattern,
        })
    }

    /// `name="value"`
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Matcher {
            name: name.into(),
            op: MatchOp::Equal,
            value: value.into(),
            pattern: None,
        }
    }

    /// Any of these values, spelled as a pattern for the storage to see.
    pub(crate) fn any_of(name: impl Into<String>, words: Vec<String>) -> Self {
        let escaped: Vec<String> = words.iter().map(|word| regex::escape(word)).collect();
        Matcher {
            name: name.into(),
            op: MatchOp::Matches,
            value: escaped.join("|"),
            pattern: Some(Pattern::words(words)),
        }
    }

    /// The label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The comparison.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What is compared with: a text or a pattern.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The words of a pattern that is nothing but alternatives, so that a store can look them up.
    pub fn words(&self) -> Option<&[String]> {
        match &self.pattern {
            Some(Pattern::Words(words)) => Some(words),
            Some(Pattern::Regex(_) | Pattern::Everything | Pattern::Something) | None => None,
        }
    }

    /// The pattern as the crate `regex` spells it, where it is one that can tell more values from others than words.
    pub fn regex(&self) -> Option<&str> {
        match &self.pattern {
            Some(Pattern::Regex(regex)) => Some(regex.as_str()),
            Some(Pattern::Words(_) | Pattern::Everything | Pattern::Something) | None => None,
        }
    }

    /// Whether a value fulfils the condition.
    pub fn matches(&self, value: &str) -> bool {
        match self.op {
            MatchOp::Equal => self.value == value,
            MatchOp::NotEqual => self.value != value,
            MatchOp::Matches => self.fits_pattern(value),
            MatchOp::NotMatches => !self.fits_pattern(value),
        }
    }

    fn fits_pattern(&self, value: &str) -> bool {
        match &self.pattern {
            Some(Pattern::Words(words)) => {
                let found = words.binary_search_by(|word| word.as_str().cmp(value));
                found.is_ok()
            }
            Some(Pattern::Everything) => true,
            Some(Pattern::Something) => !value.is_empty(),
            Some(Pattern::Regex(regex)) => regex.is_match(value),
            None => false,
        }
    }
}

impl Pattern {
    fn words(mut words: Vec<String>) -> Self {
        words.sort_unstable();
        words.dedup();
        Pattern::Words(words)
    }

    fn compile(pattern: &str) -> Result<Self, MatcherError> {
        let plain = |word: &str| {
            word.chars()
                .all(|c| c.is_alphanumeric() || "_-:/ ".contains(c))
        };
        if pattern.split('|').all(plain) {
            return Ok(Pattern::words(
                pattern.split('|').map(str::to_owned).collect(),
            ));
        }
        match pattern {
            ".*" => return Ok(Pattern::Everything),
            ".+" => return Ok(Pattern::Something),
            _ => {}
        }
        anchored(pattern).map(Pattern::Regex)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}{:?}", self.name, self.op, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        Matcher::new("a", MatchOp::Matches, pattern)
            .unwrap()
            .matches(value)
    }

    #[test]
    fn patterns_match_the_whole_value() {
        assert!(matches("a|b", "a"));
        assert!(!matches("a|b", "ab"));
        assert!(!matches("a.", "xab"));
        assert!(matches("a.b", "a\nb"));
        assert!(matches("(?i:PRO).*", "production"));
        assert!(matches("", ""));
        assert!(matches("a||b", "") && matches("b|a|c|a", "a") && !matches("c|a", "b"));
        assert!(matches(".*", "") && matches(".*", "a\nb"));
        assert!(!matches(".+", "") && matches(".+", "\n"));
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Matcher::new("a", MatchOp::Matches, "(").unwrap_err();
        assert_eq!(error.to_string(), r#"invalid regular expression "(""#);
    }
}
