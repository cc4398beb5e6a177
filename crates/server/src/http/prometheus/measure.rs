//! What `metric` tests ask: as a query, within the same budgets, but in turns of their own: no dashboard keeps a test
//! waiting.
//!
//! A comparison that says 0 or 1, and a mean over a time, drop the metrics' names, and then series that differ in nothing
//! else are one too many. So a label keeps the name on the way.

use std::time::Duration;

use pitcrew_model::format_duration;
use pitcrew_probe::{Measured, Measuring, MetricQueries, MetricQuery};
use pitcrew_promql::{
    annotations::Severity,
    eval::{Options, SampleValue, Time, Value, evaluate},
    labels::Labels,
    parser::{Expr, ExprKind, ParseError, ValueType, parse},
};
use pitcrew_tsdb::Store;

use super::{Prometheus, answer::Error, budget::Budget, queries::Lease, query::failed};

/// Points of the mean over a time.
const POINTS: u32 = 20;

const STEP_MIN: Duration = Duration::from_secs(1);

impl MetricQueries for Prometheus {
    fn measure(&self, query: MetricQuery) -> Measuring<'_> {
        Box::pin(async move {
            let store = self.telemetry.store().map_err(|none| none.to_string())?;
            let (budget, at_ms) = (self.budget, self.now_ms());
            let timeout = query.timeout.min(budget.timeout);
            let work = move |lease: &Lease| measured(&store, &query, at_ms, &budget, lease);
            let measuring = self.tests.run(timeout, work).await;
            measuring.map_err(|error| error.to_string())
        })
    }
}

fn measured(
    store: &Store,
    query: &MetricQuery,
    at_ms: i64,
    budget: &Budget,
    lease: &Lease,
) -> Result<Measured, Error> {
    let expr = asked(query).map_err(|error| Error::bad_parameter("expr", error.to_string()))?;
    let cancelled = || lease.is_over();
    let options = Options {
        lookback_ms: super::millis(budget.lookback),
        samples_max: budget.samples,
        bytes_max: budget.memory,
        cancelled: &cancelled,
        ..Options::default()
    };
    let evaluated = evaluate(store, &expr, Time::Instant(at_ms), &options);
    let answer = evaluated.map_err(|error| failed(&error, lease))?;
    let series = match answer.value {
        Value::Scalar { value, .. } => vec![("{}".to_owned(), value)],
        Value::Vector(samples) => samples
            .into_iter()
            .map(|sample| match sample.value {
                SampleValue::Float(value) => (named(&sample.labels), value),
                // Nothing to compare with.
                SampleValue::Histogram(_) => (named(&sample.labels), f64::NAN),
            })
            .collect(),
        Value::Text { .. } | Value::Matrix(_) => Vec::new(),
    };
    Ok(Measured {
        series,
        warnings: answer.annotations.texts(Severity::Warning, &query.expr),
    })
}

/// The expression that is evaluated for a test.
fn asked(query: &MetricQuery) -> Result<Expr, ParseError> {
    let mut expr = parse(&query.expr)?;
    if query.is_condition {
        say_whether(&mut expr)?;
    } else if query.over.is_some() {
        keep_name(&mut expr)?;
    }
    let Some(over) = query.over else {
        return Ok(expr);
    };
    let step = (over / POINTS).max(STEP_MIN);
    let (over, step) = (format_duration(over), format_duration(step));
    parse(&format!("avg_over_time(({expr})[{over}:{step}])"))
}

/// Makes the outermost comparison say 0 or 1 instead of leaving series out: what is left out looks like no data.
fn say_whether(expr: &mut Expr) -> Result<(), ParseError> {
    match &mut expr.kind {
        ExprKind::Paren(inner) => say_whether(inner),
        ExprKind::Binary(binary) => {
            binary.returns_bool = true;
            let sides = (binary.left.value_type(), binary.right.value_type());
            match sides {
                (ValueType::Vector, ValueType::Scalar) => keep_name(&mut binary.left),
                (ValueType::Scalar, ValueType::Vector) => keep_name(&mut binary.right),
                // Two vectors are matched without their names in any case.
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Where a metric's name is kept on the way.
const NAME: &str = "__pitcrew_name__";

fn keep_name(expr: &mut Expr) -> Result<(), ParseError> {
    if expr.value_type() == ValueType::Vector {
        let text = format!(r#"label_replace(({expr}), "{NAME}", "$1", "__name__", "(.*)")"#);
        *expr = parse(&text)?;
    }
    Ok(())
}

/// Labels with the name that was kept.
fn named(labels: &Labels) -> String {
    let name = labels.get(NAME);
    if name.is_empty() {
        return labels.to_string();
    }
    let others = labels.iter().filter(|label| *label.name != *NAME);
    let others = others.map(|label| (&*label.name, &*label.value));
    Labels::from_pairs(others.chain([("__name__", name)])).to_string()
}
