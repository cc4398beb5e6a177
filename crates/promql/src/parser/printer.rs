//! Writing a tree back as a query that parses to the same tree.

use std::fmt::{self, Display, Formatter, Write};

use super::{
    Aggregate, At, Binary, Duration, DurationKind, Expr, ExprKind, Extension, Matching, Selector,
    Side, TimeModifiers,
};
use crate::labels::{METRIC_NAME, MatchOp};

/// Shortest decimal spelling that reads back as the same number.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.is_nan() {
            out.write_str("NaN")
        } else if value.is_infinite() {
            out.write_str(if value > 0.0 { "Inf" } else { "-Inf" })
        } else if value != 0.0 && !(1e-7..1e21).contains(&value.abs()) {
            write!(out, "{value:e}")
        } else {
            write!(out, "{value}")
        }
    }
}

/// A string in double quotes; bytes that are no UTF-8 as escapes.
pub(crate) struct Quoted<'a>(pub(crate) &'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_char('"')?;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' => out.write_str("\\\"")?,
                    '\\' => out.write_str("\\\\")?,
                    '\n' => out.write_str("\\n")?,
                    '\r' => out.write_str("\\r")?,
                    '\t' => out.write_str("\\t")?,
                    c if c.is_ascii_control() => write!(out, "\\x{:02x}", u32::from(c))?,
                    c => out.write_char(c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
        out.write_char('"')
    }
}

/// A label's name, quoted where it must be.
struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if self.0.starts_with(|c: char| c.is_ascii_digit()) || !self.0.chars().all(plain) {
            write!(out, "{}", Quoted(self.0.as_bytes()))
        } else {
            out.write_str(self.0)
        }
    }
}

struct Listed<'a, T>(&'a [T]);

impl<T: Display> Display for Listed<'_, T> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(out, "{comma}{item}")?;
        }
        Ok(())
    }
}

fn write_names(out: &mut Formatter<'_>, names: &[String]) -> fmt::Result {
    let names: Vec<Name<'_>> = names.iter().map(|name| Name(name)).collect();
    write!(out, "({})", Listed(&names))
}

impl Display for Expr {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(value) => write!(out, "{}", Number(*value)),
            ExprKind::Text(bytes) => write!(out, "{}", Quoted(bytes)),
            ExprKind::Selector(selector) => {
                write_selector(out, selector)?;
                write_modifiers(out, selector)
            }
            ExprKind::Range { selector, range } => {
                write_selector(out, selector)?;
                write!(out, "[{range}]")?;
                write_modifiers(out, selector)
            }
            ExprKind::Subquery(subquery) => {
                write!(out, "{}[{}:", subquery.expr, subquery.range)?;
                if let Some(step) = &subquery.step {
                    write!(out, "{step}")?;
                }
                out.write_char(']')?;
                write_time(out, &subquery.time)
            }
            ExprKind::Call { function, args } => write!(out, "{}({})", function.name, Listed(args)),
            ExprKind::Aggregate(aggregate) => write_aggregate(out, aggregate),
            ExprKind::Unary { negative, expr } => {
                write!(out, "{}{expr}", if *negative { '-' } else { '+' })
            }
            ExprKind::Binary(binary) => write_binary(out, binary),
            ExprKind::Paren(expr) => write!(out, "({expr})"),
        }
    }
}

fn write_selector(out: &mut Formatter<'_>, selector: &Selector) -> fmt::Result {
    let mut matchers = selector.matchers.as_slice();
    if let Some(name) = &selector.name {
        out.write_str(name)?;
        matchers = matchers.get(1..).unwrap_or_default();
        if matchers.is_empty() {
            return Ok(());
        }
    }
    out.write_char('{')?;
    for (index, matcher) in matchers.iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        let value = Quoted(matcher.value().as_bytes());
        if matcher.name() == METRIC_NAME
            && matcher.op() == MatchOp::Equal
            && selector.name.is_none()
            && !matcher.value().is_empty()
        {
            write!(out, "{comma}{METRIC_NAME}={value}")?;
        } else {
            write!(
                out,
                "{comma}{}{}{value}",
                Name(matcher.name()),
                matcher.op()
            )?;
        }
    }
    out.write_char('}')
}

fn write_modifiers(out: &mut Formatter<'_>, selector: &Selector) -> fmt::Result {
    write_time(out, &selector.time)?;
    match selector.extension {
        Some(Extension::Anchored) => out.write_str(" anchored"),
        Some(Extension::Smoothed) => out.write_str(" smoothed"),
        None => Ok(()),
    }
}

fn write_time(out: &mut Formatter<'_>, time: &TimeModifiers) -> fmt::Result {
    match time.at {
        Some(At::Time(at)) => write!(out, " @ {}", Number(crate::number::seconds(at)))?,
        Some(At::Start) => out.write_str(" @ start()")?,
        Some(At::End) => out.write_str(" @ end()")?,
        None => {}
    }
    match &time.offset {
        Some(offset) => write!(out, " offset {offset}"),
        None => Ok(()),
    }
}

fn write_aggregate(out: &mut Formatter<'_>, aggregate: &Aggregate) -> fmt::Result {
    out.write_str(aggregate.op.name())?;
    let grouping = &aggregate.grouping;
    if grouping.without || !grouping.labels.is_empty() {
        out.write_str(if grouping.without {
            " without "
        } else {
            " by "
        })?;
        write_names(out, &grouping.labels)?;
        out.write_char(' ')?;
    }
    out.write_char('(')?;
    if let Some(param) = &aggregate.param {
        write!(out, "{param}, ")?;
    }
    write!(out, "{})", aggregate.expr)
}

fn write_binary(out: &mut Formatter<'_>, binary: &Binary) -> fmt::Result {
    write!(out, "{} {} ", binary.left, binary.op.symbol())?;
    if binary.returns_bool {
        out.write_str("bool ")?;
    }
    write_matching(out, &binary.matching)?;
    write!(out, "{}", binary.right)
}

fn write_matching(out: &mut Formatter<'_>, matching: &Matching) -> fmt::Result {
    if matching.on || !matching.labels.is_empty() || matching.group.is_some() {
        out.write_str(if matching.on { "on " } else { "ignoring " })?;
        write_names(out, &matching.labels)?;
        out.write_char(' ')?;
    }
    if let Some(group) = &matching.group {
        out.write_str(match group.many {
            Side::Left => "group_left ",
            Side::Right => "group_right ",
        })?;
        write_names(out, &group.include)?;
        out.write_char(' ')?;
    }
    for (keyword, value) in [
        ("fill_left", matching.fill_left),
        ("fill_right", matching.fill_right),
    ] {
        if let Some(value) = value {
            write!(out, "{keyword}({}) ", Number(value))?;
        }
    }
    Ok(())
}

impl Display for Duration {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationKind::Number(seconds) => write!(out, "{}", Number(*seconds)),
            DurationKind::Step => out.write_str("step()"),
            DurationKind::Range => out.write_str("range()"),
            DurationKind::Negative(inner) => write!(out, "-{inner}"),
            DurationKind::Least(left, right) => write!(out, "min_of({left}, {right})"),
            DurationKind::Greatest(left, right) => write!(out, "max_of({left}, {right})"),
            DurationKind::Binary(op, left, right) => {
                write!(out, "{left} {} {right}", op.symbol())
            }
            DurationKind::Paren(inner) => write!(out, "({inner})"),
        }
    }
}
