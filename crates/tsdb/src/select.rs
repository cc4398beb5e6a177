//! Queries: the series that fulfil all matchers, put together from parts, frozen rows and the head.
//!
//! First all series are found and the head's samples copied, under one short lock; then series after series is
//! read from the parts, so that a query that is over its budget stops before everything was read. What can't be
//! read is left out, and the answer says so.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

use hashbrown::HashTable;
use pitcrew_promql::{
    labels::Labels,
    storage::{Found, Selection, Series, Storage, StorageError},
};

use crate::{
    column::{self, Joined, Piece},
    error::Error,
    head::{Head, read::RowReader},
    part::{Part, read::PartReader, terms::PartTerms},
    postings,
    store::{Store, lock, read},
};

impl Storage for Store {
    fn select(
        &self,
        selection: &Selection<'_>,
        take: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        Finding::new(self, selection, None).give(take);
        Ok(())
    }

    fn select_for(
        &self,
        selection: &Selection<'_>,
        labels: &[&str],
        take: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        Finding::new(self, selection, Some(labels)).give(take);
        Ok(())
    }
}

impl Store {
    /// Parts that have samples of that time, ascending by order.
    pub(crate) fn parts_of(&self, selection: &Selection<'_>) -> Vec<Arc<Part>> {
        let parts = read(&self.parts).clone();
        let overlapping = parts
            .iter()
            .filter(|part| part.overlaps(selection.start_ms, selection.end_ms));
        overlapping.cloned().collect()
    }
}

/// A series that was found, and where.
struct Entry {
    fingerprint: u128,
    /// Known when the head has it.
    labels: Option<Labels>,
    /// Reader and number in its part: none for a series of the head alone, most have one.
    first_place: Option<(u32, u32)>,
    other_places: Vec<(u32, u32)>,
    head: Vec<Piece>,
}

impl Entry {
    fn places(&self) -> impl Iterator<Item = (u32, u32)> {
        self.first_place
            .into_iter()
            .chain(self.other_places.iter().copied())
    }

    fn add_place(&mut self, place: (u32, u32)) {
        match self.first_place {
            None => self.first_place = Some(place),
            Some(_) => self.other_places.push(place),
        }
    }
}

/// What a selection finds, series by series.
pub(crate) struct Finding<'a> {
    store: &'a Store,
    start_ms: i64,
    end_ms: i64,
    /// Labels that are asked for; nothing where all are.
    labels: Option<&'a [&'a str]>,
    readers: Vec<PartReader<'a>>,
    entries: std::vec::IntoIter<Entry>,
    joined: Joined,
    warnings: BTreeSet<String>,
    /// Warnings that were given already.
    told: BTreeSet<String>,
}

impl<'a> Finding<'a> {
    pub(crate) fn new(
        store: &'a Store,
        selection: &Selection<'_>,
        labels: Option<&'a [&'a str]>,
    ) -> Self {
        let (start_ms, end_ms) = (selection.start_ms, selection.end_ms);
        let mut finding = Finding {
            store,
            start_ms,
            end_ms,
            labels,
            readers: Vec::new(),
            entries: Vec::new().into_iter(),
            joined: Joined::default(),
            warnings: BTreeSet::new(),
            told: BTreeSet::new(),
        };
        finding
            .warnings
            .extend(lock(&store.losses).warnings(start_ms, end_ms));
        // The head first: what is sealed meanwhile is then in the parts, too, and one of both is left out.
        let mut entries = from_head(&read(&store.head), selection, labels);
        let mut known = HashTable::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            known.insert_unique(hash(entry.fingerprint), index, |index| {
                hash(entries[*index].fingerprint)
            });
        }
        for part in store.parts_of(selection) {
            if let Err(error) = finding.add_part(part, selection, &mut entries, &mut known) {
                finding.failed(&error);
            }
        }
        finding.entries = entries.into_iter();
        finding
    }

    fn add_part(
        &mut self,
        part: Arc<Part>,
        selection: &Selection<'_>,
        entries: &mut Vec<Entry>,
        known: &mut HashTable<usize>,
    ) -> Result<(), Error> {
        let cache = &self.store.cache;
        let found = postings::select(&PartTerms { part: &part, cache }, selection.matchers)?;
        let mut reader = PartReader::new(part, cache)?.with_labels(self.labels);
        let number = u32::try_from(self.readers.len()).unwrap_or(u32::MAX);
        for series in &found {
            let fingerprint = reader.fingerprint(series)?;
            let same = known.find(hash(fingerprint), |index| {
                entries[*index].fingerprint == fingerprint
            });
            match same.copied() {
                Some(index) => entries[index].add_place((number, series)),
                None => {
                    entries.push(Entry {
                        fingerprint,
                        labels: None,
                        first_place: Some((number, series)),
                        other_places: Vec::new(),
                        head: Vec::new(),
                    });
                    let added = entries.len() - 1;
                    known.insert_unique(hash(fingerprint), added, |index| {
                        hash(entries[*index].fingerprint)
                    });
                }
            }
        }
        self.readers.push(reader);
        Ok(())
    }

    fn give(mut self, take: &mut dyn FnMut(Found) -> ControlFlow<()>) {
        let mut all = || {
            self.warn(take)?;
            while let Some(series) = self.next_series() {
                take(Found::Series(series))?;
            }
            self.warn(take)
        };
        // Whether everything was wanted is all the same.
        match all() {
            ControlFlow::Continue(()) | ControlFlow::Break(()) => {}
        }
    }

    fn failed(&mut self, error: &Error) {
        let warning = format!("{error}; what it holds is missing from the answer");
        lock(&self.store.damage).insert(error.to_string());
        self.warnings.insert(warning);
    }

    /// Tells what the reader must know and hasn't been told.
    fn warn(&mut self, take: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<()> {
        for warning in std::mem::take(&mut self.warnings) {
            if self.told.insert(warning.clone()) {
                take(Found::Warning(warning))?;
            }
        }
        ControlFlow::Continue(())
    }

    pub(crate) fn into_warnings(self) -> Vec<String> {
        self.warnings.into_iter().collect()
    }

    fn next_series(&mut self) -> Option<Series> {
        loop {
            let entry = self.entries.next()?;
            let mut pieces = Vec::with_capacity(1 + entry.other_places.len() + entry.head.len());
            for (reader, series) in entry.places() {
                match self.readers[reader as usize].piece(series, self.start_ms, self.end_ms) {
                    Ok(piece) => pieces.extend(piece),
                    Err(error) => self.failed(&error),
                }
            }
            if pieces.is_empty() && entry.head.is_empty() {
                continue;
            }
            let labels = self.labels_of(&entry);
            pieces.extend(entry.head);
            if let Some(labels) = labels {
                return Some(column::series(labels, pieces, &mut self.joined));
            }
        }
    }

    /// Labels of the next series that has samples about that time.
    pub(crate) fn next_labels(&mut self) -> Option<Labels> {
        loop {
            let entry = self.entries.next()?;
            let (start_ms, end_ms) = (self.start_ms, self.end_ms);
            let in_part = entry.places().any(|(reader, series)| {
                let cluster = self.readers[reader as usize].cluster_of(series);
                cluster.is_ok_and(|(_, cluster)| {
                    cluster.min_ms <= end_ms && cluster.max_ms >= start_ms
                })
            });
            if !in_part && entry.head.is_empty() {
                continue;
            }
            if let Some(labels) = self.labels_of(&entry) {
                return Some(labels);
            }
        }
    }

    fn labels_of(&mut self, entry: &Entry) -> Option<Labels> {
        if entry.labels.is_some() {
            return entry.labels.clone();
        }
        for (reader, series) in entry.places() {
            match self.readers[reader as usize].labels(series) {
                Ok(labels) => return Some(labels),
                Err(error) => self.failed(&error),
            }
        }
        None
    }
}

/// Any bits of a fingerprint are as good as a hash of it.
fn hash(fingerprint: u128) -> u64 {
    let bytes = fingerprint.to_le_bytes();
    u64::from_le_bytes(bytes[..8].try_into().expect("eight of sixteen bytes"))
}

fn from_head(head: &Head, selection: &Selection<'_>, labels: Option<&[&str]>) -> Vec<Entry> {
    let Ok(found) = postings::select(&head.table, selection.matchers);
    // Frozen rows and those that fill now.
    let mut readers = [RowReader::default(), RowReader::default()];
    let names = labels.map(|names| head.table.symbols_of(names));
    let mut last_labels = (Vec::new(), Labels::default());
    let mut entries = Vec::new();
    for number in &found {
        let series = head.table.known(number);
        let mut pieces = Vec::new();
        let frozen = head
            .frozen
            .iter()
            .filter_map(|frozen| frozen.groups.get(series.group as usize));
        let frozen = frozen.map(|group| &group.rows).next();
        let rows = [frozen, Some(head.rows(series.group))];
        for (reader, rows) in readers.iter_mut().zip(rows) {
            let Some(rows) = rows else { continue };
            reader.read(series.group, rows, series.column, selection, &mut pieces);
        }
        if !pieces.is_empty() {
            entries.push(Entry {
                fingerprint: series.fingerprint,
                labels: Some(match &names {
                    None => head.table.labels(&series.labels),
                    Some(names) => chosen_labels(head, series, names, &mut last_labels),
                }),
                first_place: None,
                other_places: Vec::new(),
                head: pieces,
            });
        }
    }
    entries
}

/// Those of the labels whose names are asked for. `last`: the symbols and labels of the series before, which are mostly the
/// same.
fn chosen_labels(
    head: &Head,
    series: &crate::series::Series,
    names: &[u32],
    last: &mut (Vec<(u32, u32)>, Labels),
) -> Labels {
    let chosen = || {
        let pairs = series.labels.iter().copied();
        pairs.filter(|(name, _)| names.contains(name))
    };
    if !chosen().eq(last.0.iter().copied()) {
        let pairs: Vec<(u32, u32)> = chosen().collect();
        let labels = head.table.labels(&pairs);
        *last = (pairs, labels);
    }
    last.1.clone()
}
