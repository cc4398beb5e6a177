//! The server's decision thread as a queue: observations are due at a steady rate, the thread takes what is there, up
//! to a batch, and each event takes as long as it takes this machine. Waiting is counted: what is measured is from
//! the moment an observation was due to the moment its effects are out.
//!
//! Time in the queue is processor time of the thread, so that whoever else uses the machine is not part of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use pitcrew_model::{
    Effect, Event, Fact, Observation, Outcome, OutcomeKind, Record, Target, TargetId, Verdict,
};

use crate::{
    Failure, cpu,
    fleet::{Asked, INTERVAL, Pair, START, production, round, split, targets},
    number, say,
};

const BATCH: usize = 256;
/// From an order to its outcome.
const ORDER_TAKES: Duration = Duration::from_millis(500);
/// From a question asked at once to its answer.
const PROBE_TAKES: Duration = Duration::from_millis(5);

pub(crate) struct Queue {
    pub(crate) pair: Pair,
    pub(crate) targets: Vec<Arc<Target>>,
    asked: Asked,
    order: Vec<u32>,
    /// Since the first round began; when the thread is free again.
    pub(crate) clock: Duration,
    /// Position in the endless repetition of `order`.
    next: usize,
    index: BTreeMap<TargetId, usize>,
    /// What is down, by position, and which of its tests says so.
    down: BTreeMap<usize, usize>,
    /// To come: answers to what was asked at once, and outcomes.
    coming: VecDeque<(Duration, Observation)>,
    outcomes: VecDeque<(Duration, Outcome, TargetId)>,
    /// From an observation that confirms to its effects.
    pub(crate) latencies: Vec<Duration>,
    /// Of every event.
    pub(crate) tells: Vec<Duration>,
    pub(crate) given: usize,
}

impl Queue {
    /// All targets have answered every test once.
    pub(crate) fn new(sizes: &[usize]) -> Result<Self, Failure> {
        let targets = targets(sizes)?;
        let mut pair = Pair::new();
        pair.tell(START, Event::Production(Arc::new(production(sizes.len())?)));
        pair.tell(
            START,
            Event::Targets {
                upserted: targets.clone(),
                removed: Vec::new(),
            },
        );
        let asked = Asked::new()?;
        let order = round(targets.len());
        for chunk in order.chunks(BATCH) {
            let all = chunk.iter().map(|one| {
                let (target, test) = split(*one);
                asked.answer(START, &targets[target].id, test, Verdict::Pass)
            });
            pair.tell(START, Event::Observations(all.collect()));
        }
        let index = targets.iter().enumerate();
        Ok(Self {
            index: index.map(|(at, target)| (target.id.clone(), at)).collect(),
            pair,
            targets,
            asked,
            order,
            clock: INTERVAL,
            next: 0,
            down: BTreeMap::new(),
            coming: VecDeque::new(),
            outcomes: VecDeque::new(),
            latencies: Vec::new(),
            tells: Vec::new(),
            given: 0,
        })
    }

    pub(crate) fn fail(&mut self, target: usize, test: usize) {
        self.down.insert(target, test);
    }

    /// When the `number`th observation is due.
    fn due(&self, number: usize) -> Duration {
        let (rounds, within) = (number / self.order.len(), number % self.order.len());
        let share = number_of(within) / number_of(self.order.len());
        INTERVAL * u32::try_from(rounds + 1).unwrap_or(u32::MAX) + INTERVAL.mul_f64(share)
    }

    /// Until no event that is due by `until` is left; `starts` puts targets down as time goes.
    pub(crate) fn run(&mut self, until: Duration, mut starts: impl FnMut(&mut Self, Duration)) {
        while self.clock < until {
            starts(self, self.clock);
            if let Some((due, outcome)) = self.outcome_due() {
                self.tell(due, Event::Outcome(outcome), &[]);
                continue;
            }
            let (mut seen, mut dues) = (Vec::new(), Vec::new());
            while seen.len() < BATCH
                && self
                    .coming
                    .front()
                    .is_some_and(|(due, _)| *due <= self.clock)
            {
                let (due, answer) = self.coming.pop_front().expect("just looked at");
                dues.push(due);
                seen.push(answer);
            }
            while seen.len() < BATCH && self.due(self.next) <= self.clock {
                let due = self.due(self.next);
                let (target, test) = split(self.order[self.next % self.order.len()]);
                dues.push(due);
                seen.push(self.ask(due, target, test));
                self.next += 1;
            }
            if !seen.is_empty() {
                let first = dues[0];
                self.tell(first, Event::Observations(seen), &dues);
            } else if self.tick_is_due() {
                self.tell(self.clock, Event::Tick, &[]);
            } else {
                self.clock = self.due(self.next).max(self.clock);
            }
        }
    }

    fn outcome_due(&mut self) -> Option<(Duration, Outcome)> {
        if self.outcomes.front()?.0 > self.clock {
            return None;
        }
        let (due, outcome, target) = self.outcomes.pop_front()?;
        self.down.remove(self.index.get(&target)?);
        Some((due, outcome))
    }

    fn tick_is_due(&self) -> bool {
        let now = START + self.clock;
        self.pair.engine.next_tick().is_some_and(|due| due <= now)
    }

    fn ask(&self, due: Duration, target: usize, test: usize) -> Observation {
        let verdict = match self.down.get(&target) {
            Some(ailing) if *ailing == test => Verdict::Fail,
            Some(_) | None => Verdict::Pass,
        };
        self.asked
            .answer(START + due, &self.targets[target].id, test, verdict)
    }

    fn tell(&mut self, first: Duration, event: Event, dues: &[Duration]) {
        let about: Vec<TargetId> = match &event {
            Event::Observations(seen) => seen.iter().map(|seen| seen.target.clone()).collect(),
            _ => Vec::new(),
        };
        let now = START + self.clock.max(first);
        let started = cpu();
        let effects = self.pair.tell(now, event);
        let took = cpu() - started;
        self.clock += took;
        self.tells.push(took);
        for effect in effects {
            self.take(effect, &about, dues);
        }
    }

    fn take(&mut self, effect: Effect, about: &[TargetId], dues: &[Duration]) {
        match effect {
            Effect::Record(Record {
                fact: Fact::Confirmed { .. },
                target: Some(target),
                ..
            }) => {
                let at = about.iter().rposition(|id| *id == target);
                self.latencies
                    .extend(at.map(|at| self.clock.saturating_sub(dues[at])));
            }
            Effect::Give(order) => {
                self.given += 1;
                let outcome = Outcome {
                    order: order.id,
                    kind: OutcomeKind::Done,
                    at: START + self.clock + ORDER_TAKES,
                    detail: "restarted".to_owned(),
                };
                let due = self.clock + ORDER_TAKES;
                self.outcomes
                    .push_back((due, outcome, order.target.id.clone()));
            }
            Effect::Probe { target, test } => {
                let due = self.clock + PROBE_TAKES;
                let test = self.asked.tests.iter().position(|name| *name == test);
                if let (Some(at), Some(test)) = (self.index.get(&target), test) {
                    self.coming.push_back((due, self.ask(due, *at, test)));
                }
            }
            _ => {}
        }
    }

    pub(crate) fn report(&mut self, what: &str, goal: &str) {
        let unit = format!(
            "ms, of {} confirmed and {} orders given",
            self.latencies.len(),
            self.given
        );
        for (name, share, goal) in [("p50", 0.5, ""), ("p99", 0.99, goal), ("most", 1.0, "")] {
            let milliseconds = share_of(&mut self.latencies, share).as_secs_f64() * 1e3;
            say(&format!("{what}: {name}"), milliseconds, &unit, goal);
        }
        let most = share_of(&mut self.tells, 1.0).as_secs_f64() * 1e3;
        say(&format!("{what}: longest event"), most, "ms", "");
        self.forget();
    }

    /// What was measured so far is not reported.
    pub(crate) fn forget(&mut self) {
        (self.latencies, self.tells, self.given) = (Vec::new(), Vec::new(), 0);
    }
}

fn number_of(count: usize) -> f64 {
    number(count)
}

/// The value below which this share of all lies.
fn share_of(all: &mut [Duration], share: f64) -> Duration {
    all.sort_unstable();
    let mut rank = 0;
    while rank + 1 < all.len() && number(rank + 1) < share * number(all.len()) {
        rank += 1;
    }
    all.get(rank).copied().unwrap_or_default()
}
