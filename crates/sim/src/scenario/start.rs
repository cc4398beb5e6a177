//! When a scenario begins, and times of day.
//!
//! Windows are dates, so a scenario has a date; whoever doesn't care for it begins with the year 2026.

use std::time::Duration;

use pitcrew_model::Timestamp;

/// 2026-01-01T00:00:00Z
pub(super) const DEFAULT: Timestamp = Timestamp::from_millis(1_767_225_600_000);

const DAY_MS: u64 = 86_400_000;

/// `00:10` or `00:10:30`, as time since midnight.
pub(super) fn time_of_day(text: &str) -> Option<Duration> {
    let mut parts = text.split(':').map(two_digits);
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = match parts.next() {
        Some(seconds) => seconds?,
        None => 0,
    };
    let is_one = parts.next().is_none() && hours < 24 && minutes < 60 && seconds < 60;
    is_one.then(|| Duration::from_secs(hours * 3_600 + minutes * 60 + seconds))
}

fn two_digits(text: &str) -> Option<u64> {
    let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// From `start` to the first moment with this time of day, in UTC.
pub(super) fn until(start: Timestamp, time: Duration) -> Duration {
    let since_midnight = Duration::from_millis(start.as_millis() % DAY_MS);
    let day = Duration::from_millis(DAY_MS);
    match time.checked_sub(since_midnight) {
        Some(until) => until,
        None => time + day - since_midnight,
    }
}

/// `2026-12-24T00:00Z`, with seconds if wanted. Days from a civil date by Howard Hinnant's `days_from_civil`.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || !year.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, month, day): (u64, _, _) =
        (year.parse().ok()?, two_digits(month)?, two_digits(day)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    let at = Timestamp::from_millis(days * DAY_MS) + time_of_day(time)?;
    // The 31st of a shorter month would be another day.
    at.to_string()
        .starts_with(&format!("{year:04}-{month:02}-{day:02}"))
        .then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_timestamps_print_them() {
        for text in [
            "2026-01-01T00:00",
            "2000-02-29T23:59:58",
            "1970-01-01T00:00:00",
        ] {
            let at = moment(&format!("{text}Z")).unwrap();
            assert!(at.to_string().starts_with(text), "{text} is {at}");
        }
        for text in [
            "2026-02-30T00:00Z",
            "2026-13-01T00:00Z",
            "2026-01-01T24:00Z",
            "2026-01-01",
            "0000-01-01T00:00Z",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
        assert_eq!(moment("2026-01-01T00:00Z"), Some(DEFAULT));
    }

    #[test]
    fn a_time_of_day_is_the_next_one() {
        let start = moment("2026-12-23T23:50Z").unwrap();
        let ten_past = time_of_day("00:10").unwrap();
        assert_eq!(until(start, ten_past), Duration::from_secs(1_200));
        assert_eq!(until(DEFAULT, ten_past), Duration::from_secs(600));
        assert_eq!(time_of_day("10m"), None);
    }
}
