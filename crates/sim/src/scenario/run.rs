//! Runs a scenario: from moment to moment, where something is due, line by line.
//!
//! At one moment the actuators come first, then the tests' rounds, then timers; a line that acts comes before
//! all of them, one that expects after. Between two moments nothing happens, so quiet hours cost nothing but
//! their rounds.

use std::{collections::BTreeMap, time::Duration};

use pitcrew_model::{Event, Observation, ObserverName, OperationId, OutcomeKind, Timestamp};

use super::{
    Failure, Scenario, Story,
    expectation::one_blank_apart,
    said::{Line, Observer, What, When},
    server::Server,
    sparing::Reported,
    story::Kind,
    truth::{Known, Truth},
};

pub(super) struct Run<'s> {
    pub(super) scenario: &'s Scenario,
    /// Since the scenario's start; what a person's watch shows.
    pub(super) at: Duration,
    /// All that is due at moments until here has been done.
    done: Option<Duration>,
    /// How far the server's clock has been stepped forward.
    pub(super) clock_ahead: Duration,
    pub(super) truth: Truth,
    pub(super) observers: BTreeMap<ObserverName, Observer>,
    /// Answers on their way.
    pub(super) late: Vec<(Duration, Observation)>,
    pub(super) reported: Reported,
    /// How many times questions were put.
    pub(super) asked: u64,
    pub(super) server: Server,
    /// Orders that went past the planner.
    pub(super) proposed: u64,
    pub(super) last_operation: Option<OperationId>,
    /// Lines of the story before this one were looked at by earlier expectations.
    pub(super) since: usize,
    /// Whether the line before was an expectation at this moment.
    is_looking: bool,
}

/// How long after a start the actuators say what became of the former run's orders.
const RECONCILING: Duration = Duration::from_secs(1);
/// A timer that is due again at once is looked at again after this.
pub(super) const TICK: Duration = Duration::from_millis(100);

pub(super) fn run(scenario: &Scenario) -> Result<Story, Box<Failure>> {
    let mut run = Run::new(scenario);
    run.start();
    for line in &scenario.lines {
        run.line(line)?;
    }
    Ok(run.server.story)
}

impl<'s> Run<'s> {
    fn new(scenario: &'s Scenario) -> Self {
        let mut truth = Truth::default();
        scenario
            .targets
            .values()
            .for_each(|target| truth.place(target));
        let observers = scenario.observers.iter();
        Self {
            scenario,
            at: Duration::ZERO,
            done: None,
            clock_ahead: Duration::ZERO,
            truth,
            observers: observers
                .map(|name| (name.clone(), Observer::Works))
                .collect(),
            late: Vec::new(),
            reported: Reported::default(),
            asked: 0,
            server: Server::new(
                scenario.production.clone(),
                scenario.targets.clone(),
                scenario.without,
            ),
            proposed: 0,
            last_operation: None,
            since: 0,
            is_looking: false,
        }
    }

    /// What the server's clock shows.
    pub(super) fn now(&self) -> Timestamp {
        self.scenario.start + self.at + self.clock_ahead
    }

    fn line(&mut self, line: &Line) -> Result<(), Box<Failure>> {
        let before = self.at;
        match line.when {
            When::At(at) => self.pass(at, matches!(line.what, What::Expect(_))),
            When::After(after) => self.pass(before + after, matches!(line.what, What::Expect(_))),
            When::Within(_) => {}
            When::Then => self.pass(before, matches!(line.what, What::Expect(_))),
        }
        match (&line.what, line.when) {
            (What::Act(act), _) => {
                self.is_looking = false;
                let said = format!("· {}", one_blank_apart(&line.text));
                self.server.story.write(self.at, None, Kind::Said, said);
                self.act(act);
                self.settle();
                Ok(())
            }
            (What::Expect(expectation), When::Within(within)) => {
                self.look(before < self.at);
                let mut held = self.judge(expectation);
                let until = before + within;
                while held.is_err() && self.step(until, true) {
                    held = self.judge(expectation);
                }
                if held.is_err() {
                    self.at = until;
                }
                self.concluded(line, held)
            }
            (What::Expect(expectation), _) => {
                self.look(before < self.at);
                let held = self.judge(expectation);
                self.concluded(line, held)
            }
        }
    }

    /// Expectations that follow one another at one moment look at the same part of the story.
    fn look(&mut self, time_passed: bool) {
        if time_passed || !self.is_looking {
            self.since = self.server.story.looked_until;
        }
        self.is_looking = true;
    }

    fn concluded(&mut self, line: &Line, held: Result<(), String>) -> Result<(), Box<Failure>> {
        self.server.story.looked();
        held.map_err(|found| Box::new(self.failure(line, found)))
    }

    /// Lets time pass until `at`; with `through`, also what is due at that moment.
    fn pass(&mut self, at: Duration, through: bool) {
        while self.step(at, through) {}
        self.at = self.at.max(at);
    }

    /// Goes on to the next moment before `until`, or at it; whether there was one.
    fn step(&mut self, until: Duration, through: bool) -> bool {
        match self.next_moment() {
            Some(next) if next < until || through && next == until => {
                self.at = next;
                self.moment();
                true
            }
            Some(_) | None => false,
        }
    }

    fn next_moment(&self) -> Option<Duration> {
        let due = [
            self.truth.next_due(),
            self.server.starts_at,
            self.server.wakes_at.map(|(at, _)| at),
            self.server.unfinished.iter().map(|(at, _)| *at).min(),
            self.late.iter().map(|(at, _)| *at).min(),
            self.next_tick(),
        ];
        let due = due.into_iter().flatten().map(|due| due.max(self.at));
        due.chain(self.next_round()).min()
    }

    fn next_tick(&self) -> Option<Duration> {
        let brain = self
            .server
            .brain
            .as_ref()
            .filter(|_| self.server.is_awake())?;
        let due = brain.engine.next_tick()?;
        let due = due.since(self.scenario.start + self.clock_ahead);
        Some(due.max(match self.done {
            // It was told just now: what is due still would be due for ever.
            Some(done) if due <= done && done == self.at => self.at + TICK,
            _ => self.at,
        }))
    }

    /// Rounds are at multiples of their interval.
    fn next_round(&self) -> Option<Duration> {
        if !self.server.is_awake() {
            return None;
        }
        let services = &self.server.production().services;
        let tests = services.iter().flat_map(|service| &service.tests);
        let next = tests.map(|test| {
            let interval = test.interval.as_millis().max(1);
            let after_done = self.done.map_or(0, |done| done.as_millis() / interval + 1);
            let rounds = after_done.max(self.at.as_millis().div_ceil(interval));
            Duration::from_millis(u64::try_from(rounds * interval).unwrap_or(u64::MAX))
        });
        next.min()
    }

    fn start(&mut self) {
        self.start_server();
        self.settle();
    }

    pub(super) fn start_server(&mut self) {
        let unfinished = self.server.start(self.now());
        if self.at > Duration::ZERO {
            self.server
                .story
                .write(self.at, None, Kind::Other, "server starts");
        }
        self.reported = Reported::default();
        self.drain();
        for order in unfinished {
            self.server.unfinished.push((self.at + RECONCILING, order));
        }
    }

    /// Everything that is due now.
    fn moment(&mut self) {
        let is_round = self.next_round() == Some(self.at);
        if self.server.starts_at.is_some_and(|at| at <= self.at) {
            self.start_server();
        }
        if let Some((_, paused_for)) = self.server.wakes_at.filter(|(at, _)| *at <= self.at) {
            self.server.wakes_at = None;
            self.server.events.push_front(Event::Woke { paused_for });
        }
        self.settle();
        if is_round {
            self.round();
        }
        self.deliver();
        let now = self.now();
        let is_due = |brain: &crate::Brain| brain.engine.next_tick().is_some_and(|due| due <= now);
        if self.server.is_awake() && self.server.brain.as_ref().is_some_and(is_due) {
            self.server.events.push_back(Event::Tick);
        }
        self.settle();
        self.done = Some(self.at);
    }

    /// What actuators and the server have to say at this moment, until they are quiet.
    fn settle(&mut self) {
        loop {
            self.drain();
            for order in std::mem::take(&mut self.server.orders) {
                self.last_operation = Some(order.operation.clone());
                self.truth.carry_out(self.at, order);
            }
            self.reconcile();
            for (order, kind) in self.truth.finish(self.at) {
                // What nobody is there to hear is asked for at the next start.
                if let Some(kind) = kind.filter(|_| self.server.brain.is_some()) {
                    self.server.outcome(self.now(), order.id, kind);
                }
            }
            if !self.server.has_work(self.at)
                && self.truth.next_due().is_none_or(|due| due > self.at)
            {
                return;
            }
        }
    }

    pub(super) fn drain(&mut self) {
        while self.server.is_awake() {
            let Some(event) = self.server.events.pop_front() else {
                return;
            };
            self.server.tell(self.at, self.now(), event);
            let probes = std::mem::take(&mut self.server.probes);
            self.asked += 1;
            let asked: Vec<Observation> = probes
                .iter()
                .flat_map(|(target, test)| self.ask(target, test))
                .collect();
            self.hear(asked);
        }
    }

    /// Actuators tell a new server what they know of the former one's orders.
    fn reconcile(&mut self) {
        let (due, still): (Vec<_>, Vec<_>) = std::mem::take(&mut self.server.unfinished)
            .into_iter()
            .partition(|(at, _)| *at <= self.at);
        self.server.unfinished = still;
        for (_, order) in due {
            match self.truth.known(&order) {
                Known::Never => self
                    .server
                    .outcome(self.now(), order.id, OutcomeKind::Failed),
                Known::Ended(kind) => self.server.outcome(self.now(), order.id, kind),
                Known::UnderWay | Known::Silent => {}
            }
        }
    }
}
