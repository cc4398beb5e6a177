//! Selectors and their modifiers.

use super::{
    At, Expr, ExprKind, Extension, ParseError, Parser, Selector, Span, Subquery, TimeModifiers,
    Token, ast,
};
use crate::{
    labels::{Labels, METRIC_NAME, MatchOp, Matcher},
    number,
};

impl Parser<'_> {
    /// `name`, `name{…}` or `{…}`.
    pub(super) fn selector(&mut self, name: Option<String>) -> Result<Expr, ParseError> {
        let start = self.span();
        let expr = self.any_selector(name)?;
        if let ExprKind::Selector(selector) = &expr.kind
            && selector.matchers.iter().all(|matcher| matcher.matches(""))
        {
            return Err(self.error_at(
                start.to(expr.span),
                "vector selector must contain at least one non-empty matcher",
            ));
        }
        Ok(expr)
    }

    /// The second argument of `info`, which may match everything.
    pub(super) fn label_selector(&mut self) -> Result<Expr, ParseError> {
        self.any_selector(None)
    }

    fn any_selector(&mut self, name: Option<String>) -> Result<Expr, ParseError> {
        let start = self.span();
        let mut matchers = Vec::new();
        if let Some(name) = &name {
            self.advance();
            matchers.push(Matcher::equal(METRIC_NAME, name));
        }
        if self.is_symbol("{") {
            self.matchers(&mut matchers, name.is_some())?;
        }
        let kind = ExprKind::Selector(Box::new(Selector {
            name,
            matchers,
            time: TimeModifiers::default(),
            extension: None,
        }));
        let span = start.to(self.span_before());
        Ok(Expr { span, kind })
    }

    fn matchers(&mut self, matchers: &mut Vec<Matcher>, named: bool) -> Result<(), ParseError> {
        self.expect_symbol("{", "before matchers")?;
        let is_name =
            |matcher: &Matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal;
        let mut named = named;
        while !self.take_symbol("}") {
            let start = self.span();
            let (matcher, quoted_name) = self.matcher()?;
            let twice = named || (quoted_name && matchers.iter().any(is_name));
            if is_name(&matcher) && twice {
                return Err(self.error_at(start, "metric name must not be set twice"));
            }
            named |= quoted_name;
            matchers.push(matcher);
            if !self.take_symbol(",") && !self.is_symbol("}") {
                let found = self.peek();
                let problem =
                    format!("unexpected {found} among matchers, expected \",\" or \"}}\"");
                return Err(self.error(problem));
            }
        }
        Ok(())
    }

    /// `label="value"`, or a quoted name of a metric alone, and which of them it was.
    fn matcher(&mut self) -> Result<(Matcher, bool), ParseError> {
        let start = self.span();
        let name = match self.peek().clone() {
            Token::Word(word) if !word.contains(':') => word,
            Token::Text(bytes) => self.label_name(bytes)?,
            other => {
                let problem = format!("unexpected {other} among matchers, expected a label");
                return Err(self.error(problem));
            }
        };
        let quoted = matches!(self.advance().token, Token::Text(_));
        let op = match self.peek() {
            Token::Symbol("=") => MatchOp::Equal,
            Token::Symbol("!=") => MatchOp::NotEqual,
            Token::Symbol("=~") => MatchOp::Matches,
            Token::Symbol("!~") => MatchOp::NotMatches,
            Token::Symbol("," | "}") if quoted => {
                return Ok((Matcher::equal(METRIC_NAME, name), true));
            }
            other => {
                let problem = format!(
                    "unexpected {other} after a label, expected \"=\", \"!=\", \"=~\" or \"!~\""
                );
                return Err(self.error(problem));
            }
        };
        self.advance();
        let value = self.label_value()?;
        let matcher = Matcher::new(name, op, value).map_err(|error| {
            let reason = error.source.to_string();
            let last = reason.lines().last().unwrap_or(&reason).to_owned();
            let span = start.to(self.span_before());
            self.error_at(span, format!("{error}: {last}"))
        })?;
        Ok((matcher, false))
    }

    fn label_value(&mut self) -> Result<String, ParseError> {
        let Token::Text(bytes) = self.peek().clone() else {
            let problem = format!(
                "unexpected {} after an operator, expected a string",
                self.peek()
            );
            return Err(self.error(problem));
        };
        let value = String::from_utf8(bytes)
            .map_err(|_| self.error("a label's value must be UTF-8".to_owned()))?;
        self.advance();
        Ok(value)
    }

    /// The labels of a series, as test files and expositions write them.
    pub(super) fn series_name(&mut self) -> Result<Labels, ParseError> {
        let name = match self.peek().clone() {
            Token::Word(word) => Some(word),
            _ => None,
        };
        let start = self.span();
        let expr = self.any_selector(name)?;
        let ExprKind::Selector(selector) = expr.kind else {
            return Ok(Labels::default());
        };
        let mut matchers = selector.matchers.iter();
        if matchers.any(|matcher| matcher.op() != MatchOp::Equal) {
            return Err(self.error_at(start, "a series' labels are written with \"=\" only"));
        }
        let matchers = selector.matchers.iter();
        Ok(Labels::from_pairs(
            matchers.map(|matcher| (matcher.name(), matcher.value())),
        ))
    }

    /// `[5m]` or `[1h:5m]`.
    pub(super) fn window(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        let start = expr.span;
        self.expect_symbol("[", "before a range")?;
        let range = self.duration()?;
        if !self.take_symbol(":") {
            let end = self.expect_symbol("]", "after a range")?;
            return self.range(expr, range, start.to(end));
        }
        let step = if self.is_symbol("]") {
            None
        } else {
            Some(self.duration()?)
        };
        let end = self.expect_symbol("]", "after a subquery's step")?;
        self.check_type(
            &expr,
            &[ast::ValueType::Vector],
            "subquery is only allowed on instant vector",
        )?;
        let kind = ExprKind::Subquery(Box::new(Subquery {
            expr,
            range,
            step,
            time: TimeModifiers::default(),
        }));
        let span = start.to(end);
        Ok(Expr { span, kind })
    }

    fn range(&self, expr: Expr, range: ast::Duration, span: Span) -> Result<Expr, ParseError> {
        let ExprKind::Selector(selector) = expr.kind else {
            return Err(self.error_at(expr.span, "ranges only allowed for vector selectors"));
        };
        if selector.time != TimeModifiers::default() || selector.extension.is_some() {
            let problem = "no offset, @, anchored or smoothed modifiers allowed before range";
            return Err(self.error_at(expr.span, problem));
        }
        let range = Box::new(range);
        let kind = ExprKind::Range { selector, range };
        Ok(Expr { span, kind })
    }

    /// After `@`.
    pub(super) fn at(&mut self) -> Result<At, ParseError> {
        let start = self.span();
        for (keyword, at) in [("start", At::Start), ("end", At::End)] {
            if self.take_keyword(keyword) {
                self.expect_symbol("(", "after a preprocessor of @")?;
                self.expect_symbol(")", "after a preprocessor of @")?;
                return Ok(at);
            }
        }
        let seconds = self.signed_number("a timestamp")?;
        // As far as any 64-bit count of milliseconds reaches.
        if !seconds.is_finite() || seconds.abs() >= 9.223_372e15 {
            let problem = format!(
                "timestamp out of bounds for @ modifier: {}",
                number::compact(seconds)
            );
            return Err(self.error_at(start, problem));
        }
        Ok(At::Time(number::truncated((seconds * 1000.0).round())))
    }

    pub(super) fn set_at(&self, expr: &mut Expr, at: At, start: Span) -> Result<(), ParseError> {
        let time = self.time_modifiers(expr, "@ modifier", start)?;
        if time.at.replace(at).is_some() {
            let problem = "@ <timestamp> may not be set multiple times";
            return Err(self.error_at(start, problem));
        }
        Ok(())
    }

    pub(super) fn set_offset(
        &self,
        expr: &mut Expr,
        offset: ast::Duration,
        start: Span,
    ) -> Result<(), ParseError> {
        let time = self.time_modifiers(expr, "offset modifier", start)?;
        if time.offset.replace(offset).is_some() {
            return Err(self.error_at(start, "offset may not be set multiple times"));
        }
        Ok(())
    }

    fn time_modifiers<'e>(
        &self,
        expr: &'e mut Expr,
        what: &str,
        start: Span,
    ) -> Result<&'e mut TimeModifiers, ParseError> {
        match &mut expr.kind {
            ExprKind::Selector(selector) | ExprKind::Range { selector, .. } => {
                Ok(&mut selector.time)
            }
            ExprKind::Subquery(subquery) => Ok(&mut subquery.time),
            _ => Err(self.error_at(
                start,
                format!(
                    "{what} must be preceded by an instant vector selector or range vector selector or a subquery"
                ),
            )),
        }
    }

    /// `anchored` or `smoothed`.
    pub(super) fn extend(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        let extension = if self.is_keyword("anchored") {
            Extension::Anchored
        } else {
            Extension::Smoothed
        };
        let start = self.advance().span;
        let selector = match &mut expr.kind {
            ExprKind::Range { selector, .. } => selector,
            ExprKind::Selector(selector) if extension == Extension::Smoothed => selector,
            _ => {
                let problem = match extension {
                    Extension::Anchored => {
                        "anchored modifier must be preceded by a range vector selector"
                    }
                    Extension::Smoothed => {
                        "smoothed modifier must be preceded by an instant vector or range vector selector"
                    }
                };
                return Err(self.error_at(start, problem));
            }
        };
        if selector.extension.replace(extension).is_some() {
            let problem = "anchored and smoothed modifiers may only be set once, and one of them";
            return Err(self.error_at(start, problem));
        }
        Ok(())
    }
}
