//! A comparison in one line, for a tired person: how many cases are alike, and what the others come to.

use std::collections::BTreeMap;

use super::comparison::{CaseDifference, Comparison, Difference};

pub(super) fn summary(comparison: &Comparison) -> String {
    let Comparison { cases, alike, .. } = comparison;
    let mut line = match (*cases, alike == cases) {
        (0, _) => "no case then and none now".to_owned(),
        (1, true) => "1 case, alike".to_owned(),
        (count, true) => format!("{count} cases, all alike"),
        (1, false) => "1 case".to_owned(),
        (count, false) => format!("of {count} cases {alike} alike"),
    };
    let groups = grouped(&comparison.differences);
    let said: Vec<String> = groups
        .iter()
        .map(|((what, because), count)| {
            let because = because.as_ref().map(|why| format!(" ({why})"));
            format!(
                "{count} {}{}",
                words(what, *count),
                because.unwrap_or_default()
            )
        })
        .collect();
    if !said.is_empty() {
        line.push_str("; ");
        line.push_str(&said.join(", "));
    }
    match comparison.people.len() {
        0 => {}
        1 => line.push_str("; 1 act of a person would have been answered otherwise"),
        count => line.push_str(&format!(
            "; {count} acts of people would have been answered otherwise"
        )),
    }
    line
}

/// Most frequent first.
fn grouped(differences: &[CaseDifference]) -> Vec<((Difference, Option<String>), usize)> {
    let mut groups: BTreeMap<(Difference, Option<String>), usize> = BTreeMap::new();
    for difference in differences {
        let kind = of_kind(&difference.what);
        *groups
            .entry((kind, difference.because.clone()))
            .or_default() += 1;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    groups
}

/// Without what tells one case from another.
fn of_kind(what: &Difference) -> Difference {
    match what {
        Difference::Earlier { .. } => Difference::Earlier { by_ms: 0 },
        Difference::Later { .. } => Difference::Later { by_ms: 0 },
        Difference::ConfirmedEarlier { .. } => Difference::ConfirmedEarlier { by_ms: 0 },
        Difference::ConfirmedLater { .. } => Difference::ConfirmedLater { by_ms: 0 },
        other => other.clone(),
    }
}

fn words(what: &Difference, count: usize) -> String {
    let were = if count == 1 { "was" } else { "were" };
    match what {
        Difference::ActedOnlyNow => format!("would have been repaired that {were} not"),
        Difference::ActedOnlyThen => format!("would not have been repaired that {were}"),
        Difference::Earlier { .. } => "would have been repaired earlier".to_owned(),
        Difference::Later { .. } => "would have been repaired later".to_owned(),
        Difference::OtherAction { then, now } => format!("would have got {now} instead of {then}"),
        Difference::MoreOrders => "would have got more orders".to_owned(),
        Difference::FewerOrders => "would have got fewer orders".to_owned(),
        Difference::HandedOverOnlyNow => format!("would have been handed over that {were} not"),
        Difference::HandedOverOnlyThen => format!("would not have been handed over that {were}"),
        Difference::ConfirmedOnlyNow => format!("would have been believed that {were} not"),
        Difference::ConfirmedOnlyThen => format!("would not have been believed that {were}"),
        Difference::ConfirmedEarlier { .. } => "would have been believed earlier".to_owned(),
        Difference::ConfirmedLater { .. } => "would have been believed later".to_owned(),
        Difference::HeldOtherwise { now, .. } if now.is_empty() => {
            "would not have been held".to_owned()
        }
        Difference::HeldOtherwise { now, .. } => {
            format!("would have been held by {}", now.join(", "))
        }
        Difference::EndedOtherwise { then, now } => {
            format!("would have ended {now} instead of {then}")
        }
    }
}
