//! An expectation that does not hold: which, where, and what happened instead.

use std::{fmt, time::Duration};

use pitcrew_model::format_duration;
use serde::{Serialize, Serializer};

/// As text it has several lines, the first of which says it all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    /// From 1, in the scenario's file.
    pub line: usize,
    /// As the line is written.
    pub expected: String,
    /// One line.
    pub found: String,
    /// Since the scenario's start.
    #[serde(serialize_with = "as_text")]
    pub at: Duration,
    /// What happened until then, the latest last; older lines may be left out.
    pub story: Vec<String>,
}

fn as_text<S: Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*at))
}

impl Failure {
    /// With the file's name in front of its line, as editors find it.
    #[must_use]
    pub fn in_file(&self, file: &str) -> String {
        format!("{file}:{self}")
    }
}

/// `12: at 2m10s: `expect order restart web-1`, but there was no order`, and the story below.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            expected,
            found,
            at,
            story,
        } = self;
        write!(
            f,
            "{line}: after {} wanted `{expected}`, but {found}",
            format_duration(*at)
        )?;
        for told in story {
            write!(f, "\n    {told}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
