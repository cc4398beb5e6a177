//! Selectors: columns from the store, and the current value of each series at each step.

use std::{ops::ControlFlow, sync::Arc};

use super::{
    EvalError, Evaluator, Grid, Note, Row, Size,
    plan::{SelectorPlan, When},
    row::{Computed, size},
};
use crate::{
    histogram::{FloatHistogram, ResetHint},
    labels::{Label, Labels},
    number,
    parser::{Extension, Span},
    storage::{FloatColumn, Found, HistogramColumn, Selection, Series, is_stale},
};

/// What to put into a row beside or instead of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Value,
    /// The sample's own time.
    Timestamp,
    /// When the sample's counter began.
    StartTimestamp,
}

/// Samples of one series that a window may look at.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    pub(crate) labels: Labels,
    pub(crate) name_dropped: bool,
    pub(crate) floats: FloatColumn,
    pub(crate) histograms: HistogramColumn,
}

/// What is read for a selector.
pub(super) struct Reading<'a> {
    pub(super) selector: &'a SelectorPlan,
    pub(super) span: Span,
    /// How long before the first step and after the last one samples matter.
    pub(super) around_ms: (i64, i64),
    /// Labels that matter; nothing where all do.
    pub(super) labels: Option<Vec<&'a str>>,
}

impl Evaluator<'_> {
    pub(super) fn instant_selector(
        &mut self,
        selector: &SelectorPlan,
        span: Span,
        grid: &Grid,
    ) -> Result<Vec<Row>, EvalError> {
        if selector.extension == Some(Extension::Smoothed) {
            return self.smoothed_selector(selector, span, grid);
        }
        self.current(selector, span, grid, Wanted::Value)
    }

    /// Instead of values the times of the samples, in seconds.
    pub(super) fn timestamps(
        &mut self,
        selector: &SelectorPlan,
        span: Span,
        grid: &Grid,
    ) -> Result<Vec<Row>, EvalError> {
        self.current(selector, span, grid, Wanted::Timestamp)
    }

    /// Instead of values the times when counters began, in seconds.
    pub(super) fn start_timestamps(
        &mut self,
        selector: &SelectorPlan,
        span: Span,
        grid: &Grid,
    ) -> Result<Vec<Row>, EvalError> {
        if !self.options.start_timestamps {
            return Ok(Vec::new());
        }
        self.current(selector, span, grid, Wanted::StartTimestamp)
    }

    fn current(
        &mut self,
        selector: &SelectorPlan,
        span: Span,
        grid: &Grid,
        wanted: Wanted,
    ) -> Result<Vec<Row>, EvalError> {
        let lookback = self.options.lookback_ms;
        let series = self.select(selector, span, grid, lookback.saturating_sub(1), 0)?;
        let mut rows = Vec::new();
        for series in series {
            self.check_cancelled()?;
            let row = current_row(&series, selector.when, grid, lookback, wanted);
            if !row.is_empty() {
                self.hold(row.size())?;
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Gives the row of each series to `take` as it is read; false when not all of them are of floats alone, and `take`
    /// was given some only.
    pub(super) fn each_float_row(
        &mut self,
        selector: &SelectorPlan,
        span: Span,
        labels: Option<Vec<&str>>,
        grid: &Grid,
        mut take: impl FnMut(&mut Self, &Row) -> Result<(), EvalError>,
    ) -> Result<bool, EvalError> {
        let lookback = self.options.lookback_ms;
        let mut only_floats = true;
        let reading = Reading {
            selector,
            span,
            around_ms: (lookback.saturating_sub(1), 0),
            labels,
        };
        self.each_series(&reading, grid, |this, series| {
            if !series.histograms.values.is_empty() {
                only_floats = false;
                return Ok(ControlFlow::Break(()));
            }
            let row = current_row(series, selector.when, grid, lookback, Wanted::Value);
            if !row.is_empty() {
                take(this, &row)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(only_floats)
    }

    /// Reads all series with their samples from `before_ms` before the first step's time up to `after_ms` after
    /// the last one's.
    pub(super) fn select(
        &mut self,
        selector: &SelectorPlan,
        span: Span,
        grid: &Grid,
        before_ms: i64,
        after_ms: i64,
    ) -> Result<Vec<Series>, EvalError> {
        let mut series = Vec::new();
        let reading = Reading {
            selector,
            span,
            around_ms: (before_ms, after_ms),
            labels: None,
        };
        self.each_series(&reading, grid, |this, found| {
            this.hold(size_of_series(found))?;
            series.push(std::mem::take(found));
            Ok(ControlFlow::Continue(()))
        })?;
        if !series.is_sorted_by(|left, right| left.labels <= right.labels) {
            series.sort_by(|left, right| left.labels.cmp(&right.labels));
        }
        Ok(series)
    }

    /// Gives the series to `take` as they are read, in the storage's order, until it has enough.
    pub(super) fn each_series(
        &mut self,
        reading: &Reading<'_>,
        grid: &Grid,
        mut take: impl FnMut(&mut Self, &mut Series) -> Result<ControlFlow<()>, EvalError>,
    ) -> Result<(), EvalError> {
        let Reading { selector, span, .. } = *reading;
        let first = selector.when.data_time(grid.start_ms);
        let last = selector.when.data_time(grid.end_ms());
        let selection = Selection {
            matchers: &selector.matchers,
            start_ms: first.saturating_sub(reading.around_ms.0),
            end_ms: last.saturating_add(reading.around_ms.1),
        };
        let mut end = Ok(());
        let mut holding = Size::default();
        let storage = self.storage;
        let mut stop = |error| {
            end = Err(error);
            ControlFlow::Break(())
        };
        let mut take = |found: Found<'_>| {
            let series = match found {
                Found::Series(series) => series,
                Found::Warning(message) => {
                    self.note(span, Note::Storage { message });
                    return ControlFlow::Continue(());
                }
                Found::Holding(bytes) => {
                    self.held.take_away(holding);
                    holding = Size { samples: 0, bytes };
                    let held = self.hold(holding);
                    return held.map_or_else(&mut stop, ControlFlow::Continue);
                }
            };
            let samples = size_of_series(series).samples;
            self.statistics.samples_read += u64::try_from(samples).unwrap_or(u64::MAX);
            let taken = self.check_cancelled().and_then(|()| {
                if selector.finds_resets {
                    find_resets(&mut series.histograms, selection.start_ms);
                }
                take(self, series)
            });
            taken.unwrap_or_else(&mut stop)
        };
        let selected = match &reading.labels {
            Some(labels) => storage.select_for(&selection, labels, &mut take),
            None => storage.select(&selection, &mut take),
        };
        self.held.take_away(holding);
        selected?;
        end
    }
}

/// Timestamps are counted as if no other series shared them.
pub(super) fn size_of_series(series: &Series) -> Size {
    let histograms = series.histograms.values.iter();
    let samples = series.floats.values.len() + histograms.map(|value| size(value)).sum::<usize>();
    Size {
        samples,
        bytes: size_of::<Series>() + series.labels.len() * size_of::<Label>() + 16 * samples,
    }
}

/// The number of timestamps up to `at`, counted on from `from`.
pub(super) fn advance(timestamps: &[i64], from: usize, at: i64) -> usize {
    let mut index = from;
    while index < timestamps.len() && timestamps[index] <= at {
        index += 1;
    }
    index
}

fn current_row(series: &Series, when: When, grid: &Grid, lookback: i64, wanted: Wanted) -> Row {
    let mut row = Row::empty(series.labels.clone(), grid.steps);
    let (mut float, mut histogram) = (0, 0);
    for (step, time) in grid.times().enumerate() {
        let at = when.data_time(time);
        float = advance(&series.floats.timestamps, float, at);
        histogram = advance(&series.histograms.timestamps, histogram, at);
        let found = current_at(series, float, histogram, at, lookback, wanted);
        if let Some(value) = found {
            row.set(step, value);
        }
    }
    row
}

fn current_at(
    series: &Series,
    floats: usize,
    histograms: usize,
    at: i64,
    lookback: i64,
    wanted: Wanted,
) -> Option<Computed> {
    let fresh = |timestamps: &[i64], count: usize| {
        let index = count.checked_sub(1)?;
        let time = timestamps[index];
        (time > at.saturating_sub(lookback)).then_some((index, time))
    };
    let float = fresh(&series.floats.timestamps, floats);
    let histogram = fresh(&series.histograms.timestamps, histograms);
    let (time, start, value) = match (float, histogram) {
        (Some((index, time)), other) if other.is_none_or(|(_, later)| later < time) => {
            let value = series.floats.values[index];
            if is_stale(value) {
                return None;
            }
            let start = series.floats.starts.get(index);
            (time, start, Computed::Float(value))
        }
        (_, Some((index, time))) => {
            let value = &series.histograms.values[index];
            if is_stale(value.sum) {
                return None;
            }
            let start = series.histograms.starts.get(index);
            (time, start, Computed::Histogram(value.clone()))
        }
        (_, None) => return None,
    };
    Some(match wanted {
        Wanted::Value => value,
        Wanted::Timestamp => number::seconds(time).into(),
        Wanted::StartTimestamp => number::seconds(start.copied().unwrap_or(0)).into(),
    })
}

/// Finds out by comparing what the hints leave open, since what is computed later compares counts only.
fn find_resets(histograms: &mut HistogramColumn, from_ms: i64) {
    let first = histograms.timestamps.partition_point(|at| *at < from_ms);
    let mut previous: Option<Arc<FloatHistogram>> = None;
    for histogram in histograms.values.iter_mut().skip(first) {
        let original = histogram.clone();
        if is_stale(histogram.sum) {
            previous = None;
            continue;
        }
        if histogram.reset_hint == ResetHint::Unknown
            && let Some(previous) = &previous
        {
            let found = if original.is_reset_after(previous) {
                ResetHint::Reset
            } else {
                ResetHint::NotReset
            };
            Arc::make_mut(histogram).reset_hint = found;
        }
        previous = Some(original);
    }
}
