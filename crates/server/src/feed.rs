//! What is recorded, as it is recorded, for everyone who listens.
//!
//! A listener that is too slow is left behind and told so; it never holds up the ledger.

use std::sync::Arc;

use pitcrew_model::{Record, Saved};
use serde::Serialize;
use tokio::sync::broadcast;

/// Items a listener may be behind.
const BEHIND_MAX: usize = 4_096;

/// Already as JSON, so that a hundred listeners cost one serialization.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Record {
        seq: u64,
        json: Arc<str>,
    },
    /// A case as it stands now, after a change of its phase.
    Case {
        json: Arc<str>,
    },
}

#[derive(Serialize)]
struct Numbered<'a> {
    seq: u64,
    record: &'a Record,
}

pub(crate) struct Feed {
    items: broadcast::Sender<Item>,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self {
            items: broadcast::Sender::new(BEHIND_MAX),
        }
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Item> {
        self.items.subscribe()
    }

    /// `seq_of` says the number of the record with an index.
    pub(crate) fn publish(
        &self,
        seq_of: impl Fn(usize) -> u64,
        records: &[Record],
        rows: &[Saved],
    ) {
        if self.items.receiver_count() == 0 {
            return;
        }
        for (index, record) in records.iter().enumerate() {
            let seq = seq_of(index);
            self.send(&Numbered { seq, record }, |json| Item::Record { seq, json });
        }
        for row in rows {
            if let Saved::Case(case) = row {
                self.send(case, |json| Item::Case { json });
            }
        }
    }

    fn send(&self, what: &impl Serialize, item: impl FnOnce(Arc<str>) -> Item) {
        match serde_json::to_string(what) {
            // Without a listener left there is nobody to miss it.
            Ok(json) => drop(self.items.send(item(json.into()))),
            Err(error) => tracing::error!(%error, "failed to write a record as JSON for listeners"),
        }
    }
}
