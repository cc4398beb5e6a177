//! Functions of one float, and of a float with bounds.

use super::super::{EvalError, Evaluator, Grid, Node, Row};

pub(super) fn function(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "acos" => f64::acos,
        "acosh" => f64::acosh,
        "asin" => f64::asin,
        "asinh" => f64::asinh,
        "atan" => f64::atan,
        "atanh" => f64::atanh,
        "ceil" => f64::ceil,
        "cos" => f64::cos,
        "cosh" => f64::cosh,
        "deg" => |value| value * 180.0 / std::f64::consts::PI,
        "exp" => f64::exp,
        "floor" => f64::floor,
        "ln" => f64::ln,
        "log10" => f64::log10,
        "log2" => f64::log2,
        "rad" => |value| value * std::f64::consts::PI / 180.0,
        "sgn" => |value| {
            if value == 0.0 || value.is_nan() {
                value
            } else {
                value.signum()
            }
        },
        "sin" => f64::sin,
        "sinh" => f64::sinh,
        "sqrt" => f64::sqrt,
        "tan" => f64::tan,
        "tanh" => f64::tanh,
        _ => return None,
    })
}

/// NaN unless one of them is infinitely large.
pub(in crate::eval) fn greatest(left: f64, right: f64) -> f64 {
    if left == f64::INFINITY || right == f64::INFINITY {
        f64::INFINITY
    } else if left.is_nan() || right.is_nan() {
        f64::NAN
    } else {
        left.max(right)
    }
}

/// NaN unless one of them is infinitely small.
pub(in crate::eval) fn least(left: f64, right: f64) -> f64 {
    -greatest(-left, -right)
}

impl Evaluator<'_> {
    pub(super) fn each_float(
        &mut self,
        args: &[Node],
        grid: &Grid,
        function: fn(f64) -> f64,
    ) -> Result<Vec<Row>, EvalError> {
        let mut rows = self.vector(&args[0], grid)?;
        for row in &mut rows {
            row.map_floats(function);
        }
        rows.retain(|row| !row.is_empty());
        Ok(rows)
    }

    pub(super) fn bounded(
        &mut self,
        name: &str,
        args: &[Node],
        grid: &Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let rows = self.vector(&args[0], grid)?;
        let mut scalars = Vec::new();
        for arg in &args[1..] {
            scalars.push(self.scalar(arg, grid)?);
        }
        let bounds = |step: usize| match name {
            "clamp" => (scalars[0][step], scalars[1][step]),
            "clamp_min" => (scalars[0][step], f64::INFINITY),
            _ => (f64::NEG_INFINITY, scalars[0][step]),
        };
        let compute = |step: usize, value: f64| {
            if name == "round" {
                let nearest = scalars.first().map_or(1.0, |values| values[step]);
                // Multiplying by the inverse loses fewer digits than dividing.
                let inverse = 1.0 / nearest;
                return Some((value * inverse + 0.5).floor() / inverse);
            }
            let (lower, upper) = bounds(step);
            (upper >= lower || upper.is_nan() || lower.is_nan())
                .then(|| greatest(lower, least(upper, value)))
        };
        let rows = rows.iter().map(|row| {
            let mut row =
                row.mapped(|step, cell| compute(step, super::float_of(cell)?).map(Into::into));
            row.name_dropped = true;
            row
        });
        Ok(rows.filter(|row| !row.is_empty()).collect())
    }
}
