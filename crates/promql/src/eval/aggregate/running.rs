//! Aggregations of floats that need only what came so far: a row is added as soon as it is there and forgotten.
//!
//! A query over a hundred thousand series would otherwise hold as many rows, and spend more time on getting memory for
//! them than on adding them up.

use std::{collections::BTreeMap, mem, ops::ControlFlow};

use super::{
    super::{
        EvalError, Evaluator, Grid, Node, NodeKind, Row, Size,
        call::range_position,
        plan::AggregatePlan,
        selector::{Reading, size_of_series},
        window::columns,
    },
    Mean, group_labels,
};
use crate::{
    labels::{Labels, METRIC_NAME, METRIC_TYPE},
    number::KahanSums,
    parser::AggregateOp,
    storage::{is_stale, stale},
};

/// What is known of one group, a value for each step.
#[derive(Clone)]
enum Values {
    Sum(KahanSums),
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
            AggregateOp::Sum => Values::Sum(KahanSums::new(steps)),
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
            Values::Sum(sums) => {
                sums.add(floats);
                let seen = seen.iter_mut().zip(floats);
                seen.for_each(|(seen, value)| *seen |= !is_stale(*value));
            }
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
            Values::Sum(sums) => sums.total(step),
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
    /// What is aggregated; of a selector, or a function over windows of one, the aggregation itself where that needs
    /// only a few series at a time.
    pub(super) fn inner(&mut self, plan: &AggregatePlan, grid: &Grid) -> Result<Inner, EvalError> {
        let groups = match &plan.inner.kind {
            _ if Running::new(plan.op, 0).is_none() => None,
            NodeKind::Selector(selector) if selector.extension.is_none() => {
                let mut groups = Groups::default();
                let span = plan.inner.span;
                let take = |this: &mut Self, row: &Row| groups.add(plan, this, row);
                self.each_float_row(selector, span, labels_for(plan), grid, take)?
                    .then_some(groups)
            }
            NodeKind::Call { function, args } => match range_position(args) {
                Some(range) => self.running_call(plan, function.name, args, range, grid)?,
                None => None,
            },
            _ => None,
        };
        match groups {
            Some(groups) => Ok(Inner::Aggregated(groups.rows())),
            None => self.vector(&plan.inner, grid).map(Inner::Rows),
        }
    }

    /// Nothing where it turns out that there are histograms: then all is read again.
    fn running_call(
        &mut self,
        plan: &AggregatePlan,
        name: &'static str,
        args: &[Node],
        range: usize,
        grid: &Grid,
    ) -> Result<Option<Groups>, EvalError> {
        let Some((mut call, selector)) = self.unread_call(name, args, range, grid)? else {
            return Ok(None);
        };
        let mut groups = Groups::default();
        let mut only_floats = true;
        let keep_starts = self.options.start_timestamps;
        let reading = Reading {
            selector,
            span: call.source.span,
            around_ms: call.source.around_ms(),
            labels: labels_for(plan),
        };
        self.each_series(&reading, grid, |this, series| {
            if !series.histograms.values.is_empty() {
                only_floats = false;
                return Ok(ControlFlow::Break(()));
            }
            let size = size_of_series(series);
            this.hold(size)?;
            call.source
                .series
                .push(columns(mem::take(series), keep_starts));
            for row in this.over_windows(&call, grid)? {
                groups.add(plan, this, &row)?;
                call.source.reuse(row);
            }
            this.held.take_away(size);
            if let Some(columns) = call.source.series.pop() {
                series.floats.values = columns.floats.values;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(only_floats.then_some(groups))
    }
}

/// Those by which rows are grouped, and those that notes speak of.
fn labels_for(plan: &AggregatePlan) -> Option<Vec<&str>> {
    if plan.grouping.without {
        return None;
    }
    let grouping = plan.grouping.labels.iter().map(String::as_str);
    Some(grouping.chain([METRIC_NAME, METRIC_TYPE]).collect())
}

/// In the order of their first members.
#[derive(Default)]
struct Groups {
    indices: BTreeMap<Labels, usize>,
    groups: Vec<RunningGroup>,
    /// How many of them count as held.
    held: usize,
}

struct RunningGroup {
    labels: Labels,
    running: Running,
    name_dropped: bool,
}

impl Groups {
    fn add(
        &mut self,
        plan: &AggregatePlan,
        evaluator: &mut Evaluator<'_>,
        row: &Row,
    ) -> Result<(), EvalError> {
        let all_are_one = plan.grouping.is_everything() && !self.groups.is_empty();
        let index = if all_are_one {
            0
        } else {
            self.index_of(plan, row)
        };
        if self.groups.len() > self.held {
            evaluator.hold(Size::of_floats(&row.floats))?;
            self.held += 1;
        }
        let group = &mut self.groups[index];
        group.name_dropped |= row.name_dropped;
        group.running.add(&row.floats);
        Ok(())
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
