//! Windows: the samples that a range function sees at each step.
//!
//! The bounds of all windows over a column of timestamps are found in one pass, and once only for all series
//! that share the column.

pub(crate) mod extended;

use std::sync::Arc;

use super::{
    EvalError, Evaluator, Grid, Row,
    answer::{Points, SampleValue, Value},
    plan::{Node, NodeKind, SubqueryPlan, When},
    row::{Cell, Computed},
    selector::{Columns, advance},
};
use crate::{
    histogram::{FloatHistogram, ResetHint},
    parser::{Extension, Span},
    storage::{FloatColumn, HistogramColumn, is_stale},
};

/// Series and windows of a range argument.
pub(crate) struct RangeSource {
    pub(crate) series: Vec<Columns>,
    pub(crate) span: Span,
    pub(crate) when: When,
    pub(crate) range_ms: i64,
    pub(crate) extension: Option<Extension>,
    lookback_ms: i64,
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
    pub(crate) cell: Cell<'a>,
}

impl<'a> Window<'a> {
    /// All samples by time.
    pub(crate) fn mixed(&self) -> Vec<Mixed<'a>> {
        let floats = self.floats.times.iter().zip(self.floats.values).enumerate();
        let mut mixed: Vec<Mixed<'a>> = floats
            .map(|(index, (time, value))| Mixed {
                time_ms: *time,
                start_ms: self.floats.start_of(index),
                cell: Cell::Float(*value),
            })
            .collect();
        if !self.histograms.is_empty() {
            let histograms = self.histograms.times.iter().zip(self.histograms.values);
            mixed.extend(histograms.enumerate().map(|(index, (time, value))| Mixed {
                time_ms: *time,
                start_ms: self.histograms.start_of(index),
                cell: Cell::Histogram(value),
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
        cancelled: &dyn Fn() -> bool,
        mut each: impl FnMut(&Columns, &Windows<'_>, &mut Row) -> Result<(), EvalError>,
    ) -> Result<Vec<Row>, EvalError> {
        let mut rows = Vec::with_capacity(self.series.len());
        let mut shared: Option<(Arc<[i64]>, Bounds)> = None;
        let none: Bounds = vec![(0, 0); grid.steps].into();
        for series in &self.series {
            if cancelled() {
                return Err(EvalError::Cancelled);
            }
            let timestamps = &series.floats.timestamps;
            let floats = match &shared {
                Some((column, bounds)) if Arc::ptr_eq(column, timestamps) => bounds.clone(),
                _ => {
                    let bounds = self.bounds(timestamps, grid);
                    shared = Some((timestamps.clone(), bounds.clone()));
                    bounds
                }
            };
            let histograms = if series.histograms.values.is_empty() {
                none.clone()
            } else {
                self.bounds(&series.histograms.timestamps, grid)
            };
            let mut row = Row::empty(series.labels.clone(), grid.steps);
            row.name_dropped = series.name_dropped || !keeps_name;
            let windows = Windows {
                source: self,
                series,
                grid,
                floats,
                histograms,
            };
            each(series, &windows, &mut row)?;
            if !row.is_empty() {
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

/// The windows of one series.
pub(crate) struct Windows<'a> {
    source: &'a RangeSource,
    series: &'a Columns,
    grid: &'a Grid,
    /// The same `Arc` for all series that share a column of timestamps.
    pub(crate) floats: Bounds,
    histograms: Bounds,
}

impl<'a> Windows<'a> {
    /// Those that hold any sample.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Window<'a>> {
        (0..self.grid.steps).filter_map(|step| {
            let (floats, histograms) = (self.floats[step], self.histograms[step]);
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

impl Evaluator<'_> {
    /// Reads what a range argument refers to.
    pub(super) fn range_source(
        &mut self,
        node: &Node,
        grid: &Grid,
    ) -> Result<RangeSource, EvalError> {
        match &node.kind {
            NodeKind::Range { selector, range_ms } => {
                let lookback = self.options.lookback_ms;
                let (before, after) = match selector.extension {
                    None => (0, 0),
                    Some(Extension::Anchored) => (lookback, 0),
                    Some(Extension::Smoothed) => (lookback, lookback),
                };
                let before = range_ms.saturating_add(before).saturating_sub(1);
                let series = self.select(selector, node.span, grid, before, after)?;
                let series = series.into_iter().map(|series| Columns {
                    labels: series.labels,
                    name_dropped: false,
                    floats: without_markers(series.floats, self.options.start_timestamps),
                    histograms: without_marked_histograms(
                        series.histograms,
                        self.options.start_timestamps,
                    ),
                });
                Ok(RangeSource {
                    series: series.collect(),
                    span: node.span,
                    when: selector.when,
                    range_ms: *range_ms,
                    extension: selector.extension,
                    lookback_ms: lookback,
                })
            }
            NodeKind::Subquery(subquery) => self.subquery(subquery, node.span, grid),
            NodeKind::Fixed(inner) => self.range_source(inner, grid),
            _ => Err(EvalError::BadArgument("expected a range vector".to_owned())),
        }
    }

    fn subquery(
        &mut self,
        subquery: &SubqueryPlan,
        span: Span,
        grid: &Grid,
    ) -> Result<RangeSource, EvalError> {
        let step_ms = subquery.step_ms.unwrap_or(self.options.subquery_step_ms);
        let first = subquery.when.data_time(grid.start_ms);
        let last = subquery.when.data_time(grid.end_ms());
        let window_start = first.saturating_sub(subquery.range_ms);
        // Steps lie on multiples of the step, so that they don't move with the time of the query.
        let start = (window_start.div_euclid(step_ms) + 1).saturating_mul(step_ms);
        let inner = Grid::between(start, last, step_ms, self.options.steps_max)?;
        let rows = if inner.steps == 0 {
            Vec::new()
        } else {
            self.vector(&subquery.inner, &inner)?
        };
        let all_times: Arc<[i64]> = inner.times().collect();
        Ok(RangeSource {
            series: rows
                .iter()
                .map(|row| columns_of(row, &inner, &all_times))
                .collect(),
            span,
            when: subquery.when,
            range_ms: subquery.range_ms,
            extension: None,
            lookback_ms: 0,
        })
    }

    /// A range vector as the answer itself.
    pub(super) fn raw_range(&mut self, node: &Node, grid: &Grid) -> Result<Value, EvalError> {
        let source = self.range_source(node, grid)?;
        let mut points = Vec::new();
        source.rows(grid, true, self.options.cancelled, |series, windows, _| {
            for window in windows.iter() {
                let samples = window.mixed();
                points.push(Points {
                    labels: if series.name_dropped {
                        series.labels.without_metadata()
                    } else {
                        series.labels.clone()
                    },
                    points: samples
                        .iter()
                        .filter(|sample| {
                            sample.time_ms > window.start_ms && sample.time_ms <= window.end_ms
                        })
                        .map(|sample| (sample.time_ms, SampleValue::from(sample.cell)))
                        .collect(),
                });
            }
            Ok(())
        })?;
        points.retain(|series| !series.points.is_empty());
        points.sort_by(|left, right| left.labels.cmp(&right.labels));
        if points
            .windows(2)
            .any(|pair| pair[0].labels == pair[1].labels)
        {
            return Err(EvalError::DuplicateLabels);
        }
        Ok(Value::Matrix(points))
    }
}

fn columns_of(row: &Row, grid: &Grid, all_times: &Arc<[i64]>) -> Columns {
    let mut floats = FloatColumn::default();
    let mut histograms = HistogramColumn::default();
    let mut float_times = Vec::new();
    let mut histogram_times = Vec::new();
    for (step, cell) in row.cells() {
        match cell.owned() {
            Computed::Float(value) => {
                float_times.push(grid.time(step));
                floats.values.push(value);
            }
            Computed::Histogram(mut value) => {
                // A hint is about the sample just before, which the subquery's steps may have left out.
                if matches!(value.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
                    Arc::make_mut(&mut value).reset_hint = ResetHint::Unknown;
                }
                histogram_times.push(grid.time(step));
                histograms.values.push(value);
            }
        }
    }
    floats.timestamps = if float_times.len() == all_times.len() {
        all_times.clone()
    } else {
        float_times.into()
    };
    histograms.timestamps = histogram_times.into();
    Columns {
        labels: row.labels.clone(),
        name_dropped: row.name_dropped,
        floats,
        histograms,
    }
}

/// A window holds no markers; a column without any stays the shared one it is.
fn without_markers(mut column: FloatColumn, keep_starts: bool) -> FloatColumn {
    if !keep_starts {
        column.starts.clear();
    }
    if !column.values.iter().any(|value| is_stale(*value)) {
        return column;
    }
    let keep: Vec<bool> = column
        .values
        .iter()
        .map(|value| !is_stale(*value))
        .collect();
    FloatColumn {
        timestamps: kept(&column.timestamps, &keep).into(),
        values: kept(&column.values, &keep),
        starts: kept(&column.starts, &keep),
    }
}

fn without_marked_histograms(mut column: HistogramColumn, keep_starts: bool) -> HistogramColumn {
    if !keep_starts {
        column.starts.clear();
    }
    let keep: Vec<bool> = column.values.iter().map(|h| !is_stale(h.sum)).collect();
    if keep.iter().all(|keep| *keep) {
        return column;
    }
    HistogramColumn {
        timestamps: kept(&column.timestamps, &keep).into(),
        values: kept(&column.values, &keep),
        starts: kept(&column.starts, &keep),
    }
}

fn kept<T: Clone>(values: &[T], keep: &[bool]) -> Vec<T> {
    let values = values.iter().zip(keep);
    values
        .filter(|(_, keep)| **keep)
        .map(|(value, _)| value.clone())
        .collect()
}
