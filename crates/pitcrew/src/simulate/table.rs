//! The report on a terminal: the first three lines for a tired person, then what they rest on.

use pitcrew_sim::Report;

use super::figures::{
    ABOVE_A_LIMIT, Mood, by_count, grouped, headlines, is_above, sentence, setting, used,
};
use crate::output::{BAD, BOLD, BUSY, Cell, FAINT, GOOD, cell, columns, painted};

/// More are in the JSON.
const DISRUPTION_SHOWN: usize = 8;
const BROKEN_SHOWN: usize = 10;

pub(crate) fn table(report: &Report, hints: &[String]) -> String {
    let mut text = columns(&headline_rows(report));
    for hint in hints {
        text.push_str(&format!("{}\n", painted(BUSY, hint)));
    }
    text.push_str(&format!("\n{}\n\n", painted(FAINT, &setting(report))));
    text.push_str(&columns(&tallies(report)));
    for (title, rows) in [
        ("broken", broken(report)),
        ("", services(report)),
        ("", faults(report)),
        ("", holds(report)),
        ("", disruption(report)),
    ] {
        if rows.len() > 1 {
            text.push_str(&format!("\n{title}"));
            text.push_str(if title.is_empty() { "" } else { "\n" });
            text.push_str(&columns(&rows));
        }
    }
    // Not a row, or it would widen the column.
    if report.disruption.iter().any(is_above) {
        text.push_str(&format!("{}\n", painted(FAINT, ABOVE_A_LIMIT)));
    }
    if !report.assumptions.is_empty() {
        text.push_str(&format!("\n{}\n", painted(BOLD, "assumed")));
        for assumption in &report.assumptions {
            text.push_str(&format!("- {}\n", sentence(assumption)));
        }
    }
    text
}

fn headline_rows(report: &Report) -> Vec<Vec<Cell>> {
    let rows = headlines(report).into_iter().map(|line| {
        let style = match line.mood {
            Mood::Good => GOOD.bold(),
            Mood::Bad => BAD,
            Mood::Plain => BOLD,
        };
        vec![cell(line.about).style(style), cell(line.text)]
    });
    rows.collect()
}

fn tallies(report: &Report) -> Vec<Vec<Cell>> {
    let listed = |pairs: Vec<(&str, u64)>| {
        let said = pairs
            .into_iter()
            .map(|(name, count)| format!("{} {}", grouped(count), name.replace('_', " ")));
        said.collect::<Vec<_>>().join(", ")
    };
    let row = |name: &str, count: u64, what: String| {
        vec![
            cell(name).style(BOLD),
            cell(grouped(count)).aligned_right(),
            cell(what),
        ]
    };
    vec![
        row("cases", report.cases, listed(by_count(&report.ended))),
        row(
            "orders",
            report.orders.values().sum(),
            listed(by_count(&report.orders)),
        ),
        row(
            "false repairs",
            report.false_repairs,
            "on targets that were well, but reported failing".to_owned(),
        ),
        row(
            "missed repairs",
            report.missed_repairs,
            "that a step could have cured, and no limit held back".to_owned(),
        ),
        row("breaker trips", report.breaker_trips, String::new()),
    ]
}

fn heading(first: &str, others: &[&str]) -> Vec<Cell> {
    let mut row = vec![cell(first).style(BOLD)];
    row.extend(
        others
            .iter()
            .map(|name| cell(name).style(FAINT).aligned_right()),
    );
    row
}

fn row(first: &str, numbers: &[u64]) -> Vec<Cell> {
    let mut row = vec![cell(first)];
    row.extend(
        numbers
            .iter()
            .map(|number| cell(grouped(*number)).aligned_right()),
    );
    row
}

fn broken(report: &Report) -> Vec<Vec<Cell>> {
    let mut rows = vec![heading("invariant", &["at"])];
    rows.extend(report.broken.iter().take(BROKEN_SHOWN).map(|broken| {
        vec![
            cell(broken.invariant).style(BAD),
            cell(format!("{} s", grouped(broken.at_seconds))).aligned_right(),
            cell(&broken.what),
        ]
    }));
    rows
}

fn services(report: &Report) -> Vec<Vec<Cell>> {
    let names = [
        "targets",
        "cases",
        "orders",
        "called",
        "unavailable",
        "without Pitcrew",
    ];
    let mut rows = vec![heading("service", &names)];
    rows.extend(report.services.iter().map(|(name, tally)| {
        let minutes = tally.unavailable_target_minutes;
        row(
            name,
            &[
                tally.targets,
                tally.cases,
                tally.orders,
                tally.called,
                minutes.with,
                minutes.without,
            ],
        )
    }));
    rows
}

fn faults(report: &Report) -> Vec<Vec<Cell>> {
    let names = [
        "targets",
        "believed",
        "cured",
        "by itself",
        "by a person",
        "lasting",
    ];
    let mut rows = vec![heading("fault", &names)];
    rows.extend(report.faults.iter().map(|(name, tally)| {
        row(
            &name.replace('_', " "),
            &[
                tally.targets,
                tally.confirmed,
                tally.cured,
                tally.by_itself,
                tally.by_person,
                tally.lasting,
            ],
        )
    }));
    rows
}

fn holds(report: &Report) -> Vec<Vec<Cell>> {
    let mut rows = vec![heading("limit that held", &["cases"])];
    let held = by_count(&report.held_by).into_iter();
    rows.extend(held.map(|(name, cases)| row(name, &[cases])));
    rows
}

fn disruption(report: &Report) -> Vec<Vec<Cell>> {
    let mut rows = vec![heading("limit most used", &["most", "allowed"])];
    let used = used(report);
    rows.extend(used.iter().take(DISRUPTION_SHOWN).map(|used| {
        row(
            &format!("{} of {}", used.limit, used.scope),
            &[used.most, used.allowed],
        )
    }));
    let more = used.len().saturating_sub(DISRUPTION_SHOWN);
    if more > 0 {
        let more = format!(
            "and {} more with --json",
            grouped(u64::try_from(more).unwrap_or(u64::MAX))
        );
        rows.push(vec![cell(more).style(FAINT)]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::sample;

    /// Without colours, as a file would get it.
    fn plain(report: &Report, hints: &[String]) -> String {
        anstream::adapter::strip_str(&table(report, hints)).to_string()
    }

    #[test]
    fn the_first_lines_say_whether_it_is_safe_and_whether_it_helps() {
        let text = plain(&sample::report(), &["Nothing may act.".to_owned()]);
        let first: Vec<&str> = text.lines().take(4).collect();
        assert_eq!(
            first,
            [
                "safe           0 wrong targets, 0 broken invariants",
                "useful         18,112 target-minutes unavailable instead of 143,310: 87% less",
                "people called  61 times",
                "Nothing may act.",
            ],
            "{text}"
        );
        assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
    }

    #[test]
    fn every_part_of_the_report_is_in_the_table() {
        let text = plain(&sample::unsafe_report(), &[]);
        for part in [
            "NOT SAFE",
            "4,711 s  <script>",
            "1,001 cured, 212 self recovered, 61 handed over, 38 open",
            "1,080 restart done",
            "max_in_flight of web",
            "per_domain of web in zone=a",
            "breaker",
            "cache <b>",
            "domain",
            "- A person who is called",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
    }
}
