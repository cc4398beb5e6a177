//! Plans: a query's tree with everything resolved that depends on the query's time only.
//!
//! Duration expressions become milliseconds, `start()` and its like become numbers, `@ end()` becomes an instant,
//! parentheses vanish. What yields the same at every step is marked, at the highest place possible, to be
//! evaluated once.

mod fixed;

use fixed::{fixed_where_possible, is_fixed, is_fixed_call};

use super::{EvalError, Time};
use crate::{
    labels::Matcher,
    number,
    parser::{
        AggregateOp, At, BinaryOp, Duration, DurationKind, Expr, ExprKind, Extension, Function,
        Grouping, Matching, Selector, Span, TimeModifiers,
    },
};

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: NodeKind,
}

#[derive(Debug, Clone)]
pub(crate) enum NodeKind {
    Number(f64),
    Text(Vec<u8>),
    Selector(SelectorPlan),
    Range {
        selector: SelectorPlan,
        range_ms: i64,
    },
    Subquery(Box<SubqueryPlan>),
    Call {
        function: &'static Function,
        args: Vec<Node>,
    },
    Aggregate(Box<AggregatePlan>),
    Negative(Box<Node>),
    Binary(Box<BinaryPlan>),
    /// The same at every step.
    Fixed(Box<Node>),
}

/// When to look for samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct When {
    pub(crate) at_ms: Option<i64>,
    pub(crate) offset_ms: i64,
}

impl When {
    /// The instant whose samples count at a step.
    pub(crate) fn data_time(self, step_time_ms: i64) -> i64 {
        self.at_ms
            .unwrap_or(step_time_ms)
            .saturating_sub(self.offset_ms)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SelectorPlan {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) when: When,
    pub(crate) extension: Option<Extension>,
    /// Only count and sum of histograms are asked for: resets are found out while reading.
    pub(crate) finds_resets: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct SubqueryPlan {
    pub(crate) inner: Node,
    pub(crate) range_ms: i64,
    /// The engine's default where the query says none.
    pub(crate) step_ms: Option<i64>,
    pub(crate) when: When,
}

#[derive(Debug, Clone)]
pub(crate) struct AggregatePlan {
    pub(crate) op: AggregateOp,
    pub(crate) inner: Node,
    pub(crate) param: Option<Node>,
    pub(crate) grouping: Grouping,
}

#[derive(Debug, Clone)]
pub(crate) struct BinaryPlan {
    pub(crate) op: BinaryOp,
    pub(crate) left: Node,
    pub(crate) right: Node,
    pub(crate) returns_bool: bool,
    pub(crate) matching: Matching,
}

/// Resolves a query for its time.
pub(crate) fn resolve(expr: &Expr, time: Time) -> Result<Node, EvalError> {
    let (start_ms, end_ms, step_ms) = match time {
        Time::Instant(at) => (at, at, 0),
        Time::Range {
            start_ms,
            end_ms,
            step_ms,
        } => (start_ms, end_ms, step_ms),
    };
    let resolver = Resolver {
        start_ms,
        end_ms,
        // An instant has no step, whatever was said.
        step_ms: if start_ms == end_ms { 0 } else { step_ms },
    };
    let node = resolver.node(expr, false)?;
    Ok(fixed_where_possible(node))
}

struct Resolver {
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
}

/// Functions that only ask for a histogram's count and sum.
const STATISTICS: &[&str] = &["histogram_count", "histogram_sum", "histogram_avg"];
/// Functions that need the buckets.
const BUCKETS: &[&str] = &[
    "histogram_quantile",
    "histogram_quantiles",
    "histogram_fraction",
];

impl Resolver {
    /// `finds_resets`: whether only counts and sums of what is selected below matter.
    fn node(&self, expr: &Expr, finds_resets: bool) -> Result<Node, EvalError> {
        let kind = match &expr.kind {
            ExprKind::Paren(inner) => return self.node(inner, finds_resets),
            ExprKind::Number(value) => NodeKind::Number(*value),
            ExprKind::Text(bytes) => NodeKind::Text(bytes.clone()),
            ExprKind::Selector(selector) => {
                NodeKind::Selector(self.selector(selector, finds_resets)?)
            }
            ExprKind::Range { selector, range } => NodeKind::Range {
                selector: self.selector(selector, finds_resets)?,
                range_ms: self.positive(range)?,
            },
            ExprKind::Subquery(subquery) => {
                let inner = self.node(&subquery.expr, false)?;
                let step = subquery.step.as_ref();
                NodeKind::Subquery(Box::new(SubqueryPlan {
                    inner: fixed_where_possible(inner),
                    range_ms: self.positive(&subquery.range)?,
                    step_ms: step.map(|step| self.positive(step)).transpose()?,
                    when: self.when(&subquery.time)?,
                }))
            }
            ExprKind::Call { function, args } => {
                return self.call(expr.span, function, args, finds_resets);
            }
            ExprKind::Aggregate(aggregate) => {
                let param = aggregate.param.as_ref();
                let param = param.map(|param| self.node(param, false)).transpose()?;
                NodeKind::Aggregate(Box::new(AggregatePlan {
                    op: aggregate.op,
                    inner: self.node(aggregate.expr.unwrapped(), finds_resets)?,
                    param,
                    grouping: aggregate.grouping.clone(),
                }))
            }
            ExprKind::Unary { negative, expr } => {
                let inner = self.node(expr, finds_resets)?;
                if !negative {
                    return Ok(inner);
                }
                NodeKind::Negative(Box::new(inner))
            }
            ExprKind::Binary(binary) => {
                let trims = matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
                let finds_resets = finds_resets && !trims;
                let mut left = self.node(&binary.left, finds_resets)?;
                let mut right = self.node(&binary.right, finds_resets)?;
                if !(is_fixed(&left) && is_fixed(&right)) {
                    left = fixed_where_possible(left);
                    right = fixed_where_possible(right);
                }
                NodeKind::Binary(Box::new(BinaryPlan {
                    op: binary.op,
                    left,
                    right,
                    returns_bool: binary.returns_bool,
                    matching: binary.matching.clone(),
                }))
            }
        };
        let mut node = Node {
            span: expr.span,
            kind,
        };
        if let NodeKind::Aggregate(aggregate) = &mut node.kind
            && !is_fixed(&aggregate.inner)
        {
            aggregate.param = aggregate.param.take().map(fixed_where_possible);
        }
        Ok(node)
    }

    fn call(
        &self,
        span: Span,
        function: &'static Function,
        args: &[Expr],
        finds_resets: bool,
    ) -> Result<Node, EvalError> {
        let constant = match function.name {
            "start" => Some(number::seconds(self.start_ms)),
            "end" => Some(number::seconds(self.end_ms)),
            "range" => Some(number::seconds(self.end_ms.saturating_sub(self.start_ms))),
            "step" => Some(number::seconds(self.step_ms)),
            _ => None,
        };
        if let Some(value) = constant {
            let kind = NodeKind::Number(value);
            return Ok(Node { span, kind });
        }
        let finds_resets = (finds_resets || STATISTICS.contains(&function.name))
            && !BUCKETS.contains(&function.name);
        let mut args = args
            .iter()
            .map(|arg| self.node(arg.unwrapped(), finds_resets))
            .collect::<Result<Vec<_>, _>>()?;
        if !is_fixed_call(function, &args) {
            args = args.into_iter().map(fixed_where_possible).collect();
        }
        let kind = NodeKind::Call { function, args };
        Ok(Node { span, kind })
    }

    fn selector(&self, selector: &Selector, finds_resets: bool) -> Result<SelectorPlan, EvalError> {
        Ok(SelectorPlan {
            matchers: selector.matchers.clone(),
            when: self.when(&selector.time)?,
            extension: selector.extension,
            finds_resets,
        })
    }

    fn when(&self, time: &TimeModifiers) -> Result<When, EvalError> {
        let offset = time.offset.as_ref();
        Ok(When {
            at_ms: time.at.map(|at| match at {
                At::Time(at) => at,
                At::Start => self.start_ms,
                At::End => self.end_ms,
            }),
            offset_ms: match offset {
                Some(offset) => self.milliseconds(offset)?,
                None => 0,
            },
        })
    }

    fn positive(&self, duration: &Duration) -> Result<i64, EvalError> {
        match self.milliseconds(duration)? {
            milliseconds if milliseconds > 0 => Ok(milliseconds),
            _ => Err(EvalError::BadArgument(
                "duration must be greater than 0".to_owned(),
            )),
        }
    }

    fn milliseconds(&self, duration: &Duration) -> Result<i64, EvalError> {
        let milliseconds = self.seconds(duration)? * 1000.0;
        // 1.001 seconds are 1001 milliseconds, though their product is a little less.
        let nearest = milliseconds.round();
        let milliseconds = if (milliseconds - nearest).abs() < 1e-6 {
            nearest
        } else {
            milliseconds
        };
        // As long as Prometheus' durations, which are 64 bits of nanoseconds.
        if milliseconds.abs() <= 9.223_372_036_854e12 {
            Ok(number::truncated(milliseconds))
        } else {
            Err(EvalError::BadArgument(
                "duration is out of range".to_owned(),
            ))
        }
    }

    fn seconds(&self, duration: &Duration) -> Result<f64, EvalError> {
        let zero = |what: &str| Err(EvalError::BadArgument(format!("{what} by zero")));
        Ok(match &duration.kind {
            DurationKind::Number(seconds) => *seconds,
            DurationKind::Step => number::seconds(self.step_ms),
            DurationKind::Range => number::seconds(self.end_ms.saturating_sub(self.start_ms)),
            DurationKind::Paren(inner) => self.seconds(inner)?,
            DurationKind::Negative(inner) => -self.seconds(inner)?,
            DurationKind::Least(left, right) => self.seconds(left)?.min(self.seconds(right)?),
            DurationKind::Greatest(left, right) => self.seconds(left)?.max(self.seconds(right)?),
            DurationKind::Binary(op, left, right) => {
                let (left, right) = (self.seconds(left)?, self.seconds(right)?);
                match op {
                    BinaryOp::Add => left + right,
                    BinaryOp::Sub => left - right,
                    BinaryOp::Mul => left * right,
                    BinaryOp::Div if right == 0.0 => return zero("division"),
                    BinaryOp::Div => left / right,
                    BinaryOp::Mod if right == 0.0 => return zero("modulo"),
                    BinaryOp::Mod => left % right,
                    _ => left.powf(right),
                }
            }
        })
    }
}
