//! `query` and `query_range`.

use std::time::Instant;

use axum::{extract::State, response::Response};
use pitcrew_promql::{
    annotations::Severity,
    eval::{self, EvalError, Options, Statistics, Time, Value, evaluate},
    json,
    parser::{ValueType, parse},
};
use pitcrew_tsdb::Store;
use serde_json::json;

use super::{
    Prometheus,
    answer::{Answer, Error},
    arguments::Arguments,
    budget::Budget,
    queries::Lease,
};

/// As in Prometheus: a screen has fewer pixels.
const STEPS_MAX: i64 = 11_000;

/// What a step of a query or subquery takes, whatever it selects.
const STEP_BYTES: usize = 64;

/// Of each severity; the rest is counted.
const NOTES_MAX: usize = 10;

pub(super) const TRUNCATED: &str = "results truncated due to limit";

pub(super) async fn query(
    State(api): State<Prometheus>,
    arguments: Arguments,
) -> Result<Response, Error> {
    let now_ms = api.now_ms();
    let at_ms = arguments.time("time")?.unwrap_or(now_ms);
    answer(api, &arguments, Time::Instant(at_ms)).await
}

pub(super) async fn query_range(
    State(api): State<Prometheus>,
    arguments: Arguments,
) -> Result<Response, Error> {
    let start_ms = arguments.required_time("start")?;
    let end_ms = arguments.required_time("end")?;
    if end_ms < start_ms {
        return Err(Error::bad_parameter(
            "end",
            "end timestamp must not be before start time",
        ));
    }
    let step_ms = arguments.required_duration_ms("step")?;
    if step_ms <= 0 {
        let problem = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(Error::bad_parameter("step", problem));
    }
    if (end_ms - start_ms) / step_ms > STEPS_MAX {
        return Err(Error::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let time = Time::Range {
        start_ms,
        end_ms,
        step_ms,
    };
    answer(api, &arguments, time).await
}

async fn answer(api: Prometheus, arguments: &Arguments, time: Time) -> Result<Response, Error> {
    let asked = Asked {
        text: arguments.text("query").to_owned(),
        time,
        lookback_ms: arguments.duration_ms("lookback_delta")?,
        limit: arguments.limit("limit")?,
        wants_statistics: !arguments.text("stats").is_empty(),
    };
    let timeout = arguments.timeout(api.budget.timeout)?;
    let (store, budget, gzip) = (api.store()?, api.budget, arguments.gzip);
    let work = move |lease: &Lease| {
        asked
            .answer(&store, &budget, lease)
            .map(|answer| answer.response(gzip))
    };
    api.queries.answer(timeout, work).await
}

struct Asked {
    text: String,
    time: Time,
    lookback_ms: Option<i64>,
    /// Series of the answer.
    limit: Option<usize>,
    wants_statistics: bool,
}

impl Asked {
    fn answer(&self, store: &Store, budget: &Budget, lease: &Lease) -> Result<Answer, Error> {
        let begun = Instant::now();
        let expr = parse(&self.text).map_err(|error| Error::bad_parameter("query", error))?;
        let kind = expr.value_type();
        if matches!(self.time, Time::Range { .. })
            && matches!(kind, ValueType::Range | ValueType::Text)
        {
            let problem = format!(
                "invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector"
            );
            return Err(Error::bad_parameter("query", problem));
        }
        let lookback_ms = self.lookback_ms.filter(|lookback_ms| *lookback_ms > 0);
        let cancelled = || lease.is_over();
        let options = Options {
            lookback_ms: lookback_ms.unwrap_or_else(|| super::millis(budget.lookback)),
            samples_max: budget.samples,
            bytes_max: budget.memory,
            // Each step costs that much by itself: bounds of windows, times, values.
            steps_max: (budget.memory / STEP_BYTES).min(11_000_000),
            cancelled: &cancelled,
            ..Options::default()
        };
        let evaluated =
            evaluate(store, &expr, self.time, &options).map_err(|error| failed(&error, lease))?;
        let eval::Answer {
            mut value,
            annotations,
            statistics,
        } = evaluated;
        let mut warnings = some_of(annotations.texts(Severity::Warning, &self.text), "warning");
        let infos = some_of(annotations.texts(Severity::Info, &self.text), "info");
        if self.limit.is_some_and(|limit| truncate(&mut value, limit)) {
            warnings.push(TRUNCATED.to_owned());
        }
        let evaluated_in = begun.elapsed();
        let mut data = json::data(&value);
        if self.wants_statistics {
            let waited = begun.duration_since(lease.began);
            let timings = json!({
                "evalTotalTime": evaluated_in.as_secs_f64(),
                "execQueueTime": waited.as_secs_f64(),
                "execTotalTime": lease.began.elapsed().as_secs_f64(),
            });
            add_statistics(&mut data, &timings, statistics);
        }
        Ok(Answer {
            data,
            warnings,
            infos,
        })
    }
}

pub(super) fn failed(error: &EvalError, lease: &Lease) -> Error {
    match error {
        EvalError::Cancelled => lease.error(),
        EvalError::Storage(error) => Error::internal(error.to_string()),
        other => Error::execution(other.to_string()),
    }
}

fn some_of(mut texts: Vec<String>, severity: &str) -> Vec<String> {
    let more = texts.len().saturating_sub(NOTES_MAX);
    if more > 0 {
        texts.truncate(NOTES_MAX);
        texts.push(format!("{more} more {severity} annotations omitted"));
    }
    texts
}

/// Whether there was more.
fn truncate(value: &mut Value, limit: usize) -> bool {
    fn cut<T>(series: &mut Vec<T>, limit: usize) -> bool {
        let is_more = series.len() > limit;
        series.truncate(limit);
        is_more
    }
    match value {
        Value::Scalar { .. } | Value::Text { .. } => false,
        Value::Vector(samples) => cut(samples, limit),
        Value::Matrix(series) => cut(series, limit),
    }
}

/// As the last member of the data.
fn add_statistics(data: &mut String, timings: &serde_json::Value, statistics: Statistics) {
    let samples = json!({
        "totalQueryableSamples": statistics.samples_read,
        "peakSamples": statistics.samples_peak,
    });
    let stats = json!({ "timings": timings, "samples": samples });
    data.pop();
    data.push_str(&format!(",\"stats\":{stats}}}"));
}
