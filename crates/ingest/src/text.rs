//! What is scraped as text: Prometheus' format 0.0.4 and OpenMetrics 1.0.
//!
//! A line is one sample; its series is the line's first part as it stands, so that a target that writes the same text
//! again is known by its bytes. A broken line ends the reading with its number: what a program says of itself in a
//! form that it does not master is not believed in part.

use std::borrow::Cow;

use memchr::{memchr_iter, memchr2, memchr3};

use crate::{
    Exemplar, Float, Metadata, MetricType, Sink,
    series::{RawSeries, end_of_quoted},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`, and whatever calls itself nothing.
    Prometheus,
    /// `application/openmetrics-text`.
    OpenMetrics,
}

impl Format {
    /// From the header `Content-Type`.
    pub fn of_content_type(text: &str) -> Self {
        let kind = text.split(';').next().unwrap_or_default().trim();
        match kind.eq_ignore_ascii_case("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct TextError {
    /// From 1.
    pub line: usize,
    pub why: BadLine,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    #[error("it is not UTF-8")]
    Encoding,
    #[error("a series is expected, as in name{{label=\"value\"}}, not `{0}`")]
    Series(String),
    #[error("the braces of its labels are not closed")]
    Braces,
    #[error("a number is expected, not `{0}`")]
    Value(String),
    #[error("a timestamp is expected, not `{0}`")]
    Timestamp(String),
    #[error("`{0}` comes after what should be the end of the line")]
    Trailing(String),
    #[error("`{0}` is no type of a metric")]
    Type(String),
    #[error("a metric's name is missing after # {0}")]
    Name(&'static str),
    #[error("the text ends without `# EOF`: it was cut off")]
    NoEnd,
    #[error("there is more after `# EOF`")]
    AfterEnd,
}

/// The NaN that a program means; other bits mean other things to a store.
pub(crate) const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// Tells the sink all that is in a text, up to its first broken line or until the sink is full.
pub fn read(format: Format, text: &[u8], sink: &mut impl Sink) -> Result<(), TextError> {
    let mut ended = false;
    let mut start = 0;
    let ends = memchr_iter(b'\n', text).chain([text.len()]);
    let mut lines = 0;
    for (number, end) in ends.enumerate() {
        let line = text[start..end].trim_ascii();
        start = (end + 1).min(text.len());
        lines = number + 1;
        let failed = |why| TextError { line: lines, why };
        if line.is_empty() {
            continue;
        }
        if ended {
            return Err(failed(BadLine::AfterEnd));
        }
        match line.strip_prefix(b"#") {
            Some(comment) if format == Format::OpenMetrics && comment.trim_ascii() == b"EOF" => {
                ended = true;
            }
            Some(comment) => described(comment, sink).map_err(failed)?,
            None => sample(format, line, sink).map_err(failed)?,
        }
        if sink.is_full() {
            return Ok(());
        }
    }
    if format == Format::OpenMetrics && !ended {
        let why = BadLine::NoEnd;
        return Err(TextError { line: lines, why });
    }
    Ok(())
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..40).unwrap_or(bytes)).into_owned()
}

/// Up to the next blank, and what comes after it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr2(b' ', b'\t', text).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_ascii_start())
}

/// `HELP`, `TYPE` and `UNIT`; every other comment is one.
fn described(comment: &[u8], sink: &mut impl Sink) -> Result<(), BadLine> {
    let (keyword, rest) = word(comment.trim_ascii_start());
    let keyword = match keyword {
        b"HELP" => "HELP",
        b"TYPE" => "TYPE",
        b"UNIT" => "UNIT",
        _ => return Ok(()),
    };
    let (family, rest) = match rest.strip_prefix(b"\"") {
        Some(quoted) => {
            let end = end_of_quoted(quoted).ok_or(BadLine::Name(keyword))?;
            (&quoted[..end], quoted[end + 1..].trim_ascii_start())
        }
        None => word(rest),
    };
    if family.is_empty() {
        return Err(BadLine::Name(keyword));
    }
    let text = std::str::from_utf8(rest).map_err(|_| BadLine::Encoding)?;
    let family = std::str::from_utf8(family).map_err(|_| BadLine::Encoding)?;
    let mut metadata = Metadata {
        family: Cow::Borrowed(family),
        ..Metadata::default()
    };
    match keyword {
        "HELP" => metadata.help = unescaped_help(text),
        "UNIT" => metadata.unit = Cow::Borrowed(text),
        _ => {
            let kind = MetricType::parse(text).ok_or_else(|| BadLine::Type(shown(rest)))?;
            metadata.kind = Some(kind);
        }
    }
    sink.metadata(metadata);
    Ok(())
}

/// A backslash before anything but itself, a quote and n stands for itself: help is for people.
fn unescaped_help(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let escaped = match after.as_bytes().first() {
            Some(b'n') => "\n",
            Some(b'\\') => "\\",
            Some(b'"') => "\"",
            _ => {
                out.push('\\');
                rest = after;
                continue;
            }
        };
        out.push_str(escaped);
        rest = &after[1..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn sample(format: Format, line: &[u8], sink: &mut impl Sink) -> Result<(), BadLine> {
    let (series, rest) = split_series(line)?;
    let (value, rest) = word(rest);
    let value = number(value).ok_or_else(|| BadLine::Value(shown(value)))?;
    let (at_ms, rest) = timestamp(format, rest)?;
    let exemplar = match (rest.strip_prefix(b"#"), format) {
        _ if rest.is_empty() => None,
        (Some(exemplar), Format::OpenMetrics) => Some(read_exemplar(exemplar.trim_ascii_start())?),
        _ => return Err(BadLine::Trailing(shown(rest))),
    };
    let Some(known) = sink.series(RawSeries::Text(series)) else {
        return Ok(());
    };
    let sample = Float {
        at_ms,
        value,
        start_ms: 0,
    };
    sink.float(known, sample);
    if let Some(exemplar) = exemplar {
        sink.exemplar(known, exemplar);
    }
    Ok(())
}

fn split_series(line: &[u8]) -> Result<(&[u8], &[u8]), BadLine> {
    let not_a_series = || BadLine::Series(shown(line));
    let end = memchr3(b'{', b' ', b'\t', line).ok_or_else(not_a_series)?;
    let name = &line[..end];
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b':';
    if name.first().is_some_and(u8::is_ascii_digit) || !name.iter().all(is_name) {
        return Err(not_a_series());
    }
    let rest = line[end..].trim_ascii_start();
    if rest.first() != Some(&b'{') {
        return if name.is_empty() {
            Err(not_a_series())
        } else {
            Ok((name, rest))
        };
    }
    let after = after_braces(rest).ok_or(BadLine::Braces)?;
    let series = &line[..line.len() - after.len()];
    Ok((series, after.trim_ascii_start()))
}

/// What comes after the brace that closes the one this begins with.
fn after_braces(text: &[u8]) -> Option<&[u8]> {
    let mut rest = &text[1..];
    loop {
        let at = memchr2(b'"', b'}', rest)?;
        let after = &rest[at + 1..];
        if rest[at] == b'}' {
            return Some(after);
        }
        rest = &after[end_of_quoted(after)? + 1..];
    }
}

fn number(text: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(if number.is_nan() { NAN } else { number })
}

/// Absent where the line ends or an exemplar begins. Older texts have milliseconds, OpenMetrics has seconds.
fn timestamp(format: Format, rest: &[u8]) -> Result<(Option<i64>, &[u8]), BadLine> {
    if rest.is_empty() || rest[0] == b'#' {
        return Ok((None, rest));
    }
    let (text, rest) = word(rest);
    let at_ms = match format {
        Format::Prometheus => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok()),
        Format::OpenMetrics => number(text).and_then(milliseconds),
    };
    let at_ms: i64 = at_ms.ok_or_else(|| BadLine::Timestamp(shown(text)))?;
    Ok((Some(at_ms), rest))
}

/// `None` for what is no time that anybody could mean.
#[expect(clippy::cast_possible_truncation, reason = "it is checked to be small")]
fn milliseconds(seconds: f64) -> Option<i64> {
    let milliseconds = (seconds * 1_000.0).round();
    (milliseconds.abs() < 2f64.powi(62)).then_some(milliseconds as i64)
}

fn read_exemplar(text: &[u8]) -> Result<Exemplar<'_>, BadLine> {
    if text.first() != Some(&b'{') {
        return Err(BadLine::Series(shown(text)));
    }
    let after = after_braces(text).ok_or(BadLine::Braces)?;
    let labels = &text[..text.len() - after.len()];
    let (value, rest) = word(after.trim_ascii_start());
    let value = number(value).ok_or_else(|| BadLine::Value(shown(value)))?;
    let (at_ms, rest) = timestamp(Format::OpenMetrics, rest)?;
    if !rest.is_empty() {
        return Err(BadLine::Trailing(shown(rest)));
    }
    Ok(Exemplar {
        labels: RawSeries::Text(labels),
        value,
        at_ms,
    })
}

#[cfg(test)]
mod tests;
