//! `absent` and `absent_over_time`: one series where there is none.

use super::{
    super::{EvalError, Evaluator, Grid, Node, NodeKind, Row},
    RangeCall,
};
use crate::{
    labels::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher},
    storage::stale,
};

impl Evaluator<'_> {
    pub(super) fn absent(&mut self, arg: &Node, grid: &Grid) -> Result<Vec<Row>, EvalError> {
        let rows = self.vector(arg, grid)?;
        let absent = |step| rows.iter().all(|row| !row.has(step));
        Ok(row_where(absent, labels_of(arg), grid))
    }
}

pub(super) fn absent_over_time(call: &RangeCall<'_>, arg: &Node) -> Result<Vec<Row>, EvalError> {
    let present = call.each_window(false, |_, _| Ok(Some(1.0)))?;
    let absent = |step| present.iter().all(|row| !row.has(step));
    Ok(row_where(absent, labels_of(arg), call.grid))
}

fn row_where(absent: impl Fn(usize) -> bool, labels: Labels, grid: &Grid) -> Vec<Row> {
    let values = (0..grid.steps).map(|step| if absent(step) { 1.0 } else { stale() });
    let row = Row::of_floats(labels, values.collect());
    if row.is_empty() {
        Vec::new()
    } else {
        vec![row]
    }
}

/// What the missing series would be called, as far as the selector says it by equality and once.
fn labels_of(arg: &Node) -> Labels {
    let matchers: &[Matcher] = match &arg.kind {
        NodeKind::Selector(selector) | NodeKind::Range { selector, .. } => &selector.matchers,
        NodeKind::Fixed(inner) => return labels_of(inner),
        _ => &[],
    };
    let mut builder = LabelsBuilder::default();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers {
        if matcher.name() == METRIC_NAME {
            continue;
        }
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            builder.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            builder.delete(matcher.name());
        }
    }
    builder.build()
}
