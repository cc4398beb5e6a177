//! Reading columns out of the head's rows.

use std::{ops::Range, sync::Arc};

use super::{
    row::ELSEWHERE,
    rows::{Place, Rows},
};
use crate::{
    blob::{self, Blob},
    column::{Piece, PieceValues, Spare},
};

/// Reads columns out of rows. Siblings get the same timestamps.
#[derive(Default)]
pub(crate) struct RowReader {
    times: Vec<Arc<[i64]>>,
    /// The last rows of a group that a column filled, and their timestamps: mostly its siblings fill them, too.
    last: Option<Filled>,
    /// Rows that were looked at since anybody else got a turn. A column may be empty in most of them.
    pub(crate) looked_at: usize,
}

/// Rows of a group that a column filled.
struct Filled {
    group: u32,
    rows: Range<Place>,
    times: Arc<[i64]>,
}

/// What a column holds besides plain floats.
#[derive(Default)]
struct Rare {
    float_times: Vec<i64>,
    starts: Vec<i64>,
    blob_times: Vec<i64>,
    blobs: Vec<(Blob, i64)>,
}

impl RowReader {
    /// Rows may have changed since they were read.
    pub(crate) fn look_again(&mut self) {
        self.last = None;
        self.looked_at = 0;
    }

    /// `group`: a number for these rows, never for others.
    pub(crate) fn read(
        &mut self,
        group: u32,
        rows: &Rows,
        column: u32,
        within: (i64, i64),
        spare: &mut Spare,
        pieces: &mut Vec<Piece>,
    ) {
        let within = rows.within(within);
        let slices = || rows.slices(within.clone());
        let mut values = spare.take();
        let count = slices().map(<[_]>::len).sum();
        self.looked_at += count;
        values.reserve(count);
        for row in slices().flatten() {
            match row.plain(column) {
                Some(bits) => values.push(f64::from_bits(bits)),
                None => {
                    spare.give(values);
                    return self.read_rare(rows, within, column, pieces);
                }
            }
        }
        if values.is_empty() {
            return spare.give(values);
        }
        let same = |last: &&Filled| last.group == group && last.rows == within;
        let times = match self.last.as_ref().filter(same) {
            Some(last) => last.times.clone(),
            None => self.shared(slices().flatten().map(|row| row.timestamp_ms)),
        };
        self.last = Some(Filled {
            group,
            rows: within,
            times: times.clone(),
        });
        pieces.push(Piece {
            times,
            values: PieceValues::Floats {
                values,
                starts: Vec::new(),
            },
        });
    }

    /// A column that isn't simply full of floats.
    fn read_rare(
        &mut self,
        rows: &Rows,
        within: Range<Place>,
        column: u32,
        pieces: &mut Vec<Piece>,
    ) {
        let (mut values, mut rare) = (Vec::new(), Rare::default());
        for row in rows.slices(within.clone()).flatten() {
            let Some(bits) = row.bits(column) else {
                continue;
            };
            if bits != ELSEWHERE {
                rare.float_times.push(row.timestamp_ms);
                values.push(f64::from_bits(bits));
                rare.starts.push(row.start_ms(column));
            // What was encoded here, or came through a checksum, is decoded again.
            } else if let Some(Ok(sample)) = row.blob(column).map(blob::decode) {
                rare.blob_times.push(row.timestamp_ms);
                rare.blobs.push(sample);
            }
        }
        if rare.starts.iter().all(|start| *start == 0) {
            rare.starts.clear();
        }
        if !values.is_empty() {
            pieces.push(Piece {
                times: self.shared(rare.float_times.iter().copied()),
                values: PieceValues::Floats {
                    values,
                    starts: rare.starts,
                },
            });
        }
        if !rare.blobs.is_empty() {
            if let Some((time_ms, before)) = self.histogram_before(rows, within.start, column) {
                rare.blob_times.insert(0, time_ms);
                rare.blobs.insert(0, before);
            }
            pieces.push(Piece {
                times: self.shared(rare.blob_times.iter().copied()),
                values: PieceValues::Blobs(rare.blobs),
            });
        }
    }

    fn shared(&mut self, times: impl Iterator<Item = i64> + Clone) -> Arc<[i64]> {
        // Frozen and current rows, floats and histograms: more columns than these are not met beside each other.
        const KEPT: usize = 4;
        let same = |known: &&Arc<[i64]>| known.iter().copied().eq(times.clone());
        if let Some(known) = self.times.iter().find(same) {
            return known.clone();
        }
        if self.times.len() == KEPT {
            self.times.remove(0);
        }
        let times: Arc<[i64]> = times.collect();
        self.times.push(times.clone());
        times
    }

    /// Whether a column has a sample of some time.
    pub(crate) fn has_samples(&mut self, rows: &Rows, column: u32, within: (i64, i64)) -> bool {
        let rows = rows.slices(rows.within(within)).flatten();
        let mut rows = rows.inspect(|_| self.looked_at += 1);
        rows.any(|row| row.bits(column).is_some())
    }

    /// The sample just before the selection's time: what is known of a reset depends on it.
    fn histogram_before(
        &mut self,
        rows: &Rows,
        place: Place,
        column: u32,
    ) -> Option<(i64, (Blob, i64))> {
        let mut before = rows.before(place).inspect(|_| self.looked_at += 1);
        let row = before.find(|row| row.bits(column).is_some())?;
        let sample = blob::decode(row.blob(column)?).ok()?;
        Some((row.timestamp_ms, sample))
    }
}
