//! Tokens: the words of a query with their places.

use std::fmt;

/// A part of a query, in bytes from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One after the last.
    pub end: usize,
}

impl Span {
    /// From the beginning of this one to the end of the other.
    pub(crate) fn to(self, end: Span) -> Span {
        Span {
            start: self.start,
            end: end.end,
        }
    }
}

/// Line and column of a byte, both from 1, as `line:column`.
pub fn position(query: &str, offset: usize) -> String {
    let before = &query.as_bytes()[..offset.min(query.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before
        .iter()
        .rev()
        .take_while(|byte| **byte != b'\n')
        .count()
        + 1;
    format!("{line}:{column}")
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A name or a keyword; which of them, its place decides.
    Word(String),
    Number(f64),
    /// In milliseconds.
    Duration(i64),
    Text(Vec<u8>),
    Symbol(&'static str),
    End,
}

impl Token {
    /// The word in lower case, for keywords, which are written in any case.
    pub(crate) fn keyword(&self) -> Option<String> {
        match self {
            Token::Word(word) => Some(word.to_ascii_lowercase()),
            _ => None,
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(word) => write!(out, "{word:?}"),
            Token::Number(_) => out.write_str("a number"),
            Token::Duration(_) => out.write_str("a duration"),
            Token::Text(_) => out.write_str("a string"),
            Token::Symbol(symbol) => write!(out, "{symbol:?}"),
            Token::End => out.write_str("the end of the query"),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) span: Span,
}
