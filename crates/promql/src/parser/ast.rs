//! The syntax tree: a query as it was written, every part with its place.
//!
//! Nothing is resolved here: durations stay expressions, `@ start()` stays what it is. That is the work of
//! [`crate::eval`], which knows the query's time.

use super::{functions::Function, token::Span};
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

/// How to aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the keyword of the same name")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    /// Every one.
    pub const ALL: &'static [AggregateOp] = &[
        AggregateOp::Sum,
        AggregateOp::Avg,
        AggregateOp::Count,
        AggregateOp::Min,
        AggregateOp::Max,
        AggregateOp::Group,
        AggregateOp::Stddev,
        AggregateOp::Stdvar,
        AggregateOp::Topk,
        AggregateOp::Bottomk,
        AggregateOp::CountValues,
        AggregateOp::Quantile,
        AggregateOp::Limitk,
        AggregateOp::LimitRatio,
    ];

    /// Its keyword.
    pub fn name(self) -> &'static str {
        match self {
            AggregateOp::Sum => "sum",
            AggregateOp::Avg => "avg",
            AggregateOp::Count => "count",
            AggregateOp::Min => "min",
            AggregateOp::Max => "max",
            AggregateOp::Group => "group",
            AggregateOp::Stddev => "stddev",
            AggregateOp::Stdvar => "stdvar",
            AggregateOp::Topk => "topk",
            AggregateOp::Bottomk => "bottomk",
            AggregateOp::CountValues => "count_values",
            AggregateOp::Quantile => "quantile",
            AggregateOp::Limitk => "limitk",
            AggregateOp::LimitRatio => "limit_ratio",
        }
    }

    /// The type of its parameter, where it has one.
    pub fn param(self) -> Option<ValueType> {
        match self {
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Quantile
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => Some(ValueType::Scalar),
            AggregateOp::CountValues => Some(ValueType::Text),
            AggregateOp::Sum
            | AggregateOp::Avg
            | AggregateOp::Count
            | AggregateOp::Min
            | AggregateOp::Max
            | AggregateOp::Group
            | AggregateOp::Stddev
            | AggregateOp::Stdvar => None,
        }
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

/// Every operator between two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the operator of the same name")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    TrimUpper,
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// Every one.
    pub const ALL: &'static [BinaryOp] = &[
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Mod,
        BinaryOp::Pow,
        BinaryOp::Atan2,
        BinaryOp::Equal,
        BinaryOp::NotEqual,
        BinaryOp::Less,
        BinaryOp::LessEqual,
        BinaryOp::Greater,
        BinaryOp::GreaterEqual,
        BinaryOp::TrimUpper,
        BinaryOp::TrimLower,
        BinaryOp::And,
        BinaryOp::Or,
        BinaryOp::Unless,
    ];

    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Less => "<",
            BinaryOp::LessEqual => "<=",
            BinaryOp::Greater => ">",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
        }
    }

    /// Tighter binds first.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            BinaryOp::Or => 1,
            BinaryOp::And | BinaryOp::Unless => 2,
            BinaryOp::Equal
            | BinaryOp::NotEqual
            | BinaryOp::Less
            | BinaryOp::LessEqual
            | BinaryOp::Greater
            | BinaryOp::GreaterEqual
            | BinaryOp::TrimUpper
            | BinaryOp::TrimLower => 3,
            BinaryOp::Add | BinaryOp::Sub => 4,
            BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
            BinaryOp::Pow => 6,
        }
    }

    /// Whether it compares.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            BinaryOp::Equal
                | BinaryOp::NotEqual
                | BinaryOp::Less
                | BinaryOp::LessEqual
                | BinaryOp::Greater
                | BinaryOp::GreaterEqual
        )
    }

    /// Whether it combines sets of series rather than values.
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }

    /// Whether it computes a new value, which is no longer the metric that it came from.
    pub fn is_arithmetic(self) -> bool {
        self.precedence() >= 4
    }
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
