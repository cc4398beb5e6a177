//! What a range argument refers to: a selector's samples, or those of a subquery.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use super::RangeSource;
use crate::{
    eval::{
        EvalError, Evaluator, Grid, Row,
        answer::{Points, SampleValue, Value},
        plan::{Node, NodeKind, SelectorPlan, SubqueryPlan},
        row::Computed,
        selector::Columns,
    },
    histogram::ResetHint,
    parser::{Extension, Span},
    storage::{FloatColumn, HistogramColumn, Series, is_stale},
};

impl Evaluator<'_> {
    /// Reads what a range argument refers to.
    pub(in crate::eval) fn range_source(
        &mut self,
        node: &Node,
        grid: &Grid,
    ) -> Result<RangeSource, EvalError> {
        match &node.kind {
            NodeKind::Range { selector, range_ms } => {
                let mut source = self.unread_source(selector, *range_ms, node.span);
                let (before, after) = source.around_ms();
                let series = self.select(selector, node.span, grid, before, after)?;
                let keep_starts = self.options.start_timestamps;
                let series = series.into_iter();
                source.series = series.map(|series| columns(series, keep_starts)).collect();
                Ok(source)
            }
            NodeKind::Subquery(subquery) => self.subquery(subquery, node.span, grid),
            NodeKind::Fixed(inner) => self.range_source(inner, grid),
            _ => Err(EvalError::BadArgument("expected a range vector".to_owned())),
        }
    }

    /// A selector's samples before they are read.
    pub(in crate::eval) fn unread_source(
        &self,
        selector: &SelectorPlan,
        range_ms: i64,
        span: Span,
    ) -> RangeSource {
        RangeSource {
            series: Vec::new(),
            span,
            when: selector.when,
            range_ms,
            extension: selector.extension,
            lookback_ms: self.options.lookback_ms,
            last_bounds: RefCell::default(),
            spare: Cell::default(),
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
        let start = window_start
            .div_euclid(step_ms)
            .saturating_add(1)
            .saturating_mul(step_ms);
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
            last_bounds: RefCell::default(),
            spare: Cell::default(),
        })
    }

    /// A range vector as the answer itself.
    pub(in crate::eval) fn raw_range(
        &mut self,
        node: &Node,
        grid: &Grid,
    ) -> Result<Value, EvalError> {
        let source = self.range_source(node, grid)?;
        let mut points = Vec::new();
        source.rows(grid, true, &self.room(), |series, windows, _| {
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

impl RangeSource {
    /// How long before a step and after it samples matter.
    pub(in crate::eval) fn around_ms(&self) -> (i64, i64) {
        let (before, after) = match self.extension {
            None => (0, 0),
            Some(Extension::Anchored) => (self.lookback_ms, 0),
            Some(Extension::Smoothed) => (self.lookback_ms, self.lookback_ms),
        };
        let before = self.range_ms.saturating_add(before).saturating_sub(1);
        (before, after)
    }
}

/// What windows over a series look at. `keep_starts`: whether it matters when counters began.
pub(in crate::eval) fn columns(series: Series, keep_starts: bool) -> Columns {
    Columns {
        labels: series.labels,
        name_dropped: false,
        floats: without_markers(series.floats, keep_starts),
        histograms: without_marked_histograms(series.histograms, keep_starts),
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
    // Without a way out of the loop many values are compared at once.
    let values = column.values.iter();
    let has_markers = values.fold(false, |any, value| any | is_stale(*value));
    if !has_markers {
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
