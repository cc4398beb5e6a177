//! Appending: bytes of the wire become samples of series.
//!
//! First every sample finds its series and is judged; then all that is taken is written to the log; only then it
//! is put into the head. So a failed write leaves nothing behind that a restart would not know.

use pitcrew_promql::{histogram::FloatHistogram, labels::Labels};
use twox_hash::{XxHash3_64, XxHash3_128};

use crate::{
    batch::{Accepted, Batch, IncomingExemplar, RawLabels, Reason, Value},
    blob,
    error::Error,
    head::{
        Head,
        row::{ABSENT, Cell, ELSEWHERE, Placed},
    },
    series::Canonical,
    store::{Store, lock, write},
    wal::{
        Wal,
        record::{self, LoggedExemplar, LoggedSample},
    },
};

/// Who appends: the log and buffers that are used again.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) wal: Wal,
    /// Since when the head fills.
    pub(crate) filling_since_ms: i64,
    /// Records of the catalogue that couldn't be written yet.
    unwritten: Vec<u8>,
    segment: Vec<u8>,
    samples: Vec<LoggedSample>,
    exemplars: Vec<LoggedExemplar>,
    raw: RawLabels,
}

impl Writer {
    pub(crate) fn new(wal: Wal, now_ms: i64) -> Self {
        Writer {
            wal,
            filling_since_ms: now_ms,
            unwritten: Vec::new(),
            segment: Vec::new(),
            samples: Vec::new(),
            exemplars: Vec::new(),
            raw: RawLabels::default(),
        }
    }

    /// Puts a catalogue of all series in place of the one there is.
    pub(crate) fn replace_catalogue(&mut self, records: &[u8]) -> Result<(), Error> {
        self.wal.replace_catalogue(records)?;
        self.unwritten.clear();
        Ok(())
    }

    /// Writes all that was prepared; on failure nothing of it counts.
    fn log(&mut self) -> Result<(), Error> {
        self.segment.clear();
        record::put_samples(&mut self.segment, &self.samples);
        for exemplar in &self.exemplars {
            record::put_exemplar(&mut self.segment, exemplar);
        }
        // New series stay known to the head whether or not their samples could be written: their records
        // wait here until they can.
        self.wal.append(&self.unwritten, &self.segment)?;
        self.unwritten.clear();
        Ok(())
    }
}

impl Store {
    /// Takes samples. When it returns, what it says was taken survives the death of this process; after
    /// [`Store::sync`] a power cut, too. One bad series never spoils the others.
    pub fn append(&self, batch: &Batch<'_>, now_ms: i64) -> Result<Accepted, Error> {
        let mut writer = lock(&self.writer);
        let mut accepted = Accepted::default();
        self.prepare(&mut writer, batch, now_ms, &mut accepted)?;
        writer.log()?;
        let mut head = write(&self.head);
        for LoggedSample {
            series,
            timestamp_ms,
            start_ms,
            cell,
        } in writer.samples.drain(..)
        {
            match head.put(series, timestamp_ms, cell, start_ms) {
                Placed::Stored { .. } => accepted.samples += 1,
                Placed::Duplicate => accepted.duplicates += 1,
            }
        }
        drop(head);
        let mut exemplars = lock(&self.exemplars);
        for exemplar in writer.exemplars.drain(..) {
            accepted.exemplars += 1;
            exemplars.add(exemplar, self.options.limits.exemplars);
        }
        Ok(accepted)
    }

    /// Finds the series of all samples and what is to be logged.
    fn prepare(
        &self,
        writer: &mut Writer,
        batch: &Batch<'_>,
        now_ms: i64,
        accepted: &mut Accepted,
    ) -> Result<(), Error> {
        let mut head = write(&self.head);
        let limit = self.options.limits.head_bytes;
        let bytes = head.bytes();
        if bytes > limit + limit / 4 {
            let what =
                format!("samples were refused: the head was over its budget of {limit} bytes");
            lock(&self.losses).add(now_ms, now_ms, &what);
            return Err(Error::Overloaded { bytes, limit });
        }
        writer.samples.clear();
        writer.exemplars.clear();
        let mut finder = Finder {
            store: self,
            batch,
            seed: XxHash3_64::oneshot_with_seed(self.key_seed, batch.scope),
            source: head.source(batch.source),
            head: &mut head,
            raw: &mut writer.raw,
            unwritten: &mut writer.unwritten,
            last: None,
            new_series: 0,
        };
        let oldest_ms = now_ms.saturating_sub(self.options.past_ms);
        let newest_ms = now_ms.saturating_add(self.options.future_ms);
        for sample in batch.samples {
            let timestamp_ms = sample.timestamp_ms;
            let cell = match sample.value {
                _ if timestamp_ms < oldest_ms => Err(Reason::TooOld {
                    timestamp_ms,
                    oldest_ms,
                }),
                _ if timestamp_ms > newest_ms => Err(Reason::TooNew {
                    timestamp_ms,
                    newest_ms,
                }),
                Value::Float(value) => Ok(float_cell(value, sample.start_ms)),
                Value::Histogram(histogram) => match blob::invalid_histogram(histogram) {
                    Some(problem) => Err(Reason::BadHistogram(problem)),
                    None => histogram_cell(histogram, sample.start_ms),
                },
            };
            let logged = cell.and_then(|cell| {
                let start_ms = if matches!(cell, Cell::Blob(_)) {
                    0
                } else {
                    sample.start_ms
                };
                let series = finder.find(sample.key)?;
                Ok(LoggedSample {
                    series,
                    timestamp_ms,
                    start_ms,
                    cell,
                })
            });
            match logged {
                Ok(logged) => writer.samples.push(logged),
                Err(reason) => {
                    self.note_refusal(batch.source, &reason, timestamp_ms);
                    accepted.refused.add(reason, || finder.describe(sample.key));
                }
            }
        }
        for exemplar in batch.exemplars {
            let fits = exemplar_fits(exemplar);
            match fits.and_then(|()| finder.find(exemplar.key)) {
                Ok(series) => self.prepare_exemplar(series, exemplar, &mut writer.exemplars),
                Err(reason) => accepted
                    .refused
                    .add(reason, || finder.describe(exemplar.key)),
            }
        }
        accepted.new_series = finder.new_series;
        let mut families = lock(&self.families);
        for metadata in batch.metadata {
            let texts = [
                &metadata.family,
                &metadata.kind,
                &metadata.unit,
                &metadata.help,
            ];
            let fits = texts.iter().map(|text| text.len()).sum::<usize>() < record::BLOB_MAX;
            if fits && families.add(metadata, self.options.limits.families) {
                record::put_metadata(&mut writer.unwritten, metadata);
            }
        }
        Ok(())
    }

    fn prepare_exemplar(
        &self,
        series: u32,
        exemplar: &IncomingExemplar<'_>,
        prepared: &mut Vec<LoggedExemplar>,
    ) {
        let timestamp_ms = exemplar.timestamp_ms;
        if lock(&self.exemplars).has(series, timestamp_ms) {
            return;
        }
        prepared.push(LoggedExemplar {
            series,
            timestamp_ms,
            value: exemplar.value,
            labels: owned(exemplar.labels),
        });
    }

    /// What a limit drops is told to those who query that time.
    fn note_refusal(&self, source: &str, reason: &Reason, timestamp_ms: i64) {
        if matches!(
            reason,
            Reason::SeriesLimit { .. } | Reason::SourceLimit { .. } | Reason::Memory { .. }
        ) {
            let what = format!("series of source {source:?} were dropped: {reason}");
            lock(&self.losses).add(timestamp_ms, timestamp_ms, &what);
        }
    }
}

/// Exemplars are names of traces, not documents.
fn exemplar_fits(exemplar: &IncomingExemplar<'_>) -> Result<(), Reason> {
    const BYTES_MAX: usize = 1024;
    let labels = exemplar.labels.iter();
    let bytes: usize = labels
        .map(|label| label.name.len() + label.value.len())
        .sum();
    if bytes > BYTES_MAX {
        return Err(Reason::BadLabels(format!(
            "an exemplar's labels have {bytes} bytes, more than {BYTES_MAX}"
        )));
    }
    Ok(())
}

fn owned(labels: &Labels) -> Vec<(String, String)> {
    let labels = labels.iter();
    labels
        .map(|label| (label.name.to_string(), label.value.to_string()))
        .collect()
}

fn float_cell(value: f64, start_ms: i64) -> Cell {
    match value.to_bits() {
        ABSENT | ELSEWHERE => Cell::Blob(blob::encode_float(value, start_ms)),
        bits => Cell::Float(bits),
    }
}

fn histogram_cell(histogram: &FloatHistogram, start_ms: i64) -> Result<Cell, Reason> {
    let blob = blob::encode_histogram(histogram, start_ms);
    let (bytes, most) = (blob.len(), record::BLOB_MAX);
    if bytes > most {
        return Err(Reason::BadHistogram(format!(
            "it takes {bytes} bytes, more than {most}"
        )));
    }
    Ok(Cell::Blob(blob))
}

/// Finds the series that keys of one batch stand for.
struct Finder<'a> {
    store: &'a Store,
    batch: &'a Batch<'a>,
    seed: u64,
    source: u32,
    head: &'a mut Head,
    raw: &'a mut RawLabels,
    unwritten: &'a mut Vec<u8>,
    /// The key before and its series: formats that list samples by series repeat it.
    last: Option<(&'a [u8], u32)>,
    new_series: u64,
}

impl<'a> Finder<'a> {
    fn find(&mut self, key: &'a [u8]) -> Result<u32, Reason> {
        if let Some((last, series)) = self.last
            && std::ptr::eq(last, key)
        {
            return Ok(series);
        }
        let hash = XxHash3_128::oneshot_with_seed(self.seed, key);
        let series = match self.head.table.of_key(hash) {
            Some(series) => series,
            None => {
                let series = self.by_labels(key)?;
                self.head.table.remember_key(hash, series);
                series
            }
        };
        self.last = Some((key, series));
        Ok(series)
    }

    fn by_labels(&mut self, key: &[u8]) -> Result<u32, Reason> {
        let limits = &self.store.options.limits;
        self.raw.clear();
        (self.batch.labels_of)(key, self.raw).map_err(Reason::BadLabels)?;
        let canonical = Canonical::of(self.raw, limits).map_err(Reason::BadLabels)?;
        let fingerprint = self.head.table.fingerprint(&canonical);
        if let Some(series) = self.head.table.of_labels(&canonical, fingerprint) {
            return Ok(series);
        }
        if self.head.table.len() >= limits.series {
            return Err(Reason::SeriesLimit {
                limit: limits.series,
            });
        }
        if self.head.series_of_source(self.source) >= limits.source_series {
            return Err(Reason::SourceLimit {
                limit: limits.source_series,
            });
        }
        if self.head.bytes() > limits.head_bytes {
            return Err(Reason::Memory {
                limit: limits.head_bytes,
            });
        }
        let number = self.head.table.next_number();
        let beside = self.last.map(|(_, series)| series);
        self.head
            .define(number, &canonical, fingerprint, self.source, beside);
        record::put_series(self.unwritten, number, self.batch.source, &canonical.bytes);
        self.new_series += 1;
        Ok(number)
    }

    /// A key's labels as far as they can be read, for whoever sent them.
    fn describe(&mut self, key: &[u8]) -> String {
        const LENGTH_MAX: usize = 300;
        self.raw.clear();
        let read = (self.batch.labels_of)(key, self.raw);
        let mut text = match read {
            Ok(()) => Labels::from_pairs(self.raw.iter()).to_string(),
            Err(_) => String::from_utf8_lossy(&key[..key.len().min(LENGTH_MAX)]).into_owned(),
        };
        if text.len() > LENGTH_MAX {
            let end = (0..=LENGTH_MAX)
                .rev()
                .find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        text
    }
}
