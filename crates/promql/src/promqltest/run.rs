//! Running a script.

use super::{
    ScriptError, check,
    classic::ClassicHistograms,
    script::{Command, Eval, Load, parse},
    store::MemoryStore,
    values::Spec,
};
use crate::{
    eval::{Answer, Options, Points, Sample, SampleValue, Time, Value, evaluate},
    labels::Labels,
    parser::{self, At, Expr, ExprKind},
    storage::{Storage, stale},
};

/// What came of a script.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many evaluations gave what was expected.
    pub passed: usize,
    /// The others.
    pub failures: Vec<Failure>,
}

/// An evaluation that gave something else.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The line of its command.
    pub line: usize,
    /// What was asked.
    pub query: String,
    /// What was wrong with the answer.
    pub reason: String,
}

/// A store that scripts can be run against.
pub trait TestStore: Storage {
    /// Adds a sample. `start_ms`: when its counter began, 0 where that isn't known.
    fn add(&mut self, labels: &Labels, time_ms: i64, value: SampleValue, start_ms: i64);

    /// Makes what was added visible to queries.
    fn commit(&mut self);
}

/// Runs a script from beginning to end; a failure doesn't end it.
pub fn run(script: &str) -> Result<Report, ScriptError> {
    run_against(script, &mut MemoryStore::default)
}

/// Runs a script against stores of one kind; `empty` makes one.
pub fn run_against<S: TestStore>(
    script: &str,
    empty: &mut dyn FnMut() -> S,
) -> Result<Report, ScriptError> {
    let mut report = Report::default();
    let mut store = empty();
    for command in parse(script)? {
        match command {
            Command::Clear => store = empty(),
            Command::Load(load) => fill(&mut store, &load),
            Command::Eval(eval) => match run_eval(&store, &eval) {
                Ok(()) => report.passed += 1,
                Err(reason) => report.failures.push(Failure {
                    line: eval.line,
                    query: eval.query.clone(),
                    reason,
                }),
            },
        }
    }
    Ok(report)
}

fn fill(store: &mut impl TestStore, load: &Load) {
    let mut classic = ClassicHistograms::default();
    for series in &load.series {
        let mut time_ms: i64 = 0;
        for (index, value) in series.values.iter().enumerate() {
            let start = series.starts.get(index).copied().flatten();
            let start_ms = start.map_or(0, |start| time_ms.saturating_add(start));
            let value = match value {
                Spec::Omitted => None,
                Spec::Stale => Some(SampleValue::Float(stale())),
                Spec::Float(value) => Some(SampleValue::Float(*value)),
                Spec::Histogram { value, .. } => Some(SampleValue::Histogram(value.clone())),
            };
            if let Some(value) = value {
                if let (true, SampleValue::Float(value)) = (load.with_custom_buckets, &value) {
                    classic.add(&series.labels, time_ms, *value);
                }
                store.add(&series.labels, time_ms, value, start_ms);
            }
            time_ms = load.step_ms.saturating_add(time_ms);
        }
    }
    classic.store(store);
    store.commit();
}

fn options() -> Options<'static> {
    Options {
        start_timestamps: true,
        ..Options::default()
    }
}

fn answer(store: &dyn Storage, query: &str, time: Time) -> Result<Answer, String> {
    let expr = parser::parse(query).map_err(|error| error.to_string())?;
    evaluate(store, &expr, time, &options()).map_err(|error| error.to_string())
}

fn run_eval(store: &dyn Storage, eval: &Eval) -> Result<(), String> {
    let result = answer(store, &eval.query, eval.time);
    check::outcome(eval, &result)?;
    let (Time::Instant(at), Ok(_)) = (eval.time, &result) else {
        return Ok(());
    };
    pinned(store, eval, at)?;
    as_range(store, eval, at)
}

/// Functions whose value is that of the query's time, whatever time is pinned.
const OF_QUERY_TIME: &[&str] = &[
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "end",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
    "year",
];

/// The same query with its time written into each selector, asked at other times.
fn pinned(store: &dyn Storage, eval: &Eval, at: i64) -> Result<(), String> {
    let mut expr = parser::parse(&eval.query).map_err(|error| error.to_string())?;
    if !pin(&mut expr, at) || eval.expected.window.is_some() {
        return Ok(());
    }
    let query = expr.to_string();
    for other in [-10 * at, 0, at / 5, at, 10 * at + 1000] {
        let answer = answer(store, &query, Time::Instant(other))
            .map_err(|error| format!("{query} at {other}: failed: {error}"))?;
        check::value(&eval.expected, eval.time, &answer.value)
            .map_err(|problem| format!("{query} at {other}: {problem}"))?;
    }
    Ok(())
}

/// Pins all selectors to a time; false where the answer depends on the query's time all the same.
fn pin(expr: &mut Expr, at: i64) -> bool {
    match &mut expr.kind {
        ExprKind::Selector(selector) | ExprKind::Range { selector, .. } => {
            selector.time.at.get_or_insert(At::Time(at));
        }
        ExprKind::Subquery(subquery) => {
            // What is inside moves with the subquery's own steps.
            subquery.time.at.get_or_insert(At::Time(at));
            return !depends_on_time(&mut subquery.expr);
        }
        ExprKind::Call { function, args } => {
            if OF_QUERY_TIME.contains(&function.name) {
                return false;
            }
            // The labels of info's second argument have no time.
            let pinned = if function.name == "info" {
                1
            } else {
                args.len()
            };
            return args.iter_mut().take(pinned).all(|arg| pin(arg, at));
        }
        _ => {}
    }
    expr.children_mut().into_iter().all(|child| pin(child, at))
}

fn depends_on_time(expr: &mut Expr) -> bool {
    let own = matches!(
        &expr.kind,
        ExprKind::Call { function, .. }
            if matches!(function.name, "start" | "end" | "step" | "range")
    );
    own || expr.children_mut().into_iter().any(depends_on_time)
}

/// The same query as the middle one of three steps.
fn as_range(store: &dyn Storage, eval: &Eval, at: i64) -> Result<(), String> {
    let mut expr = parser::parse(&eval.query).map_err(|error| error.to_string())?;
    let is_value = matches!(
        expr.value_type(),
        parser::ValueType::Scalar | parser::ValueType::Vector
    );
    // Only the answer to an instant query has an order.
    if !is_value || eval.expected.ordered || depends_on_time(&mut expr) || uses_query(&eval.query) {
        return Ok(());
    }
    let time = Time::Range {
        start_ms: at - 60_000,
        end_ms: at + 60_000,
        step_ms: 60_000,
    };
    // At the other steps the query may well fail.
    let Ok(answer) = evaluate(store, &expr, time, &options()) else {
        return Ok(());
    };
    let Value::Matrix(series) = answer.value else {
        return Ok(());
    };
    let samples = series.iter().filter_map(|series| sample_at(series, at));
    let value = match (eval.expected.scalar, samples.collect::<Vec<_>>()) {
        (Some(_), samples) => match samples.as_slice() {
            [
                Sample {
                    value: SampleValue::Float(value),
                    ..
                },
            ] => Value::Scalar {
                time_ms: at,
                value: *value,
            },
            _ => Value::Vector(samples),
        },
        (None, samples) => Value::Vector(samples),
    };
    check::value(&eval.expected, eval.time, &value)
        .map_err(|problem| format!("as a step of a range query: {problem}"))
}

/// Durations and modifiers may ask for the query's range and step, too.
fn uses_query(query: &str) -> bool {
    let query = query.to_ascii_lowercase();
    ["step()", "range()", "start()", "end()"]
        .iter()
        .any(|word| query.contains(word))
}

fn sample_at(series: &Points, at: i64) -> Option<Sample> {
    let (time_ms, value) = series.points.iter().find(|(time, _)| *time == at)?;
    Some(Sample {
        labels: series.labels.clone(),
        time_ms: *time_ms,
        value: value.clone(),
    })
}
