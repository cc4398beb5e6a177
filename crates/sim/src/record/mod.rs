//! A record of everything that entered the engine, and of what it decided: bytes in, bytes out.
//!
//! A [`Writer`] makes the bytes and a [`Reader`] takes them apart again; neither knows of files. The record of a run
//! begins with all that the engine was born with, so that the same events in the same order decide the same things
//! again. Every byte is covered by a checksum and every frame is numbered: what comes out of a reader went into a
//! writer, or it is an error with the position of the byte where it begins. The bytes themselves are described in
//! `docs/formats/record.md`.
//!
//! A frame is applied whole or not at all, so that a record cut off by a crash is read up to its last whole frame.

mod body;
mod bytes;
mod error;
mod frame;
mod names;
mod reader;
mod scan;
#[cfg(test)]
mod tests;
mod writer;

use pitcrew_engine::Birth;
use pitcrew_model::{Event, Notice, Record, Saved, Timestamp};
use serde::{Deserialize, Serialize};

pub use error::{RecordError, Unwritable};
pub use reader::{Reader, Tail};
pub use scan::{End, scan};
pub use writer::Writer;

/// The version that is written, and the newest that is read.
pub const VERSION: u16 = 1;

/// How a run of the server began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The version of Pitcrew that decided.
    pub pitcrew: String,
    /// When the rows were restored.
    pub at: Timestamp,
    pub installation: String,
    pub fence: u64,
    pub last_case: u64,
    pub last_order: u64,
    /// What the run before left, in the order in which it was restored.
    pub rows: Vec<Saved>,
}

impl Start {
    #[must_use]
    pub fn birth(&self) -> Birth {
        Birth {
            installation: self.installation.clone(),
            fence: self.fence,
            last_case: self.last_case,
            last_order: self.last_order,
        }
    }
}

/// One event as the engine was told it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entered {
    pub at: Timestamp,
    /// The server was stopping: no order passed.
    pub draining: bool,
    pub event: Event,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A run begins; everything up to the next start belongs to it.
    Start(Box<Start>),
    Event(Entered),
    /// What the event before made the ledger write.
    Records(Vec<Record>),
    /// What the event before made people be told.
    Notices(Vec<Notice>),
    /// The recording broke off here while the server went on, and why. The last of its run.
    Gap(String),
    /// The server stopped in good order. The last of its run.
    End,
}

/// An entry and the position of its first byte in the record.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub at: u64,
    pub entry: Entry,
}
