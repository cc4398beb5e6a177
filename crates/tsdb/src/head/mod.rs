//! The head: series that report now, with their samples since the last seal.
//!
//! Nothing here touches a disk: what is put in has been written to the log before, and what is frozen is made a
//! part by others. Frozen rows stay readable until their part is.

mod group;
pub(crate) mod pin;
pub(crate) mod read;
pub(crate) mod row;
pub(crate) mod rows;

use std::{collections::HashMap, sync::Arc};

use roaring::RoaringBitmap;

use crate::{
    bytes::as_u32,
    canonical::Canonical,
    series::{Series, SeriesTable},
    symbols::Symbols,
    wal::record,
};
use group::Group;
pub(crate) use group::NO_SERIES;
use row::{Cell, Placed, Row};
use rows::Rows;

#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) table: SeriesTable,
    groups: Vec<Group>,
    /// The group that is being filled for each reporter.
    open_groups: HashMap<Reporter, u32>,
    /// Groups that no series is in.
    free_groups: Vec<u32>,
    sources: HashMap<Arc<str>, u32>,
    /// Name of each source, and how many series it has.
    source_series: Vec<(Arc<str>, usize)>,
    /// Numbers that no source has.
    free_sources: Vec<u32>,
    pub(crate) frozen: Option<Arc<Frozen>>,
    pub(crate) filling: Filling,
    next: pin::Next,
    freezes: u64,
    /// How often series were forgotten: as long as it is the same, no number stands for another series.
    pub(crate) forgets: u64,
}

/// Whose series share a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Reporter {
    /// Symbols of job and instance, of which one may be absent.
    Target(Option<u32>, Option<u32>),
    /// Who sends series without such labels.
    Source(u32),
}

/// What the head's rows hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filling {
    pub(crate) samples: u64,
    pub(crate) bytes: usize,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
}

impl Default for Filling {
    fn default() -> Self {
        Filling {
            samples: 0,
            bytes: 0,
            min_ms: i64::MAX,
            max_ms: i64::MIN,
        }
    }
}

/// Rows on their way into a part, by the numbers of their groups.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) groups: Vec<FrozenGroup>,
    pub(crate) filling: Filling,
}

impl Frozen {
    /// Series that have a sample.
    pub(crate) fn reporting(&self) -> RoaringBitmap {
        let mut reporting = RoaringBitmap::new();
        for group in &self.groups {
            let mut filled = vec![false; group.columns.len()];
            for (column, _) in group.rows.iter().flat_map(Row::cells) {
                filled[column as usize] = true;
            }
            let columns = group.columns.iter().zip(filled);
            reporting.extend(columns.filter_map(|(series, filled)| filled.then_some(*series)));
        }
        reporting
    }
}

#[derive(Debug)]
pub(crate) struct FrozenGroup {
    /// The series of each column.
    pub(crate) columns: Vec<u32>,
    pub(crate) rows: Rows,
}

impl Head {
    pub(crate) fn new(secret: u64) -> Self {
        Head {
            table: SeriesTable::new(secret),
            groups: Vec::new(),
            open_groups: HashMap::new(),
            free_groups: Vec::new(),
            sources: HashMap::new(),
            source_series: Vec::new(),
            free_sources: Vec::new(),
            frozen: None,
            filling: Filling::default(),
            next: pin::Next::default(),
            freezes: 0,
            forgets: 0,
        }
    }

    /// An estimate of what series and rows take, frozen ones included.
    pub(crate) fn bytes(&self) -> usize {
        let frozen = self
            .frozen
            .as_ref()
            .map_or(0, |frozen| frozen.filling.bytes);
        self.table.bytes() + self.filling.bytes + frozen
    }

    pub(crate) fn source(&mut self, name: &str) -> u32 {
        if let Some(source) = self.sources.get(name) {
            return *source;
        }
        let name: Arc<str> = Arc::from(name);
        let source = match self.free_sources.pop() {
            Some(source) => {
                self.source_series[source as usize].0 = name.clone();
                source
            }
            None => {
                self.source_series.push((name.clone(), 0));
                as_u32(self.source_series.len() - 1)
            }
        };
        self.sources.insert(name, source);
        source
    }

    pub(crate) fn series_of_source(&self, source: u32) -> usize {
        self.source_series[source as usize].1
    }

    pub(crate) fn source_name(&self, source: u32) -> &str {
        &self.source_series[source as usize].0
    }

    /// Adds a series. `beside`: the one that came just before it.
    pub(crate) fn define(
        &mut self,
        number: u32,
        canonical: &Canonical,
        fingerprint: u128,
        source: u32,
        beside: Option<u32>,
    ) {
        let beside = beside
            .and_then(|series| self.table.get(series))
            .map(|series| series.group);
        let Head {
            table,
            groups,
            open_groups,
            free_groups,
            ..
        } = self;
        let place = |labels: &[(u32, u32)], symbols: &Symbols| {
            let reporter = reporter(labels, symbols, source);
            let (beside, width_max) = match reporter {
                Reporter::Source(_) => (beside, Group::LOOSE_WIDTH_MAX),
                Reporter::Target(..) => (None, Group::WIDTH_MAX),
            };
            let known = beside.or_else(|| open_groups.get(&reporter).copied());
            let known = known.filter(|group| groups[*group as usize].has_room(width_max));
            let group = known.unwrap_or_else(|| {
                let group = free_groups.pop().unwrap_or_else(|| {
                    groups.push(Group::default());
                    as_u32(groups.len() - 1)
                });
                open_groups.insert(reporter, group);
                group
            });
            (group, groups[group as usize].join(number))
        };
        table.add(number, canonical, fingerprint, place, source);
        self.source_series[source as usize].1 += 1;
    }

    /// Puts a sample into the row of its instant.
    pub(crate) fn put(
        &mut self,
        series: u32,
        timestamp_ms: i64,
        cell: Cell,
        start_ms: i64,
    ) -> Placed {
        let Series { group, column, .. } = *self.table.known(series);
        let placed = self.groups[group as usize].put(column, timestamp_ms, cell, start_ms);
        if let Placed::Stored { bytes } = placed {
            let filling = &mut self.filling;
            filling.samples += 1;
            filling.bytes += bytes;
            filling.min_ms = filling.min_ms.min(timestamp_ms);
            filling.max_ms = filling.max_ms.max(timestamp_ms);
        }
        placed
    }

    /// The rows of a group.
    pub(crate) fn rows(&self, group: u32) -> &Rows {
        &self.groups[group as usize].rows
    }

    /// Takes all rows out, to be made a part.
    pub(crate) fn freeze(&mut self) -> Arc<Frozen> {
        let groups = self.groups.iter_mut().map(|group| FrozenGroup {
            columns: group.columns.clone(),
            rows: std::mem::take(&mut group.rows),
        });
        let frozen = Arc::new(Frozen {
            groups: groups.collect(),
            filling: std::mem::take(&mut self.filling),
        });
        self.frozen = Some(frozen.clone());
        std::mem::take(&mut self.next).get_or_init(|| frozen.clone());
        self.freezes += 1;
        frozen
    }

    /// Whether a series has a sample in its rows; frozen ones aren't looked at.
    pub(crate) fn has_samples(&self, series: u32) -> bool {
        self.table.get(series).is_some_and(|series| {
            let mut rows = self.rows(series.group).iter();
            rows.any(|row| row.bits(series.column).is_some())
        })
    }

    /// Records that define series.
    pub(crate) fn definitions(&self, series: impl Iterator<Item = u32>) -> Vec<u8> {
        let (mut records, mut labels) = (Vec::new(), Vec::new());
        for number in series {
            let Some(series) = self.table.get(number) else {
                continue;
            };
            labels.clear();
            self.table.put_labels(series, &mut labels);
            let source = self.source_name(series.source);
            record::put_series(&mut records, number, source, &labels);
        }
        records
    }

    /// Forgets series that have no samples, groups that were theirs alone, and sources that have no others. Nothing may
    /// be frozen.
    pub(crate) fn forget(&mut self, gone: &RoaringBitmap) {
        self.forgets += 1;
        for series in self.table.remove(gone) {
            let group = &mut self.groups[series.group as usize];
            group.leave(series.column);
            if group.is_empty() {
                *group = Group::default();
                self.free_groups.push(series.group);
            }
            self.source_series[series.source as usize].1 -= 1;
        }
        // Their symbols may stand for other texts from now on.
        self.open_groups.clear();
        let series = &self.source_series;
        for (_, source) in self.sources.extract_if(|_, it| series[*it as usize].1 == 0) {
            self.free_sources.push(source);
        }
    }
}

/// Who reports a series: a job's instance; without such labels, the source, or whoever came before.
fn reporter(labels: &[(u32, u32)], symbols: &Symbols, source: u32) -> Reporter {
    let value = |name: &str| {
        let label = labels
            .iter()
            .find(|(label, _)| **symbols.text(*label) == *name);
        label.map(|(_, value)| *value)
    };
    match (value("job"), value("instance")) {
        (None, None) => Reporter::Source(source),
        (job, instance) => Reporter::Target(job, instance),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{batch::RawLabels, options::Limits};

    fn define(head: &mut Head, number: u32, source: &str, instance: &str) {
        let mut raw = RawLabels::default();
        raw.push("__name__", "up");
        raw.push("instance", instance);
        let canonical = Canonical::of(&raw, &Limits::default()).unwrap();
        let fingerprint = head.table.fingerprint(&canonical);
        let source = head.source(source);
        head.define(number, &canonical, fingerprint, source, None);
    }

    #[test]
    fn targets_that_come_and_go_leave_nothing_behind() {
        let mut head = Head::new(1);
        define(&mut head, 0, "stays", "stays");
        for round in 0..100 {
            let (one, other) = (format!("a{round}"), format!("b{round}"));
            define(&mut head, 1, &one, &one);
            define(&mut head, 2, &other, &other);
            head.source("refused");
            assert_eq!(head.groups.len(), 3, "in round {round}");
            assert_ne!(head.table.known(1).group, head.table.known(2).group);
            let source = head.table.known(2).source;
            assert_eq!(head.source_name(source), other);
            head.forget(&[1, 2].into_iter().collect());
        }
        assert_eq!((head.sources.len(), head.source_series.len()), (1, 4));
        let stays = head.sources["stays"];
        assert_eq!(head.series_of_source(stays), 1);
    }
}
