//! Age: which series of a part are kept, and how many of their samples.
//!
//! What holds for a part follows from the options and the age of its last sample alone. A part is written anew
//! when that changes something of it, once: its footer says under which rules it was written. What stays of a
//! sample is the sample itself, never a value made of several, so that whatever can be asked of samples can be
//! asked of those that are left.

use std::collections::HashSet;

use pitcrew_promql::labels::{Labels, Matcher};
use roaring::RoaringBitmap;
use twox_hash::XxHash3_64;

use crate::{
    bytes::Put,
    cache::Cache,
    error::Error,
    options::{Keep, Options},
    part::{Part, footer::Kind, read::PartReader, terms::PartTerms},
    postings,
};

/// What is in force for samples of an age.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    options: &'a Options,
    age_ms: i64,
}

impl<'a> Rules<'a> {
    /// `newest_ms`: the time of the newest sample.
    pub(crate) fn at(options: &'a Options, newest_ms: i64, now_ms: i64) -> Self {
        let age_ms = now_ms.saturating_sub(newest_ms);
        Rules { options, age_ms }
    }

    fn is_over(&self, keep_ms: i64) -> bool {
        self.age_ms > keep_ms
    }

    /// Rules that thin out: the interval and what they select.
    fn sparse(&self) -> impl Iterator<Item = (i64, &'a [Matcher])> {
        let Rules { options, age_ms } = *self;
        let due = options.downsample.iter();
        let due = due.filter(move |rule| age_ms > rule.after_ms);
        due.map(|rule| (rule.every_ms.max(1), &rule.select[..]))
    }

    /// A number that is the same for the same rules; 0 where none is in force.
    pub(crate) fn fingerprint(&self) -> u64 {
        let put_matchers = |bytes: &mut Vec<u8>, matchers: &[Matcher]| {
            bytes.put_count(matchers.len());
            for matcher in matchers {
                bytes.put_text(matcher.name());
                bytes.put_text(&matcher.op().to_string());
                bytes.put_text(matcher.value());
            }
        };
        let (keep, retention_ms) = (&self.options.keep, self.options.retention_ms);
        let mut bytes = Vec::new();
        if self.is_over(retention_ms) || keep.iter().any(|keep| self.is_over(keep.for_ms)) {
            for keep in keep {
                put_matchers(&mut bytes, &keep.select);
                bytes.put(&[u8::from(self.is_over(keep.for_ms))]);
            }
            bytes.put(&[u8::from(self.is_over(retention_ms))]);
        }
        let sparse = self.sparse().map(|(every_ms, select)| {
            let mut bytes = vec![0xff];
            bytes.put(&every_ms.to_le_bytes());
            put_matchers(&mut bytes, select);
            bytes
        });
        // Their order says nothing.
        let mut sparse: Vec<Vec<u8>> = sparse.collect();
        sparse.sort_unstable();
        bytes.extend(sparse.concat());
        match bytes.is_empty() {
            true => 0,
            false => XxHash3_64::oneshot(&bytes).max(1),
        }
    }

    /// What becomes of a part's series.
    pub(crate) fn fates(&self, part: &Part, cache: &Cache) -> Result<Fates, Error> {
        let terms = PartTerms { part, cache };
        let mut fates = Fates::default();
        if self.fingerprint() == 0 {
            return Ok(fates);
        }
        let mut undecided: RoaringBitmap = (0..part.footer.series).collect();
        for Keep { select, for_ms } in &self.options.keep {
            let selected = postings::select(&terms, select)? & &undecided;
            undecided -= &selected;
            if self.is_over(*for_ms) {
                fates.gone |= selected;
            }
        }
        if self.is_over(self.options.retention_ms) {
            fates.gone |= undecided;
        }
        let mut sparse: Vec<(i64, &[Matcher])> = self.sparse().collect();
        sparse.sort_by_key(|(every_ms, _)| std::cmp::Reverse(*every_ms));
        let mut decided = fates.gone.clone();
        for (every_ms, select) in sparse {
            let selected = postings::select(&terms, select)? - &decided;
            decided |= &selected;
            fates.sparse.push((every_ms, selected));
        }
        Ok(fates)
    }
}

impl Options {
    /// How long the series are kept that are kept longest.
    pub(crate) fn longest_ms(&self) -> i64 {
        let kept = self.keep.iter().map(|keep| keep.for_ms);
        kept.fold(self.retention_ms, i64::max)
    }

    /// How long those are kept that are kept least.
    pub(crate) fn shortest_ms(&self) -> i64 {
        let kept = self.keep.iter().map(|keep| keep.for_ms);
        kept.fold(self.retention_ms, i64::min)
    }

    /// How long a series is kept.
    pub(crate) fn kept_ms(&self, labels: &Labels) -> i64 {
        let selects = |keep: &&Keep| {
            let mut matchers = keep.select.iter();
            matchers.all(|matcher| matcher.matches(labels.get(matcher.name())))
        };
        let keep = self.keep.iter().find(selects);
        keep.map_or(self.retention_ms, |keep| keep.for_ms)
    }
}

/// What becomes of the series of a part, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Fates {
    gone: RoaringBitmap,
    /// Intervals of which the last sample stays, the longest first. A series is in one of the lists at most.
    sparse: Vec<(i64, RoaringBitmap)>,
}

impl Fates {
    pub(crate) fn is_gone(&self, series: u32) -> bool {
        self.gone.contains(series)
    }

    /// The interval of which the last sample stays; nothing where all do.
    pub(crate) fn every_ms(&self, series: u32) -> Option<i64> {
        let mut sparse = self.sparse.iter();
        let found = sparse.find(|(_, of)| of.contains(series));
        found.map(|(every_ms, _)| *every_ms)
    }

    /// Whether the part has anything that would be left out.
    pub(crate) fn change(&self, part: &std::sync::Arc<Part>, cache: &Cache) -> Result<bool, Error> {
        if !self.gone.is_empty() {
            return Ok(true);
        }
        let mut reader = PartReader::new(part.clone(), cache)?;
        let clusters = reader.clusters.clone();
        let (mut blobs, mut floats) = (RoaringBitmap::new(), RoaringBitmap::new());
        for (number, cluster) in clusters.0.iter().enumerate() {
            let end = cluster.first_series.saturating_add(cluster.series);
            for (every_ms, series) in &self.sparse {
                let mut selected = RoaringBitmap::new();
                selected.insert_range(cluster.first_series..end);
                selected &= series;
                if selected.is_empty() {
                    continue;
                }
                let index = reader.index(number, cluster)?;
                let same = |pair: &[i64]| is_same_interval(pair[0], pair[1], *every_ms);
                if index.times.windows(2).any(same) {
                    return Ok(true);
                }
                match cluster.kind {
                    Kind::Blobs => blobs |= selected,
                    Kind::Floats | Kind::FloatsWithStarts => floats |= selected,
                }
            }
        }
        if blobs.is_empty() {
            return Ok(false);
        }
        // A series that has both is there twice, and what it has of one interval may be of both kinds.
        let blobs = blobs.iter().map(|series| reader.fingerprint(series));
        let blobs: HashSet<u128> = blobs.collect::<Result<_, _>>()?;
        for series in floats {
            if blobs.contains(&reader.fingerprint(series)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether two times are both in (k · every, (k + 1) · every] for some k.
pub(crate) fn is_same_interval(one_ms: i64, other_ms: i64, every_ms: i64) -> bool {
    let interval = |time_ms: i64| time_ms.saturating_sub(1).div_euclid(every_ms);
    interval(one_ms) == interval(other_ms)
}
