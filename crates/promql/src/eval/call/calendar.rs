//! The calendar, in UTC.
//!
//! Days are turned into years by counting in eras of 400 years that begin on a first of March, so that the leap
//! day is the last day of a year (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").

use super::super::{EvalError, Evaluator, Grid, Node, Row};
use crate::{labels::Labels, number};

const DAY_S: i64 = 86_400;

struct Date {
    year: i64,
    /// 1 to 12.
    month: i64,
    /// 1 to 31.
    day: i64,
}

fn date(seconds: i64) -> Date {
    let days = seconds.div_euclid(DAY_S) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = (month_from_march + 2) % 12 + 1;
    Date {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month,
        day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(date: &Date) -> i64 {
    match date.month {
        2 => 28 + i64::from(is_leap(date.year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn day_of_year(date: &Date) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let months = number::count((date.month - 1) as f64);
    BEFORE[months] + date.day + i64::from(date.month > 2 && is_leap(date.year))
}

pub(super) fn function(name: &str) -> Option<fn(i64) -> i64> {
    Some(match name {
        "day_of_month" => |seconds| date(seconds).day,
        // The first of January 1970 was a Thursday.
        "day_of_week" => |seconds| (seconds.div_euclid(DAY_S) + 4).rem_euclid(7),
        "day_of_year" => |seconds| day_of_year(&date(seconds)),
        "days_in_month" => |seconds| days_in_month(&date(seconds)),
        "hour" => |seconds| seconds.rem_euclid(DAY_S) / 3600,
        "minute" => |seconds| seconds.rem_euclid(3600) / 60,
        "month" => |seconds| date(seconds).month,
        "year" => |seconds| date(seconds).year,
        _ => return None,
    })
}

impl Evaluator<'_> {
    /// Of the given times, or of the time of each step where none are given.
    pub(super) fn calendar(
        &mut self,
        args: &[Node],
        grid: &Grid,
        function: fn(i64) -> i64,
    ) -> Result<Vec<Row>, EvalError> {
        let Some(arg) = args.first() else {
            let values = grid
                .times()
                .map(|time| function(time.div_euclid(1000)) as f64);
            return Ok(vec![Row::of_floats(Labels::default(), values.collect())]);
        };
        let mut rows = self.vector(arg, grid)?;
        for row in &mut rows {
            row.map_floats(|value| function(seconds(value)) as f64);
        }
        rows.retain(|row| !row.is_empty());
        Ok(rows)
    }
}

/// What is no number of seconds, or too many, is the end of time, as it comes out of Prometheus on x86-64.
fn seconds(value: f64) -> i64 {
    if value.abs() < 9.2e18 {
        number::truncated(value)
    } else {
        i64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_calendar() {
        let of = |name: &str, seconds: i64| function(name).unwrap()(seconds);
        for (seconds, year, month, day, of_year, of_week) in [
            (0, 1970, 1, 1, 1, 4),
            (951_782_400, 2000, 2, 29, 60, 2),
            (1_230_768_000, 2009, 1, 1, 1, 4),
            (1_483_228_799, 2016, 12, 31, 366, 6),
            (-1, 1969, 12, 31, 365, 3),
        ] {
            assert_eq!(of("year", seconds), year, "{seconds}");
            assert_eq!(of("month", seconds), month, "{seconds}");
            assert_eq!(of("day_of_month", seconds), day, "{seconds}");
            assert_eq!(of("day_of_year", seconds), of_year, "{seconds}");
            assert_eq!(of("day_of_week", seconds), of_week, "{seconds}");
        }
        assert_eq!(of("days_in_month", 951_782_400), 29);
        assert_eq!(of("hour", -1), 23);
        assert_eq!(of("minute", 3599), 59);
        // As far as the type reaches, nothing panics.
        for extreme in [i64::MAX, i64::MIN] {
            of("year", extreme);
            of("day_of_year", extreme);
        }
    }
}
