//! Which labels count: groups of an aggregation, and how two vectors match.

use super::{BinaryOp, Group, Grouping, Matching, ParseError, Parser, Side, Token};

impl Parser<'_> {
    pub(super) fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = self.is_keyword("without");
        if !without && !self.is_keyword("by") {
            return Ok(None);
        }
        self.advance();
        let labels = self.label_names()?;
        Ok(Some(Grouping { without, labels }))
    }

    /// `(a, "b", c)`
    fn label_names(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect_symbol("(", "before labels")?;
        let mut names = Vec::new();
        while !self.take_symbol(")") {
            match self.peek().clone() {
                Token::Word(word) if !word.contains(':') => names.push(word),
                Token::Text(bytes) => names.push(self.label_name(bytes)?),
                other => {
                    let problem = format!("unexpected {other} among labels, expected a label");
                    return Err(self.error(problem));
                }
            }
            self.advance();
            if !self.take_symbol(",") && !self.is_symbol(")") {
                let problem = format!(
                    "unexpected {} among labels, expected \",\" or \")\"",
                    self.peek()
                );
                return Err(self.error(problem));
            }
        }
        Ok(names)
    }

    /// `bool`, `on`, `ignoring`, `group_left`, `group_right` and `fill`.
    pub(super) fn matching(&mut self, op: BinaryOp) -> Result<(bool, Matching), ParseError> {
        let start = self.span();
        let returns_bool = self.take_keyword("bool");
        if returns_bool && !op.is_comparison() {
            let problem = "bool modifier can only be used on comparison operators";
            return Err(self.error_at(start, problem));
        }
        let mut matching = Matching::default();
        if self.is_keyword("on") || self.is_keyword("ignoring") {
            matching.on = self.is_keyword("on");
            self.advance();
            matching.labels = self.label_names()?;
            matching.group = self.group()?;
        }
        self.fill(&mut matching)?;
        let grouped = matching.group.is_some();
        let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
        if op.is_set() && (grouped || filled) {
            let what = if grouped {
                "grouping"
            } else {
                "filling in missing series"
            };
            let problem = format!("no {what} allowed for {:?} operation", op.symbol());
            return Err(self.error_at(start, problem));
        }
        Ok((returns_bool, matching))
    }

    fn group(&mut self) -> Result<Option<Group>, ParseError> {
        let many = if self.take_keyword("group_left") {
            Side::Left
        } else if self.take_keyword("group_right") {
            Side::Right
        } else {
            return Ok(None);
        };
        let include = if self.is_symbol("(") {
            self.label_names()?
        } else {
            Vec::new()
        };
        Ok(Some(Group { many, include }))
    }

    fn fill(&mut self, matching: &mut Matching) -> Result<(), ParseError> {
        loop {
            let keyword = self.peek().keyword().unwrap_or_default();
            let modifier = matches!(keyword.as_str(), "fill" | "fill_left" | "fill_right");
            if !modifier || !matches!(self.peek_after(), Token::Symbol("(")) {
                return Ok(());
            }
            let span = self.advance().span;
            self.expect_symbol("(", "before a fill value")?;
            let value = self.signed_number("a fill value")?;
            self.expect_symbol(")", "after a fill value")?;
            let sides: &mut [&mut Option<f64>] = match keyword.as_str() {
                "fill" => &mut [&mut matching.fill_left, &mut matching.fill_right],
                "fill_left" => &mut [&mut matching.fill_left],
                _ => &mut [&mut matching.fill_right],
            };
            for side in sides {
                if side.replace(value).is_some() {
                    return Err(self.error_at(span, "a side is filled twice"));
                }
            }
        }
    }

    /// UTF-8 and not empty.
    pub(super) fn label_name(&self, bytes: Vec<u8>) -> Result<String, ParseError> {
        let name = String::from_utf8(bytes).ok();
        name.filter(|name| !name.is_empty()).ok_or_else(|| {
            self.error("invalid label name: it must be UTF-8 and not empty".to_owned())
        })
    }
}
