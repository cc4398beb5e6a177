//! Entries: which series a selection found and where they are, each of them once.
//!
//! A million of them are found before the first one is read, so that an entry is small, and what was found of one
//! part is compared with what was found before by fingerprints alone. Parts and head mostly have the same series in
//! the same order: the one that followed the last time is tried first, and only where it isn't the right one a table
//! is made.

use hashbrown::HashTable;

use crate::bytes::as_u32;

/// A series in a part: which reader, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) reader: u32,
    pub(crate) series: u32,
}

/// No series of the head, no place before.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Two words instead of one of 128 bits, which would be padded.
    fingerprint: [u64; 2],
    head: u32,
    last_place: Place,
    /// The place before it, among all others.
    earlier: u32,
}

impl Entry {
    pub(crate) fn fingerprint(&self) -> u128 {
        joined(self.fingerprint)
    }

    /// Its number in the head.
    pub(crate) fn head(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }
}

fn halves(fingerprint: u128) -> [u64; 2] {
    let bytes = fingerprint.to_le_bytes();
    let half = |from: usize| {
        bytes[from..from + 8]
            .try_into()
            .expect("eight of sixteen bytes")
    };
    [u64::from_le_bytes(half(0)), u64::from_le_bytes(half(8))]
}

fn joined(halves: [u64; 2]) -> u128 {
    u128::from(halves[1]) << 64 | u128::from(halves[0])
}

#[derive(Debug, Default)]
pub(crate) struct Entries {
    list: Vec<Entry>,
    /// Places of series that are in several parts, and the one before each.
    earlier: Vec<(Place, u32)>,
    /// Indices by fingerprint, of as many as were needed so far.
    known: HashTable<u32>,
    /// The one that is likely to be next.
    likely: usize,
}

impl Entries {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<Entry> {
        self.list.get(index).copied()
    }

    /// What they take in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.list.capacity() * size_of::<Entry>()
            + self.earlier.capacity() * size_of::<(Place, u32)>()
            + self.known.capacity() * (size_of::<u32>() + 1)
    }

    /// Adds a series of the head, which has each once.
    pub(crate) fn add_of_head(&mut self, number: u32, fingerprint: u128) {
        self.list.push(Entry {
            fingerprint: halves(fingerprint),
            head: number,
            last_place: Place {
                reader: NONE,
                series: NONE,
            },
            earlier: NONE,
        });
    }

    /// Adds a place of a series. `is_first`: it is known to be in no place so far, nor in the head.
    pub(crate) fn add_place(&mut self, fingerprint: u128, place: Place, is_first: bool) {
        let fingerprint = halves(fingerprint);
        if let Some(index) = (!is_first).then(|| self.find(fingerprint)).flatten() {
            self.likely = index + 1;
            let entry = &mut self.list[index];
            if entry.last_place.reader != NONE {
                let before = (entry.last_place, entry.earlier);
                entry.earlier = as_u32(self.earlier.len());
                self.earlier.push(before);
            }
            entry.last_place = place;
            return;
        }
        self.list.push(Entry {
            fingerprint,
            head: NONE,
            last_place: place,
            earlier: NONE,
        });
    }

    fn find(&mut self, fingerprint: [u64; 2]) -> Option<usize> {
        let likely = self.list.get(self.likely);
        if likely.is_some_and(|entry| entry.fingerprint == fingerprint) {
            return Some(self.likely);
        }
        let list = &self.list;
        let hash = |index: &u32| list[*index as usize].fingerprint[0];
        self.known.reserve(list.len() - self.known.len(), hash);
        for index in self.known.len()..list.len() {
            let index = as_u32(index);
            self.known.insert_unique(hash(&index), index, hash);
        }
        // Any bits of a fingerprint are as good as a hash of it.
        let is_same = |index: &u32| list[*index as usize].fingerprint == fingerprint;
        let found = self.known.find(fingerprint[0], is_same);
        found.map(|index| *index as usize)
    }

    /// Where an entry's series is, in the order of the parts.
    pub(crate) fn places(&self, entry: &Entry, places: &mut Vec<Place>) {
        places.clear();
        if entry.last_place.reader == NONE {
            return;
        }
        places.push(entry.last_place);
        let mut earlier = entry.earlier;
        while earlier != NONE {
            let (place, before) = self.earlier[earlier as usize];
            places.push(place);
            earlier = before;
        }
        places.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use std::collections::BTreeMap;

    proptest! {
        /// What is found in the head, and then part by part: in any order, and some series twice in a part.
        #[test]
        fn each_series_is_there_once_with_all_its_places(
            head in prop::collection::btree_set(0u128..20, 0..20),
            parts in vec(vec(0u128..20, 0..30), 0..4),
        ) {
            let mut entries = Entries::default();
            let mut expected: BTreeMap<u128, (Option<u32>, Vec<Place>)> = BTreeMap::new();
            for (number, series) in (0..).zip(&head) {
                // Many differ in their upper bits only.
                entries.add_of_head(number, series << 100);
                expected.insert(*series, (Some(number), Vec::new()));
            }
            for (reader, part) in (0..).zip(&parts) {
                for (number, series) in (0..).zip(part) {
                    let place = Place { reader, series: number };
                    let is_first = !expected.contains_key(series) && number % 2 == 0;
                    entries.add_place(series << 100, place, is_first);
                    expected.entry(*series).or_default().1.push(place);
                }
            }
            let mut found = BTreeMap::new();
            let mut places = Vec::new();
            for index in 0..entries.len() {
                let entry = entries.get(index).unwrap();
                entries.places(&entry, &mut places);
                let before = found.insert(entry.fingerprint() >> 100, (entry.head(), places.clone()));
                prop_assert!(before.is_none());
            }
            prop_assert_eq!(found, expected);
        }
    }
}
