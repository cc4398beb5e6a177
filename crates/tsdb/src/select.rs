//! Queries: the series that fulfil all matchers, put together from parts, frozen rows and the head.

use std::{ops::ControlFlow, sync::Arc};

use pitcrew_promql::{
    labels::Labels,
    storage::{Found, Selection, Storage, StorageError},
};

use crate::{
    blob,
    column::{self, Joined, Piece, PieceValues},
    head::{
        Head,
        row::{ELSEWHERE, Row},
    },
    postings,
    store::{Store, lock, read},
};

/// A series that was found, with its samples.
struct Gathered {
    labels: Labels,
    pieces: Vec<Piece>,
}

impl Storage for Store {
    fn select(
        &self,
        selection: &Selection<'_>,
        take: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let (start_ms, end_ms) = (selection.start_ms, selection.end_ms);
        for warning in lock(&self.losses).warnings(start_ms, end_ms) {
            if take(Found::Warning(warning)).is_break() {
                return Ok(());
            }
        }
        let gathered = from_head(&read(&self.head), selection);
        let mut joined = Joined::default();
        for Gathered { labels, pieces } in gathered {
            let series = column::series(labels, pieces, &mut joined);
            if take(Found::Series(series)).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn from_head(head: &Head, selection: &Selection<'_>) -> Vec<Gathered> {
    let Ok(found) = postings::select(&head.table, selection.matchers);
    let mut reader = RowReader::default();
    found
        .iter()
        .map(|number| {
            let series = head.table.known(number);
            let rows = head.rows(series.group);
            Gathered {
                labels: head.table.labels(series),
                pieces: reader.pieces(rows, series.column, selection),
            }
        })
        .collect()
}

/// Reads columns out of rows; the timestamps of full columns are shared.
#[derive(Default)]
struct RowReader {
    /// First and last timestamp, and all of the last group's rows in the selection's time.
    times: Arc<[i64]>,
}

impl RowReader {
    fn pieces(&mut self, rows: &[Row], column: u32, selection: &Selection<'_>) -> Vec<Piece> {
        let first = rows.partition_point(|row| row.timestamp_ms < selection.start_ms);
        let end = rows.partition_point(|row| row.timestamp_ms <= selection.end_ms);
        let rows = rows.get(first..end).unwrap_or_default();
        let (mut float_times, mut blob_times) = (Vec::new(), Vec::new());
        let (mut values, mut starts, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            let Some(bits) = row.bits(column) else {
                continue;
            };
            if bits != ELSEWHERE {
                float_times.push(row.timestamp_ms);
                values.push(f64::from_bits(bits));
                starts.push(row.start_ms(column));
            } else if let Some(Ok(sample)) = row.blob(column).map(blob::decode) {
                blob_times.push(row.timestamp_ms);
                blobs.push(sample);
            }
        }
        if starts.iter().all(|start| *start == 0) {
            starts.clear();
        }
        let floats = Piece {
            times: self.shared(float_times),
            values: PieceValues::Floats { values, starts },
        };
        if blobs.is_empty() {
            return vec![floats];
        }
        let blobs = Piece {
            times: blob_times.into(),
            values: PieceValues::Blobs(blobs),
        };
        vec![floats, blobs]
    }

    fn shared(&mut self, times: Vec<i64>) -> Arc<[i64]> {
        if *self.times != *times {
            self.times = times.into();
        }
        self.times.clone()
    }
}
