//! Dictionaries: what is said again and again is written once and then named by a small number.
//!
//! Both sides fill theirs in the same order, so that no number needs to be told. A dictionary that is full is emptied
//! before the next thing enters it, on both sides: neither grows without bound, whatever a production is called.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, DefaultHasher, Hash},
};

use pitcrew_model::{Evidence, ObserverName, TargetId, TestName};

/// The design point is a million targets.
const TARGETS_MAX: usize = 1 << 22;
const ASKERS_MAX: usize = 1 << 16;
const OBSERVERS_MAX: usize = 1 << 16;
/// Evidence with a figure in it comes once and never again.
const EVIDENCE_MAX: usize = 1 << 12;

/// Who asked what.
pub(super) type Asker = (TestName, ObserverName);

/// The side that writes: from the thing to its number. Never iterated.
pub(super) struct Numbers<T> {
    numbers: HashMap<T, u64, BuildHasherDefault<DefaultHasher>>,
    max: usize,
}

impl<T: Eq + Hash> Numbers<T> {
    fn new(max: usize) -> Self {
        Self {
            numbers: HashMap::default(),
            max,
        }
    }

    /// Its number, from 1; `None`: it was new, and the reader must be told what it is.
    pub(super) fn number(&mut self, thing: T) -> Option<u64> {
        if let Some(number) = self.numbers.get(&thing) {
            return Some(*number);
        }
        if self.numbers.len() == self.max {
            self.numbers.clear();
        }
        let number = u64::try_from(self.numbers.len()).unwrap_or(u64::MAX) + 1;
        self.numbers.insert(thing, number);
        None
    }
}

/// The side that reads: from the number to the thing.
pub(super) struct Things<T> {
    things: Vec<T>,
    max: usize,
}

impl<T: Clone> Things<T> {
    fn new(max: usize) -> Self {
        Self {
            things: Vec::new(),
            max,
        }
    }

    pub(super) fn learn(&mut self, thing: &T) {
        if self.things.len() == self.max {
            self.things.clear();
        }
        self.things.push(thing.clone());
    }

    /// `number` is from 1.
    pub(super) fn thing(&self, number: u64) -> Option<T> {
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        self.things.get(at).cloned()
    }
}

pub(super) struct NumbersOfAll {
    pub(super) targets: Numbers<TargetId>,
    pub(super) askers: Numbers<Asker>,
    pub(super) observers: Numbers<ObserverName>,
    pub(super) evidence: Numbers<String>,
}

impl Default for NumbersOfAll {
    fn default() -> Self {
        Self {
            targets: Numbers::new(TARGETS_MAX),
            askers: Numbers::new(ASKERS_MAX),
            observers: Numbers::new(OBSERVERS_MAX),
            evidence: Numbers::new(EVIDENCE_MAX),
        }
    }
}

pub(super) struct ThingsOfAll {
    pub(super) targets: Things<TargetId>,
    pub(super) askers: Things<Asker>,
    pub(super) observers: Things<ObserverName>,
    pub(super) evidence: Things<Evidence>,
}

impl Default for ThingsOfAll {
    fn default() -> Self {
        Self {
            targets: Things::new(TARGETS_MAX),
            askers: Things::new(ASKERS_MAX),
            observers: Things::new(OBSERVERS_MAX),
            evidence: Things::new(EVIDENCE_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_dictionary_is_emptied_on_both_sides_at_the_same_moment() {
        let (mut numbers, mut things) = (Numbers::new(3), Things::new(3));
        for said in [7, 8, 7, 9, 9, 10, 7, 10, 11, 12, 8, 12] {
            let read = match numbers.number(said) {
                Some(number) => things.thing(number),
                None => {
                    things.learn(&said);
                    Some(said)
                }
            };
            assert_eq!(read, Some(said));
        }
        assert_eq!(things.thing(0), None);
        assert_eq!(things.thing(4), None);
    }
}
