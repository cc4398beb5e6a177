//! Evaluation: a query and a store give an answer.
//!
//! The tree is first resolved to a plan for the query's time. Then each node yields a row of values
//! for each series, one value for each step: selectors read whole columns, functions run over all windows of a
//! series at once, operators and aggregations pair rows once and not at each step. A query that needs more
//! samples than its budget, or is cancelled, ends with an error that says so.

mod aggregate;
mod answer;
mod binary;
mod call;
mod grid;
mod plan;
mod row;
mod selector;
mod window;

use thiserror::Error;

pub use answer::{Answer, Points, Sample, SampleValue, Statistics, Value};
use grid::Grid;
use plan::{Node, NodeKind};
use row::{Row, Values};

use crate::{
    annotations::{Annotations, Note},
    labels::{Labels, MatcherError},
    parser::{Expr, Span, ValueType},
    storage::{Storage, StorageError},
};

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum EvalError {
    /// Two series of one answer would have the same labels.
    #[error("vector cannot contain metrics with the same labelset")]
    DuplicateLabels,
    /// The side of an operator that must be unique isn't.
    #[error(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
    )]
    DuplicateMatch {
        /// The labels that match.
        group: Labels,
        /// Which side.
        side: &'static str,
        /// A series.
        first: Labels,
        /// Another one.
        second: Labels,
    },
    /// Several series on the left match one on the right without `group_left`.
    #[error(
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    )]
    ManyToOneNotExplicit,
    /// Grouped series get the same labels.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    GroupedMatchesNotUnique,
    /// A function or modifier was used in a way that the parser can't see.
    #[error("{0}")]
    BadArgument(String),
    /// A pattern given to `label_replace`.
    #[error("invalid regular expression in label_replace(): {0}")]
    BadPattern(#[source] MatcherError),
    /// The budget of samples.
    #[error(
        "query needs more than {budget} samples in memory (query.samples): select less, or at fewer steps"
    )]
    TooManySamples {
        /// How many are allowed.
        budget: usize,
    },
    /// The budget of memory.
    #[error(
        "query needs more than {budget} bytes of memory (query.memory): select less, or at fewer steps"
    )]
    TooMuchMemory {
        /// How many are allowed.
        budget: usize,
    },
    /// The number of steps.
    #[error(
        "query range of {steps} steps is more than the {most} that are allowed: use a longer step"
    )]
    TooManySteps {
        /// How many were asked for.
        steps: usize,
        /// How many are allowed.
        most: usize,
    },
    /// Whoever asked no longer wants to know.
    #[error("query was cancelled or timed out")]
    Cancelled,
    /// Samples can't be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What holds for every query of an engine.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How long a sample counts as current, in milliseconds.
    pub lookback_ms: i64,
    /// The step of a subquery that says none, in milliseconds.
    pub subquery_step_ms: i64,
    /// How many samples a query may hold at a time; a histogram counts once for each of its buckets.
    pub samples_max: usize,
    /// What samples, series and the answer with its text may take in memory, by estimate, in bytes.
    pub bytes_max: usize,
    /// How many steps a query and each of its subqueries may have. By default enough for a subquery of every
    /// second of four months; what such a one holds is up to the budget of samples.
    pub steps_max: usize,
    /// Whether known beginnings of counters decide what is a reset.
    pub start_timestamps: bool,
    /// Whether `__type__` says what is a counter; otherwise the metric's name does.
    pub type_labels: bool,
    /// Asked often; the query ends once it says yes.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            lookback_ms: 300_000,
            subquery_step_ms: 60_000,
            samples_max: 50_000_000,
            bytes_max: usize::MAX,
            steps_max: 11_000_000,
            start_timestamps: false,
            type_labels: false,
            cancelled: &|| false,
        }
    }
}

/// The instants for which a query is answered, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// One.
    Instant(i64),
    /// From start to end (included), each step.
    Range {
        /// The first.
        start_ms: i64,
        /// None after it.
        end_ms: i64,
        /// The distance.
        step_ms: i64,
    },
}

/// Answers a query.
pub fn evaluate(
    storage: &dyn Storage,
    expr: &Expr,
    time: Time,
    options: &Options<'_>,
) -> Result<Answer, EvalError> {
    let grid = Grid::new(time, options.steps_max)?;
    let node = plan::resolve(expr, time)?;
    let mut evaluator = Evaluator {
        storage,
        options,
        notes: Annotations::default(),
        held: Size::default(),
        statistics: Statistics::default(),
    };
    let value = match (time, expr.value_type()) {
        (Time::Instant(_), ValueType::Range) => {
            let value = evaluator.raw_range(&node, &grid)?;
            evaluator.hold(answer::size_of_range(&value))?;
            value
        }
        (Time::Instant(at), ValueType::Text) => answer::text(&node, at),
        (Time::Instant(_), _) => {
            let values = evaluator.eval(&node, &grid)?;
            evaluator.hold(answer::size(&values))?;
            answer::instant(values, &grid)?
        }
        (Time::Range { .. }, ValueType::Scalar | ValueType::Vector) => {
            let values = evaluator.eval(&node, &grid)?;
            evaluator.hold(answer::size(&values))?;
            answer::range(values, &grid)?
        }
        (Time::Range { .. }, other) => {
            return Err(EvalError::BadArgument(format!(
                "invalid expression type \"{other}\" for range query, must be Scalar or instant Vector"
            )));
        }
    };
    Ok(Answer {
        value,
        annotations: evaluator.notes,
        statistics: evaluator.statistics,
    })
}

struct Evaluator<'q> {
    storage: &'q dyn Storage,
    options: &'q Options<'q>,
    notes: Annotations,
    /// At the moment.
    held: Size,
    statistics: Statistics,
}

/// What is held of a budget.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    samples: usize,
    bytes: usize,
}

impl Size {
    fn of_floats(floats: &[f64]) -> Self {
        Self {
            samples: floats.len(),
            bytes: size_of_val(floats),
        }
    }

    fn add(&mut self, more: Self) {
        self.samples = self.samples.saturating_add(more.samples);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }

    /// What was added before.
    fn take_away(&mut self, less: Self) {
        self.samples = self.samples.saturating_sub(less.samples);
        self.bytes = self.bytes.saturating_sub(less.bytes);
    }

    fn plus(mut self, more: Self) -> Self {
        self.add(more);
        self
    }

    fn times(self, factor: usize) -> Self {
        Size {
            samples: self.samples.saturating_mul(factor),
            bytes: self.bytes.saturating_mul(factor),
        }
    }
}

/// What is left of the budgets, for those who make rows and don't have the evaluator at hand.
#[derive(Clone, Copy)]
struct Room<'q> {
    options: &'q Options<'q>,
    held: Size,
    /// Whether rows that are made take of it.
    counts_rows: bool,
}

impl Room<'_> {
    /// Whether there is room for `more`, and anybody who wants it.
    fn check(&self, more: Size) -> Result<(), EvalError> {
        if (self.options.cancelled)() {
            return Err(EvalError::Cancelled);
        }
        let wanted = self.held.plus(more);
        if wanted.samples > self.options.samples_max {
            let budget = self.options.samples_max;
            return Err(EvalError::TooManySamples { budget });
        }
        if wanted.bytes > self.options.bytes_max {
            let budget = self.options.bytes_max;
            return Err(EvalError::TooMuchMemory { budget });
        }
        Ok(())
    }
}

impl Evaluator<'_> {
    fn eval(&mut self, node: &Node, grid: &Grid) -> Result<Values, EvalError> {
        self.check_cancelled()?;
        let held = self.held;
        let values = match &node.kind {
            NodeKind::Number(value) => Values::Scalar(vec![*value; grid.steps]),
            NodeKind::Text(_) | NodeKind::Range { .. } | NodeKind::Subquery(_) => {
                return Err(EvalError::BadArgument(
                    "a range vector or a string is no value of its own here".to_owned(),
                ));
            }
            NodeKind::Selector(selector) => {
                Values::Vector(self.instant_selector(selector, node.span, grid)?)
            }
            NodeKind::Fixed(inner) => {
                let values = self.eval(inner, &grid.first())?;
                self.hold(values.size().times(grid.steps))?;
                values.repeated(grid.steps)
            }
            NodeKind::Call { function, args } => self.call(function.name, args, node.span, grid)?,
            NodeKind::Negative(inner) => self.eval(inner, grid)?.negated(),
            NodeKind::Aggregate(aggregate) => {
                Values::Vector(self.aggregate(aggregate, node.span, grid)?)
            }
            NodeKind::Binary(binary) => self.binary(binary, node.span, grid)?,
        };
        self.held = held;
        self.hold(values.size())?;
        Ok(values)
    }

    fn vector(&mut self, node: &Node, grid: &Grid) -> Result<Vec<Row>, EvalError> {
        match self.eval(node, grid)? {
            Values::Vector(rows) => Ok(rows),
            Values::Scalar(values) => Ok(vec![Row::of_floats(Labels::default(), values)]),
        }
    }

    fn scalar(&mut self, node: &Node, grid: &Grid) -> Result<Vec<f64>, EvalError> {
        match self.eval(node, grid)? {
            Values::Scalar(values) => Ok(values),
            Values::Vector(_) => Err(EvalError::BadArgument(
                "expected a scalar, got an instant vector".to_owned(),
            )),
        }
    }

    /// Counts what is held from now on, until the node that is being evaluated has its value.
    fn hold(&mut self, size: Size) -> Result<(), EvalError> {
        self.held = self.held.plus(size);
        let peak = &mut self.statistics.samples_peak;
        *peak = self.held.samples.max(*peak);
        self.room().check(Size::default())
    }

    fn room(&self) -> Room<'_> {
        Room {
            options: self.options,
            held: self.held,
            counts_rows: true,
        }
    }

    fn check_cancelled(&self) -> Result<(), EvalError> {
        self.room().check(Size::default())
    }

    fn note(&mut self, span: Span, note: Note) {
        self.notes.add(span, note);
    }
}
