//! Times and lengths as people say them.

use std::time::Duration;

use jiff::{Zoned, tz::TimeZone};
use pitcrew_model::Timestamp;

/// Local time: `02:14:05`, with the day in front when it is not today's.
pub(crate) fn clock_time(at: Timestamp) -> String {
    clock_time_beside(at, &Zoned::now())
}

fn clock_time_beside(at: Timestamp, now: &Zoned) -> String {
    let Some(local) = zoned(at, now.time_zone()) else {
        return at.to_string();
    };
    let form = if local.date() == now.date() {
        "%H:%M:%S"
    } else {
        "%Y-%m-%d %H:%M:%S"
    };
    local.strftime(form).to_string()
}

fn zoned(at: Timestamp, zone: &TimeZone) -> Option<Zoned> {
    let millis = i64::try_from(at.as_millis()).ok()?;
    let instant = jiff::Timestamp::from_millisecond(millis).ok()?;
    Some(instant.to_zoned(zone.clone()))
}

/// The two largest units: `14 s`, `2 min 5 s`, `3 h`, `2 d 4 h`.
pub(crate) fn length(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        return format!("{} ms", duration.as_millis());
    }
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (name, size) in units {
        if left >= size || !parts.is_empty() {
            parts.push((left / size, name));
            left %= size;
        }
    }
    let shown = parts.into_iter().take(2).filter(|(count, _)| *count > 0);
    shown
        .map(|(count, name)| format!("{count} {name}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// `1 target`, `2 targets`
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// `a`, `a and b`, `a, b and c`
pub(crate) fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Replaces times as records write them (`2026-11-22T19:15:19.042Z`) by local ones.
pub(crate) fn with_local_times(text: &str) -> String {
    text.split(' ')
        .map(|word| local_word(word).unwrap_or_else(|| word.to_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn local_word(word: &str) -> Option<String> {
    let end = word.find('Z')? + 1;
    let (time, rest) = word.split_at(end);
    let instant: jiff::Timestamp = time.parse().ok()?;
    let millis = u64::try_from(instant.as_millisecond()).ok()?;
    Some(format!(
        "{}{rest}",
        clock_time(Timestamp::from_millis(millis))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_their_two_largest_units() {
        for (seconds, text) in [
            (14, "14 s"),
            (60, "1 min"),
            (125, "2 min 5 s"),
            (3_600, "1 h"),
            (3_605, "1 h"),
            (7_260, "2 h 1 min"),
            (187_200, "2 d 4 h"),
        ] {
            assert_eq!(length(Duration::from_secs(seconds)), text);
        }
        assert_eq!(length(Duration::from_millis(250)), "250 ms");
    }

    #[test]
    fn times_of_other_days_have_their_day() {
        let now: Zoned = "2026-11-22T20:00:00+00:00[UTC]".parse().unwrap();
        let at = |millis| clock_time_beside(Timestamp::from_millis(millis), &now);
        assert_eq!(at(1_795_374_919_042), "19:15:19");
        assert_eq!(at(951_782_400_000), "2000-02-29 00:00:00");
    }

    #[test]
    fn names_are_listed_as_in_a_sentence() {
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(listed(&names), "a, b and c");
        assert_eq!(listed(&names[..2]), "a and b");
        assert_eq!(listed(&names[..1]), "a");
    }
}
