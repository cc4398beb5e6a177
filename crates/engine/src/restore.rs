//! Taking over what a former run saved.
//!
//! Nothing is concluded from old rows: orders without an outcome count as in flight until somebody found out
//! what became of them, and cases go on only with answers to questions asked from now on.

use pitcrew_model::{Case, OrderState, Phase, Saved, Timestamp};

use crate::{
    Engine, HoldStatus, Pause,
    guards::{Guard, holds},
    learn::Score,
    timers::Timer,
};

impl Engine {
    /// Takes over the rows that a former run saved, before any event. Orders without an outcome are in
    /// [`Engine::orders_in_flight`]: find out what became of each and report its outcome.
    pub fn restore(&mut self, now: Timestamp, rows: Vec<Saved>) {
        if holds(Guard::RestartTrust) {
            self.trust_after = now;
        }
        for row in rows {
            self.restore_row(now, row);
        }
        self.free_of_lost_orders(now);
        self.restore_leases(now);
    }

    /// A case that waits for an order nobody knows of would wait for ever: it is decided anew.
    fn free_of_lost_orders(&mut self, now: Timestamp) {
        for case in self.cases.values_mut() {
            if matches!(&case.phase, Phase::Repairing { order } if !self.flying.contains(*order))
                && holds(Guard::LostOrderDecidedAnew)
            {
                case.phase = Phase::Confirmed;
                self.timers.set(Timer::Case(case.id), now);
            }
        }
    }

    fn restore_row(&mut self, now: Timestamp, row: Saved) {
        match row {
            Saved::Case(case) => self.restore_case(now, case),
            Saved::Order(state) => {
                self.birth.last_order = self.birth.last_order.max(state.order.id.0);
                if state.ended_at.is_none() && holds(Guard::RestoredOrder) {
                    self.restore_order(now, *state);
                }
            }
            Saved::Memory { .. } if !holds(Guard::RestoredMemory) => {}
            Saved::Memory { target, memory } => {
                self.memories.insert(target, memory);
            }
            Saved::Hold { .. } if !holds(Guard::RestoredHold) => {}
            Saved::Hold {
                target,
                by,
                why,
                until: Some(until),
                stopped,
            } => {
                self.timers.set(Timer::Hold(target.clone()), until);
                let hold = HoldStatus {
                    by,
                    why,
                    until,
                    stopped,
                };
                self.holds.insert(target, hold);
            }
            Saved::Lease { .. } if !holds(Guard::RestoredLease) => {}
            Saved::Lease {
                target,
                lease: Some(lease),
            } => self.restore_lease(target, *lease),
            Saved::Pause { .. } if !holds(Guard::RestoredPause) => {}
            Saved::Pause {
                scope,
                by,
                why: Some(why),
            } => {
                self.pauses.insert(scope, Pause { by, why });
            }
            Saved::Breaker { .. } if !holds(Guard::RestoredBreaker) => {}
            Saved::Breaker {
                scope,
                tripped_at: Some(tripped_at),
            } => {
                self.timers.set(Timer::Breaker(scope.clone()), now);
                self.breakers.restore(scope, tripped_at);
            }
            Saved::FleetBrake { .. } if !holds(Guard::RestoredBrake) => {}
            Saved::FleetBrake { released_at } => {
                self.brake.on = released_at.is_none();
                self.brake.released_at = released_at.unwrap_or_default();
            }
            Saved::Given {
                service: Some(service),
                at,
            } => {
                if holds(Guard::RestoredRate) {
                    self.restored_given.insert(service, at);
                }
            }
            Saved::Given { service: None, at } => {
                if holds(Guard::RestoredFleetRate) {
                    self.brake.given = at.into();
                }
            }
            Saved::Learned {
                service,
                test,
                action,
                cured,
                failed,
                seconds,
            } => {
                self.learned.insert(
                    (service, test, action),
                    Score {
                        cured,
                        failed,
                        seconds,
                    },
                );
            }
            Saved::Hold { until: None, .. }
            | Saved::Lease { lease: None, .. }
            | Saved::Pause { why: None, .. }
            | Saved::Breaker {
                tripped_at: None, ..
            } => {}
        }
    }

    fn restore_order(&mut self, now: Timestamp, state: OrderState) {
        let id = state.order.id;
        if state.given {
            let due = match (&state.outcome, state.order.case) {
                (Some(outcome), None) => outcome.at + state.order.settle,
                // Not before the tests had the time that its case gives them again.
                (Some(_), Some(_)) => now + state.order.settle,
                (None, _) => state.order.overdue_at(),
            };
            self.timers.set(Timer::Order(id), due.max(now));
            self.flying.insert(&state.order);
        } else if let Some(case) = state.order.case
            && holds(Guard::RestoredApproval)
        {
            self.pending.insert(case, id);
        }
        self.orders.insert(id, state);
    }

    fn restore_case(&mut self, now: Timestamp, case: Case) {
        self.birth.last_case = self.birth.last_case.max(case.id.0);
        let due = match &case.phase {
            // The pause may have eaten the time to settle: the tests get it again.
            Phase::Verifying { since, until, .. } if holds(Guard::SettleAfterRestart) => {
                now + until.since(*since)
            }
            Phase::Verifying { until, .. } => *until,
            Phase::Probation { until } => (*until).max(now),
            Phase::Held(_) | Phase::Confirmed | Phase::Suspected | Phase::Repairing { .. } => now,
            Phase::Closed(_) => return,
        };
        self.timers.set(Timer::Case(case.id), due);
        self.unplaced.insert(case.target.clone(), case.id);
        self.cases.insert(case.id, case);
    }
}
