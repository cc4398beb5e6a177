//! Orders under way, from the decision to the end of their effect, and how many there were.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use pitcrew_model::{
    OperationId, Order, OrderId, Outcome, OutcomeKind, Rate, ServiceName, TargetId, Timestamp,
};

/// One order that was decided on.
pub(super) struct Flight {
    pub(super) order: Order,
    pub(super) left: bool,
    landed_at: Option<Timestamp>,
    verified: bool,
}

impl Flight {
    /// Without an outcome it may have taken effect once that is overdue; then its tests have their time.
    fn has_ended(&self, now: Timestamp) -> bool {
        let overdue_at = self.order.overdue_at();
        let landed_at = self.landed_at.unwrap_or(overdue_at);
        self.verified || now >= landed_at + self.order.settle
    }

    /// No outcome has come.
    pub(super) fn is_out(&self) -> bool {
        self.landed_at.is_none()
    }
}

#[derive(Default)]
pub(super) struct Flights {
    flights: BTreeMap<OrderId, Flight>,
    operations: BTreeSet<OperationId>,
    /// When disruptive orders were given: of one service, and (`None`) of all.
    given: BTreeMap<Option<ServiceName>, VecDeque<Timestamp>>,
    brake_on: bool,
    released_at: Timestamp,
}

impl Flights {
    pub(super) fn give(&mut self, order: &Order) {
        let flight = Flight {
            order: order.clone(),
            left: false,
            landed_at: None,
            verified: false,
        };
        self.flights.insert(order.id, flight);
    }

    /// The ledger could not take it, so it does not leave.
    pub(super) fn strike(&mut self, id: OrderId) {
        self.flights.remove(&id);
    }

    /// What had not left by a crash never will.
    pub(super) fn crashed(&mut self) {
        self.flights.retain(|_, flight| flight.left);
    }

    /// What it was done to, when it may have changed that; not later than now, whatever the actuator's
    /// clock says.
    pub(super) fn land(&mut self, now: Timestamp, outcome: &Outcome) -> Option<TargetId> {
        if outcome.kind == OutcomeKind::Failed {
            self.flights.remove(&outcome.order);
            return None;
        }
        let flight = self.flights.get_mut(&outcome.order)?;
        let landed_at = outcome.at.min(now);
        flight.landed_at.get_or_insert(landed_at);
        let changes = !flight.order.action.is_drain();
        changes.then(|| flight.order.acts_on().id.clone())
    }

    pub(super) fn verified(&mut self, id: OrderId) {
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.verified = true;
        }
    }

    pub(super) fn get(&self, id: OrderId) -> Option<&Flight> {
        self.flights.get(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// In flight now, apart from `id`.
    pub(super) fn beside(&self, now: Timestamp, id: OrderId) -> impl Iterator<Item = &Order> {
        self.flights
            .values()
            .filter(move |flight| flight.order.id != id && !flight.has_ended(now))
            .map(|flight| &flight.order)
    }

    /// Whether an order without outcome, and that changes how they are, is on one of these.
    pub(super) fn is_out_on(&self, targets: &[&TargetId]) -> bool {
        self.flights
            .values()
            .filter(|flight| flight.is_out() && !flight.order.action.is_drain())
            .map(|flight| &flight.order)
            .any(|order| {
                targets.contains(&&order.target.id) || targets.contains(&&order.acts_on().id)
            })
    }

    pub(super) fn forget_ended(&mut self, now: Timestamp) {
        self.flights.retain(|_, flight| !flight.has_ended(now));
    }

    /// Whether this operation left before.
    pub(super) fn leaves(&mut self, order: &Order) -> bool {
        if let Some(flight) = self.flights.get_mut(&order.id) {
            flight.left = true;
        }
        !self.operations.insert(order.operation.clone())
    }

    /// Those for which `per` has passed.
    pub(super) fn forget_given(&mut self, of: Option<&ServiceName>, now: Timestamp, per: Duration) {
        if let Some(given) = self.given.get_mut(&of.cloned()) {
            given.retain(|earlier| now.since(*earlier) < per);
        }
    }

    /// Counts a disruptive order; how many there are now within `rate`, of that service or of all.
    pub(super) fn count(&mut self, of: Option<&ServiceName>, at: Timestamp, rate: Rate) -> u32 {
        self.forget_given(of, at, rate.per);
        let given = self.given.entry(of.cloned()).or_default();
        given.push_back(at);
        u32::try_from(given.len()).unwrap_or(u32::MAX)
    }

    /// Counts a disruptive order over everything; whether the brake was on already.
    pub(super) fn brake(&mut self, at: Timestamp, rate: Rate) -> bool {
        let was_on = self.brake_on;
        self.count(None, at, rate);
        let since_release = self.given[&None]
            .iter()
            .filter(|given| **given > self.released_at)
            .count();
        self.brake_on |= since_release >= usize::try_from(rate.count).unwrap_or(usize::MAX);
        was_on
    }

    /// Also before it is seen to be on: what was decided on and did not leave has been counted by others.
    pub(super) fn release_brake(&mut self, at: Timestamp) {
        (self.brake_on, self.released_at) = (false, at);
    }
}
