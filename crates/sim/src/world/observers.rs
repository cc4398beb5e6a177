//! Who asks, and what they say. Each observer asks every target's every test once per interval, at its own time
//! within it; what is at rest costs nothing, because one [`Event::Unchanged`] speaks for all of it.
//!
//! A pair of target and test is watched closely, by each observer for itself, from the moment that anything about
//! it may not be well until it has passed for 32 rounds: only then is every answer computed and sent. Observers
//! say what they see, and what they see may be wrong: they fall silent, lie, and tell stale news.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pitcrew_model::{
    Event, Evidence, Observation, ObserverName, Place, Production, Test, TestKind, TestName,
    Verdict,
};

use super::{
    World,
    chance::For,
    faults,
    fleet::Level,
    queue::{Happening, Millis},
    truth::millis,
};
use crate::{FaultKind, Link, Sick, TargetIndex};

/// Rounds that must pass before a pair is at rest, as [`Event::Unchanged`] promises.
const ROUNDS: u8 = 32;
/// Answers wait so long for others, to travel together.
const BATCH: Millis = 100;
const BATCH_MAX: usize = 256;
/// The first round is spread over an interval in so many slices.
const SLICES: u32 = 100;
/// A liar has this many targets at most in a large fleet: observers share the work among processes, and one
/// process is what goes wrong.
const SHARD: u32 = 10_000;
/// For the report.
pub(super) const ASSUMED: [&str; 1] = [
    "Every observer tests every target; in fleets above 10,000 targets an observer that lies or can't see a zone is wrong about one share of 10,000 of them, because observers share their work among processes.",
];
/// Two failed control tests, five seconds apart, until it is told.
const CONTROL: Millis = 10_000;

pub(super) struct Observer {
    name: ObserverName,
    /// With the numbers of the mishaps that brought them; the last counts.
    sick: Vec<(usize, Sick)>,
    /// By when it is sent, and whether it must arrive.
    outbox: BTreeMap<(Millis, bool), Vec<Observation>>,
    /// The run of the server that has heard of everything once.
    swept: u64,
}

impl Observer {
    fn sickness(&self) -> Option<Sick> {
        self.sick.last().map(|(_, how)| *how)
    }
}

pub(super) struct Observers {
    list: Vec<Observer>,
    /// Passed rounds left until it is at rest; absent: at rest.
    close: BTreeMap<(TargetIndex, u16, u16), u8>,
    watched: Vec<bool>,
    /// Until when a test fails for no reason.
    blips: BTreeMap<(TargetIndex, u16), Millis>,
    /// When somebody last said that a target fails.
    pub(super) accused: BTreeMap<TargetIndex, Millis>,
    shortest: Millis,
    evidence: Wording,
    pub(super) observations: u64,
}

struct Wording {
    passed: Evidence,
    refused: Evidence,
    timed_out: Evidence,
    error: Evidence,
    blip: Evidence,
    unreachable: Evidence,
    absent: Evidence,
}

/// What one question brings.
struct Look {
    verdict: Verdict,
    took: Duration,
    evidence: Evidence,
}

impl Observers {
    pub(super) fn new(production: &Production, observers: u16, targets: u32) -> Self {
        let tests = production
            .services
            .iter()
            .flat_map(|service| &service.tests);
        let shortest = tests.map(|test| test.interval).min();
        let list = (1..=observers).map(|number| Observer {
            name: ObserverName::new(format!("observer-{number}"))
                .expect("a word and a number make a valid name"),
            sick: Vec::new(),
            outbox: BTreeMap::new(),
            swept: 0,
        });
        Self {
            list: list.collect(),
            close: BTreeMap::new(),
            watched: vec![false; targets as usize],
            blips: BTreeMap::new(),
            accused: BTreeMap::new(),
            shortest: shortest.map_or(10_000, millis).max(BATCH),
            evidence: Wording {
                passed: Evidence::new(""),
                refused: Evidence::new("connection refused"),
                timed_out: Evidence::new("no answer in time"),
                error: Evidence::new("it answers with an error"),
                blip: Evidence::new("connection reset by peer"),
                unreachable: Evidence::new("no route to host"),
                absent: Evidence::new("nothing was pushed"),
            },
            observations: 0,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.list.len()
    }
}

impl World<'_> {
    fn tests_of(&self, target: TargetIndex) -> &[Arc<Test>] {
        let service = self.fleet.service_of(target);
        service.map_or(&[], |at| &self.production.services[at].tests)
    }

    pub(super) fn watch(&mut self, target: TargetIndex) {
        self.observers.watched[target as usize] = true;
        if !self.server.is_starting() {
            self.watch_closely(target);
        }
    }

    pub(super) fn unwatch(&mut self, target: TargetIndex) {
        self.observers.watched[target as usize] = false;
    }

    /// From now on each answer is computed and sent, by every observer.
    pub(super) fn watch_closely(&mut self, target: TargetIndex) {
        for observer in 0..self.observers.count() {
            self.watch_closely_by(observer, target, 1);
        }
    }

    fn watch_closely_by(&mut self, observer: usize, target: TargetIndex, rounds: u8) {
        if !self.observers.watched[target as usize] {
            return;
        }
        let tests = u16::try_from(self.tests_of(target).len()).unwrap_or(u16::MAX);
        for test in 0..tests {
            self.watch_test_closely(observer, target, test, rounds);
        }
    }

    fn watch_test_closely(&mut self, observer: usize, target: TargetIndex, test: u16, rounds: u8) {
        let observer = u16::try_from(observer).unwrap_or(u16::MAX);
        let key = (target, test, observer);
        if let Some(left) = self.observers.close.get_mut(&key) {
            *left = (*left).max(rounds);
            return;
        }
        self.observers.close.insert(key, rounds);
        let at = self.next_round(observer, target, test);
        self.queue.push(
            at,
            Happening::Ask {
                observer,
                target,
                test,
            },
        );
    }

    /// Its own moment within every interval, so that a fleet's questions don't come all at once.
    fn next_round(&self, observer: u16, target: TargetIndex, test: u16) -> Millis {
        let interval = millis(self.tests_of(target)[usize::from(test)].interval).max(1);
        let of = [u64::from(target), u64::from(test), u64::from(observer)];
        let offset = self.chance.below(interval, For::Jitter, &of);
        let into = (self.now + interval - offset) % interval;
        self.now + interval - into
    }

    pub(super) fn ask(&mut self, observer: u16, target: TargetIndex, test: u16) {
        let key = (target, test, observer);
        if !self.observers.close.contains_key(&key) {
            return;
        }
        if !self.observers.watched[target as usize]
            || usize::from(test) >= self.tests_of(target).len()
        {
            self.observers.close.remove(&key);
            return;
        }
        let is_well = self.look_and_tell(observer, target, test, false);
        let at_rest = is_well && self.rests(observer, target);
        let left = self.observers.close.entry(key).or_insert(ROUNDS);
        *left = match (is_well, at_rest) {
            (false, _) => ROUNDS,
            (true, true) => left.saturating_sub(1),
            (true, false) => (*left).max(1),
        };
        if *left == 0 {
            self.observers.close.remove(&key);
            return;
        }
        let interval = millis(self.tests_of(target)[usize::from(test)].interval).max(1);
        self.queue.push(
            self.now + interval,
            Happening::Ask {
                observer,
                target,
                test,
            },
        );
    }

    /// Whether a round that passed brings a pair nearer to rest: it was heard, and nothing is under way.
    fn rests(&self, observer: u16, target: TargetIndex) -> bool {
        let at = usize::from(observer);
        let unreliable = matches!(
            self.observers.list[at].sickness(),
            Some(Sick::Silent | Sick::Stale(_))
        );
        !unreliable
            && !self.weather.is_rough(at)
            && self.server.listens()
            && !self.server.attends(target)
    }

    /// Whether the target passes in truth and as it is told.
    fn look_and_tell(&mut self, observer: u16, target: TargetIndex, test: u16, sure: bool) -> bool {
        let honest = self.honest_look(target, usize::from(test), self.now);
        let is_well = honest.verdict == Verdict::Pass;
        let Some(look) = self.seen_by(usize::from(observer), target, usize::from(test), honest)
        else {
            return is_well;
        };
        let verdict = look.verdict;
        self.tell(observer, target, test, look, sure);
        is_well && verdict == Verdict::Pass
    }

    fn honest_look(&self, target: TargetIndex, test: usize, at: Millis) -> Look {
        let asked = &self.tests_of(target)[test];
        let words = &self.observers.evidence;
        let failed = |evidence: &Evidence, took: Duration| Look {
            verdict: Verdict::Fail,
            took,
            evidence: evidence.clone(),
        };
        let quick = self.quick(target, test, at, asked);
        if self.truth.is_taken(target) {
            return failed(&words.refused, quick);
        }
        let mut kinds = self.truth.kinds(target);
        if let Some(kind) = kinds.find(|kind| faults::shows(*kind, &asked.kind)) {
            let pushes_nothing = asked.kind == TestKind::Push || asked.place == Place::Host;
            if faults::out_of_reach(kind) && pushes_nothing {
                let evidence = words.absent.clone();
                return Look {
                    verdict: Verdict::Unknown,
                    took: quick,
                    evidence,
                };
            }
            return match kind {
                _ if faults::times_out(kind) => failed(&words.timed_out, asked.timeout),
                FaultKind::Errors | FaultKind::Deploy => failed(&words.error, quick),
                _ => failed(&words.refused, quick),
            };
        }
        let blip = u16::try_from(test).unwrap_or(u16::MAX);
        if self
            .observers
            .blips
            .get(&(target, blip))
            .is_some_and(|until| at < *until)
        {
            return failed(&words.blip, quick);
        }
        Look {
            verdict: Verdict::Pass,
            took: quick,
            evidence: words.passed.clone(),
        }
    }

    /// A few milliseconds, sometimes fifty; never as long as the test's deadline.
    fn quick(&self, target: TargetIndex, test: usize, at: Millis, asked: &Test) -> Duration {
        let of = [u64::from(target), test as u64, at];
        let draw = self.chance.draw(For::Took, &of);
        let most = if draw.is_multiple_of(16) { 50 } else { 8 };
        Duration::from_millis(1 + (draw >> 8) % most).min(asked.timeout)
    }

    /// What an observer makes of it; nothing, if it is silent.
    fn seen_by(
        &self,
        observer: usize,
        target: TargetIndex,
        test: usize,
        honest: Look,
    ) -> Option<Look> {
        let words = &self.observers.evidence;
        let says = |verdict: Verdict, evidence: &Evidence, took: Duration| Look {
            verdict,
            took,
            evidence: evidence.clone(),
        };
        let look = match self.observers.list[observer].sickness() {
            Some(Sick::Silent) => return None,
            Some(Sick::LiesFailing | Sick::KnowsIt) if self.is_in_shard(target) => {
                says(Verdict::Fail, &words.refused, honest.took)
            }
            Some(Sick::LiesPassing) => says(Verdict::Pass, &words.passed, honest.took),
            Some(Sick::Stale(by)) => {
                let then = self.now.saturating_sub(millis(by));
                if self.truth.was_down(target, then) {
                    says(Verdict::Fail, &words.refused, honest.took)
                } else {
                    says(Verdict::Pass, &words.passed, honest.took)
                }
            }
            Some(Sick::LiesFailing | Sick::KnowsIt) | None => honest,
        };
        let zone = self.fleet.group_of(Level::Zone, target) as usize;
        if self.is_in_shard(target)
            && self
                .weather
                .blind_zones(observer)
                .any(|blind| blind == zone)
        {
            let timeout = self.tests_of(target)[test].timeout;
            return Some(says(Verdict::Fail, &words.unreachable, timeout));
        }
        Some(look)
    }

    fn is_in_shard(&self, target: TargetIndex) -> bool {
        let shards = u64::from(self.fleet.len().div_ceil(SHARD)).max(1);
        self.chance.below(shards, For::Shard, &[u64::from(target)]) == 0
    }

    fn tell(&mut self, observer: u16, target: TargetIndex, test: u16, look: Look, sure: bool) {
        if look.verdict == Verdict::Fail {
            self.observers.accused.insert(target, self.now);
        }
        let answered = self.now + millis(look.took);
        let (asked_at, answered_at) = (self.stamp(self.now), self.stamp(answered));
        let test = self.tests_of(target)[usize::from(test)].name.clone();
        let send_at = answered.div_ceil(BATCH) * BATCH;
        let from = &mut self.observers.list[usize::from(observer)];
        let batch = from.outbox.entry((send_at, sure)).or_default();
        if batch.is_empty() {
            self.queue.push(send_at, Happening::Flush { observer });
        }
        batch.push(Observation {
            target: self.fleet.targets()[target as usize].id.clone(),
            test,
            observer: from.name.clone(),
            asked_at,
            answered_at,
            took: look.took,
            verdict: look.verdict,
            evidence: look.evidence,
        });
    }

    pub(super) fn flush(&mut self, observer: u16) {
        let at = usize::from(observer);
        while let Some(first) = self.observers.list[at].outbox.first_entry() {
            let (due, sure) = *first.key();
            if due > self.now {
                break;
            }
            let mut batch = first.remove();
            self.observers.observations += batch.len() as u64;
            while !batch.is_empty() {
                let rest = batch.split_off(batch.len().min(BATCH_MAX));
                let event = Event::Observations(std::mem::replace(&mut batch, rest));
                self.send_to_server(Link::ObserverToServer(at), event, sure);
            }
        }
    }

    /// Every observer looks at once, and then closely for a while.
    pub(super) fn probe(&mut self, target: TargetIndex, test: &TestName) {
        let tests = self.tests_of(target);
        let Some(position) = tests.iter().position(|have| have.name == *test) else {
            return;
        };
        let position = u16::try_from(position).unwrap_or(u16::MAX);
        if !self.observers.watched[target as usize] {
            return;
        }
        for observer in 0..self.observers.count() {
            let number = u16::try_from(observer).unwrap_or(u16::MAX);
            self.look_and_tell(number, target, position, false);
            self.watch_test_closely(observer, target, position, ROUNDS);
        }
    }

    /// The first round of a run of the server.
    pub(super) fn begin_sweeps(&mut self) {
        let run = self.server.run();
        for observer in 0..self.observers.count() {
            let observer = u16::try_from(observer).unwrap_or(u16::MAX);
            let sweep = Happening::Sweep {
                observer,
                run,
                slice: 0,
            };
            self.queue.push(self.now + 1, sweep);
        }
    }

    pub(super) fn sweep(&mut self, observer: u16, run: u64, slice: u32) {
        if run != self.server.run() {
            return;
        }
        let at = usize::from(observer);
        let away = self.weather.is_cut(Link::ObserverToServer(at))
            || self.observers.list[at].sickness() == Some(Sick::Silent);
        if away || !self.server.listens() {
            let sweep = Happening::Sweep {
                observer,
                run,
                slice,
            };
            self.queue.push(self.now + 1_000, sweep);
            return;
        }
        let part = |slice: u32| {
            let targets = u64::from(self.fleet.len()) * u64::from(slice) / u64::from(SLICES);
            u32::try_from(targets).unwrap_or(u32::MAX)
        };
        for target in part(slice)..part(slice + 1) {
            if !self.observers.watched[target as usize] {
                continue;
            }
            for test in 0..u16::try_from(self.tests_of(target).len()).unwrap_or(u16::MAX) {
                if !self.look_and_tell(observer, target, test, true) {
                    self.watch_test_closely(at, target, test, ROUNDS);
                }
            }
        }
        if slice + 1 < SLICES {
            let next = self.now + (self.observers.shortest / u64::from(SLICES)).max(1);
            self.queue.push(
                next,
                Happening::Sweep {
                    observer,
                    run,
                    slice: slice + 1,
                },
            );
        } else {
            self.observers.list[at].swept = run;
            self.queue
                .push(self.now + BATCH, Happening::Unchanged { observer });
        }
    }

    /// One word for all that is at rest.
    pub(super) fn say_unchanged(&mut self, observer: u16) {
        let at = usize::from(observer);
        if self.observers.list[at].swept != self.server.run() {
            return;
        }
        self.queue.push(
            self.now + self.observers.shortest,
            Happening::Unchanged { observer },
        );
        if self.observers.list[at].sickness() == Some(Sick::Silent) {
            return;
        }
        let (observer, now) = (self.observers.list[at].name.clone(), self.stamp(self.now));
        let event = Event::Unchanged { observer, at: now };
        self.send_to_server(Link::ObserverToServer(at), event, false);
    }

    pub(super) fn blip(&mut self, target: TargetIndex, test: usize) {
        let tests = self.tests_of(target);
        if tests.is_empty() || !self.observers.watched[target as usize] {
            return;
        }
        let test = test % tests.len();
        let until = self.now + millis(tests[test].interval);
        let number = u16::try_from(test).unwrap_or(u16::MAX);
        let now = self.now;
        self.observers.blips.retain(|_, until| now < *until);
        self.observers.blips.insert((target, number), until);
        for observer in 0..self.observers.count() {
            self.watch_test_closely(observer, target, number, 1);
        }
    }

    pub(super) fn fall_sick(&mut self, mishap: usize, observer: usize, how: Sick) {
        let at = observer % self.observers.count();
        self.observers.list[at].sick.push((mishap, how));
        match how {
            Sick::LiesFailing => self.look_at_shard(at, None),
            Sick::KnowsIt => {
                self.look_at_shard(at, None);
                self.push_control(at, true, CONTROL);
            }
            Sick::Silent | Sick::LiesPassing | Sick::Stale(_) => {}
        }
    }

    pub(super) fn recover(&mut self, mishap: usize) {
        for at in 0..self.observers.count() {
            let sick = &mut self.observers.list[at].sick;
            let knew = sick
                .iter()
                .any(|(which, how)| *which == mishap && *how == Sick::KnowsIt);
            sick.retain(|(which, _)| *which != mishap);
            if knew {
                self.push_control(at, false, CONTROL / 2);
            }
        }
    }

    /// An observer sees what is not there, in one zone or everywhere.
    pub(super) fn look_at_shard(&mut self, observer: usize, zone: Option<usize>) {
        for target in 0..self.fleet.len() {
            let inside =
                zone.is_none_or(|zone| self.fleet.group_of(Level::Zone, target) as usize == zone);
            if inside && self.is_in_shard(target) {
                self.watch_closely_by(observer, target, 1);
            }
        }
    }

    fn push_control(&mut self, observer: usize, trouble: bool, after: Millis) {
        let observer = u16::try_from(observer).unwrap_or(u16::MAX);
        self.queue
            .push(self.now + after, Happening::Control { observer, trouble });
    }

    /// Said again until it is heard, or no longer true.
    pub(super) fn tell_control(&mut self, observer: u16, trouble: bool) {
        let at = usize::from(observer);
        let knows = |(_, how): &(usize, Sick)| *how == Sick::KnowsIt;
        if self.observers.list[at].sick.iter().any(knows) != trouble {
            return;
        }
        let link = Link::ObserverToServer(at);
        if self.weather.is_cut(link) || !self.server.listens() {
            return self.push_control(at, trouble, CONTROL / 2);
        }
        let event = Event::Observer {
            observer: self.observers.list[at].name.clone(),
            trouble: trouble.then(|| "it can't reach its own control target".to_owned()),
        };
        self.send_to_server(link, event, true);
    }

    /// A new run of the server knows nothing of it.
    pub(super) fn repeat_control(&mut self) {
        for at in 0..self.observers.count() {
            let knows = |(_, how): &(usize, Sick)| *how == Sick::KnowsIt;
            if self.observers.list[at].sick.iter().any(knows) {
                self.push_control(at, true, CONTROL);
            }
        }
    }
}
