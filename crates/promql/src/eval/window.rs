//! Windows: the samples that a range function sees at each step.
//!
//! The bounds of all windows over a column of timestamps are found in one pass, and once only for all series
//! that share the column.

pub(crate) mod extended;
mod source;

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use super::{
    EvalError, Grid, Room, Row, Size,
    plan::When,
    row,
    selector::{Columns, advance},
};
use crate::{
    histogram::FloatHistogram,
    parser::{Extension, Span},
    storage::stale,
};
pub(in crate::eval) use source::columns;

/// Series and windows of a range argument.
pub(crate) struct RangeSource {
    pub(crate) series: Vec<Columns>,
    pub(crate) span: Span,
    pub(crate) when: When,
    pub(crate) range_ms: i64,
    pub(crate) extension: Option<Extension>,
    lookback_ms: i64,
    /// The last column of float timestamps, and the windows over it.
    last_bounds: RefCell<Option<(Arc<[i64]>, Bounds)>>,
    /// Memory of a row that nobody needs any more.
    spare: Cell<Vec<f64>>,
}

/// One series' samples in one window.
pub(crate) struct Window<'a> {
    /// The step.
    pub(crate) step: usize,
    /// The time of evaluation.
    pub(crate) time_ms: i64,
    /// The window's beginning, which doesn't belong to it.
    pub(crate) start_ms: i64,
    /// Its end, which does.
    pub(crate) end_ms: i64,
    pub(crate) floats: Samples<'a, f64>,
    pub(crate) histograms: Samples<'a, Arc<FloatHistogram>>,
}

/// Values side by side with their times.
pub(crate) struct Samples<'a, T> {
    /// Index of the first one in its column.
    pub(crate) first: usize,
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [T],
    /// When each value's counter began; empty where that isn't known or doesn't matter.
    pub(crate) starts: &'a [i64],
}

impl<'a, T> Samples<'a, T> {
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn start_of(&self, index: usize) -> i64 {
        self.starts.get(index).copied().unwrap_or(0)
    }

    fn slice(times: &'a [i64], values: &'a [T], starts: &'a [i64], bounds: (usize, usize)) -> Self {
        let (low, high) = bounds;
        Samples {
            first: low,
            times: &times[low..high],
            values: &values[low..high],
            starts: starts.get(low..high).unwrap_or_default(),
        }
    }
}

/// One sample of a window in which floats and histograms may be mixed.
#[derive(Clone, Copy)]
pub(crate) struct Mixed<'a> {
    pub(crate) time_ms: i64,
    pub(crate) start_ms: i64,
    pub(crate) cell: row::Cell<'a>,
}

impl<'a> Window<'a> {
    /// All samples by time.
    pub(crate) fn mixed(&self) -> Vec<Mixed<'a>> {
        let floats = self.floats.times.iter().zip(self.floats.values).enumerate();
        let mut mixed: Vec<Mixed<'a>> = floats
            .map(|(index, (time, value))| Mixed {
                time_ms: *time,
                start_ms: self.floats.start_of(index),
                cell: row::Cell::Float(*value),
            })
            .collect();
        if !self.histograms.is_empty() {
            let histograms = self.histograms.times.iter().zip(self.histograms.values);
            mixed.extend(histograms.enumerate().map(|(index, (time, value))| Mixed {
                time_ms: *time,
                start_ms: self.histograms.start_of(index),
                cell: row::Cell::Histogram(value),
            }));
            mixed.sort_by_key(|sample| sample.time_ms);
        }
        mixed
    }
}

/// For each step the first index and the one after the last.
pub(crate) type Bounds = Arc<[(usize, usize)]>;

impl RangeSource {
    /// Bounds of all windows over one column.
    fn bounds(&self, timestamps: &[i64], grid: &Grid) -> Bounds {
        let (before, after) = match self.extension {
            None => (0, 0),
            Some(Extension::Anchored) => (self.lookback_ms, 0),
            Some(Extension::Smoothed) => (self.lookback_ms, self.lookback_ms),
        };
        let (mut low, mut high) = (0, 0);
        grid.times()
            .map(|time| {
                let end = self.when.data_time(time);
                let start = end.saturating_sub(self.range_ms);
                low = advance(timestamps, low, start.saturating_sub(before));
                high = advance(timestamps, high, end.saturating_add(after)).max(low);
                (low, high)
            })
            .collect()
    }

    /// Gives the windows of each series to `each`, with the row to fill.
    pub(crate) fn rows(
        &self,
        grid: &Grid,
        keeps_name: bool,
        room: &Room<'_>,
        mut each: impl FnMut(&Columns, &Windows<'_>, &mut Row) -> Result<(), EvalError>,
    ) -> Result<Vec<Row>, EvalError> {
        let mut rows = Vec::new();
        let mut made = Size::default();
        for series in &self.series {
            room.check(made)?;
            let has_histograms = !series.histograms.values.is_empty();
            let mut floats = self.spare.take();
            floats.clear();
            floats.resize(grid.steps, stale());
            let mut row = Row::of_floats(series.labels.clone(), floats);
            row.name_dropped = series.name_dropped || !keeps_name;
            let windows = Windows {
                source: self,
                series,
                grid,
                floats: self.float_bounds(&series.floats.timestamps, grid),
                histograms: has_histograms
                    .then(|| self.bounds(&series.histograms.timestamps, grid)),
            };
            each(series, &windows, &mut row)?;
            if !row.is_empty() {
                if room.counts_rows {
                    made.add(row.size());
                }
                rows.push(row);
            } else {
                self.reuse(row);
            }
        }
        Ok(rows)
    }

    /// Lets go of a row.
    pub(crate) fn reuse(&self, row: Row) {
        self.spare.set(row.floats);
    }

    /// Bounds of all windows over a column that many series share.
    fn float_bounds(&self, timestamps: &Arc<[i64]>, grid: &Grid) -> Bounds {
        let last = &mut *self.last_bounds.borrow_mut();
        match last {
            Some((column, bounds)) if Arc::ptr_eq(column, timestamps) => bounds.clone(),
            _ => {
                let bounds = self.bounds(timestamps, grid);
                *last = Some((timestamps.clone(), bounds.clone()));
                bounds
            }
        }
    }
}

/// The windows of one series.
pub(crate) struct Windows<'a> {
    source: &'a RangeSource,
    series: &'a Columns,
    grid: &'a Grid,
    /// The same `Arc` for all series that share a column of timestamps.
    pub(crate) floats: Bounds,
    /// Nothing where there are none.
    histograms: Option<Bounds>,
}

impl<'a> Windows<'a> {
    /// Those that hold any sample.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Window<'a>> {
        (0..self.grid.steps).filter_map(|step| {
            let histograms = self
                .histograms
                .as_ref()
                .map_or((0, 0), |bounds| bounds[step]);
            let floats = self.floats[step];
            if floats.0 == floats.1 && histograms.0 == histograms.1 {
                return None;
            }
            Some(self.window(step, floats, histograms))
        })
    }

    fn window(
        &self,
        step: usize,
        floats: (usize, usize),
        histograms: (usize, usize),
    ) -> Window<'a> {
        let time_ms = self.grid.time(step);
        let end_ms = self.source.when.data_time(time_ms);
        let (f, h) = (&self.series.floats, &self.series.histograms);
        Window {
            step,
            time_ms,
            start_ms: end_ms.saturating_sub(self.source.range_ms),
            end_ms,
            floats: Samples::slice(&f.timestamps, &f.values, &f.starts, floats),
            histograms: Samples::slice(&h.timestamps, &h.values, &h.starts, histograms),
        }
    }
}
