//! The interlock: an independent check of every order against the invariants.
//!
//! It keeps its own books from the same events as the engine, with its own code and its own counting, so that
//! one mistake can't be made twice. It can only veto.

use pitcrew_model::{Event, Objection, Order, Saved, Timestamp};

#[derive(Default)]
pub struct Interlock {}

impl Interlock {
    #[must_use]
    pub fn new(fence: u64) -> Self {
        unimplemented!()
    }

    /// Takes over the rows that a former run saved.
    pub fn restore(&mut self, rows: &[Saved]) {
        unimplemented!()
    }

    /// Told every event, before the engine is.
    pub fn note(&mut self, now: Timestamp, event: &Event) {
        unimplemented!()
    }

    /// No objection lets the order pass, and from then on it counts as in flight.
    pub fn check(&mut self, now: Timestamp, order: &Order) -> Vec<Objection> {
        unimplemented!()
    }
}
