//! Aggregations: rows to groups, found once, then one pass over the members of each group.

mod fold;
mod pick;
mod running;
mod total;

use std::collections::BTreeMap;

use running::Inner;
pub(crate) use total::{HistogramMean, HistogramTotal, Mean, quantile_of};

use super::{
    EvalError, Evaluator, Grid, NodeKind, Row,
    plan::AggregatePlan,
    row::{Cell, merge_same_labels},
};
use crate::{
    annotations::Note,
    labels::{Labels, LabelsBuilder, is_metadata},
    number,
    parser::{AggregateOp, Grouping, Span},
};

/// Rows that are aggregated to one.
struct Group {
    labels: Labels,
    /// Indices into the rows, in their order.
    members: Vec<usize>,
    name_dropped: bool,
}

impl Evaluator<'_> {
    pub(super) fn aggregate(
        &mut self,
        plan: &AggregatePlan,
        span: Span,
        grid: &Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let inner = plan.inner.span;
        if plan.op == AggregateOp::CountValues {
            return self.count_values(plan, grid);
        }
        let params = match &plan.param {
            Some(param) => self.scalar(param, grid)?,
            None => Vec::new(),
        };
        let param_span = plan.param.as_ref().map_or(span, |param| param.span);
        let params = self.checked(plan.op, params, param_span)?;
        let rows = match self.inner(plan, grid)? {
            Inner::Rows(rows) => rows,
            Inner::Aggregated(rows) => return Ok(rows),
        };
        let groups = groups(&rows, &plan.grouping);
        let is_pick = matches!(
            plan.op,
            AggregateOp::Topk
                | AggregateOp::Bottomk
                | AggregateOp::Limitk
                | AggregateOp::LimitRatio
        );
        if is_pick {
            return Ok(self.pick(plan.op, &params, &rows, &groups, inner, grid));
        }
        let mut aggregated = Vec::with_capacity(groups.len());
        for group in &groups {
            self.check_cancelled()?;
            let mut row = self.fold(plan.op, &params, &rows, group, inner, grid);
            row.name_dropped = group.name_dropped;
            if !row.is_empty() {
                aggregated.push(row);
            }
        }
        Ok(aggregated)
    }

    /// Parameters within their bounds, each of which is known before any group is.
    fn checked(
        &mut self,
        op: AggregateOp,
        mut params: Vec<f64>,
        span: Span,
    ) -> Result<Vec<f64>, EvalError> {
        let bad = |problem: String| Err(EvalError::BadArgument(problem));
        match op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                if params.iter().any(|param| param.is_nan()) {
                    return bad("Parameter value is NaN".to_owned());
                }
                let limit = 2f64.powi(63);
                if let Some(param) = params.iter().find(|param| **param >= limit) {
                    let param = number::compact(*param);
                    return bad(format!("Scalar value {param} overflows int64"));
                }
                if let Some(param) = params.iter().find(|param| **param <= -limit) {
                    let param = number::compact(*param);
                    return bad(format!("Scalar value {param} underflows int64"));
                }
            }
            AggregateOp::LimitRatio => {
                if params.iter().any(|param| param.is_nan()) {
                    return bad("Ratio value is NaN".to_owned());
                }
                for ratio in extremes(&params) {
                    let capped_to = ratio.clamp(-1.0, 1.0);
                    if capped_to != ratio {
                        self.note(span, Note::InvalidRatio { ratio, capped_to });
                    }
                }
                for param in &mut params {
                    *param = param.clamp(-1.0, 1.0);
                }
            }
            AggregateOp::Quantile => {
                for quantile in extremes(&params) {
                    if !(0.0..=1.0).contains(&quantile) {
                        self.note(span, Note::InvalidQuantile { quantile });
                    }
                }
            }
            _ => {}
        }
        Ok(params)
    }

    /// One row for each value, by its spelling.
    fn count_values(&mut self, plan: &AggregatePlan, grid: &Grid) -> Result<Vec<Row>, EvalError> {
        let bytes: &[u8] = match plan.param.as_ref().map(|param| &param.kind) {
            Some(NodeKind::Text(bytes)) => bytes,
            _ => &[],
        };
        let name = std::str::from_utf8(bytes)
            .ok()
            .filter(|name| !name.is_empty());
        let Some(name) = name else {
            let quoted = crate::parser::Quoted(bytes);
            return Err(EvalError::BadArgument(format!(
                "invalid label name {quoted}"
            )));
        };
        let rows = self.vector(&plan.inner, grid)?;
        let mut counts: BTreeMap<Labels, Row> = BTreeMap::new();
        let mut order = Vec::new();
        for row in &rows {
            for (step, cell) in row.cells() {
                let value = match cell {
                    Cell::Float(value) => number::plain(value),
                    Cell::Histogram(histogram) => histogram.to_string(),
                };
                let labels = counted_labels(&row.labels, name, &value, &plan.grouping);
                if !counts.contains_key(&labels) {
                    self.hold(Row::empty_size(grid.steps))?;
                }
                let counted = counts.entry(labels.clone()).or_insert_with(|| {
                    order.push(labels.clone());
                    Row::empty(labels, grid.steps)
                });
                let count = counted.float(step).unwrap_or(0.0);
                counted.set(step, (count + 1.0).into());
            }
        }
        let rows = order.iter().filter_map(|labels| counts.remove(labels));
        merge_same_labels(rows.collect())
    }
}

/// The least, the greatest, and NaN if it is among them: a note on each value would be one for each step.
fn extremes(values: &[f64]) -> Vec<f64> {
    let numbers = || values.iter().copied().filter(|value| !value.is_nan());
    let least = numbers().reduce(f64::min);
    let greatest = numbers()
        .reduce(f64::max)
        .filter(|value| Some(*value) != least);
    let nan = values.iter().copied().find(|value| value.is_nan());
    [least, greatest, nan].into_iter().flatten().collect()
}

fn group_labels(labels: &Labels, grouping: &Grouping) -> Labels {
    if !grouping.without {
        return labels.keep(&grouping.labels);
    }
    labels.filtered(|label| {
        !is_metadata(&label.name) && !grouping.labels.iter().any(|name| **name == *label.name)
    })
}

/// The value is a label like others: `without` may drop it; `by` keeps it unasked.
fn counted_labels(labels: &Labels, name: &str, value: &str, grouping: &Grouping) -> Labels {
    let with_value = |labels: &Labels| LabelsBuilder::from_labels(labels).set(name, value).build();
    if grouping.without {
        group_labels(&with_value(labels), grouping)
    } else {
        with_value(&group_labels(labels, grouping))
    }
}

/// Groups in the order of their first members.
fn groups(rows: &[Row], grouping: &Grouping) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut indices: BTreeMap<Labels, usize> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        let labels = group_labels(&row.labels, grouping);
        let group = *indices.entry(labels.clone()).or_insert_with(|| {
            groups.push(Group {
                labels,
                members: Vec::new(),
                name_dropped: false,
            });
            groups.len() - 1
        });
        groups[group].members.push(index);
        groups[group].name_dropped |= row.name_dropped;
    }
    groups
}
