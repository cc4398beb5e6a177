//! Rows: the values of one series at all steps.
//!
//! Floats lie side by side, one for each step; where a step has none, the stale marker stands there, which can
//! be no value of a query. Histograms are rare and have a column of their own where there are any.

use std::sync::Arc;

use super::{EvalError, Size};
use crate::{
    histogram::FloatHistogram,
    labels::Labels,
    storage::{is_stale, stale},
};

/// One value at one step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'a> {
    Float(f64),
    Histogram(&'a Arc<FloatHistogram>),
}

/// One value to be put into a row.
#[derive(Debug, Clone)]
pub(crate) enum Computed {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl From<f64> for Computed {
    fn from(value: f64) -> Self {
        Computed::Float(value)
    }
}

impl From<FloatHistogram> for Computed {
    fn from(histogram: FloatHistogram) -> Self {
        Computed::Histogram(Arc::new(histogram))
    }
}

impl Cell<'_> {
    pub(crate) fn owned(self) -> Computed {
        match self {
            Cell::Float(value) => Computed::Float(value),
            Cell::Histogram(histogram) => Computed::Histogram(histogram.clone()),
        }
    }
}

/// The values of one series at all steps.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    /// The metric's name no longer fits the values. It stays until the end, so that series of different metrics
    /// don't collide on the way.
    pub(crate) name_dropped: bool,
    pub(crate) floats: Vec<f64>,
    /// Empty where there are none.
    histograms: Vec<Option<Arc<FloatHistogram>>>,
}

impl Row {
    pub(crate) fn empty(labels: Labels, steps: usize) -> Self {
        Row::of_floats(labels, vec![stale(); steps])
    }

    /// What a row takes before there is one.
    pub(crate) fn empty_size(steps: usize) -> Size {
        Size {
            samples: steps,
            bytes: size_of::<Self>().saturating_add(size_of::<f64>().saturating_mul(steps)),
        }
    }

    pub(crate) fn of_floats(labels: Labels, floats: Vec<f64>) -> Self {
        Row {
            labels,
            name_dropped: false,
            floats,
            histograms: Vec::new(),
        }
    }

    pub(crate) fn get(&self, step: usize) -> Option<Cell<'_>> {
        let float = self.floats[step];
        if !is_stale(float) {
            return Some(Cell::Float(float));
        }
        let histogram = self.histograms.get(step)?.as_ref()?;
        Some(Cell::Histogram(histogram))
    }

    pub(crate) fn float(&self, step: usize) -> Option<f64> {
        let float = self.floats[step];
        (!is_stale(float)).then_some(float)
    }

    pub(crate) fn has(&self, step: usize) -> bool {
        self.get(step).is_some()
    }

    pub(crate) fn set(&mut self, step: usize, value: Computed) {
        match value {
            Computed::Float(value) => self.floats[step] = value,
            Computed::Histogram(histogram) => {
                if self.histograms.is_empty() {
                    self.histograms = vec![None; self.floats.len()];
                }
                self.histograms[step] = Some(histogram);
            }
        }
    }

    pub(crate) fn clear(&mut self, step: usize) {
        self.floats[step] = stale();
        if let Some(histogram) = self.histograms.get_mut(step) {
            *histogram = None;
        }
    }

    /// The values that are there, with their steps.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (usize, Cell<'_>)> {
        (0..self.floats.len()).filter_map(|step| self.get(step).map(|cell| (step, cell)))
    }

    pub(crate) fn histograms(&self) -> impl Iterator<Item = &Arc<FloatHistogram>> {
        self.histograms.iter().flatten()
    }

    pub(crate) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.floats.iter().all(|value| is_stale(*value)) && self.histograms().next().is_none()
    }

    /// Another row with what `change` makes of each value.
    pub(crate) fn mapped(
        &self,
        mut change: impl FnMut(usize, Cell<'_>) -> Option<Computed>,
    ) -> Self {
        let mut row = Row::empty(self.labels.clone(), self.floats.len());
        row.name_dropped = self.name_dropped;
        for (step, cell) in self.cells() {
            if let Some(value) = change(step, cell) {
                row.set(step, value);
            }
        }
        row
    }

    /// Keeps the floats only, changed; the name no longer fits.
    pub(crate) fn map_floats(&mut self, change: impl Fn(f64) -> f64) {
        for value in &mut self.floats {
            if !is_stale(*value) {
                *value = change(*value);
            }
        }
        self.histograms.clear();
        self.name_dropped = true;
    }

    /// What it takes of a budget.
    pub(crate) fn size(&self) -> Size {
        let sizes = self.histograms().map(|histogram| size(histogram));
        let samples = self.floats.len() + sizes.sum::<usize>();
        Size {
            samples,
            bytes: size_of::<Self>() + size_of::<f64>() * samples,
        }
    }

    /// Takes over the values of a row with the same labels; no step may have two.
    pub(crate) fn merge(&mut self, other: &Row) -> Result<(), EvalError> {
        for (step, cell) in other.cells() {
            if self.has(step) {
                return Err(EvalError::DuplicateLabels);
            }
            self.set(step, cell.owned());
        }
        Ok(())
    }
}

/// A histogram's share of the budget: its buckets and its frame.
pub(crate) fn size(histogram: &FloatHistogram) -> usize {
    8 + histogram.positive.len() + histogram.negative.len()
}

/// Joins rows of the same labels in the order of their first appearance. A name that is to be dropped is not the
/// same as one that stays.
pub(crate) fn merge_same_labels(rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let key = |index: usize| (&rows[index].labels, rows[index].name_dropped);
    order.sort_by(|left, right| key(*left).cmp(&key(*right)));
    if order.windows(2).all(|pair| key(pair[0]) != key(pair[1])) {
        return Ok(rows);
    }
    let mut kept_by: Vec<usize> = (0..rows.len()).collect();
    for pair in order.windows(2) {
        if key(pair[0]) == key(pair[1]) {
            kept_by[pair[1]] = kept_by[pair[0]];
        }
    }
    let mut merged: Vec<Option<Row>> = vec![None; rows.len()];
    for (index, row) in rows.into_iter().enumerate() {
        match &mut merged[kept_by[index]] {
            Some(kept) => kept.merge(&row)?,
            empty => *empty = Some(row),
        }
    }
    Ok(merged.into_iter().flatten().collect())
}

/// What a node yields.
#[derive(Debug, Clone)]
pub(crate) enum Values {
    Scalar(Vec<f64>),
    Vector(Vec<Row>),
}

impl Values {
    pub(crate) fn size(&self) -> Size {
        match self {
            Values::Scalar(values) => Size::of_floats(values),
            Values::Vector(rows) => {
                let sizes = rows.iter().map(Row::size);
                sizes.fold(Size::default(), Size::plus)
            }
        }
    }

    /// The value of the only step, for as many steps.
    pub(crate) fn repeated(self, steps: usize) -> Self {
        match self {
            Values::Scalar(values) => {
                let value = values.first().copied().unwrap_or(f64::NAN);
                Values::Scalar(vec![value; steps])
            }
            Values::Vector(rows) => {
                let repeated = rows.into_iter().map(|row| Row {
                    floats: row.floats.repeat(steps),
                    histograms: row
                        .histograms
                        .iter()
                        .cycle()
                        .take(row.histograms.len() * steps)
                        .cloned()
                        .collect(),
                    ..row
                });
                Values::Vector(repeated.collect())
            }
        }
    }

    pub(crate) fn negated(self) -> Self {
        match self {
            Values::Scalar(values) => Values::Scalar(values.iter().map(|value| -value).collect()),
            Values::Vector(rows) => {
                let negated = rows.into_iter().map(|row| {
                    let mut negated = row.mapped(|_, cell| {
                        Some(match cell {
                            Cell::Float(value) => Computed::Float(-value),
                            Cell::Histogram(histogram) => histogram.scaled(-1.0).into(),
                        })
                    });
                    negated.name_dropped = true;
                    negated
                });
                Values::Vector(negated.collect())
            }
        }
    }
}
