//! What an actuator says of one operation, before it becomes an outcome of an order.

use pitcrew_model::OutcomeKind;
use serde::{Deserialize, Serialize};

/// Longest detail kept, in characters: one line of a report.
const DETAIL_CHARS_MAX: usize = 400;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub kind: OutcomeKind,
    /// One line.
    pub detail: String,
}

impl Answer {
    /// It was done, which is no proof that it helped.
    pub(crate) fn done(detail: impl AsRef<str>) -> Self {
        Self::new(OutcomeKind::Done, detail.as_ref())
    }

    /// Certainly without effect.
    pub(crate) fn failed(detail: impl AsRef<str>) -> Self {
        Self::new(OutcomeKind::Failed, detail.as_ref())
    }

    /// It may have taken effect.
    pub(crate) fn unknown(detail: impl AsRef<str>) -> Self {
        Self::new(OutcomeKind::Unknown, detail.as_ref())
    }

    fn new(kind: OutcomeKind, detail: &str) -> Self {
        Self {
            kind,
            detail: one_line(detail, DETAIL_CHARS_MAX),
        }
    }
}

/// Text from outside made fit for one line: no control characters, no runs of white space, bounded.
pub(crate) fn one_line(text: &str, chars_max: usize) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if !word.is_empty() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    match line.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_one_bounded_line() {
        assert_eq!(Answer::done(" a\nb\t\u{1b}[1m c\0 ").detail, "a b [1m c");
        let long = Answer::failed("ä".repeat(1_000)).detail;
        assert_eq!(long.chars().count(), DETAIL_CHARS_MAX + 1);
    }
}
