//! Opening: parts, catalogue and log become a store again, whatever happened before.

use std::{collections::BTreeSet, fs, sync::Arc};

use roaring::RoaringBitmap;

use crate::{
    canonical::Canonical,
    error::{At, Error},
    exemplars::{Exemplars, Families},
    head::Head,
    losses::Losses,
    options::Options,
    part::{Part, PartName},
    wal::{
        self, Wal,
        record::{LoggedSample, Record},
        replay,
    },
};

/// What a directory holds.
pub(crate) struct Recovered {
    pub(crate) wal: Wal,
    pub(crate) head: Head,
    pub(crate) parts: Vec<Arc<Part>>,
    pub(crate) exemplars: Exemplars,
    pub(crate) families: Families,
    pub(crate) losses: Losses,
    pub(crate) notices: Vec<String>,
    pub(crate) next_part: u64,
    pub(crate) secret: u64,
}

/// `random`: the secret of a store that is made now.
pub(crate) fn recover(options: &Options, random: u64, now_ms: i64) -> Result<Recovered, Error> {
    let directory = &options.directory;
    let mut recovery = Recovery {
        options,
        now_ms,
        losses: Losses::default(),
        notices: Vec::new(),
    };
    let mut parts = recovery.parts()?;
    let of_parts = parts.first().map(|part| part.footer.secret);
    let secret = replay::secret(directory)?.or(of_parts).unwrap_or(random);
    let next_part = parts
        .iter()
        .map(|part| part.name.number + 1)
        .max()
        .unwrap_or(0);
    recovery.drop_strangers(&mut parts, secret)?;
    recovery.missing_parts()?;
    let sealed = parts
        .iter()
        .map(|part| part.footer.segment)
        .max()
        .unwrap_or(0);
    let mut head = Head::new(secret);
    let mut families = Families::default();
    let length = recovery.catalogue(&mut head, &mut families)?;
    let mut exemplars = Exemplars::default();
    let last = recovery.log(&mut head, &mut exemplars, sealed)?;
    let wal = Wal::begin(directory, length, last + 1, secret)?;
    Ok(Recovered {
        wal,
        head,
        parts,
        exemplars,
        families,
        losses: recovery.losses,
        notices: recovery.notices,
        next_part,
        secret,
    })
}

struct Recovery<'a> {
    options: &'a Options,
    now_ms: i64,
    losses: Losses,
    notices: Vec<String>,
}

impl Recovery<'_> {
    /// Opens all parts, ascending by order. What can't be one is put aside.
    fn parts(&mut self) -> Result<Vec<Arc<Part>>, Error> {
        let folder = self.options.directory.join("parts");
        // What parts hold is deleted from the log below. Whoever named them may have died before the names were flushed.
        wal::sync_directory(&folder)?;
        let mut parts = Vec::new();
        for entry in fs::read_dir(&folder).at("read", &folder)? {
            let path = entry.at("read", &folder)?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.ends_with(".tmp") {
                // A crash came before it was whole; what it was made from is still there.
                fs::remove_file(&path).at("remove", &path)?;
                continue;
            }
            let Some(name) = PartName::parse(&name) else {
                self.notices
                    .push(format!("{} is no part: it is left alone", path.display()));
                continue;
            };
            match Part::open(&path, name) {
                Ok(part) => parts.push(Arc::new(part)),
                Err(error @ Error::Damaged { .. }) => self.put_aside(name, &error.to_string())?,
                Err(other) => return Err(other),
            }
        }
        // A crash came before the sources of a merge were deleted.
        let merged: BTreeSet<u64> = parts
            .iter()
            .flat_map(|part| part.footer.merged.clone())
            .collect();
        for part in parts
            .iter()
            .filter(|part| merged.contains(&part.name.number))
        {
            let path = &part.file.path;
            fs::remove_file(path).at("remove", path)?;
        }
        parts.retain(|part| !merged.contains(&part.name.number));
        parts.sort_by_key(|part| part.footer.order);
        Ok(parts)
    }

    /// What was put aside earlier stays missing until somebody takes it away from there.
    fn missing_parts(&mut self) -> Result<(), Error> {
        let folder = self.options.directory.join("quarantine");
        for entry in fs::read_dir(&folder).at("read", &folder)? {
            let path = entry.at("read", &folder)?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if let Some(name) = PartName::parse(&name) {
                let what = format!("a part is missing: {} can't be read", path.display());
                self.losses.add(name.min_ms, name.max_ms, &what);
            }
        }
        Ok(())
    }

    fn put_aside(&mut self, name: PartName, problem: &str) -> Result<(), Error> {
        let directory = &self.options.directory;
        let path = name.path(directory);
        let notice = replay::put_aside(directory, &path, problem)?;
        fs::remove_file(&path).at("remove", &path)?;
        self.notices.push(notice);
        Ok(())
    }

    /// A part whose series were named with another store's secret can't be matched with ours.
    fn drop_strangers(&mut self, parts: &mut Vec<Arc<Part>>, secret: u64) -> Result<(), Error> {
        for part in parts.iter().filter(|part| part.footer.secret != secret) {
            let problem = format!("{} belongs to another store", part.file.path.display());
            self.put_aside(part.name, &problem)?;
        }
        parts.retain(|part| part.footer.secret == secret);
        Ok(())
    }

    /// Reads series and metadata. Where the catalogue's whole records end, if there is one.
    fn catalogue(
        &mut self,
        head: &mut Head,
        families: &mut Families,
    ) -> Result<Option<u64>, Error> {
        let mut beside = None;
        let found = replay::catalogue(&self.options.directory, &mut |record| match record {
            Record::Series {
                number,
                source,
                labels,
            } => {
                define(head, number, &source, &labels, beside);
                beside = Some(number);
            }
            Record::Metadata(metadata) => {
                families.restore(&metadata, self.options.limits.families);
            }
            Record::Samples(_) | Record::Exemplar(_) => {}
        })?;
        let Some(found) = found else {
            return Ok(None);
        };
        self.notices.extend(found.notices);
        Ok(found.number.map(|_| found.length))
    }

    /// Reads the segments after `sealed` into the head, and deletes those before. The number of the last one.
    fn log(
        &mut self,
        head: &mut Head,
        exemplars: &mut Exemplars,
        sealed: u64,
    ) -> Result<u64, Error> {
        let directory = &self.options.directory;
        let mut unknown = 0;
        let mut last = sealed;
        for number in wal::segments(directory)? {
            if number <= sealed {
                let path = wal::segment_path(directory, number);
                fs::remove_file(&path).at("remove", &path)?;
                continue;
            }
            last = number;
            let replayed = replay::segment(directory, number, &mut |record| match record {
                Record::Samples(samples) => unknown += put(head, samples),
                Record::Exemplar(exemplar) => {
                    exemplars.add(exemplar, self.options.limits.exemplars)
                }
                Record::Series { .. } | Record::Metadata(_) => {}
            })?;
            if replayed.is_damaged {
                self.lost("the log of recent samples was damaged; some may be missing");
            }
            self.notices.extend(replayed.notices);
        }
        if unknown > 0 {
            self.notices.push(format!(
                "{unknown} samples in the log belong to series that the catalogue doesn't define: they are lost"
            ));
            self.lost("the catalogue of series was damaged; recent samples are missing");
        } else {
            head.table.give_free();
        }
        // An exemplar's series may have gone with what was lost.
        exemplars.retain(|series| head.table.get(series).is_some());
        Ok(last)
    }

    fn lost(&mut self, what: &str) {
        let from_ms = self.now_ms.saturating_sub(self.options.past_ms);
        self.losses.add(from_ms, self.now_ms, what);
    }
}

fn define(head: &mut Head, number: u32, source: &str, labels: &Canonical, beside: Option<u32>) {
    let fingerprint = head.table.fingerprint(labels);
    let known = head.table.of_labels(labels, fingerprint);
    if known == Some(number) {
        // Written twice, since a write failed half way or a catalogue was written anew meanwhile.
        return;
    }
    // What was said before of the number or the series is no longer true: it had been forgotten.
    let untrue = known.into_iter().chain([number]);
    let untrue = untrue.filter(|number| head.table.get(*number).is_some());
    let untrue: RoaringBitmap = untrue.collect();
    if !untrue.is_empty() {
        head.forget(&untrue);
    }
    let source = head.source(source);
    head.define(number, labels, fingerprint, source, beside);
}

/// How many samples belong to no series.
fn put(head: &mut Head, samples: Vec<LoggedSample>) -> u64 {
    let mut unknown = 0;
    for LoggedSample {
        series,
        timestamp_ms,
        start_ms,
        cell,
    } in samples
    {
        if head.table.get(series).is_some() {
            head.put(series, timestamp_ms, cell, start_ms);
        } else {
            // A number that was used must not come to mean another series.
            head.table.reserve_numbers(series);
            unknown += 1;
        }
    }
    unknown
}
