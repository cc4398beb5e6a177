//! Times as traces write them: RFC 3339, date and time of day in UTC, or seconds since 1970.

use pitcrew_model::Timestamp;

use super::{Wrong, error::clipped};

/// The year 5138: no failure was recorded after it, and seconds beyond it are milliseconds.
const SECONDS_MAX: u64 = 100_000_000_000;

pub(super) fn parse(text: &str) -> Result<Timestamp, Wrong> {
    let wrong = || Wrong::Time {
        text: clipped(text),
    };
    if text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(['-', ':']) {
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let seconds: u64 = digits(seconds).ok_or_else(wrong)?;
        let millis = millis(fraction).ok_or_else(wrong)?;
        if seconds > SECONDS_MAX {
            return Err(Wrong::Millis {
                text: clipped(text),
            });
        }
        return Ok(Timestamp::from_millis(seconds * 1_000 + millis));
    }
    civil(text).ok_or_else(wrong)
}

/// `2018-01-02T03:09:38.5+01:00`, with a blank instead of the `T`, and without an offset in UTC.
fn civil(text: &str) -> Option<Timestamp> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, offset_minutes) = offset(rest)?;
    let days = days(date)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    // A leap second is the second before it once more.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second.min(59);
    let seconds = seconds - offset_minutes * 60;
    let millis = millis(fraction)?;
    Some(Timestamp::from_millis(
        u64::try_from(seconds).ok()? * 1_000 + millis,
    ))
}

/// The clock's part and how many minutes it is ahead of UTC.
fn offset(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = text.find(['+', '-']) else {
        return Some((text, 0));
    };
    let [hours, minutes] = numbers(&text[at + 1..], ':', [2, 2])?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let ahead = hours * 60 + minutes;
    let is_behind = text[at..].starts_with('-');
    Some((&text[..at], if is_behind { -ahead } else { ahead }))
}

/// Days since 1970-01-01 by Howard Hinnant's `days_from_civil`.
fn days(date: &str) -> Option<i64> {
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day < 1 || day > month_days {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Exactly these numbers of digits, divided by `by`.
fn numbers<const N: usize>(text: &str, by: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(by);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width)?;
        *number = i64::try_from(digits(part)?).ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

/// A second's fraction; what is below a millisecond is cut off.
fn millis(fraction: &str) -> Option<u64> {
    digits(fraction.get(..fraction.len().min(18))?)?;
    let shown: String = fraction.chars().chain("000".chars()).take(3).collect();
    digits(&shown)
}
