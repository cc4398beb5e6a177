//! What a report says in words: the table and the page say the same, because both take it from here.
//!
//! Shares are rounded against Pitcrew: a gain down, a loss up.

use pitcrew_model::{Autonomy, Production};
use pitcrew_sim::{Disruption, Report, Unavailable};

use crate::words::listed;

/// How a line is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Bad,
    Plain,
}

/// One of the first lines: what it is about, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Headline {
    pub(crate) about: &'static str,
    pub(crate) text: String,
    pub(crate) mood: Mood,
}

/// Whether nothing happened that must never happen.
pub(crate) fn is_safe(report: &Report) -> bool {
    report.wrong_targets == 0 && report.broken_invariants == 0
}

/// For a tired person: is it safe, does it help, whom does it wake?
pub(crate) fn headlines(report: &Report) -> Vec<Headline> {
    vec![safety(report), benefit(report), calls(report)]
}

fn safety(report: &Report) -> Headline {
    let Report {
        wrong_targets,
        broken_invariants,
        ..
    } = report;
    if is_safe(report) {
        return Headline {
            about: "safe",
            text: "0 wrong targets, 0 broken invariants".to_owned(),
            mood: Mood::Good,
        };
    }
    Headline {
        about: "NOT SAFE",
        text: format!(
            "{}, {}: this is a bug in Pitcrew, please report it with the seed",
            counted(*wrong_targets, "wrong target"),
            counted(*broken_invariants, "broken invariant"),
        ),
        mood: Mood::Bad,
    }
}

fn benefit(report: &Report) -> Headline {
    let Unavailable { with, without } = report.unavailable_target_minutes;
    let minutes = counted(with, "target-minute");
    let headline = |about, text, mood| Headline { about, text, mood };
    if with == 0 && without == 0 {
        let text = "nothing was down, with Pitcrew or without".to_owned();
        return headline("idle", text, Mood::Plain);
    }
    let than = format!("{minutes} unavailable instead of {}", grouped(without));
    if with < without {
        let text = format!("{than}: {}% less", percent(without - with, without));
        return headline("useful", text, Mood::Good);
    }
    if with == without {
        let text = format!("{minutes} unavailable, as many as without Pitcrew");
        return headline("no help", text, Mood::Plain);
    }
    let more = match without {
        0 => String::new(),
        _ => format!(": {}% more", percent(with - without, without).max(1)),
    };
    headline("harmful", format!("{than}{more}"), Mood::Bad)
}

fn calls(report: &Report) -> Headline {
    let text = match report.people_called {
        0 => "nobody".to_owned(),
        called => counted(called, "time"),
    };
    Headline {
        about: "people called",
        text,
        mood: Mood::Plain,
    }
}

/// What was simulated, in one line.
pub(crate) fn setting(report: &Report) -> String {
    let hosts = match report.hosts {
        0 => String::new(),
        hosts => format!(" on {}", counted(hosts, "host")),
    };
    format!(
        "{}{hosts}, {}, {}, faults from {}, seed {}",
        counted(report.targets, "target"),
        counted(report.observers, "observer"),
        span(report.simulated_seconds),
        report.faults_from,
        report.seed,
    )
}

/// `24 h`, `1 h 30 min`, `364 d`: days only from three on, because a simulation is asked for in hours.
pub(crate) fn span(seconds: u64) -> String {
    let units: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let largest = if seconds < 3 * 86_400 { 1 } else { 0 };
    let mut left = seconds;
    let mut parts = Vec::new();
    for (size, name) in &units[largest..] {
        if left >= *size {
            parts.push(format!("{} {name}", grouped(left / size)));
            left %= size;
        }
    }
    match parts.is_empty() {
        true => "0 s".to_owned(),
        false => parts.join(" "),
    }
}

/// What keeps this configuration from doing more, for somebody who wonders why nothing was done.
pub(crate) fn hints(production: &Production) -> Vec<String> {
    let named = |autonomy: Autonomy| -> Vec<String> {
        let services = production.services.iter();
        services
            .filter(|service| service.autonomy == autonomy)
            .map(|service| format!("`{}`", service.name))
            .collect()
    };
    let (observing, proposing) = (named(Autonomy::Observe), named(Autonomy::Propose));
    let all = production.services.len();
    let mut hints = Vec::new();
    if observing.len() == all {
        hints.push(
            "Nothing may act: autonomy is `observe` everywhere. Write `autonomy: act` into a copy of the configuration to see what acting would do."
                .to_owned(),
        );
    } else if !observing.is_empty() {
        hints.push(format!(
            "Nothing is done for {}: autonomy is `observe`.",
            listed(&observing)
        ));
    }
    if !proposing.is_empty() {
        hints.push(format!(
            "Nothing is done for {}: autonomy is `propose`, so people are told instead.",
            listed(&proposing)
        ));
    }
    let without_repairs: Vec<String> = production
        .services
        .iter()
        .filter(|service| service.repairs.is_empty() && service.autonomy > Autonomy::Propose)
        .map(|service| format!("`{}`", service.name))
        .collect();
    if !without_repairs.is_empty() {
        hints.push(format!(
            "Nothing can be done for {}: no `repairs` are written.",
            listed(&without_repairs)
        ));
    }
    hints
}

/// What was used, the most first: whole services and the fleet before single domains, of which there may be many alike.
pub(crate) fn used(report: &Report) -> Vec<&Disruption> {
    let mut used: Vec<&Disruption> = report.disruption.iter().collect();
    used.retain(|used| used.most > 0);
    used.sort_by_key(|used| used.limit == "per_domain");
    used
}

/// Said beside limits of which more was used than they allow.
pub(crate) const ABOVE_A_LIMIT: &str = "Targets that failed by themselves count too: a limit keeps Pitcrew from adding to them, it can't keep them from failing.";

/// Whether [`ABOVE_A_LIMIT`] needs to be said.
pub(crate) fn is_above(used: &Disruption) -> bool {
    used.limit == "max_unavailable" && used.most > used.allowed
}

/// With a capital and a full stop, whoever wrote it.
pub(crate) fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first: String = rest
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    let end = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{first}{}{end}", rest.as_str())
}

/// The most first; of equals by name.
pub(crate) fn by_count<'a>(
    counts: impl IntoIterator<Item = (&'a String, &'a u64)>,
) -> Vec<(&'a str, u64)> {
    let mut pairs: Vec<(&str, u64)> = counts
        .into_iter()
        .map(|(name, count)| (name.as_str(), *count))
        .collect();
    pairs.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    pairs
}

/// `1 case`, `1,204 cases`
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(count))
}

/// `1204` as `1,204`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn percent(part: u64, whole: u64) -> u64 {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::sample;

    fn headline(report: &Report, at: usize) -> (String, Mood) {
        let line = headlines(report).swap_remove(at);
        (format!("{}: {}", line.about, line.text), line.mood)
    }

    fn unavailable(with: u64, without: u64) -> Report {
        Report {
            unavailable_target_minutes: Unavailable { with, without },
            ..Report::default()
        }
    }

    #[test]
    fn the_first_line_says_whether_it_is_safe() {
        let mut report = Report::default();
        let (text, mood) = headline(&report, 0);
        assert_eq!(text, "safe: 0 wrong targets, 0 broken invariants");
        assert_eq!(mood, Mood::Good);
        for (wrong, broken, said) in [
            (1, 0, "1 wrong target, 0 broken"),
            (0, 2_000, "0 wrong targets, 2,000 broken invariants"),
        ] {
            (report.wrong_targets, report.broken_invariants) = (wrong, broken);
            let (text, mood) = headline(&report, 0);
            assert!(
                text.starts_with("NOT SAFE: ") && text.contains(said),
                "{text}"
            );
            assert_eq!(mood, Mood::Bad);
            assert!(!is_safe(&report));
        }
    }

    #[test]
    fn the_second_line_says_whether_it_helps_and_never_flatters() {
        for (with, without, said) in [
            (
                812,
                4_310,
                "useful: 812 target-minutes unavailable instead of 4,310: 81% less",
            ),
            (
                999,
                1_000,
                "useful: 999 target-minutes unavailable instead of 1,000: 0% less",
            ),
            (
                5,
                5,
                "no help: 5 target-minutes unavailable, as many as without Pitcrew",
            ),
            (
                1_001,
                1_000,
                "harmful: 1,001 target-minutes unavailable instead of 1,000: 1% more",
            ),
            (1, 0, "harmful: 1 target-minute unavailable instead of 0"),
            (0, 0, "idle: nothing was down, with Pitcrew or without"),
        ] {
            assert_eq!(headline(&unavailable(with, without), 1).0, said);
        }
    }

    #[test]
    fn spans_are_said_in_the_units_they_were_asked_for() {
        for (seconds, text) in [
            (86_400, "24 h"),
            (5_400, "1 h 30 min"),
            (364 * 86_400, "364 d"),
            (90_000 * 86_400, "90,000 d"),
            (0, "0 s"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn limits_of_services_and_the_fleet_come_before_those_of_domains() {
        let report = sample::report();
        let limits: Vec<&str> = used(&report)
            .iter()
            .map(|used| used.limit.as_str())
            .collect();
        assert_eq!(limits, ["max_in_flight", "fleet_rate", "per_domain"]);
    }

    #[test]
    fn a_fragment_and_a_sentence_are_both_said_as_sentences() {
        assert_eq!(sentence("half of them"), "Half of them.");
        assert_eq!(sentence("Half of them."), "Half of them.");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
