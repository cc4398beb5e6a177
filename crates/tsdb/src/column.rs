//! Columns: pieces of one series from several places become one answer.
//!
//! Pieces come in the order in which they were sealed; where two of them have a sample of the same instant, the
//! earlier piece's stays. Series whose pieces share their timestamps share them in the answer, too: then a query
//! computes its windows once for all of them.

use std::{collections::BTreeMap, sync::Arc};

use pitcrew_promql::{
    histogram::{FloatHistogram, ResetHint},
    labels::Labels,
    storage::{FloatColumn, HistogramColumn, Series},
};

use crate::blob::Blob;

/// Samples of one series from one place, ascending by time, at least one.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) times: Arc<[i64]>,
    pub(crate) values: PieceValues,
}

/// One value for each time.
#[derive(Debug, Clone)]
pub(crate) enum PieceValues {
    Floats {
        values: Vec<f64>,
        /// Empty where no counter's beginning is known.
        starts: Vec<i64>,
    },
    Blobs(Vec<(Blob, i64)>),
}

/// Memory of columns that nobody needs any more: a query reads a hundred thousand columns of the same length.
#[derive(Debug, Default)]
pub(crate) struct Spare(Vec<Vec<f64>>);

impl Spare {
    /// An empty column.
    pub(crate) fn take(&mut self) -> Vec<f64> {
        self.0.pop().unwrap_or_default()
    }

    pub(crate) fn give(&mut self, mut values: Vec<f64>) {
        if values.capacity() > 0 {
            values.clear();
            self.0.push(values);
        }
    }
}

/// The last timestamps that were joined, and what from.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    parts: Vec<Arc<[i64]>>,
    whole: Arc<[i64]>,
}

impl Joined {
    fn join(&mut self, pieces: &[Piece]) -> Arc<[i64]> {
        let same = self.parts.len() == pieces.len()
            && self
                .parts
                .iter()
                .zip(pieces)
                .all(|(part, piece)| Arc::ptr_eq(part, &piece.times));
        if !same {
            self.parts = pieces.iter().map(|piece| piece.times.clone()).collect();
            self.whole = match pieces {
                [one] => one.times.clone(),
                _ => pieces
                    .iter()
                    .flat_map(|piece| piece.times.iter().copied())
                    .collect(),
            };
        }
        self.whole.clone()
    }
}

/// One series of its pieces.
pub(crate) fn series(
    labels: Labels,
    mut pieces: Vec<Piece>,
    joined: &mut Joined,
    spare: &mut Spare,
) -> Series {
    let follow = |pieces: &[Piece]| {
        let pairs = pieces.windows(2);
        let mut bounds = pairs.map(|pair| (pair[0].times.last(), pair[1].times.first()));
        bounds.all(|(last, first)| last < first)
    };
    if !follow(&pieces) {
        let mut sorted = pieces.clone();
        sorted.sort_by_key(|piece| piece.times[0]);
        if !follow(&sorted) {
            return mixed(labels, pieces);
        }
        pieces = sorted;
    }
    let only_floats = pieces
        .iter()
        .all(|piece| matches!(piece.values, PieceValues::Floats { .. }));
    if !only_floats {
        return mixed(labels, pieces);
    }
    let timestamps = joined.join(&pieces);
    let has_starts = pieces.iter().any(
        |piece| matches!(&piece.values, PieceValues::Floats { starts, .. } if !starts.is_empty()),
    );
    let count = timestamps.len();
    let (mut values, mut starts) = (Vec::new(), Vec::new());
    if pieces.len() > 1 {
        values = spare.take();
        values.reserve(count);
    }
    for piece in pieces {
        let PieceValues::Floats {
            values: more,
            starts: their_starts,
        } = piece.values
        else {
            continue;
        };
        if has_starts {
            let count = starts.len() + more.len();
            starts.extend(their_starts);
            starts.resize(count, 0);
        }
        if more.len() == count {
            values = more;
        } else {
            values.extend_from_slice(&more);
            spare.give(more);
        }
    }
    Series {
        labels,
        floats: FloatColumn {
            timestamps,
            values,
            starts,
        },
        histograms: HistogramColumn::default(),
    }
}

fn mixed(labels: Labels, pieces: Vec<Piece>) -> Series {
    let mut samples: BTreeMap<i64, (Blob, i64)> = BTreeMap::new();
    for Piece { times, values } in pieces {
        match values {
            PieceValues::Floats { values, starts } => {
                let starts = starts.into_iter().chain(std::iter::repeat(0));
                for ((time, value), start) in times.iter().zip(values).zip(starts) {
                    samples.entry(*time).or_insert((Blob::Float(value), start));
                }
            }
            PieceValues::Blobs(blobs) => {
                for (time, blob) in times.iter().zip(blobs) {
                    samples.entry(*time).or_insert(blob);
                }
            }
        }
    }
    let (mut float_times, mut histogram_times) = (Vec::new(), Vec::new());
    let (mut floats, mut histograms) = (FloatColumn::default(), HistogramColumn::default());
    let mut before: Option<Arc<FloatHistogram>> = None;
    for (time, (blob, start)) in samples {
        match blob {
            Blob::Float(value) => {
                float_times.push(time);
                floats.values.push(value);
                floats.starts.push(start);
                before = None;
            }
            Blob::Histogram(histogram) => {
                histogram_times.push(time);
                histograms
                    .values
                    .push(with_hint(&histogram, before.as_deref()));
                histograms.starts.push(start);
                before = Some(histogram);
            }
        }
    }
    for starts in [&mut floats.starts, &mut histograms.starts] {
        if starts.iter().all(|start| *start == 0) {
            starts.clear();
        }
    }
    floats.timestamps = float_times.into();
    histograms.timestamps = histogram_times.into();
    Series {
        labels,
        floats,
        histograms,
    }
}

/// What is known of a reset depends on the sample before it, which its sender may not have seen.
fn with_hint(
    histogram: &Arc<FloatHistogram>,
    before: Option<&FloatHistogram>,
) -> Arc<FloatHistogram> {
    let reset_hint = histogram.hint_after(before);
    if histogram.reset_hint == reset_hint || reset_hint == ResetHint::Gauge {
        return histogram.clone();
    }
    Arc::new(FloatHistogram {
        reset_hint,
        ..FloatHistogram::clone(histogram)
    })
}
