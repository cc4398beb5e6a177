//! Recorded failures as mishaps: what really happened to some fleet, for a policy to be tried on.
//!
//! A trace names only what failed. How big the fleet was, and how many nodes shared a rack and racks a room, is
//! estimated from the ids that were seen, and every such estimate is said in [`Trace::assumptions`]. It must never
//! invent a failure, drop one silently, or move a node out of the rack that the file puts it in.

mod csv;
mod error;
mod fleet;
mod population;
mod rows;
mod time;

use std::time::Duration;

use pitcrew_model::Timestamp;

use csv::Records;
pub use error::{Problem, TraceError, Wrong};
pub use fleet::{Implied, Placed, Rack, TooFewTargets};
pub use rows::Column;
use rows::{Book, Columns, Failure, Misplaced, Seen};

/// Failures in the order of their times, and the fleet that they imply.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    name: String,
    failures: Vec<Failure>,
    seen: Seen,
    implied: Implied,
    assumptions: Vec<String>,
}

/// A day's length: simulations begin and end at midnight UTC.
const DAY: Duration = Duration::from_secs(86_400);

impl Trace {
    /// Reads CSV with a header: columns for time and node, and where they are known rack and room, in any order
    /// and among others, which are ignored. `name` is what errors and reports call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, TraceError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut found = Found::new(name, text);
        let mut records = Records::new(text);
        let Some(header) = records.next() else {
            return Err(found.refuse(0, Wrong::Empty));
        };
        let header = match header {
            Ok(header) => header,
            Err((at, wrong)) => return Err(found.refuse(at, wrong)),
        };
        let columns = match Columns::find(&header) {
            Ok(columns) => columns,
            Err(missing) => {
                found.extend(missing.into_iter().map(|wrong| (header.at, wrong)));
                return Err(found.error);
            }
        };
        let mut book = Book::default();
        for record in records {
            match record {
                Ok(record) => match columns.read(&record) {
                    Ok(row) => book.enter(&row),
                    Err(problems) => found.extend(problems),
                },
                Err(problem) => found.extend([problem]),
            }
        }
        if found.any() {
            return Err(found.error);
        }
        if book.failures.is_empty() {
            return Err(found.refuse(text.len(), Wrong::NoRows));
        }
        Ok(Self::from_book(name, book))
    }

    fn from_book(name: &str, book: Book) -> Self {
        let Book {
            mut failures, seen, ..
        } = book;
        failures.sort_by_key(|failure| failure.at);
        let (implied, assumptions) = Implied::by(&seen);
        Self {
            name: name.to_owned(),
            failures,
            seen,
            implied,
            assumptions,
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many failures were recorded.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.failures.len()
    }

    /// How many different nodes failed.
    #[must_use]
    pub fn nodes_failed(&self) -> usize {
        self.seen.nodes.len()
    }

    /// Midnight (UTC) before the first failure: where its simulation begins.
    #[must_use]
    pub fn begins(&self) -> Timestamp {
        let first = self
            .failures
            .first()
            .map_or(0, |first| first.at.as_millis());
        let day_ms = 86_400_000;
        Timestamp::from_millis(first / day_ms * day_ms)
    }

    /// From [`Trace::begins`] to midnight after the last failure, in whole days.
    #[must_use]
    pub fn span(&self) -> Duration {
        let last = self
            .failures
            .last()
            .map_or(Duration::ZERO, |last| last.at.since(self.begins()));
        let days = u32::try_from(last.as_secs() / DAY.as_secs() + 1);
        DAY.saturating_mul(days.unwrap_or(u32::MAX))
    }

    /// The size of the fleet in which these failures happened, as far as the ids tell.
    #[must_use]
    pub fn implied(&self) -> Implied {
        self.implied
    }

    /// What no line of the file says, one sentence each.
    #[must_use]
    pub fn assumptions(&self) -> &[String] {
        &self.assumptions
    }
}

/// Mistakes as they are found: the first of them in full, the others counted.
struct Found<'a> {
    text: &'a str,
    error: TraceError,
}

impl<'a> Found<'a> {
    fn new(name: &str, text: &'a str) -> Self {
        let error = TraceError {
            name: name.to_owned(),
            problems: Vec::new(),
            unsaid: 0,
        };
        Self { text, error }
    }

    fn extend(&mut self, problems: impl IntoIterator<Item = Misplaced>) {
        for (at, wrong) in problems {
            if self.error.problems.len() < TraceError::PROBLEMS_MAX {
                self.error.problems.push(Problem::at(self.text, at, wrong));
            } else {
                self.error.unsaid += 1;
            }
        }
    }

    fn refuse(mut self, at: usize, wrong: Wrong) -> TraceError {
        self.extend([(at, wrong)]);
        self.error
    }

    fn any(&self) -> bool {
        !self.error.problems.is_empty()
    }
}

#[cfg(test)]
mod tests;
