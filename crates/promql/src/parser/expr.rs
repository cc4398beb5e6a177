//! Expressions: operators by precedence, calls, aggregations, and what may follow an expression.

use super::{
    Aggregate, AggregateOp, Binary, BinaryOp, Expr, ExprKind, ParseError, Parser, Token,
    ast::ValueType, functions,
};

/// Words that are operators, so that they name no metric right after an expression.
const WORD_OPERATORS: &[(&str, BinaryOp)] = &[
    ("and", BinaryOp::And),
    ("or", BinaryOp::Or),
    ("unless", BinaryOp::Unless),
    ("atan2", BinaryOp::Atan2),
];

/// Words that can't be the name of a metric.
const RESERVED: &[&str] = &[
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "atan2",
];

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Result<Expr, ParseError> {
        self.deeper(|parser| parser.binary(1))
    }

    /// An expression of operators that bind at least as tightly as `precedence`.
    fn binary(&mut self, precedence: u8) -> Result<Expr, ParseError> {
        let mut left = self.unary()?;
        while let Some(op) = self.operator() {
            if op.precedence() < precedence {
                break;
            }
            self.advance();
            let (returns_bool, matching) = self.matching(op)?;
            let right_precedence = op.precedence() + u8::from(op != BinaryOp::Pow);
            let left_height = self.height;
            let right = self.deeper(|parser| parser.binary(right_precedence))?;
            self.raise(left_height.max(self.height))?;
            let span = left.span.to(right.span);
            let binary = Binary {
                op,
                left,
                right,
                returns_bool,
                matching,
            };
            self.check_binary(&binary, span)?;
            left = Expr {
                span,
                kind: ExprKind::Binary(Box::new(binary)),
            };
        }
        Ok(left)
    }

    /// The expression that was parsed last is one level above parts of this height.
    fn raise(&mut self, height: usize) -> Result<(), ParseError> {
        self.height = height + 1;
        if self.height + self.depth > super::DEPTH_MAX {
            return Err(self.too_deep());
        }
        Ok(())
    }

    fn operator(&self) -> Option<BinaryOp> {
        match self.peek() {
            Token::Symbol(symbol) => {
                let mut all = BinaryOp::ALL.iter();
                all.find(|op| op.symbol() == *symbol).copied()
            }
            word @ Token::Word(_) => {
                let word = word.keyword()?;
                let mut words = WORD_OPERATORS.iter();
                words.find(|(name, _)| *name == word).map(|(_, op)| *op)
            }
            _ => None,
        }
    }

    fn unary(&mut self) -> Result<Expr, ParseError> {
        let negative = self.is_symbol("-");
        if !negative && !self.is_symbol("+") {
            self.height = 0;
            let expr = self.primary()?;
            return self.followed(expr);
        }
        let start = self.advance().span;
        let expr = self.deeper(|parser| parser.binary(BinaryOp::Pow.precedence()))?;
        let span = start.to(expr.span);
        if let ExprKind::Number(value) = expr.kind {
            let value = if negative { -value } else { value };
            let kind = ExprKind::Number(value);
            return Ok(Expr { span, kind });
        }
        self.check_type(
            &expr,
            &[ValueType::Scalar, ValueType::Vector],
            "a sign may only stand before a scalar or an instant vector",
        )?;
        let kind = ExprKind::Unary {
            negative,
            expr: Box::new(expr),
        };
        self.raise(self.height)?;
        Ok(Expr { span, kind })
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        let span = self.span();
        let kind = match self.peek().clone() {
            Token::Number(value) => {
                self.advance();
                ExprKind::Number(value)
            }
            Token::Duration(milliseconds) => {
                self.advance();
                ExprKind::Number(crate::number::seconds(milliseconds))
            }
            Token::Text(bytes) => {
                self.advance();
                ExprKind::Text(bytes)
            }
            Token::Symbol("(") => {
                self.advance();
                let inner = self.expr()?;
                self.raise(self.height)?;
                let end = self.expect_symbol(")", "in a parenthesis")?;
                return Ok(Expr {
                    span: span.to(end),
                    kind: ExprKind::Paren(Box::new(inner)),
                });
            }
            Token::Symbol("{") => return self.selector(None),
            Token::Word(word) => return self.word(&word),
            other => {
                let problem = format!("unexpected {other}, expected an expression");
                return Err(self.error(problem));
            }
        };
        Ok(Expr { span, kind })
    }

    fn word(&mut self, word: &str) -> Result<Expr, ParseError> {
        let keyword = word.to_ascii_lowercase();
        let before_paren = matches!(self.peek_after(), Token::Symbol("("));
        let mut operators = AggregateOp::ALL.iter();
        if let Some(op) = operators.find(|op| op.name() == keyword) {
            let before_grouping = self
                .peek_after()
                .keyword()
                .is_some_and(|next| next == "by" || next == "without");
            if before_paren || before_grouping {
                return self.aggregate(*op);
            }
        }
        if before_paren {
            return self.call(word, &keyword);
        }
        if matches!(keyword.as_str(), "inf" | "nan") {
            let value = if keyword == "inf" {
                f64::INFINITY
            } else {
                f64::NAN
            };
            let span = self.advance().span;
            let kind = ExprKind::Number(value);
            return Ok(Expr { span, kind });
        }
        if RESERVED.contains(&keyword.as_str()) {
            let problem = format!("unexpected {word:?}, expected an expression");
            return Err(self.error(problem));
        }
        self.selector(Some(word.to_owned()))
    }

    fn call(&mut self, name: &str, keyword: &str) -> Result<Expr, ParseError> {
        let start = self.advance().span;
        // These four are keywords of durations, too, and keywords are written in any case.
        let name = match keyword {
            "start" | "end" | "step" | "range" | "min_of" | "max_of" => keyword,
            _ => name,
        };
        let Some(function) = functions::find(name) else {
            return Err(self.error_at(start, format!("unknown function {name:?}")));
        };
        let args = self.arguments(function.name == "info")?;
        let span = start.to(self.span_before());
        self.check_call(function, &args, span)?;
        let kind = ExprKind::Call { function, args };
        Ok(Expr { span, kind })
    }

    fn arguments(&mut self, labels_only_second: bool) -> Result<Vec<Expr>, ParseError> {
        self.expect_symbol("(", "before arguments")?;
        let mut args = Vec::new();
        if self.take_symbol(")") {
            return Ok(args);
        }
        let mut height = 0;
        loop {
            args.push(
                if labels_only_second && args.len() == 1 && self.is_symbol("{") {
                    self.label_selector()?
                } else {
                    self.expr()?
                },
            );
            height = height.max(self.height);
            if self.take_symbol(")") {
                self.raise(height)?;
                return Ok(args);
            }
            if !self.take_symbol(",") {
                let problem = format!(
                    "unexpected {} in arguments, expected \",\" or \")\"",
                    self.peek()
                );
                return Err(self.error(problem));
            }
            if self.is_symbol(")") {
                return Err(self.error("trailing commas are not allowed in arguments".to_owned()));
            }
        }
    }

    fn aggregate(&mut self, op: AggregateOp) -> Result<Expr, ParseError> {
        let start = self.advance().span;
        let mut grouping = self.grouping()?;
        let mut args = self.arguments(false)?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let span = start.to(self.span_before());
        let wanted = 1 + usize::from(op.param().is_some());
        if args.len() != wanted {
            return Err(self.error_at(
                span,
                format!(
                    "wrong number of arguments for aggregate {:?}: expected {wanted}, got {}",
                    op.name(),
                    args.len()
                ),
            ));
        }
        let expr = args.pop().expect("counted above");
        let aggregate = Aggregate {
            op,
            expr,
            param: args.pop(),
            grouping: grouping.unwrap_or_default(),
        };
        self.check_aggregate(&aggregate)?;
        Ok(Expr {
            span,
            kind: ExprKind::Aggregate(Box::new(aggregate)),
        })
    }

    pub(super) fn signed_number(&mut self, what: &str) -> Result<f64, ParseError> {
        let negative = self.is_symbol("-");
        if negative || self.is_symbol("+") {
            self.advance();
        }
        let value = match (self.peek(), self.peek().keyword().as_deref()) {
            (Token::Number(value), _) => *value,
            (Token::Duration(milliseconds), _) => crate::number::seconds(*milliseconds),
            (_, Some("inf")) => f64::INFINITY,
            (_, Some("nan")) => f64::NAN,
            (other, _) => {
                let problem = format!("unexpected {other}, expected a number as {what}");
                return Err(self.error(problem));
            }
        };
        self.advance();
        Ok(if negative { -value } else { value })
    }

    /// Ranges, subqueries, `offset`, `@`, `anchored` and `smoothed` after an expression.
    fn followed(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        loop {
            let start = self.span();
            if self.is_symbol("[") {
                expr = self.window(expr)?;
            } else if self.is_symbol("@") {
                self.advance();
                let at = self.at()?;
                self.set_at(&mut expr, at, start)?;
            } else if self.is_keyword("offset") {
                self.advance();
                let offset = self.offset()?;
                self.set_offset(&mut expr, offset, start)?;
            } else if self.is_keyword("anchored") || self.is_keyword("smoothed") {
                self.extend(&mut expr)?;
            } else {
                return Ok(expr);
            }
            expr.span = expr.span.to(self.span_before());
            self.raise(self.height)?;
        }
    }
}
