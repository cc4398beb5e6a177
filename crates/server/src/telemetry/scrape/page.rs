//! One page of a target: read, its samples stored, and the ends of series marked.
//!
//! A page is known by the bytes of its series. When they are the same as on the page before, nothing ended and nothing
//! began, and no label is parsed. When the scrape's rules changed in between, or the form of the page, series are compared
//! by their labels: what goes on has no end.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use pitcrew_promql::{labels::Labels, storage::stale};
use pitcrew_tsdb::{Accepted, Sample, Value};

use super::{
    fetch::Format,
    naming::{ABOUTS, Beside, Naming, about},
    plan::Plan,
    reading::Reading,
};
use crate::telemetry::{Form, Gathered, Keys, NotTaken, Telemetry};

/// What a target's pages have in common.
pub(super) struct Pages {
    naming: Naming,
    /// Of the last page that was stored.
    seen: Option<Seen>,
    /// The same of former rules, until a page by the rules of now is stored.
    before: Vec<(Naming, Seen)>,
    /// Series that rules drop, and those that they keep, by the hash of their bytes.
    decided: HashMap<u64, bool>,
    hasher: RandomState,
    /// What one page may take in memory when it is read.
    bytes_max: usize,
}

/// What a page had.
struct Seen {
    form: Form,
    keys: Keys,
    /// Series with times of their own: when they are absent they have not ended.
    timed: HashSet<u32>,
}

impl Seen {
    /// Keys of series that end when they are absent.
    fn lasting(&self) -> impl Iterator<Item = &[u8]> {
        let keys = (0..).zip(self.keys.iter());
        let lasting = keys.filter(|(number, _)| !self.timed.contains(number));
        lasting.map(|(_, key)| key)
    }
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
    pub(super) fn new(plan: Arc<Plan>, labels: &Labels, bytes_max: usize) -> Self {
        Self {
            naming: Naming::new(plan, labels),
            seen: None,
            before: Vec::new(),
            decided: HashMap::new(),
            hasher: RandomState::new(),
            bytes_max,
        }
    }

    /// The target goes on by another plan.
    pub(super) fn change(&mut self, plan: Arc<Plan>) {
        let naming = self.naming.by(plan);
        let before = std::mem::replace(&mut self.naming, naming);
        self.before
            .extend(self.seen.take().map(|seen| (before, seen)));
        self.decided.clear();
    }

    /// Reads and stores a page. Nothing of one that is refused is stored, and the series of the page before end.
    pub(super) fn take(
        &mut self,
        telemetry: &Telemetry,
        page: Result<(Format, &[u8]), String>,
        mut scraped: Scraped,
    ) -> Result<Scraped, String> {
        let form = page
            .as_ref()
            .map_or(Form::Text, |(format, _)| format.form());
        let read = page.and_then(|(format, page)| self.read(format, page, &mut scraped));
        let (page, timed, error) = match read {
            Ok((page, timed)) => (page, timed, None),
            Err(error) => (Gathered::default(), HashSet::new(), Some(error)),
        };
        let stored = self.store(telemetry, form, &page, &scraped, error.is_none());
        let refused = stored.map_err(|error| error.to_string())?.refused;
        self.before.clear();
        self.seen = Some(Seen {
            form,
            keys: page.keys,
            timed,
        });
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
    pub(super) fn end(self, telemetry: &Telemetry, at_ms: i64) {
        let now = self.seen.map(|seen| (self.naming, seen));
        for (naming, seen) in self.before.into_iter().chain(now) {
            let abouts = ABOUTS.map(about);
            let keys = seen.lasting().chain(abouts.iter().map(Vec::as_slice));
            let samples: Vec<Sample<'_>> = keys.map(|key| float(key, at_ms, stale())).collect();
            let ended = naming.append(telemetry, seen.form, &samples, Beside::default());
            if let Err(error) = ended {
                tracing::debug!(%error, "failed to mark the end of a target's series");
            }
        }
    }

    /// What is read is counted in any case.
    fn read(
        &mut self,
        format: Format,
        page: &[u8],
        scraped: &mut Scraped,
    ) -> Result<(Gathered, HashSet<u32>), String> {
        let scrape = Arc::clone(&self.naming.plan.scrape);
        let bytes_max = self.bytes_max;
        let mut reading = Reading {
            gathered: Gathered::within(bytes_max, scraped.at_ms),
            timed: HashSet::new(),
            samples: 0,
            is_kept: |key: &[u8]| self.is_kept(format.form(), key),
            honors_timestamps: scrape.honor_timestamps,
            samples_max: scrape.limits.samples_max,
        };
        let read = format.read(page, &mut reading);
        scraped.samples = reading.samples;
        let exceeded = reading.exceeded();
        let Reading {
            gathered, timed, ..
        } = reading;
        // Series that are no more must not be remembered for ever, also of a page that is always refused.
        if self.decided.len() > self.decided_max().min(2 * scraped.samples + 1_000) {
            self.decided = HashMap::new();
        }
        if let Some(limit) = exceeded {
            return Err(format!("there are more samples than `sample_max` {limit}"));
        }
        if gathered.is_too_much {
            return Err(format!(
                "in memory the page takes more than a page may, {bytes_max} bytes: raise `metrics: {{ memory: … }}`"
            ));
        }
        read?;
        if let Some(why) = &gathered.why_bad {
            return Err(format!("a histogram contradicts itself: {why}"));
        }
        let new = self.new_series(format.form(), &gathered.keys);
        if self.naming.plan.limits_labels() {
            let mut checked = new.iter().map(|key| self.naming.check(format.form(), key));
            checked.try_for_each(|checked| checked)?;
        }
        scraped.added = new.len();
        scraped.kept = gathered.len();
        Ok((gathered, timed))
    }

    /// Series that the page before had not.
    fn new_series<'k>(&self, form: Form, now: &'k Keys) -> Vec<&'k [u8]> {
        let seen = self.seen.as_ref().filter(|seen| seen.form == form);
        let before: HashSet<&[u8]> = match seen {
            Some(seen) if seen.keys == *now => return Vec::new(),
            Some(seen) => seen.keys.iter().collect(),
            None => HashSet::new(),
        };
        let mut new: Vec<&[u8]> = now.iter().filter(|key| !before.contains(key)).collect();
        new.sort_unstable();
        new.dedup();
        new
    }

    fn is_kept(&mut self, form: Form, key: &[u8]) -> bool {
        if self.naming.plan.metric_rules.is_empty() {
            return true;
        }
        let hash = self.hasher.hash_one(key);
        if let Some(is_kept) = self.decided.get(&hash) {
            return *is_kept;
        }
        // What can't be read is kept: the store says what is wrong with it.
        let is_kept = !matches!(self.naming.labelled(form, key), Ok(None));
        if self.decided.len() <= self.decided_max() {
            self.decided.insert(hash, is_kept);
        }
        is_kept
    }

    /// Rules are asked again about what is beyond a sixteenth of a page's memory.
    fn decided_max(&self) -> usize {
        self.bytes_max / 16 / size_of::<(u64, bool)>()
    }

    fn store(
        &self,
        telemetry: &Telemetry,
        form: Form,
        page: &Gathered,
        scraped: &Scraped,
        is_up: bool,
    ) -> Result<Accepted, NotTaken> {
        let at_ms = scraped.at_ms;
        self.end_renamed(telemetry, form, &page.keys, at_ms)?;
        let mut samples = page.samples();
        if let Some(seen) = self.seen.as_ref().filter(|seen| seen.form == form) {
            samples.extend(ended(seen, &page.keys, at_ms));
        }
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
        let beside = Beside {
            exemplars: &page.exemplars(),
            metadata: &page.metadata(),
        };
        self.naming.append(telemetry, form, &samples, beside)
    }

    /// Marks the ends of series that were read by other rules or in another form, and that this page has not.
    fn end_renamed(
        &self,
        telemetry: &Telemetry,
        form: Form,
        now: &Keys,
        at_ms: i64,
    ) -> Result<(), NotTaken> {
        let seen = self.seen.as_ref().filter(|seen| seen.form != form);
        let before = self.before.iter().map(|(naming, seen)| (naming, seen));
        let before = before.chain(seen.map(|seen| (&self.naming, seen)));
        let before: Vec<(&Naming, &Seen)> = before.collect();
        if before.is_empty() {
            return Ok(());
        }
        let named = now.iter().map(|key| self.naming.labelled(form, key));
        let named: HashSet<Labels> = named.filter_map(|named| named.ok().flatten()).collect();
        for (naming, seen) in before {
            let goes_on = |key: &&[u8]| match naming.labelled(seen.form, key) {
                Ok(Some(labels)) => named.contains(&labels),
                Ok(None) | Err(_) => true,
            };
            let gone = seen.lasting().filter(|key| !goes_on(key));
            let samples: Vec<Sample<'_>> = gone.map(|key| float(key, at_ms, stale())).collect();
            naming.append(telemetry, seen.form, &samples, Beside::default())?;
        }
        Ok(())
    }
}

/// Series of the page before that this one lacks.
fn ended<'a>(seen: &'a Seen, now: &Keys, at_ms: i64) -> Vec<Sample<'a>> {
    if *now == seen.keys {
        return Vec::new();
    }
    let now: HashSet<&[u8]> = now.iter().collect();
    let gone = seen.lasting().filter(|key| !now.contains(key));
    gone.map(|key| float(key, at_ms, stale())).collect()
}

fn float(key: &[u8], timestamp_ms: i64, value: f64) -> Sample<'_> {
    Sample {
        key,
        timestamp_ms,
        start_ms: 0,
        value: Value::Float(value),
    }
}

#[cfg(test)]
mod tests;
