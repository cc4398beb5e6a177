//! The server around [`Brain`] and [`Ledger`], as `pitcrew-server` does it: events one by one, records and rows
//! committed together, orders only after that. And what can befall it: a crash on either side of a write, a pause,
//! a clock that is set, a disk that is full.
//!
//! Deciding takes no time here; writing does. It never looks at the truth.

mod deciding;
mod writing;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use pitcrew_engine::Engine;
use pitcrew_model::{Effect, Event, OrderId, Request, Saved, Timestamp};

use super::{
    World,
    queue::{Happening, Millis},
    truth::millis,
};
use crate::{Brain, Ledger, ServerTrouble, Side, TargetIndex};

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
    /// What people asked for and have no answer to, as it is not durable: what waits, and what is being written.
    pub(super) asked: Vec<Request>,
    asked_in_batch: Vec<Request>,
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
            asked: Vec::new(),
            asked_in_batch: Vec::new(),
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

    /// People have their answer, unless there is something to be written first.
    pub(super) fn answer_if_idle(&mut self) {
        if self.state == State::Up && self.waiting.is_empty() && self.writing.is_none() {
            self.asked.clear();
        }
    }

    fn begin_writing(&mut self) {
        self.writing = Some(std::mem::take(&mut self.waiting));
        self.asked_in_batch.append(&mut self.asked);
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
        self.observers.hang_up();
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
        let mut unanswered = std::mem::take(&mut server.asked_in_batch);
        unanswered.append(&mut server.asked);
        server.kept.clear();
        server.writing = None;
        server.written_meanwhile = false;
        server.queued.clear();
        self.queue
            .push(self.now + millis(down).max(1), Happening::Starts);
        self.ask_again(unanswered);
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
}
