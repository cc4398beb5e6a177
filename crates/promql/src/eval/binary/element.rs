//! One operator between two values.

use super::super::row::{Cell, Computed};
use crate::{
    annotations::{HistogramOperation, Note},
    histogram::{FloatHistogram, ResetHint, TrimSide, trim},
    parser::BinaryOp,
};

/// What an operator makes of two values.
pub(super) enum Outcome {
    Value(Computed),
    Compared(bool),
}

/// Nothing where the operator makes no sense of the two; `notes` says why.
pub(super) fn element(
    op: BinaryOp,
    left: Cell<'_>,
    right: Cell<'_>,
    notes: &mut Vec<Note>,
) -> Option<Outcome> {
    let outcome = match (left, right) {
        (Cell::Float(left), Cell::Float(right)) => floats(op, left, right),
        (Cell::Float(factor), Cell::Histogram(histogram)) => match op {
            BinaryOp::Mul => Some(value(histogram.scaled(factor))),
            _ => None,
        },
        (Cell::Histogram(histogram), Cell::Float(number)) => match op {
            BinaryOp::Mul => Some(value(histogram.scaled(number))),
            BinaryOp::Div => Some(value(histogram.divided(number))),
            BinaryOp::TrimUpper => Some(value(trim(histogram, number, TrimSide::Below))),
            BinaryOp::TrimLower => Some(value(trim(histogram, number, TrimSide::Above))),
            _ => None,
        },
        (Cell::Histogram(left), Cell::Histogram(right)) => match op {
            BinaryOp::Add | BinaryOp::Sub => return sum(op, left, right, notes),
            BinaryOp::Equal => Some(Outcome::Compared(left == right)),
            BinaryOp::NotEqual => Some(Outcome::Compared(left != right)),
            _ => None,
        },
    };
    if outcome.is_none() {
        notes.push(Note::IncompatibleTypes {
            left: kind(left),
            operator: op.symbol(),
            right: kind(right),
        });
    }
    outcome
}

fn value(computed: impl Into<Computed>) -> Outcome {
    Outcome::Value(computed.into())
}

fn kind(cell: Cell<'_>) -> &'static str {
    match cell {
        Cell::Float(_) => "float",
        Cell::Histogram(_) => "histogram",
    }
}

fn floats(op: BinaryOp, left: f64, right: f64) -> Option<Outcome> {
    Some(match op {
        BinaryOp::Add => value(left + right),
        BinaryOp::Sub => value(left - right),
        BinaryOp::Mul => value(left * right),
        BinaryOp::Div => value(left / right),
        BinaryOp::Mod => value(left % right),
        BinaryOp::Pow => value(left.powf(right)),
        BinaryOp::Atan2 => value(left.atan2(right)),
        BinaryOp::Equal => Outcome::Compared(left == right),
        BinaryOp::NotEqual => Outcome::Compared(left != right),
        BinaryOp::Less => Outcome::Compared(left < right),
        BinaryOp::LessEqual => Outcome::Compared(left <= right),
        BinaryOp::Greater => Outcome::Compared(left > right),
        BinaryOp::GreaterEqual => Outcome::Compared(left >= right),
        BinaryOp::TrimUpper
        | BinaryOp::TrimLower
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Unless => return None,
    })
}

fn sum(
    op: BinaryOp,
    left: &FloatHistogram,
    right: &FloatHistogram,
    notes: &mut Vec<Note>,
) -> Option<Outcome> {
    let (result, operation) = if op == BinaryOp::Add {
        (left.plus(right), HistogramOperation::Addition)
    } else {
        (left.minus(right), HistogramOperation::Subtraction)
    };
    let Ok((mut sum, lost)) = result else {
        let operator = op.symbol();
        notes.push(Note::IncompatibleBuckets { operator });
        return None;
    };
    if op == BinaryOp::Sub {
        sum.reset_hint = ResetHint::Gauge;
    }
    if lost.custom_bounds {
        notes.push(Note::MismatchedCustomBuckets { operation });
    }
    if lost.reset_collision {
        notes.push(Note::CounterResetCollision { operation });
    }
    Some(value(sum))
}
