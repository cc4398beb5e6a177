//! The ledger's records as lines that people read: when, one word, what.

use pitcrew_model::{
    Action, Authority, Fact, Finding, Order, OutcomeKind, PersonAct, Record, format_duration,
};

use crate::words::{clock_time, listed, with_local_times};

/// `02:14:07  held  never the last one: …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) at: String,
    pub(crate) word: &'static str,
    pub(crate) text: String,
}

/// In order; what says the same as the line before of its kind is said so.
pub(crate) fn lines<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for record in records {
        let at = clock_time(record.at);
        for (word, text) in words(&record.fact) {
            let text = with_local_times(&text);
            let before = lines.iter().rev().find(|line| line.word == word);
            let same = word == "held" && before.is_some_and(|line| line.text == text);
            let text = if same { "the same".to_owned() } else { text };
            lines.push(Line {
                at: at.clone(),
                word,
                text,
            });
        }
    }
    lines
}

fn words(fact: &Fact) -> Vec<(&'static str, String)> {
    match fact {
        Fact::Confirmed { findings } => vec![("believed", findings_text(findings))],
        Fact::Relapsed { findings } => vec![("relapsed", findings_text(findings))],
        Fact::Held {
            wanted,
            hold,
            would,
        } => {
            let wanted = wanted.as_ref().map(|wanted| ("wanted", wanted.clone()));
            // The line's word says it already: `held  by alice until …`.
            let hold = hold.to_string();
            let hold = hold.strip_prefix("held ").unwrap_or(&hold);
            let held = if would.is_empty() {
                hold.to_owned()
            } else {
                format!("{hold}; {would}")
            };
            wanted.into_iter().chain([("held", held)]).collect()
        }
        Fact::Intent { order } => vec![("order", order_text(order))],
        Fact::Outcome { outcome } => {
            let word = match outcome.kind {
                OutcomeKind::Done => "done",
                OutcomeKind::Failed => "failed",
                OutcomeKind::Unknown => "doubtful",
            };
            vec![(word, format!("{} ({})", outcome.detail, outcome.order))]
        }
        Fact::Verified {
            passed,
            observers,
            detail,
        } => {
            let names: Vec<String> = observers.iter().map(ToString::to_string).collect();
            let by = if names.is_empty() {
                String::new()
            } else {
                format!(" (by {})", listed(&names))
            };
            vec![(
                if *passed { "verified" } else { "not cured" },
                format!("{detail}{by}"),
            )]
        }
        Fact::Probation { until } => vec![(
            "probation",
            format!("passing again; must stay so until {until}"),
        )],
        Fact::HandedOver { to, why } => {
            let to: Vec<String> = to.iter().map(ToString::to_string).collect();
            let to = if to.is_empty() {
                "a person".to_owned()
            } else {
                listed(&to)
            };
            vec![("handed", format!("over to {to}: {why}"))]
        }
        Fact::Closed { ending, why } => vec![("closed", format!("{ending}: {why}"))],
        Fact::Person { by, act, refused } => vec![person_text(by, act, refused.as_deref())],
        Fact::Notified {
            receiver,
            delivered: true,
            ..
        } => vec![("told", receiver.to_string())],
        Fact::Notified {
            receiver,
            delivered: false,
            detail,
        } => vec![("not told", format!("{receiver}: {detail}"))],
        other => vec![("server", server_text(other))],
    }
}

fn server_text(fact: &Fact) -> String {
    match fact {
        Fact::ServerStarted { version, .. } => format!("pitcrew {version} started"),
        Fact::ConfigurationLoaded { services, .. } => {
            format!("configuration loaded, {services} services")
        }
        Fact::ConfigurationRefused { errors } => {
            format!("configuration refused: {}", errors.join("; "))
        }
        Fact::TargetsChanged { added, removed } => format!("{added} targets more, {removed} fewer"),
        Fact::Source {
            source,
            trouble: Some(trouble),
        } => format!("source {source}: {trouble}"),
        Fact::Source {
            source,
            trouble: None,
        } => format!("source {source} is fine again"),
        Fact::Observer {
            observer,
            trouble: Some(trouble),
        } => format!("observer {observer} is suspect: {trouble}"),
        Fact::Observer {
            observer,
            trouble: None,
        } => format!("observer {observer} is fine again"),
        Fact::ProcessStarted { name, detail } => format!("process {name}: {detail}"),
        Fact::ProcessStopped { name, detail } => format!("process {name} stopped: {detail}"),
        Fact::BreakerTripped { scope, failing, of } => {
            format!("breaker of {scope} tripped: {failing} of {of} newly failing")
        }
        Fact::BreakerReleased {
            scope,
            by: Some(by),
        } => format!("breaker of {scope} released by {by}"),
        Fact::BreakerReleased { scope, by: None } => format!("breaker of {scope} released itself"),
        Fact::LedgerRecovered { not_given } => format!(
            "the ledger can be written again; {} orders were not given",
            not_given.len()
        ),
        Fact::Woke { paused_for } => format!(
            "woke after {}: everything is tested anew",
            format_duration(*paused_for)
        ),
        // All others have lines of their own.
        other => format!("{other:?}"),
    }
}

pub(crate) fn findings_text(findings: &[Finding]) -> String {
    let each = findings.iter().map(|finding| {
        let observers: Vec<String> = finding.observers.iter().map(ToString::to_string).collect();
        let by = match observers.len() {
            0 => String::new(),
            1 => format!(", observer {}", observers[0]),
            _ => format!(", observers {}", listed(&observers)),
        };
        let rounds = if finding.rounds == 1 {
            "1 round".to_owned()
        } else {
            format!("{} rounds", finding.rounds)
        };
        format!("{}: {} ({rounds}{by})", finding.test, finding.evidence)
    });
    each.collect::<Vec<_>>().join("; ")
}

fn order_text(order: &Order) -> String {
    let try_number = if order.repair.is_some() {
        format!(", try {}", order.attempt)
    } else {
        String::new()
    };
    let authority = match &order.authority {
        Authority::Policy => match &order.repair {
            Some(repair) => format!("by `{repair}`"),
            None => "by policy".to_owned(),
        },
        Authority::Approval { by } => format!("approved by {by}"),
        Authority::Person { by, why } => format!("by {by}: {why}"),
    };
    let runner = order
        .runner
        .as_ref()
        .filter(|_| order.action.needs_runner());
    let deed = match runner {
        Some(runner) => format!("{} {runner}", order.action),
        None => order.deed(),
    };
    let deed = match (&order.lease, &order.action) {
        (Some(term), Action::Drain(_)) if order.is_upkeep() => {
            format!("renew {} until {}", term.id, clock_time(term.until))
        }
        (Some(term), Action::Drain(_)) => format!("{deed} until {}", clock_time(term.until)),
        _ => deed,
    };
    format!("{deed} ({}{try_number}, {authority})", order.id)
}

fn person_text(by: &str, act: &PersonAct, refused: Option<&str>) -> (&'static str, String) {
    match refused {
        None => ("person", format!("{by} {act}")),
        Some(refused) => ("refused", format!("{by} {act}; {refused}")),
    }
}

#[cfg(test)]
mod tests {
    use pitcrew_model::{Autonomy, Hold, Timestamp};

    use super::*;

    fn held(at: u64) -> Record {
        Record {
            at: Timestamp::from_millis(at),
            case: None,
            order: None,
            target: None,
            service: None,
            fact: Fact::Held {
                wanted: None,
                hold: Hold::Autonomy {
                    autonomy: Autonomy::Observe,
                    window: None,
                },
                would: String::new(),
            },
        }
    }

    #[test]
    fn what_is_said_twice_is_said_once() {
        let lines = lines(&[held(0), held(60_000)]);
        assert_eq!(lines[0].text, "autonomy is `observe`");
        assert_eq!(lines[1].text, "the same");
    }
}
