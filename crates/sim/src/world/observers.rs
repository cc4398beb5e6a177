//! Who asks, and what they say. Each observer asks every target's every test once per interval, at its own time
//! within it; what is at rest costs nothing, because one [`Event::Unchanged`] speaks for all of it.
//!
//! A pair of target and test is watched closely, by each observer for itself, from the moment that anything about
//! it may not be well until it has passed for 32 rounds: only then is every answer computed and sent. Observers
//! say what they see, and what they see may be wrong: they fall silent, lie, and tell stale news.

mod look;
mod sick;
mod sweep;

use std::{collections::BTreeMap, sync::Arc};

use look::Look;
use pitcrew_model::{
    Event, Evidence, Observation, ObserverName, Production, Test, TestName, Verdict,
};

use super::{
    World,
    chance::For,
    queue::{Happening, Millis},
    truth::millis,
};
use crate::{Link, Sick, TargetIndex};

/// Rounds that must pass before a pair is at rest, as [`Event::Unchanged`] promises.
const ROUNDS: u8 = 32;
/// Answers wait so long for others, to travel together.
const BATCH: Millis = 100;
const BATCH_MAX: usize = 256;
/// A liar has this many targets at most in a large fleet: observers share the work among processes, and one
/// process is what goes wrong.
const SHARD: u32 = 10_000;
/// For the report.
pub(super) const ASSUMED: [&str; 1] = [
    "Every observer tests every target; in fleets above 10,000 targets an observer that lies or can't see a zone is wrong about one share of 10,000 of them, because observers share their work among processes.",
];

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

    /// The server's process has ended, and with it every connection; what was about to be sent was dated by its
    /// clock, too.
    pub(super) fn hang_up(&mut self) {
        for observer in &mut self.list {
            observer.outbox.clear();
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
}
