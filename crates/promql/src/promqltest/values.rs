//! Values of a series as a script writes them: `1+2x3 _ stale {{schema:0 count:4}}`.

use std::sync::Arc;

use crate::{
    histogram::{CUSTOM_SCHEMA, FloatHistogram, ResetHint},
    parser::{duration_ms, parse_number},
};

/// More values than this in one series are taken for a slip of the pen.
const VALUES_MAX: usize = 1_000_000;

/// One value of a series.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Spec {
    /// `_`
    Omitted,
    /// `stale`
    Stale,
    Float(f64),
    Histogram {
        value: Arc<FloatHistogram>,
        /// The hint was written, so it is compared, too.
        says_hint: bool,
    },
}

/// The values of a series.
pub(super) fn parse(text: &str) -> Result<Vec<Spec>, String> {
    let mut values = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let length = item_length(rest)?;
        item(&rest[..length], &mut values)?;
        if values.len() > VALUES_MAX {
            return Err(format!("more than {VALUES_MAX} values"));
        }
        rest = rest[length..].trim_start();
    }
    Ok(values)
}

/// Up to the next blank that isn't within double braces.
fn item_length(text: &str) -> Result<usize, String> {
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("{{") {
            at += rest.find("}}").ok_or("a histogram without its end }}")? + 2;
        } else if rest.starts_with(char::is_whitespace) {
            break;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    Ok(at)
}

fn item(text: &str, values: &mut Vec<Spec>) -> Result<(), String> {
    let bad = || format!("bad value {text:?}");
    if let Some(times) = text.strip_prefix('_') {
        let times = match times.strip_prefix('x') {
            Some(times) => repetitions(times)?,
            None if times.is_empty() => 1,
            None => return Err(bad()),
        };
        values.extend(std::iter::repeat_n(Spec::Omitted, times));
        return Ok(());
    }
    if text == "stale" {
        values.push(Spec::Stale);
        return Ok(());
    }
    if text.starts_with("{{") {
        return histograms(text, values);
    }
    let (first, step, times) = progression(text, decimal).ok_or_else(bad)?;
    let mut value = first;
    for _ in 0..=times {
        values.push(Spec::Float(value));
        value += step;
    }
    Ok(())
}

/// `0x3` is 0 with three repetitions here, not a hexadecimal number.
fn decimal(text: &str) -> Option<f64> {
    let digits = text.trim_start_matches(['+', '-']);
    let hexadecimal = digits.starts_with("0x") || digits.starts_with("0X");
    (!hexadecimal).then(|| parse_number(text)).flatten()
}

/// `a`, `axn`, `a+bxn` or `a-bxn`: the first value, the step and how many follow the first.
fn progression(text: &str, parse: fn(&str) -> Option<f64>) -> Option<(f64, f64, usize)> {
    if let Some(value) = parse(text) {
        return Some((value, 0.0, 0));
    }
    let (terms, times) = text.rsplit_once('x')?;
    let times = repetitions(times).ok()?;
    if let Some(value) = parse(terms) {
        return Some((value, 0.0, times));
    }
    // The sign between two terms, not the one of a number or of its exponent.
    let sign = terms
        .char_indices()
        .skip(1)
        .filter(|(_, c)| matches!(c, '+' | '-'))
        .find_map(|(at, _)| Some((parse(&terms[..at])?, parse(&terms[at..])?)))?;
    Some((sign.0, sign.1, times))
}

fn repetitions(text: &str) -> Result<usize, String> {
    let times = text.parse().ok().filter(|times| *times <= VALUES_MAX);
    times.ok_or_else(|| format!("bad number of repetitions {text:?}"))
}

/// Beginnings of counters, as durations from each sample's time; nothing where none is known.
pub(super) fn parse_starts(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut starts = Vec::new();
    for word in text.split_whitespace() {
        if let Some(times) = word.strip_prefix('_') {
            let times = match times.strip_prefix('x') {
                Some(times) => repetitions(times)?,
                None => 1,
            };
            starts.extend(std::iter::repeat_n(None, times));
            continue;
        }
        let bad = || format!("bad start timestamp {word:?}");
        let (mut value, step, times) = progression(word, signed_ms).ok_or_else(bad)?;
        for _ in 0..=times {
            starts.push(Some(crate::number::truncated(value)));
            value += step;
        }
    }
    Ok(starts)
}

/// Milliseconds of a duration with a sign.
fn signed_ms(text: &str) -> Option<f64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1.0, text),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if text == "0" {
        return Some(0.0);
    }
    let milliseconds = duration_ms(text)?.ok()?;
    Some(sign * milliseconds as f64)
}

fn histograms(text: &str, values: &mut Vec<Spec>) -> Result<(), String> {
    let end = text.find("}}").ok_or("a histogram without its end }}")? + 2;
    let (first, says_hint) = histogram(&text[..end])?;
    let mut rest = &text[end..];
    let mut step = None;
    for (sign, factor) in [('+', 1.0), ('-', -1.0)] {
        if let Some(after) = rest.strip_prefix(sign) {
            let end = after.find("}}").ok_or("a histogram without its end }}")? + 2;
            let (value, _) = histogram(&after[..end])?;
            step = Some((value, factor));
            rest = &after[end..];
        }
    }
    let times = match rest.strip_prefix('x') {
        Some(times) => repetitions(times)?,
        None if rest.is_empty() && step.is_none() => 0,
        None => return Err(format!("bad histogram {text:?}")),
    };
    let mut value = first;
    for _ in 0..=times {
        values.push(Spec::Histogram {
            value: Arc::new(value.clone()),
            says_hint,
        });
        if let Some((step, factor)) = &step {
            let next = if *factor > 0.0 {
                value.plus(step)
            } else {
                value.minus(step)
            };
            value = next.map_err(|error| error.to_string())?.0;
        }
    }
    Ok(())
}

/// `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`, and whether it says a hint.
fn histogram(text: &str) -> Result<(FloatHistogram, bool), String> {
    let inner = text.trim_start_matches('{').trim_end_matches('}');
    let mut histogram = FloatHistogram::default();
    let (mut offset, mut negative_offset) = (0, 0);
    let (mut counts, mut negative_counts) = (Vec::new(), Vec::new());
    let mut says_hint = false;
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (key, after) = rest
            .split_once(':')
            .ok_or_else(|| format!("expected key:value in a histogram, got {rest:?}"))?;
        let length = if after.starts_with('[') {
            after.find(']').ok_or("a list without its end ]")? + 1
        } else {
            after.find(char::is_whitespace).unwrap_or(after.len())
        };
        let (value, after) = after.split_at(length);
        let number = || parse_number(value).ok_or_else(|| format!("bad {key} {value:?}"));
        let integer = || {
            value
                .parse::<i32>()
                .map_err(|_| format!("bad {key} {value:?}"))
        };
        match key.trim() {
            "schema" => histogram.schema = integer()?,
            "sum" => histogram.sum = number()?,
            "count" => histogram.count = number()?,
            "z_bucket" => histogram.zero_count = number()?,
            "z_bucket_w" => histogram.zero_threshold = number()?,
            "offset" => offset = integer()?,
            "n_offset" => negative_offset = integer()?,
            "buckets" => counts = list(value)?,
            "n_buckets" => negative_counts = list(value)?,
            "custom_values" => histogram.custom_bounds = list(value)?.into(),
            "counter_reset_hint" => {
                says_hint = true;
                histogram.reset_hint = hint(value)?;
            }
            other => return Err(format!("unknown key {other:?} in a histogram")),
        }
        rest = after.trim_start();
    }
    if !(histogram.schema == CUSTOM_SCHEMA || (-4..=8).contains(&histogram.schema)) {
        return Err(format!("unknown schema {}", histogram.schema));
    }
    histogram.positive = FloatHistogram::buckets_from_counts(offset, &counts);
    histogram.negative = FloatHistogram::buckets_from_counts(negative_offset, &negative_counts);
    Ok((histogram, says_hint))
}

fn hint(text: &str) -> Result<ResetHint, String> {
    match text {
        "unknown" => Ok(ResetHint::Unknown),
        "reset" => Ok(ResetHint::Reset),
        "not_reset" => Ok(ResetHint::NotReset),
        "gauge" => Ok(ResetHint::Gauge),
        other => Err(format!("unknown counter_reset_hint {other:?}")),
    }
}

fn list(text: &str) -> Result<Vec<f64>, String> {
    let words = text.trim_matches(['[', ']']).split_whitespace();
    words
        .map(|word| parse_number(word).ok_or_else(|| format!("bad number {word:?} in a list")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_expand() {
        let floats = |text: &str| -> Vec<f64> {
            let values = parse(text).unwrap();
            let values = values.iter().map(|value| match value {
                Spec::Float(value) => *value,
                Spec::Omitted => f64::NEG_INFINITY,
                other => panic!("{other:?}"),
            });
            values.collect()
        };
        assert_eq!(floats("1 2+3x2 -1e-3"), [1.0, 2.0, 5.0, 8.0, -0.001]);
        assert_eq!(floats("-1-1x1 5x1"), [-1.0, -2.0, 5.0, 5.0]);
        assert_eq!(floats("_x2"), [f64::NEG_INFINITY; 2]);
        assert_eq!(
            parse_starts("-30s-1mx1 _ +1m 0").unwrap(),
            [Some(-30_000), Some(-90_000), None, Some(60_000), Some(0)]
        );
        assert!(parse("{{schema:0").is_err());
        assert!(parse("1x99999999999").is_err());
    }
}
