//! Aggregations of floats that need only what came so far: a row is added as soon as it is there and forgotten.
//!
//! A query over a hundred thousand series would otherwise hold as many rows, and spend more time on getting memory for
//! them than on adding them up.

use std::collections::BTreeMap;

use super::{
    super::{EvalError, Evaluator, Grid, NodeKind, Row, call::range_position, plan::AggregatePlan},
    Mean, group_labels,
};
use crate::{
    labels::Labels,
    number::Kahan,
    parser::AggregateOp,
    storage::{is_stale, stale},
};

/// Series whose rows exist at a time.
const SERIES_AT_ONCE: usize = 256;

/// What is known of one group, a value for each step.
#[derive(Clone)]
enum Values {
    Sum(Vec<Kahan>),
    Avg(Vec<Mean>),
    Count(Vec<f64>),
    Min(Vec<f64>),
    Max(Vec<f64>),
}

pub(super) struct Running {
    values: Values,
    seen: Vec<bool>,
}

impl Running {
    /// Nothing for aggregations that need all values at once.
    pub(super) fn new(op: AggregateOp, steps: usize) -> Option<Self> {
        let values = match op {
            AggregateOp::Sum => Values::Sum(vec![Kahan::default(); steps]),
            AggregateOp::Avg => Values::Avg(vec![Mean::default(); steps]),
            AggregateOp::Count => Values::Count(vec![0.0; steps]),
            AggregateOp::Min => Values::Min(vec![f64::NAN; steps]),
            AggregateOp::Max => Values::Max(vec![f64::NAN; steps]),
            _ => return None,
        };
        let seen = vec![false; steps];
        Some(Running { values, seen })
    }

    /// Row by row instead of step by step: floats lie side by side in a row.
    pub(super) fn add(&mut self, floats: &[f64]) {
        let seen = &mut self.seen;
        match &mut self.values {
            Values::Sum(sums) => each(sums, seen, floats, |sum, value| sum.add(value)),
            Values::Avg(means) => each(means, seen, floats, |mean, value| mean.add(value)),
            Values::Count(counts) => each(counts, seen, floats, |count, _| *count += 1.0),
            Values::Min(least) => each(least, seen, floats, |least, value| {
                if value < *least || least.is_nan() {
                    *least = value;
                }
            }),
            Values::Max(greatest) => each(greatest, seen, floats, |greatest, value| {
                if value > *greatest || greatest.is_nan() {
                    *greatest = value;
                }
            }),
        }
    }

    pub(super) fn floats(&self) -> Vec<f64> {
        let value = |step: usize| match &self.values {
            Values::Sum(sums) => sums[step].total(),
            Values::Avg(means) => means[step].value(),
            Values::Count(values) | Values::Min(values) | Values::Max(values) => values[step],
        };
        let seen = self.seen.iter().enumerate();
        seen.map(|(step, seen)| if *seen { value(step) } else { stale() })
            .collect()
    }
}

fn each<T>(states: &mut [T], seen: &mut [bool], floats: &[f64], add: impl Fn(&mut T, f64)) {
    for ((state, seen), value) in states.iter_mut().zip(seen).zip(floats) {
        if !is_stale(*value) {
            add(state, *value);
            *seen = true;
        }
    }
}

/// What an aggregation is of.
pub(super) enum Inner {
    /// Its rows, still to be aggregated.
    Rows(Vec<Row>),
    Aggregated(Vec<Row>),
}

impl Evaluator<'_> {
    /// What is aggregated; of a function over windows of floats the aggregation itself, a few series at a time.
    pub(super) fn inner(&mut self, plan: &AggregatePlan, grid: &Grid) -> Result<Inner, EvalError> {
        let NodeKind::Call { function, args } = &plan.inner.kind else {
            return self.vector(&plan.inner, grid).map(Inner::Rows);
        };
        let is_running = Running::new(plan.op, 0).is_some();
        let Some(range) = range_position(args).filter(|_| is_running) else {
            return self.vector(&plan.inner, grid).map(Inner::Rows);
        };
        let mut call = self.range_call(function.name, args, range, grid)?;
        if call.needs_all_series() {
            return self.over_windows(&call, grid).map(Inner::Rows);
        }
        let mut groups = Groups::default();
        let mut series = call.take_series().into_iter();
        loop {
            call.set_series(series.by_ref().take(SERIES_AT_ONCE));
            if call.is_empty() {
                return Ok(Inner::Aggregated(groups.rows()));
            }
            for row in self.over_windows(&call, grid)? {
                if groups.add(plan, &row) {
                    self.hold(Row::empty_size(grid.steps))?;
                }
            }
        }
    }
}

/// In the order of their first members.
#[derive(Default)]
struct Groups {
    indices: BTreeMap<Labels, usize>,
    groups: Vec<RunningGroup>,
}

struct RunningGroup {
    labels: Labels,
    running: Running,
    name_dropped: bool,
}

impl Groups {
    /// Whether a group came with it.
    fn add(&mut self, plan: &AggregatePlan, row: &Row) -> bool {
        let known = self.groups.len();
        let all_are_one = plan.grouping.is_everything() && !self.groups.is_empty();
        let index = if all_are_one {
            0
        } else {
            self.index_of(plan, row)
        };
        let group = &mut self.groups[index];
        group.name_dropped |= row.name_dropped;
        group.running.add(&row.floats);
        self.groups.len() > known
    }

    fn index_of(&mut self, plan: &AggregatePlan, row: &Row) -> usize {
        let labels = group_labels(&row.labels, &plan.grouping);
        *self.indices.entry(labels.clone()).or_insert_with(|| {
            let running = Running::new(plan.op, row.floats.len());
            self.groups.push(RunningGroup {
                labels,
                running: running.expect("only such aggregations come here"),
                name_dropped: false,
            });
            self.groups.len() - 1
        })
    }

    fn rows(self) -> Vec<Row> {
        let rows = self.groups.into_iter().map(|group| {
            let mut row = Row::of_floats(group.labels, group.running.floats());
            row.name_dropped = group.name_dropped;
            row
        });
        rows.collect()
    }
}
