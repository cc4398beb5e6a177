//! Upkeep: sealing, merging, expiring, what goes with age.
//!
//! One step at a time, each of bounded work, so that whoever calls can end soon. A step that fails (a full disk)
//! changes nothing and is tried again with the next call; what was frozen stays readable meanwhile. Only a merge is
//! given up whatever failed, since the room it takes may be what a seal lacks.

use std::{collections::HashMap, fs, sync::Arc};

use roaring::RoaringBitmap;

use crate::{
    age::Rules,
    error::{At, Error},
    head::Frozen,
    merge::{self, Merge},
    part::{Part, footer::Footer, write::PartWriter},
    seal,
    store::{Store, lock, read, write},
    wal::{self, record, record::LoggedExemplar},
};

/// No merge begins so soon after a failure.
const MERGE_PAUSE_MS: u64 = 5 * 60_000;

/// What is under way.
#[derive(Debug)]
pub(crate) struct Upkeep {
    /// Rows whose part isn't written yet, and the last segment that holds them.
    unsealed: Option<(Arc<Frozen>, u64)>,
    merge: Option<Merge>,
    /// When something failed last.
    failed_at_ms: Option<i64>,
    /// Parts in which the rules of this fingerprint change nothing, though they were written under others.
    settled: HashMap<u64, u64>,
    /// Series that had no samples at the last seal.
    pub(crate) idle: RoaringBitmap,
    /// Those that had none at the one before either.
    pub(crate) gone: RoaringBitmap,
    next_part: u64,
    secret: u64,
}

impl Upkeep {
    pub(crate) fn new(next_part: u64, secret: u64) -> Self {
        Upkeep {
            unsealed: None,
            merge: None,
            failed_at_ms: None,
            settled: HashMap::new(),
            idle: RoaringBitmap::new(),
            gone: RoaringBitmap::new(),
            next_part,
            secret,
        }
    }

    fn take_number(&mut self) -> u64 {
        self.next_part += 1;
        self.next_part - 1
    }

    /// After a failure, leaves the room of a merge to all else.
    fn note_failure<T>(&mut self, result: Result<T, Error>, now_ms: i64) -> Result<T, Error> {
        if result.is_err() {
            self.merge = None;
            self.failed_at_ms = Some(now_ms);
        }
        result
    }

    /// Not just after a failure: it would fill the disk again, and fail there.
    fn may_merge(&self, now_ms: i64) -> bool {
        let pauses = |failed_at_ms: i64| now_ms.abs_diff(failed_at_ms) < MERGE_PAUSE_MS;
        !self.failed_at_ms.is_some_and(pauses)
    }
}

/// What a call of [`Store::maintain`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maintained {
    /// Samples that went from the head into a part.
    pub sealed_samples: u64,
    /// Parts that became one.
    pub merged_parts: usize,
    /// Parts that were written anew without what their age leaves out.
    pub aged_parts: usize,
    /// Parts that were deleted because of their age or of the store's size.
    pub expired_parts: usize,
    /// Series that were forgotten because they report no more.
    pub forgotten_series: u64,
    /// Whether there is more to do at once.
    pub more: bool,
}

impl Store {
    /// Does what is due, but a bounded part of it: call it again at once while it says that there is more.
    pub fn maintain(&self, now_ms: i64) -> Result<Maintained, Error> {
        let mut upkeep = lock(&self.upkeep);
        let done = self.maintain_with(&mut upkeep, now_ms);
        upkeep.note_failure(done, now_ms)
    }

    fn maintain_with(&self, upkeep: &mut Upkeep, now_ms: i64) -> Result<Maintained, Error> {
        let mut done = Maintained::default();
        lock(&self.losses).forget_before(now_ms.saturating_sub(self.options.longest_ms()));
        // First, since on a full disk all else may wait for the room.
        done.expired_parts = self.expire(upkeep, now_ms)?;
        if self.seal_is_due(upkeep, now_ms) {
            done.sealed_samples = self.seal_now(upkeep, now_ms)?;
            done.forgotten_series = self.forget(upkeep)?;
            done.more = true;
            return Ok(done);
        }
        self.settle_doubts()?;
        done.more = true;
        if upkeep.merge.is_some() {
            let parts = self.merge_step(upkeep)?;
            // One alone only grew old.
            let count = match parts {
                1 => &mut done.aged_parts,
                _ => &mut done.merged_parts,
            };
            *count = parts;
        } else if !upkeep.may_merge(now_ms) {
            done.more = false;
        } else if !self.begin_merge(upkeep, now_ms)? {
            done.more = self.begin_aging(upkeep, now_ms)?;
        }
        Ok(done)
    }

    /// Seals the head, however full it is. The number of samples that went into a part.
    pub fn seal(&self, now_ms: i64) -> Result<u64, Error> {
        let mut upkeep = lock(&self.upkeep);
        let sealed = self.seal_now(&mut upkeep, now_ms);
        upkeep.note_failure(sealed, now_ms)
    }

    fn seal_is_due(&self, upkeep: &Upkeep, now_ms: i64) -> bool {
        if upkeep.unsealed.is_some() {
            return true;
        }
        let (since_ms, doubts) = {
            let writer = lock(&self.writer);
            (writer.filling_since_ms, writer.wal.doubts())
        };
        let (filling, bytes) = {
            let head = read(&self.head);
            (head.filling, head.bytes())
        };
        // Either way: the clock may have been set back.
        let old = now_ms.abs_diff(since_ms) >= self.options.seal_after_ms.unsigned_abs();
        let limit = self.options.limits.head_bytes;
        // Half way to the point where all samples are refused.
        let pressing = bytes > limit + limit / 8;
        let doubtful = doubts.segments.is_some();
        filling.samples > 0 && (doubtful || old || pressing || filling.bytes > limit / 2)
    }

    fn seal_now(&self, upkeep: &mut Upkeep, now_ms: i64) -> Result<u64, Error> {
        if upkeep.unsealed.is_none() {
            upkeep.unsealed = self.freeze(&upkeep.idle, now_ms)?;
        }
        let Some((frozen, segment)) = upkeep.unsealed.clone() else {
            return Ok(0);
        };
        let number = upkeep.take_number();
        let footer = Footer {
            secret: upkeep.secret,
            order: number,
            segment,
            ..Footer::default()
        };
        let directory = &self.options.directory;
        let mut writer = PartWriter::begin(directory, number, footer)?;
        for group in frozen.groups.iter().filter(|group| !group.rows.is_empty()) {
            let identities = seal::identities(&read(&self.head), group);
            seal::write_group(&mut writer, group, &identities)?;
        }
        let part = writer.finish(directory, number)?;
        self.publish(vec![Arc::new(part)], &[]);
        let reporting = frozen.reporting();
        let idle = read(&self.head).table.postings.all() - reporting;
        upkeep.gone = &idle & &upkeep.idle;
        upkeep.idle = idle;
        write(&self.head).frozen = None;
        upkeep.unsealed = None;
        lock(&self.writer).wal.sealed(segment);
        wal::remove_through(directory, segment)?;
        Ok(frozen.filling.samples)
    }

    /// Begins a new segment and takes the rows that the ones before it hold. Appends wait for no disk meanwhile.
    /// `idle`: series that may be forgotten before the next segment begins.
    fn freeze(
        &self,
        idle: &RoaringBitmap,
        now_ms: i64,
    ) -> Result<Option<(Arc<Frozen>, u64)>, Error> {
        if read(&self.head).filling.samples == 0 {
            return Ok(None);
        }
        let next = lock(&self.writer).wal.next_segment();
        // Exemplars live in no part: the new segment keeps them for a restart. Not those of series whose numbers may mean
        // other series by then.
        let is_kept = |exemplar: &&LoggedExemplar| !idle.contains(exemplar.series);
        let (mut records, known) = {
            let exemplars = lock(&self.exemplars);
            let kept = exemplars.iter().filter(is_kept);
            (exemplar_records(kept), exemplars.added)
        };
        let next = next.create(&records)?;
        let mut writer = lock(&self.writer);
        let segment = writer.wal.rotate(next);
        writer.filling_since_ms = now_ms;
        records = exemplar_records(lock(&self.exemplars).since(known).filter(is_kept));
        let frozen = write(&self.head).freeze();
        // What was taken out of the head has to become a part, whatever the disk says now: the log before it goes
        // away with the next one. A failure here costs a few exemplars, and that only with the next restart.
        writer.wal.append(&[], &records).ok();
        Ok(Some((frozen, segment)))
    }

    /// Changes the list of parts in one step.
    fn publish(&self, new: Vec<Arc<Part>>, gone: &[u64]) {
        let mut parts = write(&self.parts);
        let mut list: Vec<Arc<Part>> = parts
            .iter()
            .filter(|part| !gone.contains(&part.name.number))
            .cloned()
            .chain(new)
            .collect();
        list.sort_by_key(|part| part.footer.order);
        *parts = Arc::new(list);
    }

    fn remove(&self, gone: &[Arc<Part>]) -> Result<(), Error> {
        let numbers: Vec<u64> = gone.iter().map(|part| part.name.number).collect();
        self.publish(Vec::new(), &numbers);
        for part in gone {
            let path = &part.file.path;
            fs::remove_file(path).at("remove", path)?;
        }
        Ok(())
    }

    fn expire(&self, upkeep: &mut Upkeep, now_ms: i64) -> Result<usize, Error> {
        let oldest_ms = now_ms.saturating_sub(self.options.longest_ms());
        let parts = read(&self.parts).clone();
        let mut by_age: Vec<&Arc<Part>> = parts.iter().collect();
        by_age.sort_by_key(|part| part.footer.max_ms);
        let mut bytes: u64 = parts.iter().map(|part| part.file.length).sum();
        let mut gone = Vec::new();
        for part in by_age {
            if part.footer.max_ms < oldest_ms || bytes > self.options.retention_bytes {
                bytes -= part.file.length;
                gone.push(part.clone());
            }
        }
        let being_merged = upkeep
            .merge
            .as_ref()
            .is_some_and(|merge| merge.reads_any(&gone));
        if being_merged {
            upkeep.merge = None;
        }
        self.remove(&gone)?;
        Ok(gone.len())
    }

    /// Whether a merge is due.
    fn begin_merge(&self, upkeep: &mut Upkeep, now_ms: i64) -> Result<bool, Error> {
        let parts = read(&self.parts).clone();
        let Some((sources, level)) = merge::due(&parts, &self.options, now_ms) else {
            return Ok(false);
        };
        self.begin(upkeep, sources, level, now_ms)?;
        Ok(true)
    }

    /// Whether a part may have samples that it is too old for: then it is looked at, and written anew if it has.
    fn begin_aging(&self, upkeep: &mut Upkeep, now_ms: i64) -> Result<bool, Error> {
        let parts = read(&self.parts).clone();
        upkeep
            .settled
            .retain(|number, _| parts.iter().any(|part| part.name.number == *number));
        let rules = |part: &Part| Rules::at(&self.options, part.footer.max_ms, now_ms);
        let is_due = |part: &&Arc<Part>| {
            let fingerprint = rules(part).fingerprint();
            let settled = upkeep.settled.get(&part.name.number).copied();
            let is_settled = [Some(part.footer.rules), settled].contains(&Some(fingerprint));
            fingerprint != 0 && !is_settled && !part.is_damaged()
        };
        let due = parts.iter().filter(is_due);
        let Some(part) = due.min_by_key(|part| part.footer.max_ms) else {
            return Ok(false);
        };
        let rules = rules(part);
        let fates = rules.fates(part, &self.cache);
        let change = fates.and_then(|fates| fates.change(part, &self.cache));
        match self.healthy(change)? {
            Some(true) => self.begin(upkeep, vec![part.clone()], part.footer.level, now_ms)?,
            Some(false) => {
                let number = part.name.number;
                upkeep.settled.insert(number, rules.fingerprint());
            }
            None => {}
        }
        Ok(true)
    }

    /// Begins to make one part of some, or one of one that is too old for all it holds.
    fn begin(
        &self,
        upkeep: &mut Upkeep,
        sources: Vec<Arc<Part>>,
        level: u8,
        now_ms: i64,
    ) -> Result<(), Error> {
        let newest_ms = sources.iter().map(|part| part.footer.max_ms).max();
        let rules = Rules::at(&self.options, newest_ms.unwrap_or(now_ms), now_ms);
        let directory = &self.options.directory;
        let number = upkeep.take_number();
        let merge = Merge::begin(directory, number, level, sources, rules, &self.cache);
        upkeep.merge = self.healthy(merge)?;
        Ok(())
    }

    /// How many parts were replaced by one; zero while the merge goes on.
    fn merge_step(&self, upkeep: &mut Upkeep) -> Result<usize, Error> {
        let Some(mut merge) = upkeep.merge.take() else {
            return Ok(0);
        };
        match self.healthy(merge.step(&self.cache))? {
            None => return Ok(0),
            Some(false) => {
                upkeep.merge = Some(merge);
                return Ok(0);
            }
            Some(true) => {}
        }
        let (part, sources) = merge.finish(&self.options.directory)?;
        let numbers: Vec<u64> = sources.iter().map(|part| part.name.number).collect();
        self.publish(part.into_iter().map(Arc::new).collect(), &numbers);
        self.remove(&sources)?;
        Ok(sources.len())
    }

    /// A damaged part ends its merge, and is left out of later ones: what can be read of it still is.
    fn healthy<T>(&self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Damaged {
                path,
                offset,
                problem,
            }) => {
                if let Some(part) = read(&self.parts).iter().find(|part| part.file.path == path) {
                    part.mark_damaged();
                }
                let damage = Error::Damaged {
                    path,
                    offset,
                    problem,
                };
                lock(&self.damage).insert(damage.to_string());
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }
}

fn exemplar_records<'a>(exemplars: impl Iterator<Item = &'a LoggedExemplar>) -> Vec<u8> {
    let mut records = Vec::new();
    for exemplar in exemplars {
        record::put_exemplar(&mut records, exemplar);
    }
    records
}
