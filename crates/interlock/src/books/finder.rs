//! From a target's id to its slot: lines of eight, each one cache line, by a hash with a fixed key.
//!
//! An id belongs to the line that its hash names; when that is full, to the next that is not. A slot that is taken out
//! leaves a mark, so that no search ends at it; growing throws the marks away. No ids are kept here: whoever asks
//! compares them.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use pitcrew_model::TargetId;

/// Multiplies and rotates eight bytes at a time and mixes once more at the end, as MurmurHash3 does.
#[derive(Clone, Copy, Debug, Default)]
struct Mixed(u64);

impl Mixed {
    fn take(&mut self, word: u64) {
        let mixed = word.wrapping_mul(0x87c3_7b91_1142_53d5).rotate_left(31);
        self.0 = (self.0 ^ mixed)
            .rotate_left(27)
            .wrapping_mul(5)
            .wrapping_add(0x52dc_e729);
    }
}

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        for eight in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..eight.len()].copy_from_slice(eight);
            self.take(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.take(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ hash >> 33
    }
}

/// The half of an id's hash that is kept.
pub(super) fn hash_of(id: &TargetId) -> u32 {
    let hash = BuildHasherDefault::<Mixed>::default().hash_one(id);
    u32::try_from(hash >> 32).expect("half of it fits")
}

const EMPTY: u32 = u32::MAX;
const TAKEN_OUT: u32 = u32::MAX - 1;
const PER_LINE: usize = 8;

/// Hashes and slots.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([(u32, u32); PER_LINE]);

const BLANK: Line = Line([(0, EMPTY); PER_LINE]);

#[derive(Debug, Default)]
pub(super) struct Finder {
    /// A power of two, or none.
    lines: Vec<Line>,
    /// Slots and marks.
    used: usize,
}

impl Finder {
    /// Position of the first line to look at.
    fn first(&self, hash: u32) -> usize {
        usize::try_from(hash).expect("a pointer has at least 32 bits") & (self.lines.len() - 1)
    }

    /// Reads a little of what a search reads.
    pub(super) fn peek(&self, hash: u32) -> u32 {
        match self.lines.is_empty() {
            true => 0,
            false => self.lines[self.first(hash)].0[0].1,
        }
    }

    fn place(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<(usize, usize)> {
        if self.lines.is_empty() {
            return None;
        }
        let mut line = self.first(hash);
        loop {
            for (at, (have, slot)) in self.lines[line].0.iter().enumerate() {
                match *slot {
                    EMPTY => return None,
                    TAKEN_OUT => {}
                    slot if *have == hash && is_it(slot) => return Some((line, at)),
                    _ => {}
                }
            }
            line = (line + 1) & (self.lines.len() - 1);
        }
    }

    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (line, at) = self.place(hash, is_it)?;
        Some(self.lines[line].0[at].1)
    }

    /// Of an id that is not in it.
    pub(super) fn insert(&mut self, hash: u32, slot: u32) {
        // Three of four places at most, so that a search ends in its first line or the next.
        if (self.used + 1) * 4 > self.lines.len() * PER_LINE * 3 {
            self.grow();
        }
        self.put(hash, slot);
        self.used += 1;
    }

    fn put(&mut self, hash: u32, slot: u32) {
        let mut line = self.first(hash);
        loop {
            let mut places = self.lines[line].0.iter_mut();
            if let Some(place) = places.find(|(_, have)| *have == EMPTY) {
                *place = (hash, slot);
                return;
            }
            line = (line + 1) & (self.lines.len() - 1);
        }
    }

    fn grow(&mut self) {
        let live = self.lines.iter().flat_map(|line| line.0);
        let live: Vec<(u32, u32)> = live.filter(|(_, slot)| *slot < TAKEN_OUT).collect();
        let lines = (live.len() * 2 / PER_LINE + 1).next_power_of_two();
        self.lines.clear();
        self.lines.resize(lines, BLANK);
        self.used = live.len();
        for (hash, slot) in live {
            self.put(hash, slot);
        }
    }

    pub(super) fn remove(&mut self, hash: u32, slot: u32) {
        if let Some((line, at)) = self.place(hash, |have| have == slot) {
            self.lines[line].0[at] = (0, TAKEN_OUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_in_is_found_until_it_is_taken_out(
            steps in prop::collection::vec((any::<bool>(), 0..200u32), 0..600)
        ) {
            // Nine hashes for two hundred slots: lines overflow.
            let hash = |slot: u32| slot % 9;
            let (mut finder, mut known) = (Finder::default(), BTreeMap::new());
            for (puts_in, slot) in steps {
                if puts_in && !known.contains_key(&slot) {
                    finder.insert(hash(slot), slot);
                    known.insert(slot, ());
                } else if !puts_in {
                    finder.remove(hash(slot), slot);
                    known.remove(&slot);
                }
            }
            for slot in 0..200 {
                let found = finder.find(hash(slot), |have| have == slot);
                prop_assert_eq!(found, known.contains_key(&slot).then_some(slot));
            }
        }
    }
}
