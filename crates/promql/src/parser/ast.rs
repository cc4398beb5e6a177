//! The syntax tree: a query as it was written, every part with its place.
//!
//! Nothing is resolved here: durations stay expressions, `@ start()` stays what it is. That is the work of
//! [`crate::eval`], which knows the query's time.

use super::{
    functions::Function,
    operators::{AggregateOp, BinaryOp},
    token::Span,
};
use crate::labels::Matcher;

/// What an expression yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// One number for each step.
    Scalar,
    /// Any number of series with a sample for each step.
    Vector,
    /// Any number of series with the samples of a window for each step.
    Range,
    /// A text.
    Text,
}

/// An expression with its place in the query.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// From its first to its last byte.
    pub span: Span,
    /// What it is.
    pub kind: ExprKind,
}

/// Every kind of expression.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A number; a duration is one of seconds.
    Number(f64),
    /// A string, which needn't be UTF-8.
    Text(Vec<u8>),
    /// `name{label="value"}`
    Selector(Box<Selector>),
    /// `selector[5m]`
    Range {
        /// What is selected.
        selector: Box<Selector>,
        /// How far back the window reaches.
        range: Box<Duration>,
    },
    /// `expression[1h:5m]`
    Subquery(Box<Subquery>),
    /// `rate(…)`
    Call {
        /// What is called.
        function: &'static Function,
        /// With what.
        args: Vec<Expr>,
    },
    /// `sum by (job) (…)`
    Aggregate(Box<Aggregate>),
    /// `-…` or `+…`
    Unary {
        /// Whether the sign changes.
        negative: bool,
        /// Of what.
        expr: Box<Expr>,
    },
    /// `… + on (job) …`
    Binary(Box<Binary>),
    /// `(…)`
    Paren(Box<Expr>),
}

/// What selects series, with when to look.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    /// The name before the braces, which is among the matchers, too.
    pub name: Option<String>,
    /// All conditions.
    pub matchers: Vec<Matcher>,
    /// When to look.
    pub time: TimeModifiers,
    /// What to do at the ends of the window or between two samples.
    pub extension: Option<Extension>,
}

/// `offset` and `@`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TimeModifiers {
    /// How long before the time of evaluation.
    pub offset: Option<Duration>,
    /// Instead of the time of evaluation.
    pub at: Option<At>,
}

/// A fixed time of evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At {
    /// Milliseconds since the epoch.
    Time(i64),
    /// The beginning of the query's range.
    Start,
    /// Its end.
    End,
}

/// How a selector reaches beyond its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// The last sample before the window stands at its beginning.
    Anchored,
    /// Values at the window's ends are interpolated.
    Smoothed,
}

/// An expression evaluated again and again within a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// What.
    pub expr: Expr,
    /// How far back.
    pub range: Duration,
    /// How often; the engine's default where it isn't said.
    pub step: Option<Duration>,
    /// When to look.
    pub time: TimeModifiers,
}

/// An arithmetic expression of durations, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Duration {
    /// Its place.
    pub span: Span,
    /// What it is.
    pub kind: DurationKind,
}

/// Every kind of duration expression.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationKind {
    /// Seconds.
    Number(f64),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `-…`
    Negative(Box<Duration>),
    /// `min_of(…, …)`
    Least(Box<Duration>, Box<Duration>),
    /// `max_of(…, …)`
    Greatest(Box<Duration>, Box<Duration>),
    /// `… + …`
    Binary(BinaryOp, Box<Duration>, Box<Duration>),
    /// `(…)`
    Paren(Box<Duration>),
}

/// An aggregation of series to groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// How.
    pub op: AggregateOp,
    /// Of what.
    pub expr: Expr,
    /// The parameter of `topk`, `quantile`, `count_values` and the like.
    pub param: Option<Expr>,
    /// Which series belong together.
    pub grouping: Grouping,
}

/// Which series belong together: by the named labels, or by all but the named ones.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grouping {
    /// `without` instead of `by`.
    pub without: bool,
    /// The labels.
    pub labels: Vec<String>,
}

impl Grouping {
    /// Whether everything is one group.
    pub fn is_everything(&self) -> bool {
        !self.without && self.labels.is_empty()
    }
}

/// An operator between two expressions.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// Left of it.
    pub left: Expr,
    /// Right of it.
    pub right: Expr,
    /// `bool`: a comparison says 0 or 1 instead of filtering.
    pub returns_bool: bool,
    /// How series of two vectors find each other.
    pub matching: Matching,
}

/// How series of two vectors find each other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matching {
    /// `on` (only these labels) instead of `ignoring` (all but these).
    pub on: bool,
    /// Those labels.
    pub labels: Vec<String>,
    /// Which side may have several series for one of the other.
    pub group: Option<Group>,
    /// What stands for a missing series on the left.
    pub fill_left: Option<f64>,
    /// What stands for a missing series on the right.
    pub fill_right: Option<f64>,
}

/// `group_left` or `group_right`.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The side with several series.
    pub many: Side,
    /// Labels taken over from the other side.
    pub include: Vec<String>,
}

/// A side of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Before it.
    Left,
    /// After it.
    Right,
}

impl Expr {
    /// What it yields.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::Text(_) => ValueType::Text,
            ExprKind::Selector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
            ExprKind::Range { .. } | ExprKind::Subquery(_) => ValueType::Range,
            ExprKind::Call { function, .. } => function.returns,
            ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => expr.value_type(),
            ExprKind::Binary(binary) => {
                let sides = (binary.left.value_type(), binary.right.value_type());
                if sides == (ValueType::Scalar, ValueType::Scalar) {
                    ValueType::Scalar
                } else {
                    ValueType::Vector
                }
            }
        }
    }

    /// The expression inside of all its parentheses.
    pub fn unwrapped(&self) -> &Expr {
        let mut inner = self;
        while let ExprKind::Paren(expr) = &inner.kind {
            inner = expr;
        }
        inner
    }

    /// The expressions directly within.
    pub fn children_mut(&mut self) -> Vec<&mut Expr> {
        match &mut self.kind {
            ExprKind::Number(_)
            | ExprKind::Text(_)
            | ExprKind::Selector(_)
            | ExprKind::Range { .. } => Vec::new(),
            ExprKind::Subquery(subquery) => vec![&mut subquery.expr],
            ExprKind::Call { args, .. } => args.iter_mut().collect(),
            ExprKind::Aggregate(aggregate) => {
                let param = aggregate.param.iter_mut();
                param.chain([&mut aggregate.expr]).collect()
            }
            ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => vec![expr],
            ExprKind::Binary(binary) => vec![&mut binary.left, &mut binary.right],
        }
    }
}

impl std::fmt::Display for ValueType {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            ValueType::Scalar => "scalar",
            ValueType::Vector => "instant vector",
            ValueType::Range => "range vector",
            ValueType::Text => "string",
        })
    }
}
