//! The parser: a query's text as a tree, or an error that says where and what was expected.
//!
//! Recursive descent with precedence climbing. The depth of the tree is bounded, because whatever walks it
//! later does so by recursion, too; a query beyond that is an error like any other. It must never panic.

mod ast;
mod check;
mod duration;
mod expr;
mod functions;
mod lexer;
mod matching;
mod operators;
mod printer;
mod selector;
mod spelling;
mod token;

use std::fmt;

pub use ast::*;
pub use functions::{FUNCTIONS, Function};
pub use operators::{AggregateOp, BinaryOp};
pub(crate) use printer::Quoted;
pub(crate) use spelling::{duration_ms, parse_number};
pub use token::{Span, position};
use token::{Spanned, Token};

/// How deep expressions may be nested, and how many operators may be chained. Unoptimised code needs 1.2 MB of stack to
/// evaluate as much; threads commonly have 2.
pub const DEPTH_MAX: usize = 100;

/// A query that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    /// Where, as `line:column`.
    pub position: String,
    /// The part of the query in question.
    pub span: Span,
    /// What is wrong with it.
    pub problem: String,
}

impl ParseError {
    fn new(query: &str, span: Span, problem: String) -> Self {
        ParseError {
            position: position(query, span.start),
            span,
            problem,
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: parse error: {}", self.position, self.problem)
    }
}

/// Parses a query.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(query)?;
    let expr = parser.expr()?;
    match parser.peek() {
        Token::End => Ok(expr),
        other => {
            let problem = format!("unexpected {other}, expected an operator or the end");
            Err(parser.error(problem))
        }
    }
}

/// Parses what names a series: `name{label="value"}` with equalities only.
pub(crate) fn parse_series_labels(text: &str) -> Result<crate::labels::Labels, ParseError> {
    let mut parser = Parser::new(text)?;
    let expr = parser.series_name()?;
    match parser.peek() {
        Token::End => Ok(expr),
        other => Err(parser.error(format!("unexpected {other} after a series' labels"))),
    }
}

struct Parser<'a> {
    query: &'a str,
    tokens: Vec<Spanned>,
    at: usize,
    /// Levels of the descent so far.
    depth: usize,
    /// Levels of the expression that was parsed last.
    height: usize,
}

impl<'a> Parser<'a> {
    fn new(query: &'a str) -> Result<Self, ParseError> {
        Ok(Parser {
            query,
            tokens: lexer::tokens(query)?,
            at: 0,
            depth: 0,
            height: 0,
        })
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at].token
    }

    fn peek_after(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].token
    }

    fn span(&self) -> Span {
        self.tokens[self.at].span
    }

    /// Where the last token ended.
    fn span_before(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].span
    }

    fn advance(&mut self) -> Spanned {
        let token = self.tokens[self.at].clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(found) if *found == symbol)
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect_symbol(&mut self, symbol: &str, place: &str) -> Result<Span, ParseError> {
        if self.is_symbol(symbol) {
            return Ok(self.advance().span);
        }
        let problem = format!("unexpected {} {place}, expected {symbol:?}", self.peek());
        Err(self.error(problem))
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        self.peek().keyword().is_some_and(|found| found == keyword)
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.is_keyword(keyword);
        if found {
            self.advance();
        }
        found
    }

    fn error(&self, problem: String) -> ParseError {
        ParseError::new(self.query, self.span(), problem)
    }

    fn error_at(&self, span: Span, problem: impl Into<String>) -> ParseError {
        ParseError::new(self.query, span, problem.into())
    }

    /// Runs a step of the descent one level deeper.
    fn deeper<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.depth >= DEPTH_MAX {
            return Err(self.too_deep());
        }
        self.depth += 1;
        let result = step(self);
        self.depth -= 1;
        result
    }

    fn too_deep(&self) -> ParseError {
        self.error(format!(
            "the query is nested more than {DEPTH_MAX} levels deep: split it or name parts of it by recording rules"
        ))
    }
}

#[cfg(test)]
mod tests;
