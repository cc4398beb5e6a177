//! The server around [`Brain`] and [`Ledger`], as `pitcrew-server` does it: events one by one, records and rows
//! committed together, orders only after that. And what can befall it: a crash on either side of a write, a pause,
//! a clock that is set, a disk that is full.
//!
//! Deciding takes no time here; writing does. It never looks at the truth.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use pitcrew_engine::Engine;
use pitcrew_model::{Effect, Event, Fact, Hold, Order, OrderId, Phase, Saved, Scope, Timestamp};

use super::{
    World,
    queue::{Happening, Millis},
    truth::millis,
};
use crate::{Brain, Ledger, ServerTrouble, Side, TargetIndex};

/// A small transaction on a disk that has a write cache worth its name.
const WRITE: Millis = 2;
/// A ledger that can't be written is tried again so often.
const WRITE_AGAIN: Millis = 1_000;
/// As the server's clock judges it: longer is a pause, more is a step.
const PAUSE: Millis = 5_000;
const STEP: i64 = 1_000;
/// Targets that one event of discovery brings at a start.
const TARGETS_AT_ONCE: usize = 10_000;
/// How long a run takes to begin to ask what became of a former run's orders, and to ask again.
const RECONCILE: Millis = 100;
pub(super) const RECONCILE_AGAIN: Millis = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    Starting,
    /// Since then.
    Paused(Millis),
    Down,
}

pub(super) struct Server {
    state: State,
    /// Counts starts: what is about a former run is nobody's business any more.
    run: u64,
    brain: Option<Brain>,
    ledger: Ledger,
    /// Decided and not yet being written.
    waiting: Vec<Effect>,
    writing: Option<Vec<Effect>>,
    /// What a full ledger did not take; its orders are struck.
    kept: Vec<Effect>,
    ledger_failed: bool,
    /// A write ended while the process was stopped.
    written_meanwhile: bool,
    /// Mishaps by which the disk is full.
    full: BTreeSet<usize>,
    /// Came while the process was stopped.
    queued: VecDeque<Event>,
    /// How far the wall clock has been set, and how far the server's own clock has followed.
    wall_ms: i64,
    clock_ms: i64,
    stepped_meanwhile: Millis,
    armed: VecDeque<(Side, Duration)>,
    tick_due: Option<Millis>,
    /// Targets with an open case, and those with an order in flight.
    in_case: BTreeSet<TargetIndex>,
    in_flight: BTreeMap<OrderId, TargetIndex>,
}

impl Server {
    pub(super) fn new() -> Self {
        Self {
            state: State::Down,
            run: 0,
            brain: None,
            ledger: Ledger::default(),
            waiting: Vec::new(),
            writing: None,
            kept: Vec::new(),
            ledger_failed: false,
            written_meanwhile: false,
            full: BTreeSet::new(),
            queued: VecDeque::new(),
            wall_ms: 0,
            clock_ms: 0,
            stepped_meanwhile: 0,
            armed: VecDeque::new(),
            tick_due: None,
            in_case: BTreeSet::new(),
            in_flight: BTreeMap::new(),
        }
    }

    pub(super) fn run(&self) -> u64 {
        self.run
    }

    pub(super) fn is_starting(&self) -> bool {
        self.state == State::Starting
    }

    pub(super) fn is_down(&self) -> bool {
        self.state == State::Down
    }

    pub(super) fn listens(&self) -> bool {
        matches!(self.state, State::Up | State::Starting)
    }

    /// Whether every answer about a target must reach it by itself.
    pub(super) fn attends(&self, target: TargetIndex) -> bool {
        self.in_case.contains(&target) || self.in_flight.values().any(|of| *of == target)
    }

    /// Another target stands there now.
    pub(super) fn forget(&mut self, target: TargetIndex) {
        self.in_case.remove(&target);
    }

    /// While it runs.
    pub(super) fn engine(&self) -> Option<&Engine> {
        self.brain.as_ref().map(|brain| &brain.engine)
    }

    /// Cases that have not ended, as the server or what it left behind has them.
    pub(super) fn open_cases(&self) -> u64 {
        let open = match &self.brain {
            Some(brain) => brain.engine.cases().filter(|case| case.is_open()).count(),
            None => {
                let rows = self.ledger.rows();
                let cases = rows.iter().filter(|row| matches!(row, Saved::Case(_)));
                cases.count()
            }
        };
        open as u64
    }
}

impl World<'_> {
    /// A moment as the server's clock, from which observers and actuators take theirs, dates it.
    pub(super) fn stamp(&self, at: Millis) -> Timestamp {
        let start = self.options.start.as_millis();
        let at = start
            .saturating_add(at)
            .saturating_add_signed(self.server.clock_ms);
        Timestamp::from_millis(at)
    }

    pub(super) fn now_stamp(&self) -> Timestamp {
        self.stamp(self.now)
    }

    pub(super) fn start_server(&mut self) {
        let server = &mut self.server;
        server.run += 1;
        server.state = State::Starting;
        server.clock_ms = server.wall_ms;
        (server.ledger_failed, server.tick_due) = (false, None);
        let birth = server.ledger.birth("simulated");
        self.actuators.admit(birth.fence);
        let last_case = birth.last_case;
        let rows = self.server.ledger.rows();
        let brain = Brain::start(self.now_stamp(), birth, rows);
        let unfinished = brain.engine.orders_in_flight();
        self.server.brain = Some(brain);
        self.tally.server_started(last_case);
        self.decide(Event::Production(Arc::clone(&self.production)));
        for chunk in self.known_targets().chunks(TARGETS_AT_ONCE) {
            let upserted = chunk.to_vec();
            self.decide(Event::Targets {
                upserted,
                removed: Vec::new(),
            });
        }
        self.repeat_source_trouble();
        if self.server.state != State::Starting {
            // What it decided at once was its end.
            return;
        }
        self.server.state = State::Up;
        let run = self.server.run;
        for order in unfinished {
            let order = Box::new(order);
            self.queue
                .push(self.now + RECONCILE, Happening::Reconcile { run, order });
        }
        self.begin_sweeps();
        self.repeat_control();
    }

    pub(super) fn trouble_server(&mut self, trouble: ServerTrouble) {
        match trouble {
            ServerTrouble::Crash { side, down } => self.server.armed.push_back((side, down)),
            ServerTrouble::Pause(lasts) => {
                if self.server.state == State::Up {
                    self.server.state = State::Paused(self.now);
                    let run = self.server.run;
                    self.queue
                        .push(self.now + millis(lasts), Happening::Wakes { run });
                }
            }
        }
    }

    fn crash(&mut self, down: Duration) {
        let now = self.now_stamp();
        self.auditor.crashed(now);
        let server = &mut self.server;
        server.state = State::Down;
        server.brain = None;
        server.waiting.clear();
        server.kept.clear();
        server.writing = None;
        server.written_meanwhile = false;
        server.queued.clear();
        self.queue
            .push(self.now + millis(down).max(1), Happening::Starts);
    }

    /// As `clock.rs` decides: a gap between heartbeats or a step is told first, then what came meanwhile.
    pub(super) fn wake(&mut self, run: u64) {
        let State::Paused(since) = self.server.state else {
            return;
        };
        if run != self.server.run {
            return;
        }
        self.server.state = State::Up;
        let paused = self.now - since;
        let stepped = std::mem::take(&mut self.server.stepped_meanwhile);
        let away = if paused > PAUSE {
            paused.max(stepped)
        } else {
            stepped
        };
        if away > 0 {
            self.decide(Event::Woke {
                paused_for: Duration::from_millis(away),
            });
        }
        while let Some(event) = self.server.queued.pop_front() {
            self.decide(event);
        }
        if std::mem::take(&mut self.server.written_meanwhile) {
            self.written(run);
        }
        self.tick_if_due();
    }

    /// A step forward is followed; after a step back the clock stays ahead until the next start.
    pub(super) fn step_clock(&mut self, ms: i64) {
        let server = &mut self.server;
        server.wall_ms = server.wall_ms.saturating_add(ms);
        if ms.abs() <= STEP || server.state == State::Down {
            return;
        }
        if ms > 0 {
            server.clock_ms = server.clock_ms.saturating_add(ms);
        }
        let stepped = ms.unsigned_abs();
        if server.state == State::Up {
            self.decide(Event::Woke {
                paused_for: Duration::from_millis(stepped),
            });
        } else {
            server.stepped_meanwhile = server.stepped_meanwhile.max(stepped);
        }
    }

    pub(super) fn disk_is_full(&mut self, mishap: usize) {
        self.server.full.insert(mishap);
    }

    pub(super) fn disk_has_room(&mut self, mishap: usize) {
        self.server.full.remove(&mishap);
    }

    /// A message from outside has reached the process.
    pub(super) fn arrive(&mut self, run: u64, event: Event) {
        if run == self.server.run {
            self.take(event);
        }
    }

    /// Of the server's own parts: discovery, people at its API, the ledger's thread.
    pub(super) fn take(&mut self, event: Event) {
        match self.server.state {
            State::Up | State::Starting => self.decide(event),
            State::Paused(_) => self.server.queued.push_back(event),
            State::Down => {}
        }
    }

    fn decide(&mut self, event: Event) {
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

    fn write(&mut self) {
        let server = &mut self.server;
        if server.writing.is_none() && !server.waiting.is_empty() {
            server.writing = Some(std::mem::take(&mut server.waiting));
            let run = server.run;
            self.queue
                .push(self.now + WRITE, Happening::Written { run });
        }
    }

    pub(super) fn written(&mut self, run: u64) {
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
        let mut struck = Vec::new();
        for effect in &batch {
            if let Effect::Give(order) = effect {
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
        for id in &struck {
            self.server.in_flight.remove(id);
        }
        self.tally.struck(&struck);
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
    pub(super) fn write_again(&mut self, run: u64) {
        let server = &mut self.server;
        if run == server.run && server.ledger_failed && server.writing.is_none() {
            server.writing = Some(std::mem::take(&mut server.waiting));
            self.queue
                .push(self.now + WRITE, Happening::Written { run });
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

    pub(super) fn tick(&mut self, run: u64, due: Millis) {
        if run != self.server.run || self.server.tick_due != Some(due) {
            return;
        }
        self.server.tick_due = None;
        if self.server.state == State::Up {
            self.tick_if_due();
            self.schedule_tick();
        }
    }

    fn tick_if_due(&mut self) {
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

    fn collect_broken(&mut self) {
        for broken in self.auditor.take() {
            self.tally.broken(broken);
        }
    }
}
