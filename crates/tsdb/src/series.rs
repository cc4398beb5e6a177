//! Series: who is who.
//!
//! A series is found three ways: by the hash of the bytes that name it on the wire (nothing is parsed), by its
//! labels (when those bytes are new), by its number (everywhere inside). Its fingerprint names it across parts
//! and restarts: a hash of its labels with a secret of the store, so that nobody can make two series collide.

use hashbrown::HashTable;
use pitcrew_promql::labels::{Label, Labels};
use roaring::RoaringBitmap;
use twox_hash::XxHash3_128;

use crate::{
    bytes::{Put, as_u32},
    canonical::Canonical,
    postings::{Postings, Terms},
    symbols::Symbols,
};

/// A series that is known by its labels.
#[derive(Debug)]
pub(crate) struct Series {
    /// Symbols of names and values, ascending by name.
    pub(crate) labels: Box<[(u32, u32)]>,
    pub(crate) fingerprint: u128,
    pub(crate) group: u32,
    pub(crate) column: u32,
    /// Whom it counts for.
    pub(crate) source: u32,
}

/// All series of the head.
#[derive(Debug)]
pub(crate) struct SeriesTable {
    secret: u64,
    pub(crate) symbols: Symbols,
    slots: Vec<Option<Series>>,
    /// Numbers that may be given again.
    free: Vec<u32>,
    /// Hash of the key by which each series came first; zero where none is known yet.
    first_keys: Vec<[u64; 2]>,
    /// Series by their first keys.
    keys: HashTable<u32>,
    /// Other spellings of the same series.
    other_keys: HashTable<Key>,
    identities: HashTable<u32>,
    pub(crate) postings: Postings,
    bytes: usize,
}

/// Two words instead of one of 128 bits, which would be padded to 32 bytes.
#[derive(Debug, Clone, Copy)]
struct Key {
    hash: [u64; 2],
    series: u32,
}

fn halves(hash: u128) -> [u64; 2] {
    let bytes = hash.to_le_bytes();
    let half = |from: usize| {
        let half: [u8; 8] = bytes[from..from + 8]
            .try_into()
            .expect("eight of sixteen bytes");
        u64::from_le_bytes(half)
    };
    [half(0), half(8)]
}

impl SeriesTable {
    pub(crate) fn new(secret: u64) -> Self {
        SeriesTable {
            secret,
            symbols: Symbols::new(secret),
            slots: Vec::new(),
            free: Vec::new(),
            first_keys: Vec::new(),
            keys: HashTable::new(),
            other_keys: HashTable::new(),
            identities: HashTable::new(),
            postings: Postings::default(),
            bytes: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.identities.len()
    }

    /// An estimate: tables are as full as they are on average, lists of postings take three bytes a label.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.symbols.bytes() + self.keys.len() * 8 + self.other_keys.len() * 38
    }

    fn bytes_of(labels: usize) -> usize {
        size_of::<Series>()
            + size_of::<[u64; 2]>()
            + 16
            + 8
            + labels * (size_of::<(u32, u32)>() + 3)
    }

    pub(crate) fn get(&self, series: u32) -> Option<&Series> {
        self.slots.get(series as usize)?.as_ref()
    }

    /// One that is known to be there.
    pub(crate) fn known(&self, series: u32) -> &Series {
        self.get(series)
            .expect("a number is used only as long as its series is there")
    }

    /// The series that a key's hash stands for. `likely`: the one it will be if all comes in the order in which
    /// it came first; it is nearer at hand than a place in a table.
    pub(crate) fn of_key(&self, hash: u128, likely: u32) -> Option<u32> {
        let hash = halves(hash);
        if self.first_keys.get(likely as usize) == Some(&hash) {
            return Some(likely);
        }
        let first = |series: &u32| self.first_keys[*series as usize] == hash;
        let found = self.keys.find(hash[0], first).copied();
        found.or_else(|| {
            let other = self.other_keys.find(hash[0], |key| key.hash == hash);
            other.map(|key| key.series)
        })
    }

    pub(crate) fn remember_key(&mut self, hash: u128, series: u32) {
        let hash = halves(hash);
        let first = &mut self.first_keys[series as usize];
        if *first == [0; 2] {
            *first = hash;
            let first_keys = &self.first_keys;
            self.keys
                .insert_unique(hash[0], series, |series| first_keys[*series as usize][0]);
            return;
        }
        // One series can be spelled in many ways; whoever tries them all gains nothing but slowness.
        if self.other_keys.len() > 4 * self.len() + 1024 {
            self.other_keys.clear();
        }
        self.other_keys
            .insert_unique(hash[0], Key { hash, series }, |key| key.hash[0]);
    }

    pub(crate) fn fingerprint(&self, canonical: &Canonical) -> u128 {
        XxHash3_128::oneshot_with_seed(self.secret, &canonical.bytes)
    }

    /// The series with these labels.
    pub(crate) fn of_labels(&self, canonical: &Canonical, fingerprint: u128) -> Option<u32> {
        self.identities
            .find(halves(fingerprint)[0], |series| {
                let series = self.known(*series);
                series.fingerprint == fingerprint && self.same(&series.labels, canonical)
            })
            .copied()
    }

    fn same(&self, labels: &[(u32, u32)], canonical: &Canonical) -> bool {
        let text = |symbol: &u32| &**self.symbols.text(*symbol);
        let labels = labels.iter().map(|(name, value)| (text(name), text(value)));
        labels.eq(canonical.labels.iter())
    }

    /// The number that the next new series gets.
    pub(crate) fn next_number(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| as_u32(self.slots.len()))
    }

    /// Numbers up to this one are in use, even if nothing is known of them.
    pub(crate) fn reserve_numbers(&mut self, series: u32) {
        while self.slots.len() <= series as usize {
            self.slots.push(None);
            self.first_keys.push([0; 2]);
        }
    }

    /// Adds a series under a number that is free.
    pub(crate) fn add(
        &mut self,
        series: u32,
        canonical: &Canonical,
        fingerprint: u128,
        place: impl FnOnce(&[(u32, u32)], &Symbols) -> (u32, u32),
        source: u32,
    ) {
        let pairs = canonical.labels.iter();
        let labels: Box<[(u32, u32)]> = pairs
            .map(|(name, value)| (self.symbols.intern(name), self.symbols.intern(value)))
            .collect();
        let (group, column) = place(&labels, &self.symbols);
        self.postings.add(series, &labels);
        self.bytes += Self::bytes_of(labels.len());
        self.reserve_numbers(series);
        self.slots[series as usize] = Some(Series {
            labels,
            fingerprint,
            group,
            column,
            source,
        });
        let slots = &self.slots;
        self.identities
            .insert_unique(halves(fingerprint)[0], series, |series| {
                let series = slots[*series as usize].as_ref();
                series.map_or(0, |series| halves(series.fingerprint)[0])
            });
    }

    /// Forgets series, in time for them and not for all: appends wait. Their numbers stay taken until
    /// [`SeriesTable::give_again`].
    pub(crate) fn remove(&mut self, gone: &RoaringBitmap) -> Vec<Series> {
        let mut removed = Vec::new();
        for number in gone {
            let Some(series) = self.slots[number as usize].take() else {
                continue;
            };
            let key = std::mem::take(&mut self.first_keys[number as usize]);
            for (table, hash) in [
                (&mut self.keys, key[0]),
                (&mut self.identities, halves(series.fingerprint)[0]),
            ] {
                if let Ok(entry) = table.find_entry(hash, |known| *known == number) {
                    entry.remove();
                }
            }
            self.postings.remove(number, &series.labels);
            for (name, value) in &series.labels {
                self.symbols.release(*name);
                self.symbols.release(*value);
            }
            self.bytes -= Self::bytes_of(series.labels.len());
            removed.push(series);
        }
        self.other_keys.retain(|key| !gone.contains(key.series));
        removed
    }

    /// Nothing on disk speaks of these numbers any more.
    pub(crate) fn give_again(&mut self, numbers: &RoaringBitmap) {
        self.free.extend(numbers);
    }

    /// Nothing on disk speaks of numbers without a series.
    pub(crate) fn give_free(&mut self) {
        let slots = self.slots.iter().enumerate();
        let free = slots.filter(|(_, slot)| slot.is_none());
        self.free = free.map(|(number, _)| as_u32(number)).rev().collect();
    }

    /// Symbols of those of the names that there are.
    pub(crate) fn symbols_of(&self, names: &[&str]) -> Vec<u32> {
        let symbols = names.iter().filter_map(|name| self.symbols.find(name));
        symbols.collect()
    }

    /// `pairs`: symbols of names and values, ascending by name.
    pub(crate) fn labels(&self, pairs: &[(u32, u32)]) -> Labels {
        let labels = pairs.iter().map(|(name, value)| Label {
            name: self.symbols.text(*name).clone(),
            value: self.symbols.text(*value).clone(),
        });
        Labels::from_sorted(labels.collect())
    }

    /// Labels in the form of [`Canonical::bytes`].
    pub(crate) fn put_labels(&self, series: &Series, out: &mut Vec<u8>) {
        for (name, value) in &series.labels {
            out.put_text(self.symbols.text(*name));
            out.put_text(self.symbols.text(*value));
        }
    }
}

impl Terms for SeriesTable {
    type Error = std::convert::Infallible;

    fn all(&self) -> Result<RoaringBitmap, Self::Error> {
        Ok(self.postings.all().clone())
    }

    fn having(&self, name: &str, value: &str) -> Result<RoaringBitmap, Self::Error> {
        let symbols = (self.symbols.find(name), self.symbols.find(value));
        let (Some(name), Some(value)) = symbols else {
            return Ok(RoaringBitmap::new());
        };
        Ok(self.postings.having(name, value))
    }

    fn having_any(
        &self,
        name: &str,
        _pattern: Option<&str>,
        fits: &dyn Fn(&str) -> bool,
    ) -> Result<RoaringBitmap, Self::Error> {
        let Some(name) = self.symbols.find(name) else {
            return Ok(RoaringBitmap::new());
        };
        Ok(self
            .postings
            .having_any(name, |value| fits(self.symbols.text(value))))
    }
}
