//! Operators between two expressions.

mod element;
mod matching;
mod sets;

use element::{Outcome, element};

use super::{
    EvalError, Evaluator, Grid, Row, Values,
    plan::BinaryPlan,
    row::{Cell, Computed},
};
use crate::parser::{BinaryOp, Span};

impl Evaluator<'_> {
    pub(super) fn binary(
        &mut self,
        plan: &BinaryPlan,
        span: Span,
        grid: &Grid,
    ) -> Result<Values, EvalError> {
        let left = self.eval(&plan.left, grid)?;
        let right = self.eval(&plan.right, grid)?;
        Ok(match (left, right) {
            (Values::Scalar(left), Values::Scalar(right)) => {
                let pairs = left.iter().zip(&right);
                let compute = |(left, right): (&f64, &f64)| scalars(plan.op, *left, *right);
                Values::Scalar(pairs.map(compute).collect())
            }
            (Values::Vector(rows), Values::Scalar(values)) => {
                Values::Vector(self.with_scalar(plan, rows, &values, Operand::Right, span))
            }
            (Values::Scalar(values), Values::Vector(rows)) => {
                Values::Vector(self.with_scalar(plan, rows, &values, Operand::Left, span))
            }
            (Values::Vector(left), Values::Vector(right)) => Values::Vector(if plan.op.is_set() {
                sets::combine(plan, left, right, grid)?
            } else {
                self.matched(plan, &left, &right, span, grid)?
            }),
        })
    }

    /// A vector with a scalar beside it.
    fn with_scalar(
        &mut self,
        plan: &BinaryPlan,
        rows: Vec<Row>,
        scalars: &[f64],
        scalar_is: Operand,
        span: Span,
    ) -> Vec<Row> {
        let rows = rows.into_iter().map(|row| {
            let mut row = row.mapped(|step, cell| {
                let scalar = Cell::Float(scalars[step]);
                let (left, right) = match scalar_is {
                    Operand::Left => (scalar, cell),
                    Operand::Right => (cell, scalar),
                };
                let outcome = self.noted(plan.op, left, right, span)?;
                // A comparison yields the vector's value, on whichever side it is.
                outcome.computed(plan, cell)
            });
            row.name_dropped |= plan.op.is_arithmetic() || plan.returns_bool;
            row
        });
        rows.filter(|row| !row.is_empty()).collect()
    }

    /// What an operator makes of two values; nothing, but a note, where it makes no sense of them.
    fn noted(
        &mut self,
        op: BinaryOp,
        left: Cell<'_>,
        right: Cell<'_>,
        span: Span,
    ) -> Option<Outcome> {
        let mut notes = Vec::new();
        let outcome = element(op, left, right, &mut notes);
        for note in notes {
            self.note(span, note);
        }
        outcome
    }
}

/// A side of an operator.
#[derive(Clone, Copy)]
enum Operand {
    Left,
    Right,
}

impl Outcome {
    /// The value to put into the answer, where there is one. `compared`: what a comparison lets through.
    fn computed(self, plan: &BinaryPlan, compared: Cell<'_>) -> Option<Computed> {
        match self {
            Outcome::Value(value) => Some(value),
            Outcome::Compared(holds) if plan.returns_bool => {
                Some(if holds { 1.0 } else { 0.0 }.into())
            }
            Outcome::Compared(true) => Some(compared.owned()),
            Outcome::Compared(false) => None,
        }
    }
}

fn scalars(op: BinaryOp, left: f64, right: f64) -> f64 {
    match element(op, Cell::Float(left), Cell::Float(right), &mut Vec::new()) {
        Some(Outcome::Value(Computed::Float(value))) => value,
        Some(Outcome::Compared(true)) => 1.0,
        Some(Outcome::Compared(false)) => 0.0,
        Some(Outcome::Value(Computed::Histogram(_))) | None => f64::NAN,
    }
}
