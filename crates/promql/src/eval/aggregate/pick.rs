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
        let mut best = Best {
            entries: Vec::new(),
            most: number::count(param),
            largest: op == AggregateOp::Topk,
        };
        for member in &group.members {
            match rows[*member].get(step) {
                Some(Cell::Float(value)) => best.offer(value, *member),
                Some(Cell::Histogram(_)) => {
                    let aggregation = op.name();
                    self.note(span, Note::HistogramIgnoredInAggregation { aggregation });
                }
                None => {}
            }
        }
        let mut floats = best.entries;
        floats.sort_by(|(left, _), (right, _)| nan_last(*left, *right, op == AggregateOp::Topk));
        floats.into_iter().map(|(_, member)| member).collect()
    }
}

/// The best values so far in a binary heap, the worst of them at its root.
///
/// Which of several equal values stays is a matter of how the heap is kept, so it is kept as Prometheus keeps it,
/// and no library's.
struct Best {
    entries: Vec<(f64, usize)>,
    most: usize,
    largest: bool,
}

impl Best {
    fn offer(&mut self, value: f64, member: usize) {
        if self.entries.len() < self.most {
            self.entries.push((value, member));
            self.rise();
            return;
        }
        let (worst, _) = self.entries[0];
        let better = if self.largest {
            value > worst
        } else {
            value < worst
        };
        if better || (worst.is_nan() && !value.is_nan()) {
            self.entries[0] = (value, member);
            self.sink();
        }
    }

    fn is_worse(&self, left: usize, right: usize) -> bool {
        let (left, right) = (self.entries[left].0, self.entries[right].0);
        left.is_nan()
            || if self.largest {
                left < right
            } else {
                left > right
            }
    }

    /// Moves the last entry up to its place.
    fn rise(&mut self) {
        let mut at = self.entries.len() - 1;
        while at > 0 && self.is_worse(at, (at - 1) / 2) {
            self.entries.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    /// Moves the root down to its place.
    fn sink(&mut self) {
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= self.entries.len() {
                return;
            }
            let child = if right < self.entries.len() && self.is_worse(right, left) {
                right
            } else {
                left
            };
            if !self.is_worse(child, at) {
                return;
            }
            self.entries.swap(at, child);
            at = child;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn best(values: &[f64], most: usize, largest: bool) -> Vec<usize> {
        let mut best = Best {
            entries: Vec::new(),
            most,
            largest,
        };
        for (member, value) in values.iter().enumerate() {
            best.offer(*value, member);
        }
        let mut members: Vec<usize> = best.entries.iter().map(|(_, member)| *member).collect();
        members.sort_unstable();
        members
    }

    #[test]
    fn of_equal_values_the_one_at_the_root_gives_way() {
        assert_eq!(best(&[0.0, 0.0, 5.0], 2, true), [1, 2]);
        assert_eq!(best(&[0.0, 0.0, 0.0], 2, true), [0, 1]);
        assert_eq!(best(&[1.0, 1.0, 0.0], 2, false), [1, 2]);
    }

    #[test]
    fn nan_gives_way_to_any_number() {
        assert_eq!(best(&[f64::NAN, 1.0, 2.0], 2, true), [1, 2]);
        assert_eq!(best(&[f64::NAN, f64::NAN, 2.0], 1, false), [2]);
    }
}
