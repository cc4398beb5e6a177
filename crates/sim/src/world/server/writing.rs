//! The ledger's thread: what is decided becomes durable, and only then do orders leave. When it can't be written,
//! its orders are struck and everything else is kept and tried again.

use pitcrew_model::{Effect, Event, Fact, Hold, Order};

use super::{State, World};
use crate::{
    Side,
    world::queue::{Happening, Millis},
};

/// A small transaction on a disk that has a write cache worth its name.
const WRITE: Millis = 2;
/// A ledger that can't be written is tried again so often.
const WRITE_AGAIN: Millis = 1_000;

impl World<'_> {
    pub(in crate::world) fn disk_is_full(&mut self, mishap: usize) {
        self.server.full.insert(mishap);
    }

    pub(in crate::world) fn disk_has_room(&mut self, mishap: usize) {
        self.server.full.remove(&mishap);
    }

    pub(super) fn write(&mut self) {
        let server = &mut self.server;
        if server.writing.is_none() && !server.waiting.is_empty() {
            server.begin_writing();
            let run = server.run;
            self.queue
                .push(self.now + WRITE, Happening::Written { run });
        }
    }

    pub(in crate::world) fn written(&mut self, run: u64) {
        if run != self.server.run || self.server.state == State::Down {
            return;
        }
        if matches!(self.server.state, State::Paused(_)) {
            self.server.written_meanwhile = true;
            return;
        }
        let Some(batch) = self.server.writing.take() else {
            return;
        };
        if self.server.full.is_empty() {
            self.committed(batch);
        } else {
            self.not_committed(batch);
        }
        if self.server.state == State::Up {
            self.write();
        }
    }

    fn committed(&mut self, batch: Vec<Effect>) {
        let now = self.now_stamp();
        let mut all = std::mem::take(&mut self.server.kept);
        all.extend(batch);
        self.server.ledger.commit(&all);
        self.auditor.committed(&all);
        self.server.asked_in_batch.clear();
        let orders = all.into_iter().filter_map(|effect| match effect {
            Effect::Give(order) => Some(order),
            _ => None,
        });
        let orders: Vec<Order> = orders.collect();
        let crash = match self.server.armed.front().copied() {
            Some((side @ (Side::AfterWrite | Side::AfterSend), down)) if !orders.is_empty() => {
                self.server.armed.pop_front();
                Some((side, down))
            }
            _ => None,
        };
        if !matches!(crash, Some((Side::AfterWrite, _))) {
            for order in orders {
                self.auditor.left(now, &order);
                self.tally.left(self.now, &order, &self.production);
                self.send_order(&order);
            }
            self.collect_broken();
        }
        if let Some((_, down)) = crash {
            return self.crash(down);
        }
        if std::mem::take(&mut self.server.ledger_failed) {
            self.take(Event::LedgerRecovered);
        }
    }

    /// Its orders are struck with their intents; everything else is tried again.
    fn not_committed(&mut self, batch: Vec<Effect>) {
        let now = self.now_stamp();
        let mut struck = Vec::new();
        for effect in &batch {
            if let Effect::Give(order) = effect {
                if !order.needs_ledger() {
                    self.auditor.left(now, order);
                    self.tally.left(self.now, order, &self.production);
                    self.send_order(order);
                    continue;
                }
                struck.push(order.id);
                // The case is held by it, though no record of its own says so.
                let target = self.fleet.find(&order.target.id);
                self.tally
                    .held(self.now, &Hold::LedgerUnwritable, order.case, target);
            }
        }
        let stays = batch.into_iter().filter(|effect| match effect {
            Effect::Give(_) => false,
            Effect::Record(record) => !matches!(
                &record.fact, Fact::Intent { order } if struck.contains(&order.id)
            ),
            _ => true,
        });
        self.server.kept.extend(stays);
        self.server.asked.append(&mut self.server.asked_in_batch);
        for id in &struck {
            self.server.in_flight.remove(id);
        }
        self.tally.struck(&struck);
        self.collect_broken();
        let first = !std::mem::replace(&mut self.server.ledger_failed, true);
        let run = self.server.run;
        self.queue
            .push(self.now + WRITE_AGAIN, Happening::WriteAgain { run });
        if first || !struck.is_empty() {
            let error = "database or disk is full".to_owned();
            self.take(Event::LedgerFailed {
                not_given: struck,
                error,
            });
        }
    }

    /// Also with nothing new to write: what was kept is tried again.
    pub(in crate::world) fn write_again(&mut self, run: u64) {
        let server = &mut self.server;
        if run == server.run && server.ledger_failed && server.writing.is_none() {
            server.begin_writing();
            self.queue
                .push(self.now + WRITE, Happening::Written { run });
        }
    }
}
