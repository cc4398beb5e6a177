//! Comparing an answer with what a script expects.

use super::{
    script::{Eval, Expected, Wording},
    values::Spec,
};
use crate::{
    annotations::Severity,
    eval::{Answer, Points, Sample, SampleValue, Time, Value},
    histogram::{Bucket, FloatHistogram},
    labels::Labels,
};

/// Relative difference below which two numbers count as the same.
const TOLERANCE: f64 = 1e-6;

/// Whether an outcome is the expected one; if not, why.
pub(super) fn outcome(eval: &Eval, result: &Result<Answer, String>) -> Result<(), String> {
    let expected = &eval.expected;
    match (result, expected.fail.is_empty()) {
        (Err(message), true) => Err(format!("failed: {message}")),
        (Err(message), false) => {
            if expected.fail.iter().all(|wording| wording.fits(message)) {
                Ok(())
            } else {
                Err(format!("failed with other words: {message}"))
            }
        }
        (Ok(_), false) => Err("expected to fail, but it has an answer".to_owned()),
        (Ok(answer), true) => {
            annotations(eval, answer)?;
            value(expected, eval.time, &answer.value)
        }
    }
}

fn annotations(eval: &Eval, answer: &Answer) -> Result<(), String> {
    let expected = &eval.expected;
    for (severity, wordings, none) in [
        (Severity::Warning, &expected.warn, expected.no_warn),
        (Severity::Info, &expected.info, expected.no_info),
    ] {
        let found = answer.annotations.texts(severity, &eval.query);
        if none && !found.is_empty() {
            return Err(format!("unexpected annotations: {found:?}"));
        }
        let missing = |wording: &&Wording| !found.iter().any(|text| wording.fits(text));
        if let Some(wording) = wordings.iter().find(missing) {
            return Err(format!("expected {wording:?} among annotations {found:?}"));
        }
        let surplus = |text: &&String| !wordings.iter().any(|wording| wording.fits(text));
        if !wordings.is_empty()
            && let Some(text) = found.iter().find(surplus)
        {
            return Err(format!("unexpected annotation: {text}"));
        }
    }
    Ok(())
}

pub(super) fn value(expected: &Expected, time: Time, value: &Value) -> Result<(), String> {
    match value {
        Value::Scalar { value, .. } => match expected.scalar {
            Some(expected) if same(expected, *value) => Ok(()),
            expected => Err(format!("expected {expected:?}, got {value}")),
        },
        Value::Text { value, .. } => match &expected.text {
            Some(expected) if expected == value => Ok(()),
            expected => Err(format!("expected {expected:?}, got {value:?}")),
        },
        Value::Vector(samples) => vector(expected, samples),
        Value::Matrix(series) => matrix(expected, expected.window.unwrap_or(time), series),
    }
}

fn vector(expected: &Expected, samples: &[Sample]) -> Result<(), String> {
    if expected.scalar.is_some() || expected.text.is_some() {
        return Err(format!("expected no vector, got {samples:?}"));
    }
    for (position, sample) in samples.iter().enumerate() {
        let found = expected
            .series
            .iter()
            .position(|(labels, _)| *labels == sample.labels);
        let Some(index) = found else {
            return Err(format!("unexpected {} {:?}", sample.labels, sample.value));
        };
        if expected.ordered && index != position {
            let labels = &sample.labels;
            return Err(format!(
                "expected {labels} at position {index}, not {position}"
            ));
        }
        let specs = &expected.series[index].1;
        let [spec] = specs.as_slice() else {
            return Err(format!(
                "{}: expected one value, not {}",
                sample.labels,
                specs.len()
            ));
        };
        same_value(spec, &sample.value)
            .map_err(|problem| format!("{}: {problem}", sample.labels))?;
    }
    all_found(
        expected,
        samples.iter().map(|sample| &sample.labels).collect(),
    )
}

fn all_found(expected: &Expected, found: Vec<&Labels>) -> Result<(), String> {
    let missing = expected
        .series
        .iter()
        .find(|(labels, _)| !found.contains(&labels));
    match missing {
        Some((labels, values)) => Err(format!("expected {labels} {values:?}, found {found:?}")),
        None => Ok(()),
    }
}

fn matrix(expected: &Expected, time: Time, series: &[Points]) -> Result<(), String> {
    let Time::Range {
        start_ms, step_ms, ..
    } = time
    else {
        return Err("a range vector needs expect range vector".to_owned());
    };
    if let Some(expected) = expected.scalar {
        // A scalar over a range is written as a single value for every step.
        let labels = Labels::default();
        return Err(format!(
            "expected the scalar {expected}, got series {labels}"
        ));
    }
    for found in series {
        let specs = expected
            .series
            .iter()
            .find(|(labels, _)| *labels == found.labels);
        let Some((labels, specs)) = specs else {
            return Err(format!("unexpected {} {:?}", found.labels, found.points));
        };
        let mut wanted: Vec<(i64, &Spec)> = Vec::new();
        let mut at = start_ms;
        for spec in specs {
            if !matches!(spec, Spec::Omitted) {
                wanted.push((at, spec));
            }
            at = step_ms.saturating_add(at);
        }
        let times: Vec<i64> = found.points.iter().map(|(time, _)| *time).collect();
        let wanted_times: Vec<i64> = wanted.iter().map(|(time, _)| *time).collect();
        if times != wanted_times {
            return Err(format!(
                "{labels}: expected values at {wanted_times:?}, got {:?}",
                found.points
            ));
        }
        for ((time, spec), (_, value)) in wanted.iter().zip(&found.points) {
            same_value(spec, value).map_err(|problem| format!("{labels} at {time}: {problem}"))?;
        }
    }
    all_found(
        expected,
        series.iter().map(|series| &series.labels).collect(),
    )
}

fn same_value(spec: &Spec, value: &SampleValue) -> Result<(), String> {
    let ok = match (spec, value) {
        (Spec::Float(expected), SampleValue::Float(value)) => same(*expected, *value),
        (
            Spec::Histogram {
                value: expected,
                says_hint,
            },
            SampleValue::Histogram(value),
        ) => {
            same_histogram(expected, value)
                && (!says_hint || expected.reset_hint == value.reset_hint)
        }
        _ => false,
    };
    if ok {
        return Ok(());
    }
    let hint = match value {
        SampleValue::Histogram(value) => format!(" ({:?})", value.reset_hint),
        SampleValue::Float(_) => String::new(),
    };
    Err(format!("expected {spec:?}, got {value:?}{hint}"))
}

pub(super) fn same(left: f64, right: f64) -> bool {
    if left == right || (left.is_nan() && right.is_nan()) {
        return true;
    }
    let (sum, difference) = (left.abs() + right.abs(), (left - right).abs());
    if left == 0.0 || right == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

pub(super) fn same_histogram(left: &FloatHistogram, right: &FloatHistogram) -> bool {
    let buckets = |left: &[Bucket], right: &[Bucket]| {
        let mut pairs = left.iter().zip(right);
        left.len() == right.len()
            && pairs.all(|(left, right)| left.index == right.index && same(left.count, right.count))
    };
    left.schema == right.schema
        && same(left.count, right.count)
        && same(left.sum, right.sum)
        && left.zero_threshold == right.zero_threshold
        && same(left.zero_count, right.zero_count)
        && left.custom_bounds == right.custom_bounds
        && buckets(&left.positive, &right.positive)
        && buckets(&left.negative, &right.negative)
}
