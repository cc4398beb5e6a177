//! The decision engine: observations in, orders out.
//!
//! Pure: `now`, an event and the state so far decide everything. It has no clock, no randomness, no IO, and
//! it never trusts itself alone: the `judge` that every order must pass is another crate's code.

mod status;

pub use status::{HoldStatus, LimitStatus, ServiceStatus, TargetStatus, TestStatus};

use std::sync::Arc;

use pitcrew_model::{
    Case, CaseId, Effect, Event, Objection, Order, OrderId, OrderState, Saved, Service,
    ServiceName, TargetId, Timestamp,
};

/// What an engine is born with.
#[derive(Clone, Debug)]
pub struct Birth {
    /// Unique to this installation; part of every operation id.
    pub installation: String,
    /// Grows with every start.
    pub fence: u64,
    /// The highest numbers the ledger knows; numbering goes on above them.
    pub last_case: u64,
    pub last_order: u64,
}

/// Asked before every order; no objection lets it pass, and then it counts as given.
pub type Judge<'a> = dyn FnMut(Timestamp, &Order) -> Vec<Objection> + 'a;

pub struct Engine {}

impl Engine {
    #[must_use]
    pub fn new(birth: Birth) -> Self {
        unimplemented!()
    }

    /// Takes over the rows that a former run saved. Orders without an outcome are in [`Engine::orders_in_flight`]:
    /// find out what became of each and report its outcome.
    pub fn restore(&mut self, now: Timestamp, rows: Vec<Saved>) {
        unimplemented!()
    }

    pub fn handle(&mut self, now: Timestamp, event: Event, judge: &mut Judge<'_>) -> Vec<Effect> {
        unimplemented!()
    }

    /// When [`Event::Tick`] is next due, if nothing else happens.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        unimplemented!()
    }

    #[must_use]
    pub fn orders_in_flight(&self) -> Vec<Order> {
        unimplemented!()
    }

    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        [].iter()
    }

    #[must_use]
    pub fn service(&self, now: Timestamp, name: &ServiceName) -> Option<ServiceStatus> {
        unimplemented!()
    }

    /// Up to `count` targets in order of their ids, after `after`.
    #[must_use]
    pub fn targets_after(
        &self,
        now: Timestamp,
        after: Option<&TargetId>,
        count: usize,
    ) -> Vec<TargetStatus> {
        unimplemented!()
    }

    #[must_use]
    pub fn target(&self, now: Timestamp, id: &TargetId) -> Option<TargetStatus> {
        unimplemented!()
    }

    /// Open cases and lately closed ones, by id.
    pub fn cases(&self) -> impl DoubleEndedIterator<Item = &Case> {
        [].iter()
    }

    #[must_use]
    pub fn case(&self, id: CaseId) -> Option<&Case> {
        unimplemented!()
    }

    /// Orders in flight and lately ended ones, by id.
    pub fn orders(&self) -> impl DoubleEndedIterator<Item = &OrderState> {
        [].iter()
    }

    #[must_use]
    pub fn order(&self, id: OrderId) -> Option<&OrderState> {
        unimplemented!()
    }

    #[must_use]
    pub fn limits(&self, now: Timestamp) -> Vec<LimitStatus> {
        unimplemented!()
    }
}
