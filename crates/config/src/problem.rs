//! What is wrong with a configuration, where, and what to do.

use std::{fmt, io, path::PathBuf, sync::Arc};

use crate::{
    place::{Place, TextFile},
    render,
};

/// One thing that is wrong, at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// In characters, on that line.
    pub length: usize,
    /// One line.
    pub message: String,
    pub help: Option<String>,
    pub(crate) excerpt: Excerpt,
}

/// The offending line, or what surrounds the place in a very long one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Excerpt {
    pub(crate) text: Arc<str>,
    /// Characters of the line that were cut off before `text`.
    pub(crate) skipped: usize,
}

/// Characters shown on each side of a place in a long line.
const EXCERPT_CHARS: usize = 60;

impl Excerpt {
    fn new(place: Place, before: &str, from: &str) -> Self {
        // Only what is shown is walked over: a line may have a million places with mistakes.
        let shown_before = before.char_indices().rev().take(EXCERPT_CHARS);
        let (start, shown) =
            shown_before.fold((before.len(), 0), |(_, shown), (at, _)| (at, shown + 1));
        let shown_from = place.length.min(EXCERPT_CHARS) + EXCERPT_CHARS;
        let text = before[start..].chars().chain(from.chars().take(shown_from));
        Self {
            text: text.map(printable).collect::<String>().into(),
            skipped: place.column - 1 - shown,
        }
    }
}

/// A configuration must not write escape sequences to the terminal of whoever checks it.
pub(crate) fn printable(c: char) -> char {
    if c == '\t' {
        ' '
    } else if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

impl Problem {
    pub(crate) fn at(
        file: &TextFile<'_>,
        span: crate::place::Span,
        message: &str,
        help: Option<String>,
    ) -> Self {
        let (place, before, from) = file.place(span);
        Self {
            file: file.name.to_owned(),
            line: place.line,
            column: place.column,
            length: place.length,
            message: message.chars().map(printable).collect(),
            help: help.map(|help| help.chars().map(printable).collect()),
            excerpt: Excerpt::new(place, before, from),
        }
    }

    /// A problem of a file as a whole.
    pub(crate) fn of_file(file: &str, message: String, help: Option<&str>) -> Self {
        Self {
            file: file.to_owned(),
            line: 1,
            column: 1,
            length: 0,
            message,
            help: help.map(str::to_owned),
            excerpt: Excerpt::default(),
        }
    }
}

/// `production/web.yaml:11:34: unknown key `statuz`, did you mean `status`?`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
            ..
        } = self;
        write!(f, "{file}:{line}:{column}: {message}")
    }
}

/// Everything that is wrong, in the order of the files and their lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    pub problems: Vec<Problem>,
    /// How many more there are than `problems` holds.
    pub omitted: usize,
}

impl Problems {
    /// Each problem with the line it is about, and a last line that counts them: `2 errors, nothing applied`.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let mut text = render::each(&self.problems, render::Severity::Error, colour);
        let count = self.problems.len() + self.omitted;
        let noun = if count == 1 { "error" } else { "errors" };
        if self.omitted > 0 {
            text.push_str(&format!("… and {} more\n", self.omitted));
        }
        text.push_str(&format!("{count} {noun}, nothing applied\n"));
        text
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            omitted: 0,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if at == 0 { "" } else { "\n" })?;
        }
        if self.omitted > 0 {
            write!(f, "\n… and {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Why a configuration was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} has no configuration: put a *.yaml file there", path.display())]
    NoFiles { path: PathBuf },
    #[error(transparent)]
    Problems(#[from] Problems),
}

impl LoadError {
    /// As [`Problems::render`]; other errors in the same form.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        match self {
            Self::Problems(problems) => problems.render(colour),
            Self::Read { source, .. } => format!("error: {self}: {source}\n"),
            Self::NoFiles { .. } => format!("error: {self}\n"),
        }
    }
}
