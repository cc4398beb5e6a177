//! The engine's thread: messages in, effects out, ticks when they are due.

use pitcrew_model::{Effect, Event, Phase, Saved, Scope};

use super::{State, World};
use crate::{
    Side,
    world::queue::{Happening, Millis},
};

impl World<'_> {
    /// A message from outside has reached the process.
    pub(in crate::world) fn arrive(&mut self, run: u64, event: Event) {
        if run == self.server.run {
            self.take(event);
        }
    }

    /// Of the server's own parts: discovery, people at its API, the ledger's thread.
    pub(in crate::world) fn take(&mut self, event: Event) {
        match self.server.state {
            State::Up | State::Starting => self.decide(event),
            State::Paused(_) => self.server.queued.push_back(event),
            State::Down => {}
        }
    }

    pub(super) fn decide(&mut self, event: Event) {
        let now = self.now_stamp();
        let Some(brain) = &mut self.server.brain else {
            return;
        };
        self.auditor.event(now, &event);
        let effects = brain.tell(now, event);
        self.auditor.effects(now, &effects);
        let gives = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Give(_)));
        if gives && let Some((Side::BeforeWrite, down)) = self.server.armed.front().copied() {
            self.server.armed.pop_front();
            return self.crash(down);
        }
        if let Some(brain) = &self.server.brain {
            self.tally.note_cases(self.now, &brain.engine);
        }
        self.pass_on(effects);
        self.collect_broken();
        self.schedule_tick();
    }

    /// Orders, records and rows wait for the ledger; nothing else does.
    fn pass_on(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Record(_) | Effect::Save(_) | Effect::Give(_) => {
                    self.follow(&effect);
                    self.server.waiting.push(effect);
                }
                Effect::Watch { target, .. } => {
                    if let Some(target) = self.fleet.find(&target.id) {
                        self.watch(target);
                    }
                }
                Effect::Unwatch { target } => {
                    if let Some(target) = self.fleet.find(&target) {
                        self.unwatch(target);
                    }
                }
                Effect::Probe { target, test } => {
                    if let Some(target) = self.fleet.find(&target) {
                        self.send_probe(target, test);
                    }
                }
                Effect::Notify(notice) => self.call(&notice),
            }
        }
        self.write();
    }

    /// What observers are told of cases and orders: those targets' answers they send one by one.
    fn follow(&mut self, effect: &Effect) {
        match effect {
            Effect::Save(Saved::Case(case)) => {
                let Some(target) = self.fleet.find(&case.target) else {
                    return;
                };
                if matches!(case.phase, Phase::Closed(_)) {
                    self.server.in_case.remove(&target);
                } else if self.server.in_case.insert(target) {
                    self.watch_closely(target);
                }
            }
            Effect::Save(Saved::Order(state)) if state.ended_at.is_some() => {
                self.server.in_flight.remove(&state.order.id);
                self.tally.landed(self.now, state.order.id);
            }
            Effect::Save(Saved::FleetBrake { released_at: None }) => {
                self.call_to_release(Scope::Fleet);
            }
            Effect::Give(order) => {
                if let Some(target) = self.fleet.find(&order.target.id) {
                    self.server.in_flight.insert(order.id, target);
                    for target in self.with_guests(target) {
                        self.watch_closely(target);
                    }
                }
            }
            Effect::Record(record) => self.note_record(record),
            _ => {}
        }
    }

    fn schedule_tick(&mut self) {
        let Some(brain) = &self.server.brain else {
            return;
        };
        let Some(due) = brain.engine.next_tick() else {
            return;
        };
        let offset = self
            .options
            .start
            .as_millis()
            .saturating_add_signed(self.server.clock_ms);
        let due = due.as_millis().saturating_sub(offset).max(self.now);
        if self
            .server
            .tick_due
            .is_none_or(|before| due < before || before < self.now)
        {
            self.server.tick_due = Some(due);
            let run = self.server.run;
            self.queue.push(due, Happening::Tick { run, due });
        }
    }

    pub(in crate::world) fn tick(&mut self, run: u64, due: Millis) {
        if run != self.server.run || self.server.tick_due != Some(due) {
            return;
        }
        self.server.tick_due = None;
        if self.server.state == State::Up {
            self.tick_if_due();
            self.schedule_tick();
        }
    }

    pub(super) fn tick_if_due(&mut self) {
        let now = self.now_stamp();
        let next = self
            .server
            .brain
            .as_ref()
            .and_then(|brain| brain.engine.next_tick());
        if next.is_some_and(|next| next <= now) {
            self.decide(Event::Tick);
        }
    }

    pub(super) fn collect_broken(&mut self) {
        for broken in self.auditor.take() {
            self.tally.broken(broken);
        }
    }
}
