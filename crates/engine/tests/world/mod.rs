//! A production on paper: engine and interlock together, a truth for every target, and time that passes by call.
//!
//! What is decided is written down as lines such as `15.0 case-1 web-1 confirmed`, so that a scenario is a story
//! that reads from top to bottom.

#![expect(
    clippy::unwrap_used,
    reason = "a broken test world should stop the test"
)]
#![expect(dead_code, reason = "each file of tests uses its part of the world")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pitcrew_engine::{Birth, Engine};
use pitcrew_interlock::Interlock;
use pitcrew_model::*;

/// What a target does to whoever asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Truth {
    Up,
    Down,
    /// No answer about it can be had.
    Silent,
}

/// What an order does to its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cure {
    Cures,
    DoesNotHelp,
    Fails,
    /// The actuator never answers.
    Vanishes,
}

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) engine: Engine,
    pub(crate) interlock: Interlock,
    pub(crate) production: Production,
    truth: BTreeMap<TargetId, Truth>,
    observers: Vec<ObserverName>,
    cure: Cure,
    /// Two tests need two answers; a degraded one is named here.
    pub(crate) ailing: BTreeMap<(TargetId, TestName), Truth>,
    watched: BTreeMap<TargetId, Arc<Service>>,
    next_round: Timestamp,
    outcomes: Vec<(Timestamp, Order)>,
    pub(crate) story: Vec<String>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) saved: BTreeMap<String, Saved>,
    pub(crate) given: Vec<Order>,
    pub(crate) ledger_works: bool,
    /// Whether the interlock is asked; without it the engine's own guards must do.
    pub(crate) judged: bool,
    /// What discovery gives after a restart.
    found: BTreeMap<TargetId, Arc<Target>>,
    /// What one observer sees of a target, where that differs from the truth.
    pub(crate) seen_by: BTreeMap<(ObserverName, TargetId), Truth>,
    /// Observers say that nothing changed instead of reporting each steady pass.
    pub(crate) sparse: bool,
    /// How many further answers are reported by themselves.
    reports_left: BTreeMap<(TargetId, TestName, ObserverName), u32>,
}

/// Rounds after a failure, or after being asked at once, of which each is reported.
const REPORTED_AFTER_CHANGE: u32 = 32;

pub(crate) const START: u64 = 1_795_000_000_000;
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

pub(crate) fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

pub(crate) fn test(test: &str, proves: Proves) -> Arc<Test> {
    Arc::new(Test {
        name: name(test),
        kind: TestKind::Process,
        interval: INTERVAL,
        timeout: Duration::from_secs(2),
        failure_threshold: 3,
        success_threshold: 2,
        proves,
        place: Place::Server,
    })
}

pub(crate) fn step(action: Action) -> Step {
    Step {
        action,
        tries: 2,
        settle: Duration::from_secs(30),
    }
}

/// `web`: restarted twice, then handed over; small limits' defaults.
pub(crate) fn web() -> Service {
    Service {
        name: name("web"),
        select: Selector(Labels::new([("service", "web")]).unwrap()),
        domains: vec!["zone".to_owned()],
        autonomy: Autonomy::Act,
        tests: vec![test("answers", Proves::Down)],
        repairs: vec![Repair {
            name: name("restart-then-call"),
            when: vec![name("answers")],
            steps: vec![
                step(Action::Restart),
                step(Action::HandOver {
                    to: Some(name("oncall")),
                }),
            ],
        }],
        limits: Limits::default(),
        windows: Vec::new(),
        runs_as: None,
        drain: None,
    }
}

pub(crate) fn production(services: Vec<Service>) -> Production {
    Production {
        services: services.into_iter().map(Arc::new).collect(),
        receivers: vec![Receiver {
            name: name("oncall"),
            destination: Destination::Command {
                command: vec!["true".to_owned()],
            },
        }],
        ..Production::default()
    }
}

/// `web-1` … `web-N`, spread over `zones` in turn.
pub(crate) fn targets(service: &str, count: usize, zones: &[&str]) -> Vec<Arc<Target>> {
    (1..=count)
        .map(|n| {
            let zone = zones[(n - 1) % zones.len()];
            Arc::new(Target {
                id: name(&format!("{service}-{n}")),
                address: None,
                labels: Labels::new([("service", service), ("zone", zone)]).unwrap(),
                run_on: None,
                runner: Some(Runner::Supervised),
                source: name("run"),
            })
        })
        .collect()
}

impl World {
    /// `count` targets of [`web`], changed by `adjust`, in zones a, b and c; up and known to be up.
    pub(crate) fn new(count: usize, adjust: impl FnOnce(&mut Service)) -> Self {
        let mut service = web();
        adjust(&mut service);
        let mut world = Self::of(
            production(vec![service]),
            targets("web", count, &["a", "b", "c"]),
        );
        world.run(20);
        world.story.clear();
        world
    }

    pub(crate) fn of(production: Production, targets: Vec<Arc<Target>>) -> Self {
        let mut world = Self {
            now: Timestamp::from_millis(START),
            engine: born(1),
            interlock: Interlock::new(1),
            production: production.clone(),
            truth: BTreeMap::new(),
            observers: vec![name("local")],
            cure: Cure::Cures,
            ailing: BTreeMap::new(),
            watched: BTreeMap::new(),
            next_round: Timestamp::from_millis(START),
            outcomes: Vec::new(),
            story: Vec::new(),
            notices: Vec::new(),
            saved: BTreeMap::new(),
            given: Vec::new(),
            ledger_works: true,
            judged: true,
            found: BTreeMap::new(),
            seen_by: BTreeMap::new(),
            sparse: false,
            reports_left: BTreeMap::new(),
        };
        world.tell(Event::Production(Arc::new(production)));
        world.found(targets);
        world
    }

    pub(crate) fn found(&mut self, targets: Vec<Arc<Target>>) {
        for target in &targets {
            self.truth.entry(target.id.clone()).or_insert(Truth::Up);
            self.found.insert(target.id.clone(), target.clone());
        }
        self.tell(Event::Targets {
            upserted: targets,
            removed: Vec::new(),
        });
    }

    pub(crate) fn gone(&mut self, target: &str) {
        self.found.remove(target);
        self.tell(Event::Targets {
            upserted: Vec::new(),
            removed: vec![name(target)],
        });
    }

    /// Discovery does not give it at the next start.
    pub(crate) fn gone_at_restart(&mut self, target: &str) {
        self.found.remove(target);
    }

    pub(crate) fn observers(&mut self, names: &[&str]) {
        self.observers = names.iter().map(|observer| name(observer)).collect();
    }

    pub(crate) fn set(&mut self, targets: &[&str], truth: Truth) -> &mut Self {
        for target in targets {
            self.truth.insert(name(target), truth);
        }
        self
    }

    pub(crate) fn truth_of(&self, target: &str) -> Truth {
        self.truth[target]
    }

    pub(crate) fn orders_do(&mut self, cure: Cure) -> &mut Self {
        self.cure = cure;
        self
    }

    /// Lets time pass, in steps of 100 ms; one round of tests every interval.
    pub(crate) fn run(&mut self, seconds: u64) -> &mut Self {
        let until = self.now + Duration::from_secs(seconds);
        while self.now < until {
            self.now = self.now + Duration::from_millis(100);
            if self.now >= self.next_round {
                self.next_round = self.now + INTERVAL;
                self.round();
            }
            while let Some(at) = self.outcomes.iter().position(|(due, _)| *due <= self.now) {
                let (_, order) = self.outcomes.remove(at);
                self.finish(&order);
            }
            if self.engine.next_tick().is_some_and(|due| due <= self.now) {
                self.tell(Event::Tick);
            }
        }
        self
    }

    fn round(&mut self) {
        let asked: Vec<(TargetId, TestName)> = self
            .watched
            .iter()
            .flat_map(|(target, service)| {
                service
                    .tests
                    .iter()
                    .map(|test| (target.clone(), test.name.clone()))
            })
            .collect();
        let seen = asked
            .iter()
            .flat_map(|(target, test)| self.ask(target, test))
            .collect();
        let seen = match self.sparse {
            true => self.without_steady(seen),
            false => seen,
        };
        self.tell(Event::Observations(seen));
        if self.sparse {
            for observer in self.observers.clone() {
                let at = self.now;
                self.tell(Event::Unchanged { observer, at });
            }
        }
    }

    /// What observers report by itself: the first answer, a failure or no answer, and all for a while after that.
    fn without_steady(&mut self, mut seen: Vec<Observation>) -> Vec<Observation> {
        seen.retain(|seen| {
            let key = (
                seen.target.clone(),
                seen.test.clone(),
                seen.observer.clone(),
            );
            let left = self.reports_left.entry(key).or_insert(1);
            if matches!(seen.verdict, Verdict::Fail | Verdict::Unknown) {
                *left = 1 + REPORTED_AFTER_CHANGE;
            }
            let reported = *left > 0;
            *left = left.saturating_sub(1);
            reported
        });
        seen
    }

    pub(crate) fn ask(&self, target: &TargetId, test: &TestName) -> Vec<Observation> {
        let truth = self
            .ailing
            .get(&(target.clone(), test.clone()))
            .unwrap_or_else(|| &self.truth[target]);
        self.observers
            .iter()
            .map(|observer| {
                let key = (observer.clone(), target.clone());
                let (verdict, evidence) = match self.seen_by.get(&key).unwrap_or(truth) {
                    Truth::Up => (Verdict::Pass, ""),
                    Truth::Down => (Verdict::Fail, "connection refused"),
                    Truth::Silent => (Verdict::Unknown, "no agent"),
                };
                Observation {
                    target: target.clone(),
                    test: test.clone(),
                    observer: observer.clone(),
                    asked_at: self.now,
                    answered_at: self.now,
                    took: Duration::from_millis(1),
                    verdict,
                    evidence: Evidence::new(evidence),
                }
            })
            .collect()
    }

    fn finish(&mut self, order: &Order) {
        let kind = match self.cure {
            Cure::Cures => {
                self.truth.insert(order.target.id.clone(), Truth::Up);
                OutcomeKind::Done
            }
            Cure::DoesNotHelp => OutcomeKind::Done,
            Cure::Fails => OutcomeKind::Failed,
            Cure::Vanishes => return,
        };
        self.tell(Event::Outcome(Outcome {
            order: order.id,
            kind,
            at: self.now,
            detail: "as told".to_owned(),
        }));
    }

    pub(crate) fn person(&mut self, act: PersonAct) -> Result<(), String> {
        let before = self.story.len();
        self.tell(Event::Person(Request {
            by: "op".to_owned(),
            act,
        }));
        match self.story[before..]
            .iter()
            .find_map(|line| line.split_once(" refused: "))
        {
            Some((_, why)) => Err(why.to_owned()),
            None => Ok(()),
        }
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.interlock.note(self.now, &event);
        let (interlock, judged) = (&mut self.interlock, self.judged);
        let effects = self
            .engine
            .handle(self.now, event, &mut |now, order| match judged {
                true => interlock.check(now, order),
                false => Vec::new(),
            });
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let orders: Vec<OrderId> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Give(order) => Some(order.id),
                _ => None,
            })
            .collect();
        if !self.ledger_works && !orders.is_empty() {
            return self.tell(Event::LedgerFailed {
                not_given: orders,
                error: "disk full".to_owned(),
            });
        }
        let mut probes = Vec::new();
        for effect in effects {
            match effect {
                Effect::Record(record) => self.write(&record),
                Effect::Save(saved) => {
                    self.saved.insert(saved.key(), saved);
                }
                Effect::Give(order) => {
                    self.given.push(order.clone());
                    self.outcomes
                        .push((self.now + Duration::from_millis(500), order));
                }
                Effect::Watch { target, service } => {
                    for ((of, ..), left) in &mut self.reports_left {
                        if *of == target.id {
                            *left = (*left).max(1);
                        }
                    }
                    self.watched.insert(target.id.clone(), service);
                }
                Effect::Unwatch { target } => {
                    self.watched.remove(&target);
                }
                Effect::Probe { target, test } => probes.push((target, test)),
                Effect::Notify(notice) => self.notices.push(notice),
            }
        }
        for (target, test) in probes {
            let mut seen = self.ask(&target, &test);
            for seen in &mut seen {
                // Another question than the round's of the same moment: no answer takes as long as the one before.
                seen.took += Duration::from_millis(1);
                let key = (target.clone(), test.clone(), seen.observer.clone());
                self.reports_left.insert(key, REPORTED_AFTER_CHANGE);
            }
            self.tell(Event::Observations(seen));
        }
    }

    fn write(&mut self, record: &Record) {
        let what = match &record.fact {
            Fact::Confirmed { .. } => "confirmed".to_owned(),
            Fact::Held { hold, .. } => format!("held: {hold}"),
            Fact::Intent { order } => format!("order: {} (try {})", order.action, order.attempt),
            Fact::Outcome { outcome } => outcome.kind.to_string(),
            Fact::Verified { passed: true, .. } => "verified".to_owned(),
            Fact::Verified { passed: false, .. } => "not verified".to_owned(),
            Fact::Probation { .. } => "on probation".to_owned(),
            Fact::Relapsed { .. } => "relapsed".to_owned(),
            Fact::HandedOver { to, why } => format!("handed over to {to:?}: {why}"),
            Fact::Closed { ending, .. } => format!("closed: {ending}"),
            Fact::BreakerTripped { scope, failing, of } => {
                format!("breaker of {scope} trips: {failing} of {of}")
            }
            Fact::BreakerReleased { scope, .. } => format!("breaker of {scope} releases"),
            Fact::Observer {
                trouble: Some(trouble),
                ..
            } => format!("observer suspect: {trouble}"),
            Fact::Person {
                act: _,
                refused: Some(refused),
                ..
            } => format!("refused: {refused}"),
            _ => return,
        };
        let target = record
            .target
            .as_ref()
            .map(|target| format!("{target} "))
            .unwrap_or_default();
        let seconds = self.now.since(Timestamp::from_millis(START)).as_millis();
        self.story.push(format!(
            "{}.{} {target}{what}",
            seconds / 1_000,
            seconds % 1_000 / 100
        ));
    }

    /// What was written since the last call, without the times.
    pub(crate) fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.story)
            .into_iter()
            .map(|line| line.split_once(' ').unwrap().1.to_owned())
            .collect()
    }

    /// kill -9 and a new start: only what was saved is known, and discovery answers again.
    pub(crate) fn restart(&mut self) {
        let rows: Vec<Saved> = self
            .saved
            .values()
            .filter(|row| !row.is_spent())
            .cloned()
            .collect();
        self.saved.retain(|_, row| !row.is_spent());
        let fence = self.given.last().map_or(1, |order| order.fence) + 1;
        self.engine = born(fence);
        self.interlock = Interlock::new(fence);
        self.engine.restore(self.now, rows.clone());
        self.interlock.restore(self.now, &rows);
        self.outcomes.clear();
        self.watched.clear();
        self.tell(Event::Production(Arc::new(self.production.clone())));
        let all = self.found.values().cloned().collect();
        self.found(all);
    }

    /// The configuration is changed and loaded again.
    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Vec<Service>)) {
        let mut services = self
            .production
            .services
            .iter()
            .map(|service| (**service).clone())
            .collect();
        change(&mut services);
        self.production.services = services.into_iter().map(Arc::new).collect();
        self.tell(Event::Production(Arc::new(self.production.clone())));
    }

    /// What an actuator reports of an order.
    pub(crate) fn outcome(&mut self, order: OrderId, kind: OutcomeKind) {
        let (at, detail) = (self.now, "as told".to_owned());
        self.tell(Event::Outcome(Outcome {
            order,
            kind,
            at,
            detail,
        }));
    }

    pub(crate) fn order(&mut self, target: &str, action: Action) -> Result<(), String> {
        let (target, why) = (name(target), "because".to_owned());
        self.person(PersonAct::Order {
            target,
            action,
            why,
        })
    }

    /// Whether some line of the story so far contains `text`.
    pub(crate) fn tells(&self, text: &str) -> bool {
        self.story.iter().any(|line| line.contains(text))
    }

    /// The target's case as it stands.
    pub(crate) fn case_of(&self, target: &str) -> &Case {
        let mut cases = self.engine.cases().rev();
        cases
            .find(|case| case.target.as_str() == target)
            .unwrap_or_else(|| panic!("{target} never had a case: {:#?}", self.story))
    }

    pub(crate) fn phase(&self, case: u64) -> &'static str {
        self.engine.case(CaseId(case)).unwrap().phase.name()
    }
}

fn born(fence: u64) -> Engine {
    Engine::new(Birth {
        installation: "test".to_owned(),
        fence,
        last_case: 0,
        last_order: fence * 100 - 100,
    })
}
