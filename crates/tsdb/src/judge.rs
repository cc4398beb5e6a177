//! Judging incoming samples: what is taken, in which form, and why not.

use pitcrew_promql::histogram::FloatHistogram;

use crate::{
    batch::{IncomingExemplar, Metadata, Reason, Sample, Value},
    blob,
    head::row::{ABSENT, Cell, ELSEWHERE},
    wal::record,
};

/// Bytes of an exemplar's labels: they are names of traces, not documents.
const EXEMPLAR_BYTES_MAX: usize = 1024;

/// What holds for all samples of a batch.
pub(crate) struct Judge {
    pub(crate) oldest_ms: i64,
    pub(crate) newest_ms: i64,
}

impl Judge {
    /// The sample as it is stored, and when its counter began as far as the cell doesn't say that itself.
    pub(crate) fn cell(&self, sample: &Sample<'_>) -> Result<(Cell, i64), Reason> {
        let Judge {
            oldest_ms,
            newest_ms,
        } = *self;
        let (timestamp_ms, start_ms) = (sample.timestamp_ms, sample.start_ms);
        not_before(oldest_ms, timestamp_ms)?;
        if timestamp_ms > newest_ms {
            return Err(Reason::TooNew {
                timestamp_ms,
                newest_ms,
            });
        }
        match sample.value {
            Value::Histogram(histogram) => Ok((histogram_cell(histogram, start_ms)?, 0)),
            Value::Float(value) => Ok(match value.to_bits() {
                ABSENT | ELSEWHERE => (Cell::Blob(blob::encode_float(value, start_ms)), 0),
                bits => (Cell::Float(bits), start_ms),
            }),
        }
    }

    pub(crate) fn exemplar(&self, exemplar: &IncomingExemplar<'_>) -> Result<(), Reason> {
        let labels = exemplar.labels.iter();
        let bytes: usize = labels
            .map(|label| label.name.len() + label.value.len())
            .sum();
        if bytes > EXEMPLAR_BYTES_MAX {
            return Err(Reason::BadLabels(format!(
                "an exemplar's labels have {bytes} bytes, more than {EXEMPLAR_BYTES_MAX}"
            )));
        }
        Ok(())
    }

    /// Whether what is said of a family fits a record.
    pub(crate) fn metadata(&self, metadata: &Metadata) -> bool {
        metadata.bytes() < record::BLOB_MAX
    }
}

pub(crate) fn not_before(oldest_ms: i64, timestamp_ms: i64) -> Result<(), Reason> {
    if timestamp_ms >= oldest_ms {
        return Ok(());
    }
    Err(Reason::TooOld {
        timestamp_ms,
        oldest_ms,
    })
}

fn histogram_cell(histogram: &FloatHistogram, start_ms: i64) -> Result<Cell, Reason> {
    if let Some(problem) = blob::invalid_histogram(histogram) {
        return Err(Reason::BadHistogram(problem));
    }
    let blob = blob::encode_histogram(histogram, start_ms);
    let (bytes, most) = (blob.len(), record::BLOB_MAX);
    if bytes > most {
        let problem = format!("it takes {bytes} bytes, more than {most}");
        return Err(Reason::BadHistogram(problem));
    }
    Ok(Cell::Blob(blob))
}
