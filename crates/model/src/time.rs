//! Time as a parameter: nothing here reads a clock.
//!
//! A [`Timestamp`] is wall time, but the shell derives it from one reading of the wall clock plus a
//! monotonic clock, so within one run it never goes back; a step of the wall clock is an event of its own.

use std::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(duration)))
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// UTC, RFC 3339 with milliseconds: `2026-11-22T19:15:19.042Z`.
/// Civil date from days by Howard Hinnant's `civil_from_days`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, millis) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
        let month = if month_shifted < 10 {
            month_shifted + 3
        } else {
            month_shifted - 9
        };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
            millis / 3_600_000,
            millis / 60_000 % 60,
            millis / 1_000 % 60,
            millis % 1_000
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration: {why}; write it like 500ms, 5s, 10m, 1h30m, 7d")]
pub struct DurationError {
    pub text: String,
    pub why: &'static str,
}

/// Units as in Prometheus, largest first; a year is 365 days there.
const UNITS_MS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration as Prometheus writes it: `5s`, `1h30m`, `250ms`, `0`.
/// Units must descend and each may occur once.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let error = |why| DurationError {
        text: text.to_owned(),
        why,
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(error("it is empty"));
    }
    let (mut rest, mut total_ms, mut units_left) = (text, 0u64, &UNITS_MS[..]);
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(|| error("a number has no unit"))?;
        if digits == 0 {
            return Err(error("a whole number is expected before each unit"));
        }
        let number: u64 = rest[..digits]
            .parse()
            .map_err(|_| error("a number is too large"))?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let position = units_left
            .iter()
            .position(|(name, _)| *name == &rest[..letters])
            .ok_or_else(|| error("units are y, w, d, h, m, s, ms, each once, the largest first"))?;
        total_ms = number
            .checked_mul(units_left[position].1)
            .and_then(|part| total_ms.checked_add(part))
            .ok_or_else(|| error("it is longer than time itself"))?;
        units_left = &units_left[position + 1..];
        rest = &rest[letters..];
    }
    Ok(Duration::from_millis(total_ms))
}

/// The shortest text that [`parse_duration`] reads back; below a millisecond it is cut off.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut left = whole_millis(duration);
    if left == 0 {
        return "0".to_owned();
    }
    let mut text = String::new();
    for (name, size_ms) in UNITS_MS.iter().skip(2) {
        if left >= *size_ms {
            text.push_str(&format!("{}{name}", left / size_ms));
            left %= size_ms;
        }
    }
    text
}

/// For `#[serde(with = "duration_text")]`: durations as people write them.
pub mod duration_text {
    use super::{Duration, format_duration, parse_duration};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_prometheus_writes_them() {
        for (text, millis) in [
            ("5s", 5_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1w2d", 777_600_000),
            ("0", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_wrong_duration_says_what_is_wrong() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1m1h",
            "5s5s",
            "1.5h",
            "99999999999999999999s",
            "9999999999y",
            "5µs",
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn timestamps_print_as_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_374_919_042, "2026-11-22T19:15:19.042Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back(millis in 0u64..10_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics_the_parser(text in ".{0,40}") {
            parse_duration(&text).ok();
        }
    }
}
