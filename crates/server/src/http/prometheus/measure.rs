//! What `metric` tests ask: as a query, within the same budgets, but in turns of their own: no dashboard keeps a test
//! waiting.

use std::time::Duration;

use pitcrew_model::format_duration;
use pitcrew_probe::{Measured, Measuring, MetricQueries, MetricQuery};
use pitcrew_promql::{
    annotations::Severity,
    eval::{Options, SampleValue, Time, Value, evaluate},
    parser::{Expr, ExprKind, parse},
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
    let wrong = |error| Error::bad_parameter("expr", error);
    let mut expr = parse(&query.expr).map_err(|error| wrong(error.to_string()))?;
    if query.is_condition {
        say_whether(&mut expr);
    }
    let expr = match query.over {
        None => expr,
        Some(over) => {
            let step = (over / POINTS).max(STEP_MIN);
            let (over, step) = (format_duration(over), format_duration(step));
            let text = format!("avg_over_time(({expr})[{over}:{step}])");
            parse(&text).map_err(|error| wrong(error.to_string()))?
        }
    };
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
                SampleValue::Float(value) => (sample.labels.to_string(), value),
                // Nothing to compare with.
                SampleValue::Histogram(_) => (sample.labels.to_string(), f64::NAN),
            })
            .collect(),
        Value::Text { .. } | Value::Matrix(_) => Vec::new(),
    };
    Ok(Measured {
        series,
        warnings: answer.annotations.texts(Severity::Warning, &query.expr),
    })
}

/// Makes the outermost comparison say 0 or 1 instead of leaving series out: what is left out looks like no data.
fn say_whether(expr: &mut Expr) {
    match &mut expr.kind {
        ExprKind::Paren(inner) => say_whether(inner),
        ExprKind::Binary(binary) => binary.returns_bool = true,
        _ => {}
    }
}
