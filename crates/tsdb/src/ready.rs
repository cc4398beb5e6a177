//! What the head has of the series that a selection found: looked up some hundred series at a time, so that appends
//! never wait for a whole query, and a query never holds more than a little of the head.

use std::{collections::BTreeSet, ops::ControlFlow};

use pitcrew_promql::labels::Labels;

use crate::{
    column::{Piece, Spare},
    entries::{Entries, Entry},
    head::{Head, pin::Pin, read::RowReader},
    select::GoOn,
    series::Series,
    store::{Store, read},
};

/// Series that are looked up before anybody else gets a turn.
pub(crate) const SERIES_AT_ONCE: usize = 256;
/// Rows that are looked at before then, but all that one series needs.
const ROWS_AT_ONCE: usize = 1 << 18;

const FORGOTTEN: &str = "series stopped reporting and were forgotten while they were read; what they had last is missing from the answer";

/// An entry with what the head has of it.
pub(crate) struct Ready {
    pub(crate) entry: Entry,
    /// Those that are asked for; known when the head has samples.
    pub(crate) labels: Option<Labels>,
    pub(crate) pieces: Vec<Piece>,
}

/// Whether samples are wanted, or only which series have any.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Samples,
    Labels,
}

/// Looks entries up in the head, in their order.
pub(crate) struct LookUp<'a> {
    store: &'a Store,
    /// First and last instant of interest.
    within: (i64, i64),
    /// Labels that are asked for; nothing where all are.
    labels: Option<&'a [&'a str]>,
    /// Nothing where the head has nothing of that time.
    pub(crate) pin: Option<Pin>,
    /// For frozen rows and for those that fill.
    readers: [RowReader; 2],
    /// How many entries were looked up.
    done: usize,
    ready: std::vec::IntoIter<Ready>,
}

impl<'a> LookUp<'a> {
    pub(crate) fn new(store: &'a Store, within: (i64, i64), labels: Option<&'a [&'a str]>) -> Self {
        LookUp {
            store,
            within,
            labels,
            pin: None,
            readers: Default::default(),
            done: 0,
            ready: Vec::new().into_iter(),
        }
    }

    /// `go_on` is asked before the head is.
    pub(crate) fn next(
        &mut self,
        entries: &Entries,
        wanted: Wanted,
        spare: &mut Spare,
        warnings: &mut BTreeSet<String>,
        go_on: &mut GoOn<'_>,
    ) -> ControlFlow<(), Option<Ready>> {
        if self.ready.len() == 0 && self.done < entries.len() {
            go_on(entries.bytes())?;
            self.ready = self.some(entries, wanted, spare, warnings).into_iter();
        }
        ControlFlow::Continue(self.ready.next())
    }

    fn some(
        &mut self,
        entries: &Entries,
        wanted: Wanted,
        spare: &mut Spare,
        warnings: &mut BTreeSet<String>,
    ) -> Vec<Ready> {
        let left = entries.len() - self.done;
        let mut ready = Vec::with_capacity(left.min(SERIES_AT_ONCE));
        let head = read(&self.store.head);
        self.readers.iter_mut().for_each(RowReader::look_again);
        let names = self.labels.map(|names| head.table.symbols_of(names));
        let mut last = LastLabels::default();
        let looked_at =
            |readers: &[RowReader]| readers.iter().map(|it| it.looked_at).sum::<usize>();
        while ready.len() < SERIES_AT_ONCE && looked_at(&self.readers) < ROWS_AT_ONCE {
            let Some(entry) = entries.get(self.done) else {
                break;
            };
            self.done += 1;
            let mut pieces = Vec::new();
            let series = self.series(&head, &entry, warnings);
            let series = series
                .filter(|series| self.read(&head, &entry, series, wanted, spare, &mut pieces));
            let labels = series.map(|series| match &names {
                None => head.table.labels(&series.labels),
                Some(names) => last.chosen(&head, series, names),
            });
            ready.push(Ready {
                entry,
                labels,
                pieces,
            });
        }
        ready
    }

    /// The head's series, unless it was forgotten meanwhile.
    fn series<'h>(
        &self,
        head: &'h Head,
        entry: &Entry,
        warnings: &mut BTreeSet<String>,
    ) -> Option<&'h Series> {
        let series = head.table.get(entry.head()?);
        let series = series.filter(|series| series.fingerprint == entry.fingerprint());
        let may_have_had = |pin: &Pin| pin.may_have_had(head);
        if series.is_none() && self.pin.as_ref().is_some_and(may_have_had) {
            warnings.insert(FORGOTTEN.to_owned());
        }
        series
    }

    /// Whether there are samples, which are copied if they are wanted.
    fn read(
        &mut self,
        head: &Head,
        entry: &Entry,
        series: &Series,
        wanted: Wanted,
        spare: &mut Spare,
        pieces: &mut Vec<Piece>,
    ) -> bool {
        let (Some(pin), Some(number)) = (&self.pin, entry.head()) else {
            return false;
        };
        let (group, column, within) = (series.group, series.column, self.within);
        let rows = self.readers.iter_mut().zip(pin.rows(head, number, series));
        let mut rows = rows.filter_map(|(reader, rows)| Some((reader, rows?)));
        if wanted == Wanted::Labels {
            return rows.any(|(reader, rows)| reader.has_samples(rows, column, within));
        }
        for (reader, rows) in rows {
            reader.read(group, rows, column, within, spare, pieces);
        }
        !pieces.is_empty()
    }
}

/// The symbols and labels of the series before, of whose labels few are asked for: they are mostly the same.
#[derive(Default)]
struct LastLabels {
    symbols: Vec<(u32, u32)>,
    labels: Labels,
}

impl LastLabels {
    fn chosen(&mut self, head: &Head, series: &Series, names: &[u32]) -> Labels {
        let chosen = || {
            let pairs = series.labels.iter().copied();
            pairs.filter(|(name, _)| names.contains(name))
        };
        if !chosen().eq(self.symbols.iter().copied()) {
            self.symbols = chosen().collect();
            self.labels = head.table.labels(&self.symbols);
        }
        self.labels.clone()
    }
}
