//! One page of a target: read, its series relabelled, its samples stored, and the ends of series marked.
//!
//! A page is known by the bytes of its series. When they are the same as on the page before, nothing ended and nothing
//! began, and no label is parsed.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use pitcrew_ingest::{
    BadHistogram, Exemplar, Float, Histogram, Metadata, RawSeries, Sink,
    relabel::relabel,
    text::{self, Format},
};
use pitcrew_promql::{
    labels::{Labels, LabelsBuilder},
    storage::stale,
};
use pitcrew_tsdb::{Accepted, Batch, RawLabels, Sample, Value};

use super::plan::Plan;
use crate::telemetry::{Gathered, Keys, NotTaken, Telemetry};

/// Before the names of series about the scrape itself, which no rule changes; no series of a page begins so.
const ABOUT: u8 = 0;

/// What a target's pages have in common.
pub(super) struct Pages {
    labels: Labels,
    /// Whom limits are counted for.
    source: String,
    /// All that decides what a page's series are called.
    scope: Vec<u8>,
    /// Of the last page that was stored.
    seen: Seen,
    /// Series that rules drop, and those that they keep, by the hash of their bytes.
    decided: HashMap<u64, bool>,
    hasher: RandomState,
}

#[derive(Default)]
struct Seen {
    keys: Keys,
    /// Series with times of their own: when they are absent they have not ended.
    timed: HashSet<u32>,
}

/// What one scrape came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scraped {
    pub(super) at_ms: i64,
    pub(super) took_seconds: f64,
    /// Of the page, and of it after the rules.
    pub(super) samples: usize,
    pub(super) kept: usize,
    pub(super) added: usize,
}

impl Pages {
    pub(super) fn new(plan: &Plan, labels: &Labels) -> Self {
        let scrape = &plan.scrape;
        Self {
            labels: labels.clone(),
            source: format!("scrape {} of {}", scrape.name, labels.get("instance")),
            scope: format!(
                "scrape {labels} {} {:?}",
                scrape.honor_labels, scrape.metric_relabel
            )
            .into_bytes(),
            seen: Seen::default(),
            decided: HashMap::new(),
            hasher: RandomState::new(),
        }
    }

    /// Reads and stores a page. Nothing of one that is refused is stored, and the series of the page before end.
    pub(super) fn take(
        &mut self,
        plan: &Plan,
        telemetry: &Telemetry,
        page: Result<(Format, &[u8]), String>,
        mut scraped: Scraped,
    ) -> Result<Scraped, String> {
        let read = page.and_then(|(format, text)| self.read(plan, format, text, scraped.at_ms));
        let (now, samples, error) = match read {
            Ok((page, timed, samples)) => {
                let new = self.new_series(&page.keys);
                match self.check(plan, &page, &new) {
                    Ok(()) => {
                        scraped.added = new.len();
                        scraped.kept = page.len();
                        (Some((page, timed)), samples, None)
                    }
                    Err(error) => (None, samples, Some(error)),
                }
            }
            Err(error) => (None, 0, Some(error)),
        };
        scraped.samples = samples;
        let (page, timed) = now.unwrap_or_default();
        let is_up = error.is_none();
        let stored = self.store(plan, telemetry, &page, &scraped, is_up);
        let refused = stored.map_err(|error| error.to_string())?.refused;
        self.seen = Seen {
            keys: page.keys,
            timed,
        };
        match (error, refused.examples.first()) {
            (Some(error), _) => Err(error),
            (None, Some(first)) => Err(format!(
                "{} samples were not stored, the first: {first}",
                refused.count
            )),
            (None, None) => Ok(scraped),
        }
    }

    /// The target is gone: so are its series.
    pub(super) fn end(&mut self, plan: &Plan, telemetry: &Telemetry, at_ms: i64) {
        let mut samples = Vec::new();
        self.ended(&Keys::default(), at_ms, &mut samples);
        let abouts = ABOUTS.map(about);
        samples.extend(abouts.iter().map(|key| float(key, at_ms, stale())));
        if let Err(error) = self.append(plan, telemetry, &samples, None) {
            tracing::debug!(%error, "failed to mark the end of a target's series");
        }
    }

    fn read(
        &mut self,
        plan: &Plan,
        format: Format,
        text: &[u8],
        at_ms: i64,
    ) -> Result<(Gathered, HashSet<u32>, usize), String> {
        let mut reading = Reading {
            gathered: Gathered::at(at_ms),
            timed: HashSet::new(),
            samples: 0,
            plan,
            pages: self,
        };
        text::read(format, text, &mut reading).map_err(|error| error.to_string())?;
        let Reading {
            gathered,
            timed,
            samples,
            ..
        } = reading;
        // Series that are no more must not be remembered for ever.
        if self.decided.len() > 2 * samples + 1_000 {
            self.decided.clear();
        }
        Ok((gathered, timed, samples))
    }

    fn new_series<'k>(&self, now: &'k Keys) -> Vec<&'k [u8]> {
        if *now == self.seen.keys {
            return Vec::new();
        }
        let before: HashSet<&[u8]> = self.seen.keys.iter().collect();
        let mut new: Vec<&[u8]> = now.iter().filter(|key| !before.contains(key)).collect();
        new.sort_unstable();
        new.dedup();
        new
    }

    /// Limits on the page and on the labels of series that the page before had not.
    fn check(&self, plan: &Plan, page: &Gathered, new: &[&[u8]]) -> Result<(), String> {
        let limits = &plan.scrape.limits;
        let exceeds = |found: usize, limit: Option<u64>| {
            limit.filter(|limit| u64::try_from(found).is_ok_and(|found| found > *limit))
        };
        if let Some(limit) = exceeds(page.len(), limits.samples_max) {
            return Err(format!(
                "{} samples, more than `sample_max` {limit}",
                page.len()
            ));
        }
        let limits_labels = limits.labels_max.is_some()
            || limits.label_name_bytes_max.is_some()
            || limits.label_value_bytes_max.is_some();
        if !limits_labels {
            return Ok(());
        }
        for key in new {
            let labels = self.labelled(plan, key)?;
            let labels = labels.ok_or("a series was kept and dropped")?;
            if let Some(limit) = exceeds(labels.len(), limits.labels_max) {
                return Err(format!("{labels} has more labels than `label_max` {limit}"));
            }
            for label in labels.iter() {
                if let Some(limit) = exceeds(label.name.len(), limits.label_name_bytes_max) {
                    return Err(format!(
                        "{labels} has a name longer than `label_name_max` {limit}"
                    ));
                }
                if let Some(limit) = exceeds(label.value.len(), limits.label_value_bytes_max) {
                    let name = &label.name;
                    return Err(format!("`{name}` is longer than `label_value_max` {limit}"));
                }
            }
        }
        Ok(())
    }

    /// What a series of the page is called in the end; nothing where a rule drops it.
    fn labelled(&self, plan: &Plan, key: &[u8]) -> Result<Option<Labels>, String> {
        let (key, is_about) = match key.split_first() {
            Some((&ABOUT, name)) => (name, true),
            _ => (key, false),
        };
        let mut labels = LabelsBuilder::default();
        let read = RawSeries::Text(key).each_label(|name, value| {
            labels.set(name, value);
        });
        read.map_err(|error| error.to_string())?;
        for own in self.labels.iter() {
            let given = labels.get(&own.name).to_owned();
            if given.is_empty() {
                labels.set(&own.name, &own.value);
            } else if is_about || !plan.scrape.honor_labels {
                let mut other = format!("exported_{}", own.name);
                while !labels.get(&other).is_empty() || self.labels.has(&other) {
                    other.insert_str(0, "exported_");
                }
                labels.set(&other, &given).set(&own.name, &own.value);
            }
        }
        let labels = labels.build();
        match is_about {
            true => Ok(Some(labels)),
            false => Ok(relabel(&plan.metric_rules, &labels)),
        }
    }

    fn is_kept(&mut self, plan: &Plan, series: &[u8]) -> bool {
        if plan.metric_rules.is_empty() {
            return true;
        }
        let hash = self.hasher.hash_one(series);
        if let Some(is_kept) = self.decided.get(&hash) {
            return *is_kept;
        }
        // What can't be read is kept: the store says what is wrong with it.
        let is_kept = !matches!(self.labelled(plan, series), Ok(None));
        self.decided.insert(hash, is_kept);
        is_kept
    }

    fn store(
        &self,
        plan: &Plan,
        telemetry: &Telemetry,
        page: &Gathered,
        scraped: &Scraped,
        is_up: bool,
    ) -> Result<Accepted, NotTaken> {
        let at_ms = scraped.at_ms;
        let mut samples = page.samples();
        self.ended(&page.keys, at_ms, &mut samples);
        let values = [
            f64::from(u8::from(is_up)),
            scraped.took_seconds,
            scraped.samples as f64,
            scraped.kept as f64,
            scraped.added as f64,
        ];
        let abouts = ABOUTS.map(about);
        let about = abouts.iter().zip(values);
        samples.extend(about.map(|(key, value)| float(key, at_ms, value)));
        self.append(plan, telemetry, &samples, Some(page))
    }

    /// Series of the page before that this one lacks.
    fn ended<'a>(&'a self, now: &Keys, at_ms: i64, samples: &mut Vec<Sample<'a>>) {
        if *now == self.seen.keys {
            return;
        }
        let now: HashSet<&[u8]> = now.iter().collect();
        let before = (0..).zip(self.seen.keys.iter());
        let gone =
            before.filter(|(number, key)| !now.contains(key) && !self.seen.timed.contains(number));
        samples.extend(gone.map(|(_, key)| float(key, at_ms, stale())));
    }

    fn append(
        &self,
        plan: &Plan,
        telemetry: &Telemetry,
        samples: &[Sample<'_>],
        page: Option<&Gathered>,
    ) -> Result<Accepted, NotTaken> {
        telemetry.append(&Batch {
            source: &self.source,
            scope: &self.scope,
            labels_of: &|key, out: &mut RawLabels| {
                let labels = self.labelled(plan, key)?;
                let labels = labels.ok_or("a rule drops it")?;
                labels
                    .iter()
                    .for_each(|label| out.push(&label.name, &label.value));
                Ok(())
            },
            samples,
            exemplars: &page.map(Gathered::exemplars).unwrap_or_default(),
            metadata: &page.map(Gathered::metadata).unwrap_or_default(),
        })
    }
}

/// Series about the scrape itself.
const ABOUTS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

fn about(name: &str) -> Vec<u8> {
    [&[ABOUT], name.as_bytes()].concat()
}

fn float(key: &[u8], timestamp_ms: i64, value: f64) -> Sample<'_> {
    Sample {
        key,
        timestamp_ms,
        start_ms: 0,
        value: Value::Float(value),
    }
}

/// Gathers what the rules keep.
struct Reading<'a> {
    gathered: Gathered,
    timed: HashSet<u32>,
    samples: usize,
    plan: &'a Plan,
    pages: &'a mut Pages,
}

impl Reading<'_> {
    fn at(&mut self, series: u32, at_ms: Option<i64>) -> Option<i64> {
        let at_ms = at_ms.filter(|_| self.plan.scrape.honor_timestamps);
        if at_ms.is_some() {
            self.timed.insert(series);
        }
        at_ms
    }
}

impl Sink for Reading<'_> {
    type Series = u32;

    fn series(&mut self, series: RawSeries<'_>) -> Option<u32> {
        // In text each series is told with one sample.
        self.samples += 1;
        let is_kept = self.pages.is_kept(self.plan, series.bytes());
        is_kept.then(|| self.gathered.series(series)).flatten()
    }

    fn float(&mut self, series: u32, sample: Float) {
        let at_ms = self.at(series, sample.at_ms);
        self.gathered.float(series, Float { at_ms, ..sample });
    }

    fn histogram(&mut self, series: u32, sample: Histogram) {
        let at_ms = self.at(series, sample.at_ms);
        self.gathered
            .histogram(series, Histogram { at_ms, ..sample });
    }

    fn bad_histogram(&mut self, series: u32, why: BadHistogram) {
        self.gathered.bad_histogram(series, why);
    }

    fn exemplar(&mut self, series: u32, exemplar: Exemplar<'_>) {
        self.gathered.exemplar(series, exemplar);
    }

    fn metadata(&mut self, metadata: Metadata<'_>) {
        Sink::metadata(&mut self.gathered, metadata);
    }
}
