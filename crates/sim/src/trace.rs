//! Recorded failures as mishaps: what really happened to some fleet, for a policy to be tried on.
//!
//! A trace names only what failed. How big the fleet was, and how many nodes shared a rack and racks a room, is
//! estimated from the ids that were seen, and every such estimate is said in [`Trace::assumptions`]. It must never
//! invent a failure, drop one silently, or move a node out of the rack that the file puts it in.

mod csv;
mod error;
mod fleet;
mod population;
mod time;

use std::{collections::BTreeMap, time::Duration};

use pitcrew_model::Timestamp;

use csv::{Field, Record, Records};
pub use error::{Problem, TraceError, Wrong};
pub use fleet::{Implied, Placed, Rack, TooFewTargets};

/// One of the columns that a trace is read by, under its usual names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Time,
    Node,
    Rack,
    Room,
}

impl Column {
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Time => &["failure_time", "time", "timestamp"],
            Self::Node => &["node", "node_id", "host"],
            Self::Rack => &["rack", "rack_id"],
            Self::Room => &["room", "machine_room_id", "zone"],
        }
    }
}

/// Failures in the order of their times, and the fleet that they imply.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    name: String,
    failures: Vec<Failure>,
    seen: Seen,
    implied: Implied,
    assumptions: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failure {
    at: Timestamp,
    /// Position in [`Seen::nodes`].
    node: usize,
}

/// What the file names, each in the order in which it was met first.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    nodes: Vec<SeenNode>,
    racks: Vec<SeenRack>,
    rooms: Vec<String>,
    /// Nodes that a later line puts into another rack.
    moved: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct SeenNode {
    id: String,
    rack: Option<usize>,
}

/// A rack is its id in its room: one id in two rooms is two racks.
#[derive(Clone, Debug, PartialEq)]
struct SeenRack {
    id: String,
    room: Option<usize>,
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

/// Where the header has each column.
struct Columns {
    time: usize,
    node: usize,
    rack: Option<usize>,
    room: Option<usize>,
}

struct Row<'a> {
    at: Timestamp,
    node: &'a str,
    rack: Option<&'a str>,
    room: Option<&'a str>,
}

/// What is wrong, and at which byte.
type Misplaced = (usize, Wrong);

impl Columns {
    fn find(header: &Record<'_>) -> Result<Self, Vec<Wrong>> {
        let names: Vec<&str> = header.fields.iter().map(Field::text).collect();
        let position = |column: Column| {
            names.iter().position(|name| {
                let mut usual = column.names().iter();
                usual.any(|usual| usual.eq_ignore_ascii_case(name))
            })
        };
        match (position(Column::Time), position(Column::Node)) {
            (Some(time), Some(node)) => Ok(Self {
                time,
                node,
                rack: position(Column::Rack),
                room: position(Column::Room),
            }),
            (time, node) => Err([(time, Column::Time), (node, Column::Node)]
                .into_iter()
                .filter(|(position, _)| position.is_none())
                .map(|(_, column)| Wrong::no_column(column, &names))
                .collect()),
        }
    }

    fn read<'r>(&self, record: &'r Record<'_>) -> Result<Row<'r>, Vec<Misplaced>> {
        let value = |position: usize, column: Column| match record.fields.get(position) {
            Some(field) if !field.text().is_empty() => Ok((field.at, field.text())),
            field => {
                let at = field.map_or(record.end, |field| field.at);
                Err((at, Wrong::NoValue { column }))
            }
        };
        let id = |position, column| {
            let (at, text) = value(position, column)?;
            let wrong = if text.len() > error::ID_BYTES_MAX {
                Wrong::LongId { column }
            } else if text.contains(char::is_control) {
                Wrong::ControlId { column }
            } else {
                return Ok(text);
            };
            Err((at, wrong))
        };
        let optional = |position: Option<usize>, column| match position.map(|p| id(p, column)) {
            None | Some(Err((_, Wrong::NoValue { .. }))) => Ok(None),
            Some(read) => read.map(Some),
        };
        let at = value(self.time, Column::Time)
            .and_then(|(at, text)| time::parse(text).map_err(|wrong| (at, wrong)));
        let node = id(self.node, Column::Node);
        let rack = optional(self.rack, Column::Rack);
        let room = optional(self.room, Column::Room);
        match (at, node, rack, room) {
            (Ok(at), Ok(node), Ok(rack), Ok(room)) => Ok(Row {
                at,
                node,
                rack,
                room,
            }),
            (at, node, rack, room) => Err([at.err(), node.err(), rack.err(), room.err()]
                .into_iter()
                .flatten()
                .collect()),
        }
    }
}

/// Rows as they come, with ids turned into positions.
#[derive(Default)]
struct Book {
    failures: Vec<Failure>,
    seen: Seen,
    nodes: BTreeMap<String, usize>,
    racks: BTreeMap<(String, Option<usize>), usize>,
    rooms: BTreeMap<String, usize>,
}

impl Book {
    fn enter(&mut self, row: &Row<'_>) {
        let room = row.room.map(|id| self.room(id));
        // A room without racks is where its nodes stand, as one rack.
        let rack = match (row.rack, row.room) {
            (Some(id), _) | (None, Some(id)) => Some(self.rack(id, room)),
            (None, None) => None,
        };
        let node = self.node(row.node, rack);
        self.failures.push(Failure { at: row.at, node });
    }

    fn room(&mut self, id: &str) -> usize {
        *self.rooms.entry(id.to_owned()).or_insert_with(|| {
            self.seen.rooms.push(id.to_owned());
            self.seen.rooms.len() - 1
        })
    }

    fn rack(&mut self, id: &str, room: Option<usize>) -> usize {
        *self.racks.entry((id.to_owned(), room)).or_insert_with(|| {
            self.seen.racks.push(SeenRack {
                id: id.to_owned(),
                room,
            });
            self.seen.racks.len() - 1
        })
    }

    fn node(&mut self, id: &str, rack: Option<usize>) -> usize {
        let node = *self.nodes.entry(id.to_owned()).or_insert_with(|| {
            self.seen.nodes.push(SeenNode {
                id: id.to_owned(),
                rack,
            });
            self.seen.nodes.len() - 1
        });
        if rack.is_some() && self.seen.nodes[node].rack != rack {
            self.seen.moved += 1;
        }
        node
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
