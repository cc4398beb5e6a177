//! Aggregations that pick members of a group: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use super::{
    super::{Evaluator, Grid, Row, row::Cell},
    Group,
};
use crate::{
    annotations::Note,
    eval::call::nan_last,
    number,
    parser::{AggregateOp, Span},
};

impl Evaluator<'_> {
    pub(super) fn pick(
        &mut self,
        op: AggregateOp,
        params: &[f64],
        rows: &[Row],
        groups: &[Group],
        span: Span,
        grid: &Grid,
    ) -> Vec<Row> {
        let mut picked: Vec<Row> = rows
            .iter()
            .map(|row| {
                let mut empty = Row::empty(row.labels.clone(), grid.steps);
                empty.name_dropped = row.name_dropped;
                empty
            })
            .collect();
        let positions: Vec<f64> = if op == AggregateOp::LimitRatio {
            rows.iter()
                .map(|row| row.labels.sample_position())
                .collect()
        } else {
            Vec::new()
        };
        let mut order: Vec<usize> = Vec::new();
        for group in groups {
            for (step, param) in params.iter().enumerate() {
                let members = match op {
                    AggregateOp::LimitRatio => sampled(*param, &positions, group),
                    AggregateOp::Limitk => first(*param, rows, group, step),
                    _ => self.best(op, *param, rows, group, (step, span)),
                };
                for member in &members {
                    if let Some(cell) = rows[*member].get(step) {
                        picked[*member].set(step, cell.owned());
                    }
                }
                if grid.steps == 1 {
                    order.extend(members);
                }
            }
        }
        if grid.steps > 1 {
            order = (0..rows.len()).collect();
        }
        let mut picked: Vec<Option<Row>> = picked.into_iter().map(Some).collect();
        let picked = order.iter().filter_map(|index| picked[*index].take());
        picked.filter(|row| !row.is_empty()).collect()
    }

    /// The largest or smallest floats of a group, the best first; NaN is worse than any number.
    fn best(
        &mut self,
        op: AggregateOp,
        param: f64,
        rows: &[Row],
        group: &Group,
        (step, span): (usize, Span),
    ) -> Vec<usize> {
        if param < 1.0 {
            return Vec::new();
        }
        let mut floats: Vec<(f64, usize)> = Vec::new();
        for member in &group.members {
            match rows[*member].get(step) {
                Some(Cell::Float(value)) => floats.push((value, *member)),
                Some(Cell::Histogram(_)) => {
                    let aggregation = op.name();
                    self.note(span, Note::HistogramIgnoredInAggregation { aggregation });
                }
                None => {}
            }
        }
        floats.sort_by(|(left, _), (right, _)| nan_last(*left, *right, op == AggregateOp::Topk));
        floats.truncate(number::count(param));
        floats.into_iter().map(|(_, member)| member).collect()
    }
}

fn first(param: f64, rows: &[Row], group: &Group, step: usize) -> Vec<usize> {
    if param < 1.0 {
        return Vec::new();
    }
    let present = group
        .members
        .iter()
        .filter(|member| rows[**member].has(step));
    present.take(number::count(param)).copied().collect()
}

/// Each series is in or out by its labels alone; a negative ratio gives exactly what the positive one that
/// complements it leaves.
fn sampled(ratio: f64, positions: &[f64], group: &Group) -> Vec<usize> {
    let is_in = |member: &&usize| {
        let position = positions[**member];
        if ratio >= 0.0 {
            position < ratio
        } else {
            position >= 1.0 + ratio
        }
    };
    group.members.iter().filter(is_in).copied().collect()
}
