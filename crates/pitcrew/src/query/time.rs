//! Times as people type them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pitcrew_model::parse_duration;

/// A time, perhaps one that depends on when it is now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum When {
    Now,
    /// So long before now.
    Before(Duration),
    /// Milliseconds since the epoch.
    At(i64),
}

impl When {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "now" {
            return Ok(Self::Now);
        }
        if let Some(at_ms) = text.parse().ok().and_then(milliseconds) {
            return Ok(Self::At(at_ms));
        }
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Ok(Self::At(time.as_millisecond()));
        }
        let before = parse_duration(text);
        before.map(Self::Before).map_err(|_neither| {
            "a time is `now`, a duration before now such as `2h`, `2026-11-01T12:00:00Z`, or seconds since 1970".to_owned()
        })
    }

    pub(crate) fn milliseconds(self, now_ms: i64) -> i64 {
        match self {
            Self::Now => now_ms,
            Self::Before(duration) => {
                now_ms.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
            }
            Self::At(at_ms) => at_ms,
        }
    }

    /// As the API takes it.
    pub(crate) fn seconds(self, now_ms: i64) -> String {
        seconds(self.milliseconds(now_ms))
    }
}

/// `None` for what is no time that anybody could mean.
#[expect(clippy::cast_possible_truncation, reason = "it is checked to be small")]
pub(super) fn milliseconds(seconds: f64) -> Option<i64> {
    let milliseconds = (seconds * 1_000.0).round();
    (milliseconds.abs() < 2f64.powi(60)).then_some(milliseconds as i64)
}

pub(super) fn seconds(milliseconds: i64) -> String {
    let sign = if milliseconds < 0 { "-" } else { "" };
    let size = milliseconds.unsigned_abs();
    format!("{sign}{}.{:03}", size / 1_000, size % 1_000)
}

/// Local time in this form; seconds since the epoch where no calendar reaches.
pub(super) fn local(milliseconds: i64, form: &str) -> String {
    let instant = jiff::Timestamp::from_millisecond(milliseconds);
    let local = instant.map(|instant| instant.to_zoned(jiff::tz::TimeZone::system()));
    local.map_or_else(
        |_beyond| seconds(milliseconds),
        |local| local.strftime(form).to_string(),
    )
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_type_them() {
        for (text, expected) in [
            ("now", "1000.000"),
            ("10m", "400.000"),
            ("12.5", "12.500"),
            ("1970-01-01T00:01:00.25Z", "60.250"),
            ("-1.5", "-1.500"),
        ] {
            assert_eq!(
                When::parse(text).unwrap().seconds(1_000_000),
                expected,
                "{text}"
            );
        }
        for text in ["", "yesterday", "1e300", "NaN", "5"] {
            assert_eq!(When::parse(text).is_ok(), text == "5", "{text}");
        }
    }
}
