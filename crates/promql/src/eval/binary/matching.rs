//! Operators between the values of two vectors whose series match.
//!
//! Which series could match is found once, by the labels that count. At each step those of them that have a
//! value there are paired.

use std::collections::BTreeMap;

use super::super::{EvalError, Evaluator, Grid, Row, plan::BinaryPlan, row::Cell};
use crate::{
    labels::{Labels, LabelsBuilder, METRIC_NAME},
    parser::{Matching, Side, Span},
};

/// Rows of both sides that could match.
#[derive(Default)]
struct Match {
    many: Vec<usize>,
    one: Vec<usize>,
}

/// The labels by which a series matches.
pub(super) fn signature(labels: &Labels, matching: &Matching) -> Labels {
    if matching.on {
        return labels.keep(&matching.labels);
    }
    labels.filtered(|label| {
        &*label.name != METRIC_NAME && !matching.labels.iter().any(|name| **name == *label.name)
    })
}

/// One vector operation. Grouping swaps the sides, so that the right one is always the unique one; operands are
/// swapped back just before they are computed with.
struct Pairing<'a> {
    plan: &'a BinaryPlan,
    many: &'a [Row],
    one: &'a [Row],
    swapped: bool,
    span: Span,
    grid: &'a Grid,
    results: Vec<Row>,
    by_labels: BTreeMap<Labels, usize>,
    /// The steps at which the side that may have many has anything, once that matters.
    occupied: Option<Vec<bool>>,
    /// For each result the steps at which something has matched, even if a comparison let nothing through.
    claimed: Vec<Vec<bool>>,
}

impl Evaluator<'_> {
    pub(super) fn matched(
        &mut self,
        plan: &BinaryPlan,
        left: &[Row],
        right: &[Row],
        span: Span,
        grid: &Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let group = plan.matching.group.as_ref();
        let swapped = group.is_some_and(|group| group.many == Side::Right);
        let (many, one) = if swapped {
            (right, left)
        } else {
            (left, right)
        };
        let mut matches: BTreeMap<Labels, Match> = BTreeMap::new();
        for (index, row) in many.iter().enumerate() {
            let signature = signature(&row.labels, &plan.matching);
            matches.entry(signature).or_default().many.push(index);
        }
        for (index, row) in one.iter().enumerate() {
            let signature = signature(&row.labels, &plan.matching);
            matches.entry(signature).or_default().one.push(index);
        }
        let mut pairing = Pairing {
            plan,
            many,
            one,
            swapped,
            span,
            grid,
            results: Vec::new(),
            by_labels: BTreeMap::new(),
            occupied: None,
            claimed: Vec::new(),
        };
        for (labels, found) in &matches {
            self.check_cancelled()?;
            pairing.pair(self, labels, found)?;
        }
        let mut results = pairing.results;
        results.retain(|row| !row.is_empty());
        Ok(results)
    }
}

impl Pairing<'_> {
    fn pair(
        &mut self,
        evaluator: &mut Evaluator<'_>,
        labels: &Labels,
        found: &Match,
    ) -> Result<(), EvalError> {
        let ones = self.unique(labels, found)?;
        let mut matched = vec![false; self.grid.steps];
        let matching = &self.plan.matching;
        // Prometheus names the sides after swapping them: with `group_right`, `fill_right` stands for what is
        // missing on the left, which is the unique side.
        let (fill_one, fill_many) = (matching.fill_right, matching.fill_left);
        for many in &found.many {
            let many = &self.many[*many];
            // The same pair at most steps: its result is looked up when the pair changes.
            let mut pair: Option<(Option<usize>, usize)> = None;
            for step in 0..self.grid.steps {
                let Some(value) = many.get(step) else {
                    continue;
                };
                let one = ones[step];
                let other = match (one, fill_one) {
                    (Some(one), _) => self.one[one].get(step),
                    (None, Some(fill)) => Some(Cell::Float(fill)),
                    (None, None) => None,
                };
                let Some(other) = other else {
                    continue;
                };
                let result = match pair {
                    Some((same, result)) if same == one => result,
                    _ => {
                        let other = one.map_or(labels, |one| &self.one[one].labels);
                        let labels = self.result_labels(&many.labels, other);
                        self.result(labels, many.name_dropped)
                    }
                };
                pair = Some((one, result));
                if matching.group.is_none() && matched[step] {
                    return Err(EvalError::ManyToOneNotExplicit);
                }
                matched[step] = true;
                self.compute(evaluator, result, step, value, other)?;
            }
        }
        if let Some(fill) = fill_many {
            self.fill(evaluator, labels, &ones, &matched, fill)?;
        }
        Ok(())
    }

    /// The only row of the unique side at each step. Where the other side has nothing at all, nothing is matched, and
    /// nothing has to be unique.
    fn unique(&mut self, labels: &Labels, found: &Match) -> Result<Vec<Option<usize>>, EvalError> {
        let mut ones: Vec<Option<usize>> = vec![None; self.grid.steps];
        for index in &found.one {
            for (step, _) in self.one[*index].cells() {
                if let Some(first) = ones[step].replace(*index)
                    && self.must_be_unique(step)
                {
                    let group = if self.plan.matching.on {
                        labels.clone()
                    } else {
                        labels.without(&[METRIC_NAME.to_owned()])
                    };
                    return Err(EvalError::DuplicateMatch {
                        group,
                        side: if self.swapped { "left" } else { "right" },
                        first: self.one[first].labels.clone(),
                        second: self.one[*index].labels.clone(),
                    });
                }
            }
        }
        Ok(ones)
    }

    fn must_be_unique(&mut self, step: usize) -> bool {
        let matching = &self.plan.matching;
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            return true;
        }
        let occupied = self.occupied.get_or_insert_with(|| {
            let mut occupied = vec![false; self.grid.steps];
            for (step, _) in self.many.iter().flat_map(Row::cells) {
                occupied[step] = true;
            }
            occupied
        });
        occupied[step]
    }

    /// What stands for the series that are missing on the side that may have many.
    fn fill(
        &mut self,
        evaluator: &mut Evaluator<'_>,
        labels: &Labels,
        ones: &[Option<usize>],
        matched: &[bool],
        fill: f64,
    ) -> Result<(), EvalError> {
        for (step, one) in ones.iter().enumerate() {
            let Some(one) = one else {
                continue;
            };
            let row = &self.one[*one];
            let (Some(value), false) = (row.get(step), matched[step]) else {
                continue;
            };
            let result = self.result(self.result_labels(labels, &row.labels), false);
            self.compute(evaluator, result, step, Cell::Float(fill), value)?;
        }
        Ok(())
    }

    /// The row for the results of a pair. A name that was dropped before doesn't come back by a comparison.
    fn result(&mut self, labels: Labels, name_dropped: bool) -> usize {
        if let Some(index) = self.by_labels.get(&labels) {
            return *index;
        }
        let mut row = Row::empty(labels.clone(), self.grid.steps);
        let keeps_name = !self.plan.op.is_arithmetic();
        row.name_dropped = self.plan.returns_bool || (keeps_name && name_dropped);
        self.results.push(row);
        self.claimed.push(vec![false; self.grid.steps]);
        self.by_labels.insert(labels, self.results.len() - 1);
        self.results.len() - 1
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = &self.plan.matching;
        let mut labels = many.clone();
        if self.plan.op.is_arithmetic() {
            labels = labels.without_metadata();
        }
        let Some(group) = &matching.group else {
            return if matching.on {
                labels.keep(&matching.labels)
            } else {
                labels.without(&matching.labels)
            };
        };
        let mut builder = LabelsBuilder::from_labels(&labels);
        for name in &group.include {
            builder.set(name, one.get(name));
        }
        builder.build()
    }

    fn compute(
        &mut self,
        evaluator: &mut Evaluator<'_>,
        result: usize,
        step: usize,
        many: Cell<'_>,
        one: Cell<'_>,
    ) -> Result<(), EvalError> {
        let (left, right) = if self.swapped {
            (one, many)
        } else {
            (many, one)
        };
        let Some(outcome) = evaluator.noted(self.plan.op, left, right, self.span) else {
            return Ok(());
        };
        if std::mem::replace(&mut self.claimed[result][step], true) {
            return Err(if self.plan.matching.group.is_some() {
                EvalError::GroupedMatchesNotUnique
            } else {
                EvalError::DuplicateLabels
            });
        }
        if let Some(value) = outcome.computed(self.plan, left) {
            self.results[result].set(step, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::is_metadata;

    #[test]
    fn type_and_unit_count_for_a_match_but_the_name_does_not() {
        let labels = Labels::from_pairs([(METRIC_NAME, "a"), ("__type__", "gauge"), ("job", "x")]);
        let signature = signature(&labels, &Matching::default());
        assert!(signature.iter().all(|label| &*label.name != METRIC_NAME));
        assert!(signature.iter().any(|label| is_metadata(&label.name)));
    }
}
