//! Finding by name, with a fixed key, so that the same input gives the same output everywhere.
//!
//! The hash is a multiplication per eight bytes (folded, as wyhash does it) instead of SipHash's rounds. Its order
//! means nothing and is never walked. Whoever chooses names can make some of them collide; names come from the user's
//! own discovery.
//!
//! Targets are found through [`Places`], which every observation asks: eight bytes a target and one line of memory a
//! question, and it can be told what will be asked before it is. A map of the standard library takes two lines, and
//! nothing can be done while either is waited for.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher},
};

use pitcrew_model::TargetId;

pub(crate) type Lookup<K, V> = HashMap<K, V, BuildHasherDefault<Folded>>;

/// Where things are, by the hash of their name. Open addressing with linear probing; an entry is the upper half of the
/// hash and the place plus one, zero where there is none. It knows no names, so whoever asks compares them.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// As many as a power of two, or none.
    entries: Vec<u64>,
    used: usize,
}

pub(crate) fn hash_of(id: &TargetId) -> u64 {
    BuildHasherDefault::<Folded>::default().hash_one(id)
}

fn upper(word: u64) -> u64 {
    word >> 32
}

fn place_in(entry: u64) -> Option<usize> {
    let place = usize::try_from(entry & u64::from(u32::MAX)).ok()?;
    place.checked_sub(1)
}

impl Places {
    fn mask(&self) -> usize {
        self.entries.len() - 1
    }

    /// Where the search for a hash, or an entry made of it, begins.
    fn home(&self, word: u64) -> usize {
        usize::try_from(upper(word)).expect("half of it fits") & self.mask()
    }

    /// Reads what a search would read first.
    pub(crate) fn glance(&self, hash: u64) -> u64 {
        match self.entries.is_empty() {
            true => 0,
            false => self.entries[self.home(hash)],
        }
    }

    fn find(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        if self.entries.is_empty() {
            return None;
        }
        let mut at = self.home(hash);
        loop {
            let entry = self.entries[at];
            let place = place_in(entry)?;
            if upper(entry) == upper(hash) && is_it(place) {
                return Some(at);
            }
            at = (at + 1) & self.mask();
        }
    }

    pub(crate) fn get(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let at = self.find(hash, is_it)?;
        place_in(self.entries[at])
    }

    /// The first place whose hash has the same upper half: nearly always the one that is looked for.
    pub(crate) fn guess(&self, hash: u64) -> Option<usize> {
        self.get(hash, |_| true)
    }

    /// Of something that is not there yet.
    pub(crate) fn insert(&mut self, hash: u64, place: usize) {
        if (self.used + 1) * 4 > self.entries.len() * 3 {
            self.grow();
        }
        let place = u64::try_from(place).expect("a place is a position in memory");
        assert!(
            place < u64::from(u32::MAX),
            "there are fewer than four thousand million targets"
        );
        self.put(upper(hash) << 32 | (place + 1));
        self.used += 1;
    }

    fn put(&mut self, entry: u64) {
        let mut at = self.home(entry);
        while self.entries[at] != 0 {
            at = (at + 1) & self.mask();
        }
        self.entries[at] = entry;
    }

    fn grow(&mut self) {
        let larger = vec![0; (self.entries.len() * 2).max(16)];
        for entry in std::mem::replace(&mut self.entries, larger) {
            if entry != 0 {
                self.put(entry);
            }
        }
    }

    /// What was put further because this was in its way moves up, so that no search ends too early.
    pub(crate) fn remove(&mut self, hash: u64, is_it: impl Fn(usize) -> bool) {
        let Some(mut hole) = self.find(hash, is_it) else {
            return;
        };
        self.used -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask();
            let entry = self.entries[at];
            if entry == 0 {
                break;
            }
            let wandered = at.wrapping_sub(self.home(entry)) & self.mask();
            if wandered >= at.wrapping_sub(hole) & self.mask() {
                self.entries[hole] = entry;
                hole = at;
            }
        }
        self.entries[hole] = 0;
    }
}

/// Odd, half of its bits set, no pattern: the fractional part of the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Folded(u64);

impl Folded {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ FACTOR) * u128::from(FACTOR.rotate_left(29));
        let (low, high) = (product & u128::from(u64::MAX), product >> u64::BITS);
        self.0 = u64::try_from(low ^ high).expect("both halves have 64 bits");
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.fold(u64::from_le_bytes(last));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.fold(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_knows_what_a_map_knows(steps in prop::collection::vec((any::<bool>(), 0..64usize), 0..400)) {
            // Few hashes for many places, so that they get in each other's way and share their upper halves.
            let hash = |place: usize| u64::try_from(place % 23).unwrap() << 32;
            let (mut places, mut map) = (Places::default(), BTreeMap::new());
            for (adds, place) in steps {
                if adds && !map.contains_key(&place) {
                    places.insert(hash(place), place);
                    map.insert(place, ());
                } else if !adds {
                    places.remove(hash(place), |at| at == place);
                    map.remove(&place);
                }
                for place in 0..64 {
                    let found = places.get(hash(place), |at| at == place);
                    prop_assert_eq!(found, map.contains_key(&place).then_some(place));
                }
            }
        }
    }

    #[test]
    fn names_that_differ_in_one_digit_are_spread_over_high_and_low_bits() {
        let hashes: Vec<u64> = (0..4_096)
            .map(|number| {
                let mut hasher = Folded::default();
                hasher.write(format!("service-7-{number}").as_bytes());
                hasher.finish()
            })
            .collect();
        let distinct = |bits: fn(u64) -> u64| -> usize {
            hashes
                .iter()
                .map(|hash| bits(*hash))
                .collect::<BTreeSet<_>>()
                .len()
        };
        // 4096 balls into 4096 bins fill 63% of them.
        assert!(distinct(|hash| hash & 0xfff) > 2_400);
        assert!(distinct(|hash| hash >> 52) > 2_400);
        assert_eq!(distinct(|hash| hash), 4_096);
    }
}
