//! Rows of a trace: which column says what, and what the file names, with ids turned into positions.

use std::collections::BTreeMap;

use pitcrew_model::Timestamp;

use super::{
    Wrong,
    csv::{Field, Record},
    error::ID_BYTES_MAX,
    time,
};

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) at: Timestamp,
    /// Position in [`Seen::nodes`].
    pub(super) node: usize,
}

/// What the file names, each in the order in which it was met first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) nodes: Vec<SeenNode>,
    pub(super) racks: Vec<SeenRack>,
    pub(super) rooms: Vec<String>,
    /// Nodes that a later line puts into another rack.
    pub(super) moved: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct SeenNode {
    pub(super) id: String,
    pub(super) rack: Option<usize>,
}

/// A rack is its id in its room: one id in two rooms is two racks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SeenRack {
    pub(super) id: String,
    pub(super) room: Option<usize>,
}

/// Where the header has each column.
pub(super) struct Columns {
    time: usize,
    node: usize,
    rack: Option<usize>,
    room: Option<usize>,
}

pub(super) struct Row<'a> {
    at: Timestamp,
    node: &'a str,
    rack: Option<&'a str>,
    room: Option<&'a str>,
}

/// What is wrong, and at which byte.
pub(super) type Misplaced = (usize, Wrong);

impl Columns {
    pub(super) fn find(header: &Record<'_>) -> Result<Self, Vec<Wrong>> {
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

    pub(super) fn read<'r>(&self, record: &'r Record<'_>) -> Result<Row<'r>, Vec<Misplaced>> {
        let value = |position: usize, column: Column| match record.fields.get(position) {
            Some(field) if !field.text().is_empty() => Ok((field.at, field.text())),
            field => {
                let at = field.map_or(record.end, |field| field.at);
                Err((at, Wrong::NoValue { column }))
            }
        };
        let id = |position, column| {
            let (at, text) = value(position, column)?;
            let wrong = if text.len() > ID_BYTES_MAX {
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
pub(super) struct Book {
    pub(super) failures: Vec<Failure>,
    pub(super) seen: Seen,
    nodes: BTreeMap<String, usize>,
    racks: BTreeMap<(String, Option<usize>), usize>,
    rooms: BTreeMap<String, usize>,
}

impl Book {
    pub(super) fn enter(&mut self, row: &Row<'_>) {
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
