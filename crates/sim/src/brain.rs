//! Engine and interlock, wired as the server wires them, and the ledger that outlives both.
//!
//! Simulation, scenarios and replay all decide through here, so that none of them tests a loop of its own.

use std::collections::BTreeMap;

use pitcrew_engine::{Birth, Engine};
use pitcrew_interlock::Interlock;
use pitcrew_model::{CaseId, Effect, Event, Objection, Order, OrderId, Saved, Timestamp};

/// One run of the server's decision core, from start to stop or crash.
pub struct Brain {
    pub engine: Engine,
    pub interlock: Interlock,
}

impl Brain {
    /// As a start of the server does it: `rows` are what the former run left. The configuration and discovery's
    /// answer are the first events of every run, and then what became of [`Engine::orders_in_flight`].
    #[must_use]
    pub fn start(now: Timestamp, birth: Birth, rows: Vec<Saved>) -> Self {
        let mut interlock = Interlock::new(birth.fence);
        interlock.restore(now, &rows);
        let mut engine = Engine::new(birth);
        engine.restore(now, rows);
        Self { engine, interlock }
    }

    /// One event through both, the interlock first.
    pub fn tell(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        self.interlock.note(now, &event);
        let interlock = &mut self.interlock;
        self.engine
            .handle(now, event, &mut |now, order| interlock.check(now, order))
    }

    /// The same while the server stops: no order passes, for the reason that `objection` gives.
    pub fn tell_stopping(
        &mut self,
        now: Timestamp,
        event: Event,
        objection: impl Fn(&Order) -> Objection,
    ) -> Vec<Effect> {
        self.interlock.note(now, &event);
        self.engine
            .handle(now, event, &mut |_, order| vec![objection(order)])
    }
}

/// The objection to every order while the server stops.
#[must_use]
pub fn stopping(order: &Order) -> Objection {
    Objection {
        invariant: 2,
        reason: format!(
            "the server is stopping, {} on {} waits for its next start",
            order.action, order.target.id
        ),
    }
}

/// What a crash leaves: the rows that were committed, and the highest numbers given.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    rows: BTreeMap<String, Saved>,
    last_case: u64,
    last_order: u64,
    fence: u64,
}

impl Ledger {
    /// Takes the rows and numbers of one transaction.
    pub fn commit<'a>(&mut self, effects: impl IntoIterator<Item = &'a Effect>) {
        for effect in effects {
            match effect {
                Effect::Save(row) if row.is_spent() => {
                    self.count(row);
                    self.rows.remove(&row.key());
                }
                Effect::Save(row) => {
                    self.count(row);
                    self.rows.insert(row.key(), row.clone());
                }
                Effect::Record(record) => {
                    let CaseId(case) = record.case.unwrap_or(CaseId(0));
                    let OrderId(order) = record.order.unwrap_or(OrderId(0));
                    self.last_case = self.last_case.max(case);
                    self.last_order = self.last_order.max(order);
                }
                Effect::Give(_)
                | Effect::Watch { .. }
                | Effect::Unwatch { .. }
                | Effect::Probe { .. }
                | Effect::Notify(_) => {}
            }
        }
    }

    fn count(&mut self, row: &Saved) {
        match row {
            Saved::Case(case) => self.last_case = self.last_case.max(case.id.0),
            Saved::Order(state) => self.last_order = self.last_order.max(state.order.id.0),
            _ => {}
        }
    }

    /// For the next start: its fence is above all before.
    #[must_use]
    pub fn birth(&mut self, installation: &str) -> Birth {
        self.fence += 1;
        Birth {
            installation: installation.to_owned(),
            fence: self.fence,
            last_case: self.last_case,
            last_order: self.last_order,
        }
    }

    #[must_use]
    pub fn rows(&self) -> Vec<Saved> {
        self.rows.values().cloned().collect()
    }
}
