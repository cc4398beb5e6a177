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
pub(crate) struct Families {
    by_name: BTreeMap<String, Family>,
    bytes: usize,
}

#[derive(Debug)]
struct Family {
    known: Metadata,
    /// When it was last said anew in this run.
    said_at_ms: Option<i64>,
}

impl Families {
    /// What all descriptions may take.
    const BYTES_MAX: usize = 64 << 20;
    /// Whoever describes a family differently is heard once in this time: each change is a record in the catalogue.
    const CHANGE_MS: u64 = 3_600_000;

    /// Whether it is news that is kept.
    pub(crate) fn add(&mut self, metadata: &Metadata, most: usize, now_ms: i64) -> bool {
        if let Some(family) = self.by_name.get(&metadata.family) {
            let since = family.said_at_ms.map(|said| now_ms.abs_diff(said));
            if family.known == *metadata || since.is_some_and(|since| since < Self::CHANGE_MS) {
                return false;
            }
        }
        self.put(metadata, most, Some(now_ms))
    }

    /// What the catalogue says: the last record counts.
    pub(crate) fn restore(&mut self, metadata: &Metadata, most: usize) {
        self.put(metadata, most, None);
    }

    fn put(&mut self, metadata: &Metadata, most: usize, said_at_ms: Option<i64>) -> bool {
        let before = self.by_name.get(&metadata.family);
        let is_new = before.is_none();
        let before = before.map_or(0, |family| family.known.bytes());
        let bytes = self.bytes - before + metadata.bytes();
        if bytes > Self::BYTES_MAX || (is_new && self.by_name.len() >= most) {
            return false;
        }
        self.bytes = bytes;
        let known = metadata.clone();
        let family = Family { known, said_at_ms };
        self.by_name.insert(metadata.family.clone(), family);
        true
    }

    pub(crate) fn get(&self, family: &str) -> Option<&Metadata> {
        self.by_name.get(family).map(|family| &family.known)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Metadata> {
        self.by_name.values().map(|family| &family.known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(family: &str, help: &str) -> Metadata {
        Metadata {
            family: family.to_owned(),
            kind: "gauge".to_owned(),
            unit: String::new(),
            help: help.to_owned(),
        }
    }

    #[test]
    fn what_is_said_differently_again_and_again_is_news_once_in_an_hour() {
        let mut families = Families::default();
        families.restore(&said("up", "Before the restart."), 2);
        let mut news =
            |minute: i64, family, help| families.add(&said(family, help), 2, minute * 60_000);
        assert!(!news(0, "up", "Before the restart."));
        assert!(news(0, "up", "One."));
        assert!(!news(1, "up", "Another."));
        assert!(news(60, "up", "Another."));
        // After the clock was set back, too.
        assert!(news(-60, "up", "One."));
        assert!(news(1, "down", "New."));
        assert!(!news(1, "third", "One too many."));
        assert_eq!(families.get("up"), Some(&said("up", "One.")));
    }

    #[test]
    fn descriptions_take_no_more_than_they_may() {
        let mut families = Families::default();
        let long = "x".repeat(Families::BYTES_MAX / 3);
        for (family, is_kept) in [("a", true), ("b", true), ("c", false), ("d", false)] {
            assert_eq!(
                families.add(&said(family, &long), 10, 0),
                is_kept,
                "{family}"
            );
        }
        // In the place of another there is room.
        assert!(families.add(&said("a", "short"), 10, 4_000_000));
        assert!(families.add(&said("c", &long), 10, 0));
    }
}
