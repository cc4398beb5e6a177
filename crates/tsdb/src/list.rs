//! Lists: names and values of labels, series, exemplars, metadata.

use std::{collections::BTreeSet, ops::ControlFlow};

use pitcrew_promql::{labels::Labels, storage::Selection};

use crate::{
    batch::Metadata,
    exemplars::Exemplar,
    part::terms::PartTerms,
    postings,
    ready::SERIES_AT_ONCE,
    select::{Finding, GoOn},
    store::{Store, lock, read},
};

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
struct Least<T> {
    items: BTreeSet<T>,
    limit: usize,
}

impl<T: Ord> Least<T> {
    fn new(limit: usize) -> Self {
        Least {
            items: BTreeSet::new(),
            limit,
        }
    }

    fn add(&mut self, item: T) {
        self.items.insert(item);
        if self.items.len() > self.limit.saturating_add(1) {
            self.items.pop_last();
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
                labels
                    .iter()
                    .for_each(|label| names.add(label.name.to_string()));
                ControlFlow::Continue(())
            })?;
            return Ok(Listing::of(names.items, limit, warnings));
        }
        let mut warnings = self.lost(selection);
        {
            let head = read(&self.head);
            let table = &head.table;
            let found = table.postings.names();
            found.for_each(|name| names.add(table.symbols.text(name).to_string()));
        }
        for part in self.parts_of(selection) {
            wanted(go_on(0))?;
            match (PartTerms {
                part: &part,
                cache: &self.cache,
            })
            .names()
            {
                Ok(found) => found.into_iter().for_each(|name| names.add(name)),
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
                    values.add(labels.get(name).to_owned());
                }
                ControlFlow::Continue(())
            })?;
            return Ok(Listing::of(values.items, limit, warnings));
        }
        let mut warnings = self.lost(selection);
        {
            let head = read(&self.head);
            let table = &head.table;
            if let Some(name) = table.symbols.find(name) {
                let found = table.postings.values(name);
                found.for_each(|value| values.add(table.symbols.text(value).to_string()));
            }
        }
        for part in self.parts_of(selection) {
            wanted(go_on(0))?;
            let terms = PartTerms {
                part: &part,
                cache: &self.cache,
            };
            let found = terms.values(name, None, &mut |value, _| {
                values.add(value.to_owned());
                Ok(true)
            });
            warnings.extend(found.err().map(|error| error.to_string()));
        }
        Ok(Listing::of(values.items, limit, warnings))
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
        for count in 0.. {
            if count % SERIES_AT_ONCE == 0 {
                wanted(go_on(finding.bytes()))?;
            }
            let Some(labels) = finding.next_labels() else {
                break;
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
