//! Sorting. Only the answer to an instant query has an order; that of a range is by labels.

use std::cmp::Ordering;

use super::{
    super::{EvalError, Evaluator, Grid, Node, Row},
    labels::text,
};
use crate::labels::Labels;

impl Evaluator<'_> {
    /// Floats by value, NaN last in both directions.
    pub(super) fn sort(
        &mut self,
        name: &str,
        arg: &Node,
        grid: &Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let rows = self.vector(arg, grid)?;
        let floats = rows
            .iter()
            .map(|row| row.mapped(|_, cell| super::float_of(cell).map(Into::into)));
        let mut rows: Vec<Row> = floats.filter(|row| !row.is_empty()).collect();
        if grid.steps == 1 {
            rows.sort_by(|left, right| {
                let (left, right) = (left.floats[0], right.floats[0]);
                nan_last(left, right, name == "sort_desc")
            });
        }
        Ok(rows)
    }

    pub(super) fn sort_by_label(
        &mut self,
        name: &str,
        args: &[Node],
        grid: &Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let mut rows = self.vector(&args[0], grid)?;
        let names: Vec<String> = args[1..].iter().filter_map(text).collect();
        rows.sort_by(|left, right| {
            let order = by_labels(&left.labels, &right.labels, &names);
            if name == "sort_by_label_desc" {
                order.reverse()
            } else {
                order
            }
        });
        Ok(rows)
    }
}

pub(in crate::eval) fn nan_last(left: f64, right: f64, descending: bool) -> Ordering {
    match (left.is_nan(), right.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if descending => right.total_cmp(&left),
        (false, false) => left.total_cmp(&right),
    }
}

fn by_labels(left: &Labels, right: &Labels, names: &[String]) -> Ordering {
    let mut orders = names
        .iter()
        .map(|name| natural(left.get(name), right.get(name)));
    orders
        .find(|order| order.is_ne())
        .unwrap_or_else(|| left.cmp(right))
}

/// Numbers within texts are compared as numbers.
fn natural(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left, right);
    loop {
        let (a, b) = (chunk(left), chunk(right));
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        let order = match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => a.cmp(b),
        };
        if order.is_ne() {
            return order;
        }
        (left, right) = (&left[a.len()..], &right[b.len()..]);
    }
}

/// Leading digits, or everything before the next digit.
fn chunk(text: &str) -> &str {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits);
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_texts_sort_as_numbers() {
        let mut texts = ["v10", "v9", "v9.10", "v9.2", "", "a"];
        texts.sort_by(|left, right| natural(left, right));
        assert_eq!(texts, ["", "a", "v9", "v9.2", "v9.10", "v10"]);
    }
}
