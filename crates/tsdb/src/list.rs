//! Lists: names and values of labels, series, exemplars, metadata.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

use pitcrew_promql::{labels::Labels, storage::Selection};

use crate::{
    batch::Metadata,
    exemplars::Exemplar,
    part::terms::PartTerms,
    postings,
    select::{Finding, GoOn},
    store::{Store, lock, read},
};

/// Values that are listed before it is asked whether to go on.
const TERMS_AT_ONCE: usize = 256;

/// Some of what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// In order, as many as were asked for at most.
    pub items: Vec<T>,
    /// Whether there are more.
    pub truncated: bool,
    /// What the reader must know: data that was dropped, parts that can't be read.
    pub warnings: Vec<String>,
}

impl<T> Listing<T> {
    fn of(items: impl IntoIterator<Item = T>, limit: usize, warnings: Vec<String>) -> Self {
        let mut items: Vec<T> = items.into_iter().take(limit.saturating_add(1)).collect();
        let truncated = items.len() > limit;
        items.truncate(limit);
        Listing {
            items,
            truncated,
            warnings,
        }
    }
}

/// Whoever asked for a list wanted no more of it before it was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody wants the list any more")]
pub struct Stopped;

/// The least of what there is, one more than were asked for.
struct Least {
    items: BTreeSet<String>,
    limit: usize,
    /// What the texts of the items take.
    bytes: usize,
}

impl Least {
    fn new(limit: usize) -> Self {
        Least {
            items: BTreeSet::new(),
            limit,
            bytes: 0,
        }
    }

    fn add(&mut self, item: &str) {
        if self.items.contains(item) {
            return;
        }
        self.bytes += size_of::<String>() + item.len();
        self.items.insert(item.to_owned());
        if self.items.len() > self.limit.saturating_add(1) {
            let most = self.items.pop_last().map_or(0, |most| most.len());
            self.bytes -= size_of::<String>() + most;
        }
    }
}

impl Store {
    /// Names of the labels of series that have samples about that time; with matchers, of those that fulfil
    /// them. `go_on` is asked every few hundred series, with the bytes that are held meanwhile.
    pub fn label_names(
        &self,
        selection: &Selection<'_>,
        limit: usize,
        go_on: &mut GoOn<'_>,
    ) -> Result<Listing<String>, Stopped> {
        let mut names = Least::new(limit);
        if !selection.matchers.is_empty() {
            let warnings = self.each_series(selection, go_on, &mut |labels| {
                labels.iter().for_each(|label| names.add(&label.name));
                ControlFlow::Continue(())
            })?;
            return Ok(Listing::of(names.items, limit, warnings));
        }
        let mut warnings = self.lost(selection);
        {
            let head = read(&self.head);
            let table = &head.table;
            let found = table.postings.names();
            found.for_each(|name| names.add(table.symbols.text(name)));
        }
        for part in self.parts_of(selection) {
            wanted(go_on(0))?;
            match (PartTerms {
                part: &part,
                cache: &self.cache,
            })
            .names()
            {
                Ok(found) => found.into_iter().for_each(|name| names.add(&name)),
                Err(error) => warnings.push(error.to_string()),
            }
        }
        Ok(Listing::of(names.items, limit, warnings))
    }

    /// Values of a label, as [`Store::label_names`].
    pub fn label_values(
        &self,
        name: &str,
        selection: &Selection<'_>,
        limit: usize,
        go_on: &mut GoOn<'_>,
    ) -> Result<Listing<String>, Stopped> {
        let mut values = Least::new(limit);
        if !selection.matchers.is_empty() {
            let warnings = self.each_series(selection, go_on, &mut |labels| {
                if labels.has(name) {
                    values.add(labels.get(name));
                }
                ControlFlow::Continue(())
            })?;
            return Ok(Listing::of(values.items, limit, warnings));
        }
        let mut warnings = self.lost(selection);
        let found = self.values_in_head(name);
        for (count, value) in found.iter().enumerate() {
            if count % TERMS_AT_ONCE == 0 {
                wanted(go_on(values.bytes + size_of_val(&*found)))?;
            }
            values.add(value);
        }
        drop(found);
        for part in self.parts_of(selection) {
            wanted(go_on(values.bytes))?;
            let terms = PartTerms {
                part: &part,
                cache: &self.cache,
            };
            let (mut count, mut stopped) = (0, Ok(()));
            let found = terms.values(name, None, &mut |value, _| {
                values.add(value);
                count += 1;
                if count % TERMS_AT_ONCE == 0 {
                    stopped = wanted(go_on(values.bytes));
                }
                Ok(stopped.is_ok())
            });
            stopped?;
            warnings.extend(found.err().map(|error| error.to_string()));
        }
        Ok(Listing::of(values.items, limit, warnings))
    }

    /// Values of a label that the head has, in no order.
    fn values_in_head(&self, name: &str) -> Vec<Arc<str>> {
        let head = read(&self.head);
        let table = &head.table;
        let name = table.symbols.find(name).into_iter();
        let values = name.flat_map(|name| table.postings.values(name));
        values
            .map(|value| table.symbols.text(value).clone())
            .collect()
    }

    /// Labels of the series that fulfil all matchers, as [`Store::label_names`]. Not in order when truncated.
    pub fn series(
        &self,
        selection: &Selection<'_>,
        limit: usize,
        go_on: &mut GoOn<'_>,
    ) -> Result<Listing<Labels>, Stopped> {
        let mut found = BTreeSet::new();
        let warnings = self.each_series(selection, go_on, &mut |labels| {
            found.insert(labels.clone());
            if found.len() > limit {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(Listing::of(found, limit, warnings))
    }

    fn lost(&self, selection: &Selection<'_>) -> Vec<String> {
        lock(&self.losses).warnings(selection.start_ms, selection.end_ms)
    }

    fn each_series(
        &self,
        selection: &Selection<'_>,
        go_on: &mut GoOn<'_>,
        each: &mut dyn FnMut(&Labels) -> ControlFlow<()>,
    ) -> Result<Vec<String>, Stopped> {
        let ControlFlow::Continue(mut finding) = Finding::begin(self, selection, None, go_on)
        else {
            return Err(Stopped);
        };
        loop {
            let labels = match finding.next_labels(go_on) {
                ControlFlow::Continue(Some(labels)) => labels,
                ControlFlow::Continue(None) => break,
                ControlFlow::Break(()) => return Err(Stopped),
            };
            if each(&labels).is_break() {
                break;
            }
        }
        Ok(finding.into_warnings())
    }

    /// Exemplars of the series that fulfil all matchers, of that time, by series.
    pub fn exemplars(&self, selection: &Selection<'_>) -> Vec<(Labels, Vec<Exemplar>)> {
        let head = read(&self.head);
        let Ok(found) = postings::select(&head.table, selection.matchers);
        let mut by_series: Vec<(u32, Exemplar)> = lock(&self.exemplars)
            .iter()
            .filter(|exemplar| {
                let time_ms = exemplar.timestamp_ms;
                found.contains(exemplar.series)
                    && (selection.start_ms..=selection.end_ms).contains(&time_ms)
            })
            .map(|exemplar| {
                let labels =
                    Labels::from_pairs(exemplar.labels.iter().map(|(name, value)| (name, value)));
                let (value, timestamp_ms) = (exemplar.value, exemplar.timestamp_ms);
                (
                    exemplar.series,
                    Exemplar {
                        labels,
                        value,
                        timestamp_ms,
                    },
                )
            })
            .collect();
        by_series.sort_by_key(|(series, exemplar)| (*series, exemplar.timestamp_ms));
        let mut listed: Vec<(u32, Labels, Vec<Exemplar>)> = Vec::new();
        for (number, exemplar) in by_series {
            match listed.last_mut() {
                Some((known, _, exemplars)) if *known == number => exemplars.push(exemplar),
                _ => {
                    let labels = head.table.labels(&head.table.known(number).labels);
                    listed.push((number, labels, vec![exemplar]));
                }
            }
        }
        listed
            .into_iter()
            .map(|(_, labels, exemplars)| (labels, exemplars))
            .collect()
    }

    /// What is known of metric families: of one, or of all.
    pub fn metadata(&self, family: Option<&str>, limit: usize) -> Vec<Metadata> {
        let families = lock(&self.families);
        match family {
            Some(family) => families
                .get(family)
                .into_iter()
                .take(limit)
                .cloned()
                .collect(),
            None => families.iter().take(limit).cloned().collect(),
        }
    }
}

fn wanted(go_on: ControlFlow<()>) -> Result<(), Stopped> {
    match go_on {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Stopped),
    }
}
