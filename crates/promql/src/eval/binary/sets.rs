//! `and`, `or` and `unless`: which series of two vectors are in the answer, by the labels that match.

use std::collections::BTreeMap;

use super::{
    super::{EvalError, Grid, Row, plan::BinaryPlan, row::merge_same_labels},
    matching::signature,
};
use crate::{labels::Labels, parser::BinaryOp};

/// For each signature the steps at which any row has a value.
type Presence = BTreeMap<Labels, Vec<bool>>;

pub(super) fn combine(
    plan: &BinaryPlan,
    left: Vec<Row>,
    right: Vec<Row>,
    grid: &Grid,
) -> Result<Vec<Row>, EvalError> {
    let mut rows = if plan.op == BinaryOp::Or {
        let present = presence(plan, &left, grid);
        let mut rows = left;
        let added = kept_where(plan, right, &present, false);
        rows.extend(added);
        merge_same_labels(rows)?
    } else {
        let present = presence(plan, &right, grid);
        kept_where(plan, left, &present, plan.op == BinaryOp::And)
    };
    rows.retain(|row| !row.is_empty());
    Ok(rows)
}

fn presence(plan: &BinaryPlan, rows: &[Row], grid: &Grid) -> Presence {
    let mut presence = Presence::new();
    for row in rows {
        let signature = signature(&row.labels, &plan.matching);
        let present = presence
            .entry(signature)
            .or_insert_with(|| vec![false; grid.steps]);
        for (step, _) in row.cells() {
            present[step] = true;
        }
    }
    presence
}

/// Values at the steps at which the other side has (or hasn't) any that matches.
fn kept_where(plan: &BinaryPlan, mut rows: Vec<Row>, other: &Presence, present: bool) -> Vec<Row> {
    for row in &mut rows {
        let found = other.get(&signature(&row.labels, &plan.matching));
        for step in 0..row.floats.len() {
            if found.is_some_and(|steps| steps[step]) != present {
                row.clear(step);
            }
        }
    }
    rows
}
