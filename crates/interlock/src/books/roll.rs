//! Who is where: every target by its id, in a slot of its own.
//!
//! Ids are hashed with a fixed key and never walked in that order; slots are, and they are given in the order in
//! which discovery named the targets. An entry holds all that an observation reads of it.

use std::{hint::black_box, sync::Arc};

use pitcrew_model::{Target, TargetId, Test, TestKind, Timestamp};

use super::{
    Answer,
    answers::Answers,
    finder::{Finder, hash_of},
};

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) target: Arc<Target>,
    /// The target's.
    id: TargetId,
    answers: Answers,
    /// Since when some test's last answer is a failure; zero: none is.
    failing_since: Timestamp,
    /// Every test was answered and every answer is a pass, of which the oldest counts until then; zero: not so.
    steady_until: Timestamp,
    /// Who answered; all of them, if there are several.
    steady_by: u16,
    /// Orders in flight on it.
    pub(crate) flights: u16,
    service: u32,
}

const OF_NO_SERVICE: u32 = u32::MAX;
const BY_SEVERAL: u16 = u16::MAX;

/// What makes an entry steady now, for one service: see [`Entry::is_steady`].
pub(crate) struct Steady<'a> {
    pub(crate) now: Timestamp,
    /// An oldest answer that counts until this, or longer, was given after the last pause.
    pub(crate) until_min: Timestamp,
    /// Observers' words that nothing changed, and the earliest of them. Too old to carry an answer until now: zero.
    pub(crate) vouched: &'a [bool],
    pub(crate) by_all: bool,
}

impl Entry {
    pub(crate) fn new(target: &Arc<Target>) -> Self {
        Self {
            id: target.id.clone(),
            target: target.clone(),
            answers: Answers::none(),
            failing_since: Timestamp::ZERO,
            steady_until: Timestamp::ZERO,
            steady_by: BY_SEVERAL,
            flights: 0,
            service: OF_NO_SERVICE,
        }
    }

    pub(crate) fn service(&self) -> Option<usize> {
        (self.service != OF_NO_SERVICE).then(|| wide(self.service))
    }

    pub(crate) fn answers(&self) -> &[Answer] {
        self.answers.all()
    }

    pub(crate) fn answers_mut(&mut self) -> &mut [Answer] {
        self.answers.all_mut()
    }

    /// These and no others from now on.
    pub(crate) fn keep(&mut self, answers: Vec<Answer>) {
        self.answers = Answers::of(answers);
    }

    pub(crate) fn failing_since(&self) -> Option<Timestamp> {
        (self.failing_since > Timestamp::ZERO).then_some(self.failing_since)
    }

    /// `since` is no time of the last century.
    pub(crate) fn fails_since(&mut self, since: Option<Timestamp>) {
        self.failing_since = since.unwrap_or_default();
    }

    fn is_named(&self, id: &TargetId) -> bool {
        let (mine, asked) = (self.id.as_str(), id.as_str());
        // One and the same text nearly always: then it need not be compared.
        std::ptr::eq(mine, asked) || mine == asked
    }

    pub(crate) fn assign(&mut self, service: Option<usize>) {
        self.service = service.map_or(OF_NO_SERVICE, slot);
    }

    /// The answer of this observer to this test, one that says nothing if there was none.
    pub(crate) fn answer_of(&mut self, test: u16, observer: u16) -> &mut Answer {
        let mut answers = self.answers().iter();
        let at = match answers.position(|have| have.test == test && have.observer == observer) {
            Some(at) => at,
            None => {
                let mut more = self.answers().to_vec();
                more.push(Answer::none(test, observer));
                self.answers = Answers::of(more);
                self.answers().len() - 1
            }
        };
        &mut self.answers_mut()[at]
    }

    /// Looks at all answers once more after one of them changed.
    pub(crate) fn weigh(&mut self, tests: &[Arc<Test>]) {
        self.steady_until = Timestamp::ZERO;
        let mut until = Timestamp::from_millis(u64::MAX);
        let mut by = self
            .answers()
            .first()
            .map_or(BY_SEVERAL, |answer| answer.observer);
        for answer in self.answers() {
            if !answer.passes() {
                return;
            }
            let test = &tests[usize::from(answer.test)];
            until = until.min(answer.answered_at + test.interval * 2 + test.timeout);
            if answer.observer != by {
                by = BY_SEVERAL;
            }
        }
        let answered = |at| {
            self.answers()
                .iter()
                .any(|answer| usize::from(answer.test) == at)
        };
        let mut tests = tests.iter().enumerate();
        if tests.all(|(at, test)| test.kind == TestKind::Push || answered(at))
            && !self.answers().is_empty()
        {
            (self.steady_until, self.steady_by) = (until, by);
        }
    }

    /// Whether every test certainly passes: by answers that still count, or that their observer still vouches for.
    /// Not said of one whose answers would have to be looked at.
    pub(crate) fn is_steady(&self, steady: &Steady<'_>) -> bool {
        if self.steady_until == Timestamp::ZERO {
            return false;
        }
        let own = self.steady_until >= steady.now && self.steady_until > steady.until_min;
        own || match self.steady_by {
            BY_SEVERAL => steady.by_all,
            observer => steady.vouched.get(usize::from(observer)) == Some(&true),
        }
    }
}

#[derive(Default)]
pub(crate) struct Roll {
    slots: Finder,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
}

pub(crate) fn wide(slot: u32) -> usize {
    usize::try_from(slot).expect("a pointer has at least 32 bits")
}

fn slot(number: usize) -> u32 {
    u32::try_from(number).expect("there are fewer than four thousand million")
}

impl Roll {
    pub(crate) fn slot_of(&self, id: &TargetId) -> Option<u32> {
        self.slot_by(hash_of(id), id)
    }

    fn slot_by(&self, hash: u32, id: &TargetId) -> Option<u32> {
        self.slots.find(hash, |slot| self.at(slot).is_named(id))
    }

    /// Where each of `ids` is. Memory is asked for all of them in each step, before any is waited for.
    pub(crate) fn slots_of<'a>(
        &self,
        ids: impl Iterator<Item = &'a TargetId> + Clone,
        found: &mut Vec<Option<u32>>,
    ) {
        let hashes: Vec<u32> = ids.clone().map(hash_of).collect();
        let first = hashes.iter().map(|hash| self.slots.peek(*hash));
        black_box(first.fold(0, |sum, slot| sum ^ slot));
        let likely = |hash: &u32| self.slots.find(*hash, |_| true);
        found.clear();
        found.extend(hashes.iter().map(likely));
        let entries = || found.iter().flatten().map(|slot| self.at(*slot));
        black_box(entries().fold(0, |sum, entry| sum ^ entry.service));
        black_box(entries().fold(0, |sum, entry| {
            let (first, last) = (entry.answers().first(), entry.answers().last());
            sum ^ first.map_or(0, |answer| answer.fails_in_row)
                ^ last.map_or(0, |answer| answer.fails_in_row)
        }));
        for ((id, hash), slot) in ids.zip(hashes).zip(found) {
            if slot.is_some_and(|slot| !self.at(slot).is_named(id)) {
                *slot = self.slot_by(hash, id);
            }
        }
    }

    pub(crate) fn at(&self, slot: u32) -> &Entry {
        let entry = self.entries[wide(slot)].as_ref();
        entry.expect("a slot is given away only after its entry is gone")
    }

    pub(crate) fn at_mut(&mut self, slot: u32) -> &mut Entry {
        let entry = self.entries[wide(slot)].as_mut();
        entry.expect("a slot is given away only after its entry is gone")
    }

    pub(crate) fn get(&self, id: &TargetId) -> Option<&Entry> {
        self.slot_of(id).map(|slot| self.at(slot))
    }

    pub(crate) fn get_mut(&mut self, id: &TargetId) -> Option<&mut Entry> {
        self.slot_of(id).map(|slot| self.at_mut(slot))
    }

    pub(crate) fn contains_key(&self, id: &TargetId) -> bool {
        self.slot_of(id).is_some()
    }

    pub(crate) fn insert(&mut self, entry: Entry) -> u32 {
        let hash = hash_of(&entry.id);
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[wide(at)] = Some(entry);
                at
            }
            None => {
                self.entries.push(Some(entry));
                slot(self.entries.len() - 1)
            }
        };
        self.slots.insert(hash, at);
        at
    }

    pub(crate) fn remove(&mut self, id: &TargetId) -> Option<(u32, Entry)> {
        let at = self.slot_of(id)?;
        self.slots.remove(hash_of(id), at);
        self.free.push(at);
        Some((at, self.entries[wide(at)].take()?))
    }

    /// In the order of their slots.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Entry)> {
        let entries = self.entries.iter_mut().enumerate();
        entries.filter_map(|(at, entry)| Some((slot(at), entry.as_mut()?)))
    }
}
