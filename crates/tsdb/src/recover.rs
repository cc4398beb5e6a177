//! Opening: parts, catalogue and log become a store again, whatever happened before.

use crate::{
    error::Error,
    exemplars::{Exemplars, Families},
    head::Head,
    losses::Losses,
    options::Options,
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
    pub(crate) exemplars: Exemplars,
    pub(crate) families: Families,
    pub(crate) losses: Losses,
    pub(crate) notices: Vec<String>,
}

/// `random`: the secret of a store that is made now.
pub(crate) fn recover(options: &Options, random: u64, now_ms: i64) -> Result<Recovered, Error> {
    let directory = &options.directory;
    let mut notices = Vec::new();
    let mut definitions = Vec::new();
    let mut families = Families::default();
    let found = replay::catalogue(directory, &mut |record| match record {
        Record::Series { .. } => definitions.push(record),
        Record::Metadata(metadata) => {
            families.add(&metadata, options.limits.families);
        }
        Record::Samples(_) | Record::Exemplar(_) => {}
    })?;
    let whole = found.as_ref().filter(|found| found.number.is_some());
    let secret = whole.and_then(|found| found.number).unwrap_or(random);
    let length = whole.map(|found| found.length);
    let mut losses = Losses::default();
    if let Some(found) = found {
        notices.extend(found.notices);
    }
    let mut head = Head::new(secret);
    define(&mut head, definitions);
    let mut exemplars = Exemplars::default();
    let mut unknown = 0;
    let mut last = 0;
    for number in wal::segments(directory)? {
        last = number;
        let replayed = replay::segment(directory, number, &mut |record| match record {
            Record::Samples(samples) => unknown += put(&mut head, samples),
            Record::Exemplar(exemplar) => exemplars.add(exemplar, options.limits.exemplars),
            Record::Series { .. } | Record::Metadata(_) => {}
        })?;
        if !replayed.notices.is_empty() {
            let from_ms = now_ms.saturating_sub(options.past_ms);
            losses.add(from_ms, now_ms, "the log of recent samples was damaged; some may be missing");
        }
        notices.extend(replayed.notices);
    }
    if unknown > 0 {
        notices.push(format!(
            "{unknown} samples in the log belong to series that the catalogue doesn't define: they are lost"
        ));
        let from_ms = now_ms.saturating_sub(options.past_ms);
        losses.add(from_ms, now_ms, "the catalogue of series was damaged; recent samples are missing");
    } else {
        head.table.give_free();
    }
    let wal = Wal::begin(directory, length, last + 1, secret)?;
    Ok(Recovered {
        wal,
        head,
        exemplars,
        families,
        losses,
        notices,
    })
}

fn define(head: &mut Head, definitions: Vec<Record>) {
    let mut beside = None;
    for record in definitions {
        let Record::Series { number, source, labels } = record else {
            continue;
        };
        let fingerprint = head.table.fingerprint(&labels);
        // A definition may be written twice when a crash came between.
        let known = head.table.get(number).is_some() || head.table.of_labels(&labels, fingerprint).is_some();
        if !known {
            let source = head.source(&source);
            head.define(number, &labels, fingerprint, source, beside);
        }
        beside = Some(number);
    }
}

/// How many samples belong to no series.
fn put(head: &mut Head, samples: Vec<LoggedSample>) -> u64 {
    let mut unknown = 0;
    for LoggedSample { series, timestamp_ms, start_ms, cell } in samples {
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
