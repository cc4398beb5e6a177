//! Runs a scenario: from moment to moment, where something is due, line by line.
//!
//! At one moment the actuators come first, then the tests' rounds, then timers; a line that acts comes before
//! all of them, one that expects after. Between two moments nothing happens, so quiet hours cost nothing but
//! their rounds.

use std::{collections::BTreeMap, time::Duration};

use pitcrew_model::{
    Authority, CaseId, Event, Evidence, Observation, ObserverName, Order, OrderId, OutcomeKind,
    PersonAct, Request, SourceTrouble, TargetId, TestName, Timestamp, Verdict,
};

use super::{
    Failure, Scenario, Story,
    expectation::one_blank_apart,
    names::{action_named, source},
    said::{Act, Discovery, Hand, Line, Observer, Proposal, What, When},
    server::Server,
    sparing::Reported,
    story::{Kind, ordered},
    truth::{Known, Truth},
};

pub(super) struct Run<'s> {
    pub(super) scenario: &'s Scenario,
    /// Since the scenario's start; what a person's watch shows.
    pub(super) at: Duration,
    /// All that is due at moments until here has been done.
    done: Option<Duration>,
    /// How far the server's clock has been stepped forward.
    clock_ahead: Duration,
    truth: Truth,
    observers: BTreeMap<ObserverName, Observer>,
    /// Answers on their way.
    late: Vec<(Duration, Observation)>,
    reported: Reported,
    pub(super) server: Server,
    proposed: u64,
    last_operation: Option<pitcrew_model::OperationId>,
    /// Lines of the story before this one were looked at by earlier expectations.
    pub(super) since: usize,
    /// Whether the line before was an expectation at this moment.
    is_looking: bool,
}

/// How long after a start the actuators say what became of the former run's orders.
const RECONCILING: Duration = Duration::from_secs(1);
/// A timer that is due again at once is looked at again after this.
const TICK: Duration = Duration::from_millis(100);

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

    fn start_server(&mut self) {
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

    fn drain(&mut self) {
        while self.server.is_awake() {
            let Some(event) = self.server.events.pop_front() else {
                return;
            };
            self.server.tell(self.at, self.now(), event);
            let probes = std::mem::take(&mut self.server.probes);
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

    fn round(&mut self) {
        let mut asked = Vec::new();
        for (target, service) in &self.server.watched {
            for test in &service.tests {
                if self
                    .at
                    .as_millis()
                    .is_multiple_of(test.interval.as_millis().max(1))
                {
                    asked.extend(self.ask(target, &test.name));
                }
            }
        }
        let (observers, reported) = (&self.observers, &mut self.reported);
        let is_sparing =
            |name: &ObserverName| matches!(observers.get(name), Some(Observer::SaysUnchanged(_)));
        asked.retain(|answer| reported.is_due(answer) || !is_sparing(&answer.observer));
        self.hear(asked);
        for (name, is) in &self.observers {
            if let Observer::SaysUnchanged(ahead) = is {
                self.server.events.push_back(Event::Unchanged {
                    observer: name.clone(),
                    at: self.now() + *ahead,
                });
            }
        }
        self.drain();
    }

    /// What each observer that answers says now.
    fn ask(&self, target: &TargetId, test: &TestName) -> Vec<Observation> {
        let interval = self
            .server
            .watched
            .get(target)
            .and_then(|service| service.test(test))
            .map_or(TICK, |test| test.interval);
        let mut answers = Vec::new();
        for (observer, is) in &self.observers {
            let (verdict, evidence) = match is {
                Observer::Silent => continue,
                Observer::SeesAllDown => (Verdict::Fail, "no route to host".to_owned()),
                Observer::SeesAllUp => (Verdict::Pass, String::new()),
                Observer::Works
                | Observer::Suspect(_)
                | Observer::Late(_)
                | Observer::SaysUnchanged(_) => {
                    self.truth.answer(self.at, target, test, observer, interval)
                }
            };
            answers.push(Observation {
                target: target.clone(),
                test: test.clone(),
                observer: observer.clone(),
                asked_at: self.now(),
                answered_at: self.now(),
                took: Duration::from_millis(1),
                verdict,
                evidence: Evidence::new(evidence),
            });
        }
        answers
    }

    fn hear(&mut self, answers: Vec<Observation>) {
        let mut prompt = Vec::new();
        for answer in answers {
            match self.observers.get(&answer.observer) {
                Some(Observer::Late(by)) => self.late.push((self.at + *by, answer)),
                Some(_) | None => prompt.push(answer),
            }
        }
        if !prompt.is_empty() {
            self.server.events.push_back(Event::Observations(prompt));
        }
    }

    fn deliver(&mut self) {
        let (due, still): (Vec<_>, Vec<_>) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(at, _)| *at <= self.at);
        self.late = still;
        let answers: Vec<Observation> = due.into_iter().map(|(_, answer)| answer).collect();
        if !answers.is_empty() && self.server.brain.is_some() {
            self.server.events.push_back(Event::Observations(answers));
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Truth { targets, condition } => targets
                .iter()
                .for_each(|target| self.truth.set(self.at, target, condition)),
            Act::Orders(rule) => self.truth.add_rule(rule.clone()),
            Act::Person { by, does } => self.person(by, does),
            Act::Server(trouble) => self.server.trouble(self.at, *trouble),
            Act::ClockSteps(ms) => self.step_clock(*ms),
            Act::LedgerFull(true) => self.server.ledger_full = true,
            Act::LedgerFull(false) => self.server.ledger_works(),
            Act::Discovery(discovery) => self.discovery(discovery),
            Act::Observer { observer, is } => self.observer(observer, is),
            Act::Reload(production) => self.server.reload(production),
            Act::Propose(proposal) => self.propose(proposal),
        }
        if self.server.starts_at.is_some_and(|at| at <= self.at) {
            self.start_server();
        }
    }

    /// The server's clock never goes back: it only notices that it was set.
    fn step_clock(&mut self, ms: i64) {
        let paused_for = Duration::from_millis(ms.unsigned_abs());
        if ms > 0 {
            self.clock_ahead += paused_for;
        }
        self.server.events.push_back(Event::Woke { paused_for });
    }

    fn discovery(&mut self, discovery: &Discovery) {
        match discovery {
            Discovery::Loses(targets) => self.server.loses(targets),
            Discovery::Gives(targets) => {
                targets.iter().for_each(|target| self.truth.place(target));
                self.server.gives(targets);
            }
            Discovery::AnswersNothing => self.server.answers_nothing(),
            Discovery::Fails(error) => {
                let error = error.clone();
                self.server.doubt(SourceTrouble::Failed { error });
            }
            Discovery::Works => self.server.ask_discovery(),
        }
    }

    fn observer(&mut self, name: &ObserverName, is: &Observer) {
        let trouble = match is {
            Observer::Suspect(trouble) => Some(trouble.clone()),
            _ => None,
        };
        let before = match &trouble {
            Some(trouble) => self.server.suspects.insert(name.clone(), trouble.clone()),
            None => self.server.suspects.remove(name),
        };
        if before != trouble {
            let observer = name.clone();
            self.server
                .events
                .push_back(Event::Observer { observer, trouble });
        }
        self.observers.insert(name.clone(), is.clone());
    }

    fn person(&mut self, by: &str, does: &Hand) {
        if self.server.brain.is_none() {
            return self.nothing_to(by, "ask: the server is away");
        }
        let act = match does {
            Hand::Holds { target, lasts, why } => PersonAct::Hold {
                target: target.clone(),
                until: self.now() + *lasts,
                why: why.clone(),
            },
            Hand::Releases(target) => PersonAct::Release {
                target: target.clone(),
            },
            Hand::Pauses { scope, why } => PersonAct::Pause {
                scope: scope.clone(),
                why: why.clone(),
            },
            Hand::Resumes(scope) => PersonAct::Resume {
                scope: scope.clone(),
            },
            Hand::Orders {
                action,
                target,
                why,
            } => match action_named(action, self.server.production()) {
                Some(action) => PersonAct::Order {
                    target: target.clone(),
                    action,
                    why: why.clone(),
                },
                None => return self.nothing_to(by, &format!("order {action}")),
            },
            Hand::Approves { target, digest } => match self.awaiting(target) {
                Some((order, own)) => PersonAct::Approve {
                    order,
                    digest: digest.clone().unwrap_or(own),
                },
                None => return self.nothing_to(by, &format!("approve on {target}")),
            },
            Hand::Denies(target) => match self.awaiting(target) {
                Some((order, _)) => PersonAct::Deny { order },
                None => return self.nothing_to(by, &format!("deny on {target}")),
            },
            Hand::Accepts { why } => {
                let source = source();
                let why = why.clone();
                let act = PersonAct::Accept { source, why };
                return self.accept(by, act);
            }
            Hand::Closes { target, why } => match self.case_of(target) {
                Some(case) => PersonAct::Close {
                    case,
                    why: why.clone(),
                },
                None => return self.nothing_to(by, &format!("close on {target}")),
            },
        };
        let by = by.to_owned();
        self.server
            .events
            .push_back(Event::Person(Request { by, act }));
    }

    /// Whoever asked discovery obeys its refused answer, unless the engine has said no.
    fn accept(&mut self, by: &str, act: PersonAct) {
        let by = by.to_owned();
        let request = Request { by, act };
        self.server.events.push_back(Event::Person(request));
        self.drain();
        let answer = self.server.story.lines.last();
        if !answer.is_some_and(|line| line.kind == Kind::Refusal) {
            self.server.accept_discovery();
        }
    }

    fn nothing_to(&mut self, by: &str, what: &str) {
        let what = format!("{by} refused: there is nothing to {what}");
        self.server.story.write(self.at, None, Kind::Refusal, what);
    }

    fn awaiting(&self, target: &TargetId) -> Option<(OrderId, String)> {
        let orders = self.server.brain.as_ref()?.engine.orders().rev();
        let mut waiting = orders.filter(|state| {
            !state.given && state.ended_at.is_none() && state.order.target.id == *target
        });
        let state = waiting.next()?;
        Some((state.order.id, state.order.digest.clone()))
    }

    fn case_of(&self, target: &TargetId) -> Option<CaseId> {
        let mut cases = self.server.brain.as_ref()?.engine.cases().rev();
        cases
            .find(|case| case.target == *target)
            .map(|case| case.id)
    }

    /// Straight to the interlock; what it lets pass is given.
    fn propose(&mut self, proposal: &Proposal) {
        let awake = self.server.is_awake();
        let Some(order) = self.proposed_order(proposal).filter(|_| awake) else {
            let what =
                "nobody judges the proposal: the server is away, or no such action is configured";
            return self.server.story.write(self.at, None, Kind::Other, what);
        };
        let now = self.now();
        let Some(brain) = &mut self.server.brain else {
            return;
        };
        let objections = brain.interlock.check(now, &order);
        let target = Some(order.target.id.clone());
        self.server.story.object(&objections);
        for objection in &objections {
            let what = format!("objection {}: {objection}", objection.invariant);
            let kind = Kind::Objection(objection.invariant);
            self.server.story.write(self.at, target.clone(), kind, what);
        }
        self.last_operation = Some(order.operation.clone());
        if objections.is_empty() {
            let (kind, what) = ordered(&order);
            self.server.story.write(self.at, target, kind, what);
            self.server.give(order);
        }
    }

    fn proposed_order(&mut self, proposal: &Proposal) -> Option<Order> {
        let brain = self.server.brain.as_ref()?;
        let target = self
            .server
            .target(&proposal.target)
            .or_else(|| self.scenario.targets.get(&proposal.target))?
            .clone();
        let action = action_named(&proposal.action, self.server.production())?;
        let services = &self.server.production().services;
        let own = services
            .iter()
            .find(|service| service.select.selects(&target.labels));
        let rung = own.and_then(|service| {
            let repairs = service.repairs.iter();
            repairs
                .flat_map(|repair| {
                    repair
                        .steps
                        .iter()
                        .enumerate()
                        .map(move |rung| (repair, rung))
                })
                .find(|(_, (_, step))| step.action == action)
        });
        let authority = match (&proposal.by, &proposal.approved_by) {
            (Some(by), _) => Authority::Person {
                by: by.clone(),
                why: "proposed".to_owned(),
            },
            (None, Some(by)) => Authority::Approval { by: by.clone() },
            (None, None) => Authority::Policy,
        };
        let repair = match &proposal.repair {
            Some(name) => name.parse().ok(),
            None => rung.map(|(repair, _)| repair.name.clone()),
        };
        let step = rung.map_or(0, |(_, (at, _))| u8::try_from(at).unwrap_or(u8::MAX));
        let given_ms = Duration::from_millis(proposal.given_ms.unsigned_abs());
        let given_at = if proposal.given_ms < 0 {
            self.now() - given_ms
        } else {
            self.now() + given_ms
        };
        let fence = proposal.fence.unwrap_or_else(|| self.server.fence());
        let settle = rung.map_or(Duration::from_secs(60), |(_, (_, step))| step.settle);
        let runner = own.and_then(|service| service.runner_for(&target));
        let service = proposal
            .service
            .clone()
            .or_else(|| own.map(|service| service.name.clone()));
        let engine_last = brain
            .engine
            .orders()
            .next_back()
            .map_or(0, |state| state.order.id.0);
        self.proposed += 1;
        let operation = format!("proposed-{}", self.proposed);
        let operation = match &self.last_operation {
            Some(last) if proposal.repeats => last.clone(),
            Some(_) | None => operation.parse().ok()?,
        };
        Some(Order {
            // Far above what the planner numbers.
            id: OrderId(engine_last.max(1_000_000) + self.proposed),
            operation,
            case: None,
            target,
            service,
            action,
            runner,
            authority,
            repair,
            step: proposal.step.map_or(step, |step| step - 1),
            attempt: proposal.attempt.unwrap_or(1),
            given_at,
            settle,
            expires_at: given_at + Order::EXPIRY,
            fence,
            digest: String::new(),
            target_is_down: true,
        })
    }
}
