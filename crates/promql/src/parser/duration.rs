//! Duration expressions: arithmetic within brackets and after `offset`.

use super::{BinaryOp, DurationKind, ParseError, Parser, Token, ast::Duration};
use crate::number;

const OPERATORS: &[BinaryOp] = &[
    BinaryOp::Add,
    BinaryOp::Sub,
    BinaryOp::Mul,
    BinaryOp::Div,
    BinaryOp::Mod,
    BinaryOp::Pow,
];

impl Parser<'_> {
    /// A duration expression within brackets or parentheses.
    pub(super) fn duration(&mut self) -> Result<Duration, ParseError> {
        self.duration_of(BinaryOp::Add.precedence())
            .map(|(duration, _)| duration)
    }

    /// What follows `offset`: one duration or a parenthesis, since an operator belongs to the expression.
    pub(super) fn offset(&mut self) -> Result<Duration, ParseError> {
        self.deeper(Self::signed_atom)
    }

    fn duration_of(&mut self, precedence: u8) -> Result<(Duration, usize), ParseError> {
        let mut left = self.deeper(Self::signed_power)?;
        let mut height = 1;
        while let Some(op) = self.duration_operator() {
            if op.precedence() < precedence {
                break;
            }
            self.advance();
            let (right, right_height) =
                self.deeper(|parser| parser.duration_of(op.precedence() + 1))?;
            height = height.max(right_height) + 1;
            if height + self.depth > super::DEPTH_MAX {
                return Err(self.too_deep());
            }
            left = joined(op, left, right);
        }
        Ok((left, height))
    }

    fn duration_operator(&self) -> Option<BinaryOp> {
        let Token::Symbol(symbol) = self.peek() else {
            return None;
        };
        OPERATORS.iter().find(|op| op.symbol() == *symbol).copied()
    }

    /// A sign binds less tightly than a power.
    fn signed_power(&mut self) -> Result<Duration, ParseError> {
        let negative = self.is_symbol("-");
        if negative || self.is_symbol("+") {
            let start = self.advance().span;
            let inner = self.deeper(Self::signed_power)?;
            return Ok(signed(negative, start, inner));
        }
        let base = self.atom()?;
        if !self.take_symbol("^") {
            return Ok(base);
        }
        let exponent = self.deeper(Self::signed_power)?;
        Ok(joined(BinaryOp::Pow, base, exponent))
    }

    fn signed_atom(&mut self) -> Result<Duration, ParseError> {
        let negative = self.is_symbol("-");
        if negative || self.is_symbol("+") {
            let start = self.advance().span;
            let inner = self.deeper(Self::signed_atom)?;
            return Ok(signed(negative, start, inner));
        }
        self.atom()
    }

    fn atom(&mut self) -> Result<Duration, ParseError> {
        let span = self.span();
        let keyword = self.peek().keyword();
        let kind = match (self.peek(), keyword.as_deref()) {
            (Token::Number(value), _) => {
                let seconds = *value;
                if !seconds.is_finite() || seconds.abs() > 9.2e9 {
                    return Err(self.error("duration out of range".to_owned()));
                }
                self.advance();
                DurationKind::Number(seconds)
            }
            (Token::Duration(milliseconds), _) => {
                let seconds = number::seconds(*milliseconds);
                self.advance();
                DurationKind::Number(seconds)
            }
            (Token::Symbol("("), _) => {
                self.advance();
                let inner = self.deeper(Self::duration)?;
                self.expect_symbol(")", "in a duration")?;
                DurationKind::Paren(Box::new(inner))
            }
            (_, Some(name @ ("step" | "range"))) => {
                let step = name == "step";
                self.advance();
                self.expect_symbol("(", "in a duration")?;
                self.expect_symbol(")", "in a duration")?;
                if step {
                    DurationKind::Step
                } else {
                    DurationKind::Range
                }
            }
            (_, Some(name @ ("min_of" | "max_of"))) => {
                let least = name == "min_of";
                self.advance();
                self.expect_symbol("(", "in a duration")?;
                let left = Box::new(self.deeper(Self::duration)?);
                self.expect_symbol(",", "in a duration")?;
                let right = Box::new(self.deeper(Self::duration)?);
                self.expect_symbol(")", "in a duration")?;
                if least {
                    DurationKind::Least(left, right)
                } else {
                    DurationKind::Greatest(left, right)
                }
            }
            (other, _) => {
                let problem = format!("unexpected {other}, expected a duration");
                return Err(self.error(problem));
            }
        };
        Ok(Duration {
            span: span.to(self.span_before()),
            kind,
        })
    }
}

fn signed(negative: bool, start: super::Span, inner: Duration) -> Duration {
    let span = start.to(inner.span);
    let kind = match (negative, inner.kind) {
        (false, kind) => kind,
        (true, DurationKind::Number(seconds)) => DurationKind::Number(-seconds),
        (true, kind) => DurationKind::Negative(Box::new(Duration {
            span: inner.span,
            kind,
        })),
    };
    Duration { span, kind }
}

fn joined(op: BinaryOp, left: Duration, right: Duration) -> Duration {
    Duration {
        span: left.span.to(right.span),
        kind: DurationKind::Binary(op, Box::new(left), Box::new(right)),
    }
}
