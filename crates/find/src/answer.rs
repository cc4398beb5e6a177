//! What one question to one source yields.

use std::{io, path::PathBuf};

use pitcrew_model::Target;

/// A source's answer. Entries that make no sense were left out; `problems` says which and why, for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub targets: Vec<Target>,
    pub problems: Problems,
}

/// The first few in full, the others counted: a million bad entries must not become a million lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    first: Vec<String>,
    more: usize,
}

impl Problems {
    const SHOWN_MAX: usize = 5;

    pub(crate) fn add(&mut self, problem: impl FnOnce() -> String) {
        if self.first.len() < Self::SHOWN_MAX {
            self.first.push(problem());
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn extend(&mut self, others: &Self) {
        for problem in &others.first {
            self.add(|| problem.clone());
        }
        self.more += others.more;
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.first.join("; "))?;
        match self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more like these"),
        }
    }
}

/// Why a source, or a part of it, gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("`{pattern}` matches no file")]
    NoFile { pattern: String },
    #[error("{url}: {why}")]
    Http { url: String, why: String },
    #[error("{name} {record}: {why}")]
    Dns {
        name: String,
        record: &'static str,
        why: String,
    },
    #[error("{place}: {why}")]
    Format { place: String, why: String },
    #[error("no answer within {seconds} s")]
    Deadline { seconds: u64 },
    /// Every part of the source failed.
    #[error("{0}")]
    Nothing(Problems),
    #[error("reading broke off: {0}")]
    Aborted(String),
}
