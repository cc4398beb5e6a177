//! Records: what the catalogue and the segments say.
//!
//! The catalogue defines series; segments hold samples under the numbers of their series, in runs that share
//! one timestamp, which is how they come from a scrape.

use crate::{
    batch::Metadata,
    bytes::{Malformed, Put, Reader},
    canonical::Canonical,
    head::row::Cell,
    wal::frame::put_record,
};

const SERIES: u8 = 1;
const SAMPLES: u8 = 2;
const EXEMPLAR: u8 = 3;
const METADATA: u8 = 4;

const FLOATS: u8 = 0;
const FLOATS_WITH_STARTS: u8 = 1;
const BLOBS: u8 = 2;

/// A record is closed after so many bytes, so that a reader never needs much memory.
const SAMPLES_BYTES: usize = 1 << 20;
const RUN_MAX: usize = 1 << 16;
/// A run of blobs is shorter: each may have [`BLOB_MAX`] bytes.
const BLOB_RUN_MAX: usize = 64;
/// No sample, definition, exemplar or metadata takes more bytes, so that no record is longer than is read.
pub(crate) const BLOB_MAX: usize = 64 << 10;

/// A sample of a series that has its number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoggedSample {
    pub(crate) series: u32,
    pub(crate) timestamp_ms: i64,
    pub(crate) start_ms: i64,
    pub(crate) cell: Cell,
}

/// An exemplar of a series that has its number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoggedExemplar {
    pub(crate) series: u32,
    pub(crate) timestamp_ms: i64,
    pub(crate) value: f64,
    pub(crate) labels: Vec<(String, String)>,
}

/// What a record says.
#[derive(Debug)]
pub(crate) enum Record {
    Series {
        number: u32,
        source: String,
        labels: Canonical,
    },
    Samples(Vec<LoggedSample>),
    Exemplar(LoggedExemplar),
    Metadata(Metadata),
}

/// `labels`: the form of [`Canonical::bytes`].
pub(crate) fn put_series(out: &mut Vec<u8>, number: u32, source: &str, labels: &[u8]) {
    put_record(out, SERIES, |out| {
        out.put_varint(u64::from(number));
        out.put_text(source);
        out.put(labels);
    });
}

pub(crate) fn put_exemplar(out: &mut Vec<u8>, exemplar: &LoggedExemplar) {
    put_record(out, EXEMPLAR, |out| {
        out.put_varint(u64::from(exemplar.series));
        out.put_zigzag(exemplar.timestamp_ms);
        out.put(&exemplar.value.to_bits().to_le_bytes());
        for (name, value) in &exemplar.labels {
            out.put_text(name);
            out.put_text(value);
        }
    });
}

pub(crate) fn put_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    put_record(out, METADATA, |out| {
        for text in [
            &metadata.family,
            &metadata.kind,
            &metadata.unit,
            &metadata.help,
        ] {
            out.put_text(text);
        }
    });
}

pub(crate) fn put_samples(out: &mut Vec<u8>, samples: &[LoggedSample]) {
    let mut rest = samples;
    while !rest.is_empty() {
        put_record(out, SAMPLES, |out| {
            let start = out.len();
            let mut before_ms = 0;
            while let Some(first) = rest.first() {
                let same = |sample: &&LoggedSample| {
                    sample.timestamp_ms == first.timestamp_ms && run_kind(sample) == run_kind(first)
                };
                let run_max = if run_kind(first) == BLOBS {
                    BLOB_RUN_MAX
                } else {
                    RUN_MAX
                };
                let run = rest.iter().take(run_max).take_while(same).count();
                let (run, after) = rest.split_at(run);
                put_run(out, run, before_ms);
                before_ms = first.timestamp_ms;
                rest = after;
                if out.len() - start > SAMPLES_BYTES {
                    break;
                }
            }
        });
    }
}

fn run_kind(sample: &LoggedSample) -> u8 {
    match (&sample.cell, sample.start_ms) {
        (Cell::Float(_), 0) => FLOATS,
        (Cell::Float(_), _) => FLOATS_WITH_STARTS,
        (Cell::Blob(_), _) => BLOBS,
    }
}

fn put_run(out: &mut Vec<u8>, run: &[LoggedSample], before_ms: i64) {
    let first = &run[0];
    out.put(&[run_kind(first)]);
    out.put_zigzag(first.timestamp_ms.wrapping_sub(before_ms));
    out.put_count(run.len());
    let mut before = -1;
    for sample in run {
        let series = i64::from(sample.series);
        out.put_zigzag(series - before - 1);
        before = series;
    }
    for sample in run {
        match &sample.cell {
            Cell::Float(bits) => out.put(&bits.to_le_bytes()),
            Cell::Blob(blob) => {
                out.put_count(blob.len());
                out.put(blob);
            }
        }
    }
    if run_kind(first) == FLOATS_WITH_STARTS {
        for sample in run {
            out.put_zigzag(sample.timestamp_ms.wrapping_sub(sample.start_ms));
        }
    }
}

pub(crate) fn read(kind: u8, payload: &[u8]) -> Result<Record, Malformed> {
    let mut reader = Reader::new(payload);
    let record = match kind {
        SERIES => Record::Series {
            number: reader.varint_u32()?,
            source: reader.text()?.to_owned(),
            labels: canonical(&mut reader)?,
        },
        SAMPLES => Record::Samples(samples(&mut reader)?),
        EXEMPLAR => Record::Exemplar(LoggedExemplar {
            series: reader.varint_u32()?,
            timestamp_ms: reader.zigzag()?,
            value: reader.f64()?,
            labels: pairs(&mut reader)?,
        }),
        METADATA => {
            let mut text = || reader.text().map(str::to_owned);
            Record::Metadata(Metadata {
                family: text()?,
                kind: text()?,
                unit: text()?,
                help: text()?,
            })
        }
        _ => return Err(Malformed::at("kind of record")),
    };
    if reader.is_empty() {
        Ok(record)
    } else {
        Err(Malformed::at("end of record"))
    }
}

fn canonical(reader: &mut Reader<'_>) -> Result<Canonical, Malformed> {
    let mut canonical = Canonical::default();
    while !reader.is_empty() {
        canonical.push(reader.text()?, reader.text()?);
    }
    Ok(canonical)
}

fn pairs(reader: &mut Reader<'_>) -> Result<Vec<(String, String)>, Malformed> {
    let mut pairs = Vec::new();
    while !reader.is_empty() {
        pairs.push((reader.text()?.to_owned(), reader.text()?.to_owned()));
    }
    Ok(pairs)
}

fn samples(reader: &mut Reader<'_>) -> Result<Vec<LoggedSample>, Malformed> {
    let mut samples = Vec::new();
    let mut timestamp_ms: i64 = 0;
    while !reader.is_empty() {
        let kind = reader.u8()?;
        timestamp_ms = timestamp_ms.wrapping_add(reader.zigzag()?);
        let count = reader.count(2)?;
        let first = samples.len();
        let mut before: i64 = -1;
        for _ in 0..count {
            let step = reader.zigzag()?;
            before = before
                .checked_add(1)
                .and_then(|next| next.checked_add(step))
                .unwrap_or(-1);
            samples.push(LoggedSample {
                series: u32::try_from(before).map_err(|_| Malformed::at("series"))?,
                timestamp_ms,
                start_ms: 0,
                cell: Cell::Float(0),
            });
        }
        let run = &mut samples[first..];
        for sample in run.iter_mut() {
            sample.cell = match kind {
                FLOATS | FLOATS_WITH_STARTS => Cell::Float(reader.u64()?),
                BLOBS => {
                    let length = reader.count(1)?;
                    Cell::Blob(Box::from(reader.bytes(length)?))
                }
                _ => return Err(Malformed::at("kind of run")),
            };
        }
        if kind == FLOATS_WITH_STARTS {
            for sample in run.iter_mut() {
                sample.start_ms = timestamp_ms.wrapping_sub(reader.zigzag()?);
            }
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::frame::{Frames, Next};
    use proptest::{collection::vec, prelude::*};

    fn logged() -> impl Strategy<Value = LoggedSample> {
        let cell = prop_oneof![
            4 => any::<u64>().prop_map(Cell::Float),
            1 => any::<Vec<u8>>().prop_map(|bytes| Cell::Blob(bytes.into())),
        ];
        let time = prop_oneof![4 => 0i64..3, 1 => any::<i64>()];
        let start = prop_oneof![Just(0i64), any::<i64>()];
        (0u32..9, time, start, cell).prop_map(|(series, timestamp_ms, start_ms, cell)| {
            // The start of a blob is within the blob.
            let start_ms = if matches!(cell, Cell::Blob(_)) {
                0
            } else {
                start_ms
            };
            LoggedSample {
                series,
                timestamp_ms,
                start_ms,
                cell,
            }
        })
    }

    proptest! {
        #[test]
        fn samples_are_read_as_they_were_written(samples in vec(logged(), 0..40)) {
            let mut bytes = Vec::new();
            put_samples(&mut bytes, &samples);
            let mut frames = Frames::new(&bytes[..], 0);
            let mut found = Vec::new();
            while let Next::Record { kind, payload } = frames.next().unwrap() {
                let Record::Samples(samples) = read(kind, payload).unwrap() else { panic!() };
                found.extend(samples);
            }
            prop_assert_eq!(found, samples);
        }

        #[test]
        fn random_payloads_are_no_record_or_one(kind in 0u8..6, payload: Vec<u8>) {
            let _read = read(kind, &payload);
        }

        #[test]
        fn a_flipped_bit_is_never_read_as_a_record(
            samples in vec(logged(), 1..9),
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let mut bytes = Vec::new();
            put_samples(&mut bytes, &samples);
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            let mut frames = Frames::new(&bytes[..], 0);
            let next = frames.next().unwrap();
            prop_assert!(!matches!(next, Next::Record { .. }), "{:?}", next);
        }
    }
}
