//! Appending: bytes of the wire become samples of series.
//!
//! First every sample finds its series and is judged; then all that is taken is written to the log; only then it
//! is put into the head. So a failed write leaves nothing behind that a restart would not know.

use pitcrew_promql::labels::Labels;

use crate::{
    batch::{Accepted, Batch, IncomingExemplar, RawLabels, Reason, Value},
    error::Error,
    find::Finder,
    head::row::Placed,
    judge::{self, Judge},
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
    pub(crate) unwritten: Vec<u8>,
    segment: Vec<u8>,
    samples: Vec<LoggedSample>,
    exemplars: Vec<LoggedExemplar>,
    raw: RawLabels,
}

impl Writer {
    pub(crate) fn new(wal: Wal, labels_max: usize, now_ms: i64) -> Self {
        Writer {
            wal,
            filling_since_ms: now_ms,
            unwritten: Vec::new(),
            segment: Vec::new(),
            samples: Vec::new(),
            exemplars: Vec::new(),
            raw: RawLabels::within(labels_max),
        }
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
        self.take(batch, self.options.past_ms, now_ms)
    }

    /// As [`Store::append`], but takes samples of any age that is not yet to be deleted: history from elsewhere.
    pub fn backfill(&self, batch: &Batch<'_>, now_ms: i64) -> Result<Accepted, Error> {
        self.take(batch, self.options.longest_ms(), now_ms)
    }

    fn take(&self, batch: &Batch<'_>, past_ms: i64, now_ms: i64) -> Result<Accepted, Error> {
        let mut writer = lock(&self.writer);
        let mut accepted = Accepted::default();
        self.prepare(&mut writer, batch, past_ms, now_ms, &mut accepted)?;
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
        past_ms: i64,
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
        let mut finder = Finder::new(
            self,
            batch,
            &mut head,
            &mut writer.raw,
            &mut writer.unwritten,
        );
        let judge = Judge {
            oldest_ms: now_ms.saturating_sub(past_ms),
            newest_ms: now_ms.saturating_add(self.options.future_ms),
        };
        let kept_by_all_ms = now_ms.saturating_sub(self.options.shortest_ms());
        for (place, sample) in batch.samples.iter().enumerate() {
            let logged = judge.cell(sample).and_then(|(cell, start_ms)| {
                let timestamp_ms = sample.timestamp_ms;
                let kept_by_all = timestamp_ms >= kept_by_all_ms;
                let is_kept =
                    |for_ms: i64| judge::not_before(now_ms.saturating_sub(for_ms), timestamp_ms);
                let series = finder.find(sample.key, |labels| match kept_by_all {
                    true => Ok(()),
                    false => is_kept(self.options.kept_ms(&Labels::from_pairs(labels.iter()))),
                })?;
                if !kept_by_all {
                    is_kept(finder.kept_ms(series))?;
                }
                Ok(LoggedSample {
                    series,
                    timestamp_ms,
                    start_ms,
                    cell,
                })
            });
            match logged {
                Ok(logged) => {
                    accepted.histograms += u64::from(matches!(sample.value, Value::Histogram(_)));
                    writer.samples.push(logged);
                }
                Err(reason) => {
                    self.note_refusal(batch.source, &reason, sample.timestamp_ms);
                    let refused = &mut accepted.refused;
                    refused.add(reason, || finder.describe(sample.key));
                    accepted.refused_samples.push(place);
                }
            }
        }
        for exemplar in batch.exemplars {
            let series = judge
                .exemplar(exemplar)
                .and_then(|()| finder.find(exemplar.key, |_| Ok(())));
            match series {
                Ok(series) => self.prepare_exemplar(series, exemplar, &mut writer.exemplars),
                Err(reason) => {
                    let refused = &mut accepted.refused_exemplars;
                    refused.add(reason, || finder.describe(exemplar.key));
                }
            }
        }
        accepted.new_series = finder.new_series;
        let mut families = lock(&self.families);
        for metadata in batch
            .metadata
            .iter()
            .filter(|metadata| judge.metadata(metadata))
        {
            if families.add(metadata, self.options.limits.families, now_ms) {
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

fn owned(labels: &Labels) -> Vec<(String, String)> {
    let labels = labels.iter();
    labels
        .map(|label| (label.name.to_string(), label.value.to_string()))
        .collect()
}
