//! Queries: the series that fulfil all matchers, put together from parts, frozen rows and the head.
//!
//! First all series are found, as entries of a few bytes, and whoever asks is asked every few hundred of them whether it
//! goes on. Then they are read, some hundred series at a time: those samples that the head has under its lock, which appends
//! wait for no longer than that takes, all others from the parts. So a query that is over its budget, or that nobody waits
//! for, stops before everything was found or copied. What can't be read is left out, and the answer says so.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

use pitcrew_promql::{
    labels::Labels,
    storage::{Found, Selection, Series, Storage, StorageError},
};

use crate::{
    bytes::as_u32,
    column::{self, Joined, Spare},
    entries::{Entries, Entry, Place},
    error::Error,
    part::{Part, read::PartReader, terms::PartTerms},
    postings,
    ready::{LookUp, Ready, SERIES_AT_ONCE, Wanted},
    store::{Store, lock, read},
};

/// Asked again and again with the bytes that are held: whether to go on.
pub type GoOn<'a> = dyn FnMut(usize) -> ControlFlow<()> + 'a;

impl Storage for Store {
    fn select(
        &self,
        selection: &Selection<'_>,
        take: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.give(selection, None, take);
        Ok(())
    }

    fn select_for(
        &self,
        selection: &Selection<'_>,
        labels: &[&str],
        take: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.give(selection, Some(labels), take);
        Ok(())
    }
}

impl Store {
    fn give(
        &self,
        selection: &Selection<'_>,
        labels: Option<&[&str]>,
        take: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    ) {
        let finding = Finding::begin(self, selection, labels, &mut |bytes| {
            take(Found::Holding(bytes))
        });
        // Whether everything was wanted is all the same.
        match finding {
            ControlFlow::Continue(finding) => finding.give(take),
            ControlFlow::Break(()) => {}
        }
    }

    /// Parts that have samples of that time, ascending by order.
    pub(crate) fn parts_of(&self, selection: &Selection<'_>) -> Vec<Arc<Part>> {
        let parts = read(&self.parts).clone();
        let overlapping = parts
            .iter()
            .filter(|part| part.overlaps(selection.start_ms, selection.end_ms));
        overlapping.cloned().collect()
    }
}

/// What a selection finds, series by series.
pub(crate) struct Finding<'a> {
    store: &'a Store,
    start_ms: i64,
    end_ms: i64,
    /// Labels that are asked for; nothing where all are.
    labels: Option<&'a [&'a str]>,
    head: LookUp<'a>,
    readers: Vec<PartReader<'a>>,
    entries: Entries,
    places: Vec<Place>,
    joined: Joined,
    spare: Spare,
    warnings: BTreeSet<String>,
    /// Warnings that were given already.
    told: BTreeSet<String>,
}

impl<'a> Finding<'a> {
    pub(crate) fn begin(
        store: &'a Store,
        selection: &Selection<'_>,
        labels: Option<&'a [&'a str]>,
        go_on: &mut GoOn<'_>,
    ) -> ControlFlow<(), Self> {
        let (start_ms, end_ms) = (selection.start_ms, selection.end_ms);
        let mut finding = Finding {
            store,
            start_ms,
            end_ms,
            labels,
            head: LookUp::new(store, (start_ms, end_ms), labels),
            readers: Vec::new(),
            entries: Entries::default(),
            places: Vec::new(),
            joined: Joined::default(),
            spare: Spare::default(),
            warnings: lock(&store.losses)
                .warnings(start_ms, end_ms)
                .into_iter()
                .collect(),
            told: BTreeSet::new(),
        };
        // The head first: what is sealed meanwhile is then in the parts, too, and one of both is left out.
        while !finding.add_head(selection, go_on)? {}
        for part in store.parts_of(selection) {
            match finding.add_part(part, selection, go_on) {
                Ok(go_on) => go_on?,
                Err(error) => finding.failed(&error),
            }
        }
        ControlFlow::Continue(finding)
    }

    /// False where series were forgotten meanwhile: their numbers may stand for others, and all begins anew.
    fn add_head(
        &mut self,
        selection: &Selection<'_>,
        go_on: &mut GoOn<'_>,
    ) -> ControlFlow<(), bool> {
        self.entries = Entries::default();
        let (found, forgets) = {
            let head = read(&self.store.head);
            let pin = head.pin();
            if !pin.overlaps(&head, self.start_ms, self.end_ms) {
                return ControlFlow::Continue(true);
            }
            self.head.pin = Some(pin);
            let Ok(found) = postings::select(&head.table, selection.matchers);
            (found, head.forgets)
        };
        let mut numbers = found.iter().peekable();
        while numbers.peek().is_some() {
            go_on(self.bytes())?;
            let head = read(&self.store.head);
            if head.forgets != forgets {
                return ControlFlow::Continue(false);
            }
            for number in numbers.by_ref().take(SERIES_AT_ONCE) {
                let fingerprint = head.table.known(number).fingerprint;
                self.entries.add_of_head(number, fingerprint);
            }
        }
        ControlFlow::Continue(true)
    }

    fn add_part(
        &mut self,
        part: Arc<Part>,
        selection: &Selection<'_>,
        go_on: &mut GoOn<'_>,
    ) -> Result<ControlFlow<()>, Error> {
        let cache = &self.store.cache;
        let found = postings::select(&PartTerms { part: &part, cache }, selection.matchers)?;
        let number = as_u32(self.readers.len());
        let reader = PartReader::new(part, cache)?.with_labels(self.labels);
        let is_first = self.entries.len() == 0 && !reader.repeats_series();
        self.readers.push(reader);
        let reader = self.readers.last_mut().expect("it was put there");
        for (count, series) in found.iter().enumerate() {
            if count % SERIES_AT_ONCE == 0 && go_on(self.entries.bytes()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let fingerprint = reader.fingerprint(series)?;
            let place = Place {
                reader: number,
                series,
            };
            self.entries.add_place(fingerprint, place, is_first);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn give(mut self, take: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>) {
        let mut all = || {
            self.warn(take)?;
            let mut series = Series::default();
            while self.next_series(&mut series, &mut |bytes| take(Found::Holding(bytes)))? {
                take(Found::Series(&mut series))?;
            }
            self.warn(take)
        };
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
    fn warn(&mut self, take: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        for warning in std::mem::take(&mut self.warnings) {
            if self.told.insert(warning.clone()) {
                take(Found::Warning(warning))?;
            }
        }
        ControlFlow::Continue(())
    }

    /// What the series take that were found.
    fn bytes(&self) -> usize {
        self.entries.bytes()
    }

    pub(crate) fn into_warnings(self) -> Vec<String> {
        self.warnings.into_iter().collect()
    }

    fn next_ready(
        &mut self,
        wanted: Wanted,
        go_on: &mut GoOn<'_>,
    ) -> ControlFlow<(), Option<Ready>> {
        let (spare, warnings) = (&mut self.spare, &mut self.warnings);
        self.head
            .next(&self.entries, wanted, spare, warnings, go_on)
    }

    /// Puts the next series in the place of the one before; false when there is none.
    fn next_series(&mut self, series: &mut Series, go_on: &mut GoOn<'_>) -> ControlFlow<(), bool> {
        self.spare.give(std::mem::take(&mut series.floats.values));
        while let Some(ready) = self.next_ready(Wanted::Samples, go_on)? {
            let places = self.places_of(&ready.entry);
            let mut pieces = Vec::with_capacity(places.len() + ready.pieces.len());
            for place in &places {
                let reader = &mut self.readers[place.reader as usize];
                let within = (self.start_ms, self.end_ms);
                match reader.piece(place.series, within, &mut self.spare) {
                    Ok(piece) => pieces.extend(piece),
                    Err(error) => self.failed(&error),
                }
            }
            pieces.extend(ready.pieces);
            let labels = match pieces.is_empty() {
                true => None,
                false => ready.labels.or_else(|| self.labels_of(&places)),
            };
            self.places = places;
            if let Some(labels) = labels {
                *series = column::series(labels, pieces, &mut self.joined, &mut self.spare);
                return ControlFlow::Continue(true);
            }
        }
        ControlFlow::Continue(false)
    }

    /// Labels of the next series that has samples about that time.
    pub(crate) fn next_labels(&mut self, go_on: &mut GoOn<'_>) -> ControlFlow<(), Option<Labels>> {
        while let Some(ready) = self.next_ready(Wanted::Labels, go_on)? {
            let labels = ready.labels.or_else(|| self.labels_in_parts(&ready.entry));
            if labels.is_some() {
                return ControlFlow::Continue(labels);
            }
        }
        ControlFlow::Continue(None)
    }

    fn labels_in_parts(&mut self, entry: &Entry) -> Option<Labels> {
        let (start_ms, end_ms) = (self.start_ms, self.end_ms);
        let places = self.places_of(entry);
        let in_part = places.iter().any(|place| {
            let cluster = self.readers[place.reader as usize].cluster_of(place.series);
            cluster.is_ok_and(|(_, cluster)| cluster.min_ms <= end_ms && cluster.max_ms >= start_ms)
        });
        let labels = in_part.then(|| self.labels_of(&places)).flatten();
        self.places = places;
        labels
    }

    /// In a list that is to be given back, since each series needs one.
    fn places_of(&mut self, entry: &Entry) -> Vec<Place> {
        let mut places = std::mem::take(&mut self.places);
        self.entries.places(entry, &mut places);
        places
    }

    fn labels_of(&mut self, places: &[Place]) -> Option<Labels> {
        for place in places {
            match self.readers[place.reader as usize].labels(place.series) {
                Ok(labels) => return Some(labels),
                Err(error) => self.failed(&error),
            }
        }
        None
    }
}
