//! The host's clock beside another's, which is known to lie between two moments.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pitcrew_model::{Timestamp, Verdict, format_duration};

use crate::{Answer, ReferenceClock};

pub(crate) fn ask(reference: Option<&ReferenceClock>, warn: Duration, fail: Duration) -> Answer {
    let Some(reference) = reference else {
        return Answer::unknown(
            "there is no other clock to hold it against: an agent's is held against its server's",
        );
    };
    let Ok(wall) = SystemTime::now().duration_since(UNIX_EPOCH) else {
        return Answer::fail("the clock shows a time before 1970");
    };
    let wall = Timestamp::from_millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
    match reference() {
        Some((earliest, latest)) => judge(wall, earliest, latest, warn, fail),
        None => Answer::unknown("the server's time is not known yet"),
    }
}

fn judge(
    wall: Timestamp,
    earliest: Timestamp,
    latest: Timestamp,
    warn: Duration,
    fail: Duration,
) -> Answer {
    let (ahead_min, ahead_max) = (wall.since(latest), wall.since(earliest));
    let (behind_min, behind_max) = (earliest.since(wall), latest.since(wall));
    let least = ahead_min.max(behind_min);
    let most = ahead_max.max(behind_max);
    let side = match behind_max > ahead_max {
        true => "behind the server's",
        false => "ahead of the server's",
    };
    let words = match least == most {
        true => format!("{} {side}", format_duration(least)),
        false => format!(
            "{} to {} {side}",
            format_duration(least),
            format_duration(most)
        ),
    };
    let weigh = |offset| match offset {
        offset if offset > fail => Verdict::Fail,
        offset if offset > warn => Verdict::Warn,
        _ => Verdict::Pass,
    };
    match (weigh(least), weigh(most)) {
        (Verdict::Fail, _) => Answer::fail(words),
        (Verdict::Warn, Verdict::Warn) => Answer::warn(words),
        (Verdict::Pass, Verdict::Pass) => Answer::pass(words),
        _ => Answer::unknown(format!("{words}: it is not known better")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_counts_when_it_is_certain() {
        let verdict = |wall, earliest, latest| {
            let [wall, earliest, latest] = [wall, earliest, latest].map(Timestamp::from_millis);
            let (warn, fail) = (Duration::from_millis(100), Duration::from_millis(1_000));
            judge(wall, earliest, latest, warn, fail).verdict
        };
        assert_eq!(verdict(5_000, 4_950, 5_050), Verdict::Pass);
        assert_eq!(verdict(5_000, 5_200, 5_300), Verdict::Warn);
        assert_eq!(verdict(5_000, 6_001, 9_000), Verdict::Fail);
        assert_eq!(verdict(5_000, 1_000, 3_999), Verdict::Fail);
        // A slow answer to a beat: the clock may be right or not.
        assert_eq!(verdict(5_000, 4_000, 5_000), Verdict::Unknown);
        assert_eq!(verdict(5_000, 3_000, 4_500), Verdict::Unknown);
    }

    #[test]
    fn without_another_clock_nothing_is_known() {
        let (warn, fail) = (Duration::from_secs(1), Duration::from_secs(2));
        assert_eq!(ask(None, warn, fail).verdict, Verdict::Unknown);
    }
}
