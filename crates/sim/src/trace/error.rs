//! What is wrong with a trace, each mistake with its line and column.

use std::fmt;

use super::{Column, csv::RECORD_BYTES_MAX};

/// Names of targets are at most 256 bytes, and these become a part of them.
pub(super) const ID_BYTES_MAX: usize = 200;

/// Every mistake of a file, up to a bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TraceError {
    pub name: String,
    /// At least one.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub unsaid: usize,
}

impl TraceError {
    /// Shown in full; the others are counted.
    pub const PROBLEMS_MAX: usize = 20;
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            let Problem {
                line,
                column,
                wrong,
            } = problem;
            write!(f, "{end}{}:{line}:{column}: {wrong}", self.name)?;
        }
        if self.unsaid > 0 {
            write!(f, "\nand {} more", self.unsaid)?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub wrong: Wrong,
}

impl Problem {
    /// `at` is a byte offset into `text`.
    pub(super) fn at(text: &str, at: usize, wrong: Wrong) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line_at = before.rfind('\n').map_or(0, |end| end + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_at..].chars().count() + 1,
            wrong,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error(
        "the file is empty; a header with `failure_time` and `node` is expected, then a line for each failure"
    )]
    Empty,
    #[error("no failure follows the header")]
    NoRows,
    #[error("no column for {}: one of {} is expected, and the header has {have}{}", what(*column), listed(column.names()), hint(meant))]
    NoColumn {
        column: Column,
        have: String,
        meant: Option<String>,
    },
    #[error("the {} is missing", what(*column))]
    NoValue { column: Column },
    #[error("the {} is longer than {ID_BYTES_MAX} bytes", what(*column))]
    LongId { column: Column },
    #[error("the {} has a control character", what(*column))]
    ControlId { column: Column },
    #[error(
        "`{text}` is not a time: write it as 2018-01-02T03:09:38Z, as 2018-01-02 03:09:38 (UTC), or in seconds since 1970"
    )]
    Time { text: String },
    #[error("`{text}` is too far in the future for seconds since 1970; are these milliseconds?")]
    Millis { text: String },
    #[error("the line is longer than {} KiB", RECORD_BYTES_MAX >> 10)]
    TooLong,
    #[error("this quote is not closed within {} KiB", RECORD_BYTES_MAX >> 10)]
    OpenQuote,
    #[error("behind a closing quote a comma or the line's end is expected")]
    BehindQuote,
    #[error("a carriage return without a line feed")]
    LoneReturn,
}

impl Wrong {
    pub(super) fn no_column(column: Column, have: &[&str]) -> Self {
        const SHOWN: usize = 20;
        let mut names: Vec<String> = have.iter().take(SHOWN).map(|name| clipped(name)).collect();
        if have.len() > SHOWN {
            names.push(format!("{} more", have.len() - SHOWN));
        }
        Self::NoColumn {
            column,
            have: names.join(", "),
            meant: likely(column, have).map(clipped),
        }
    }
}

/// The name in the header that most resembles one of the column's: it holds the word, or differs by two letters.
fn likely<'a>(column: Column, have: &[&'a str]) -> Option<&'a str> {
    let nearness = |name: &str| {
        let name = name.to_ascii_lowercase();
        let usual = column.names().iter();
        usual
            .filter_map(|usual| {
                if !name.is_empty() && (name.contains(usual) || usual.contains(&name)) {
                    return Some(1);
                }
                Some(distance(usual, &name)).filter(|distance| *distance <= 2)
            })
            .min()
    };
    let named = have
        .iter()
        .filter_map(|name| Some((nearness(name)?, *name)));
    named
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Letters to insert, remove or replace; names longer than any column's are far from all.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(32).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

fn what(column: Column) -> &'static str {
    match column {
        Column::Time => "time",
        Column::Node => "node",
        Column::Rack => "rack",
        Column::Room => "room",
    }
}

fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn hint(meant: &Option<String>) -> String {
    meant.as_ref().map_or_else(String::new, |meant| {
        format!("; if `{meant}` is it, rename it")
    })
}

/// For messages: what came from outside, short and on one line.
pub(super) fn clipped(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
