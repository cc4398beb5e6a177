//! The steps of an evaluation.

use super::{EvalError, Time};

/// The steps of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) steps: usize,
}

impl Grid {
    pub(crate) fn new(time: Time, steps_max: usize) -> Result<Self, EvalError> {
        match time {
            Time::Instant(at) => Ok(Grid {
                start_ms: at,
                step_ms: 1,
                steps: 1,
            }),
            Time::Range {
                start_ms,
                end_ms,
                step_ms,
            } => {
                if step_ms <= 0 {
                    return Err(EvalError::BadArgument(
                        "the step of a range query must be longer than 0".to_owned(),
                    ));
                }
                Grid::between(start_ms, end_ms, step_ms, steps_max)
            }
        }
    }

    /// All steps from `start_ms` up to `end_ms`.
    pub(crate) fn between(
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        steps_max: usize,
    ) -> Result<Self, EvalError> {
        let length = i128::from(end_ms) - i128::from(start_ms);
        let steps = if length < 0 {
            0
        } else {
            usize::try_from(length / i128::from(step_ms) + 1).unwrap_or(usize::MAX)
        };
        if steps > steps_max {
            return Err(EvalError::TooManySteps {
                steps,
                most: steps_max,
            });
        }
        Ok(Grid {
            start_ms,
            step_ms,
            steps,
        })
    }

    pub(crate) fn time(&self, step: usize) -> i64 {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.start_ms
            .saturating_add(self.step_ms.saturating_mul(step))
    }

    pub(crate) fn end_ms(&self) -> i64 {
        self.time(self.steps.saturating_sub(1))
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = i64> {
        let grid = *self;
        (0..grid.steps).map(move |step| grid.time(step))
    }

    /// Its first step alone.
    pub(crate) fn first(&self) -> Self {
        Grid {
            steps: self.steps.min(1),
            ..*self
        }
    }
}
