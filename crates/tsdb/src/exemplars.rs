//! Exemplars: the most recent ones of all series, in a ring; and what is known of metric families.

use std::collections::{BTreeMap, VecDeque};

use pitcrew_promql::labels::Labels;

use crate::{batch::Metadata, wal::record::LoggedExemplar};

/// An example of what a series counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Its own labels, for instance a trace's id.
    pub labels: Labels,
    /// What was measured.
    pub value: f64,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Exemplars {
    ring: VecDeque<LoggedExemplar>,
    /// How many were ever added.
    pub(crate) added: u64,
}

impl Exemplars {
    pub(crate) fn add(&mut self, exemplar: LoggedExemplar, most: usize) {
        while self.ring.len() >= most.max(1) {
            self.ring.pop_front();
        }
        self.ring.push_back(exemplar);
        self.added += 1;
    }

    /// Whether a series' exemplar of this instant is there already: scrapes repeat them.
    pub(crate) fn has(&self, series: u32, timestamp_ms: i64) -> bool {
        let recent = self.ring.iter().rev().take(Self::LOOK_BACK);
        let mut recent = recent.filter(|exemplar| exemplar.series == series);
        recent.any(|exemplar| exemplar.timestamp_ms == timestamp_ms)
    }

    /// How far back repeated exemplars are looked for.
    const LOOK_BACK: usize = 1000;

    pub(crate) fn iter(&self) -> impl Iterator<Item = &LoggedExemplar> {
        self.ring.iter()
    }

    /// Those since so many had been added.
    pub(crate) fn since(&self, added: u64) -> impl Iterator<Item = &LoggedExemplar> {
        let new = usize::try_from(self.added - added).unwrap_or(usize::MAX);
        self.ring.iter().skip(self.ring.len().saturating_sub(new))
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.ring.retain(|exemplar| keep(exemplar.series));
    }
}

/// What is known of metric families, by name.
#[derive(Debug, Default)]
pub(crate) struct Families(BTreeMap<String, Metadata>);

impl Families {
    /// Whether it is news.
    pub(crate) fn add(&mut self, metadata: &Metadata, most: usize) -> bool {
        if self.0.get(&metadata.family) == Some(metadata) {
            return false;
        }
        if self.0.len() >= most && !self.0.contains_key(&metadata.family) {
            return false;
        }
        self.0.insert(metadata.family.clone(), metadata.clone());
        true
    }

    pub(crate) fn get(&self, family: &str) -> Option<&Metadata> {
        self.0.get(family)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Metadata> {
        self.0.values()
    }
}
