//! What a replay found, for a person: the answer first.

use pitcrew_model::{Record, Timestamp};
use pitcrew_sim::replay::{
    CaseDifference, CaseStory, Comparison, Difference, Reproduction, RunEnd, RunSummary,
};

use crate::{
    output::{BAD, BOLD, BUSY, FAINT, GOOD, cell, columns, painted},
    words::{clock_time, counted, length, with_local_times},
};

use super::against::{Against, Parting};

pub(super) fn reproduced(outcome: &Reproduction, ledger: Option<&[Against]>) -> String {
    let decisions = counted(outcome.decisions, "decision");
    let runs = counted(count(outcome.runs.len()), "run");
    let mut text = if outcome.differences == 0 {
        format!("{decisions} in {runs}, {}\n", painted(GOOD, "all the same"))
    } else {
        let after = counted(outcome.differences, "event");
        format!(
            "{decisions} in {runs}, {} after {after}\n",
            painted(BAD, "not the same")
        )
    };
    text.push_str(&what_was_read(
        &outcome.runs,
        outcome.events,
        outcome.observations,
        outcome.torn_at,
    ));
    if let Some(first) = outcome.differing.first() {
        text.push_str(&format!(
            "the first difference is at byte {}, {}\n",
            first.at_byte,
            clock_time(first.at)
        ));
        text.push_str(&line("then", first.then.first()));
        text.push_str(&line("now", first.now.first()));
        if first.notices_differ {
            text.push_str("  people were told something else\n");
        }
    }
    for run in ledger.unwrap_or_default() {
        text.push_str(&beside_ledger(run));
    }
    text
}

fn line(when: &str, record: Option<&Record>) -> String {
    let json = record.map(serde_json::to_string);
    let json = json.and_then(Result::ok);
    format!(
        "  {when:<5} {}\n",
        json.unwrap_or_else(|| "nothing".to_owned())
    )
}

fn beside_ledger(run: &Against) -> String {
    let place = format!("ledger, start {}", run.fence);
    if let Some(why) = &run.absent {
        return format!("{place}: {why}\n");
    }
    let same = counted(run.same, "record");
    if let Some(Parting { ledger, replayed }) = &run.first_difference {
        let mut text = format!(
            "{place}: {same} the same, then {}\n",
            painted(BAD, "another")
        );
        text.push_str(&line("then", ledger.as_ref()));
        text.push_str(&line("now", replayed.as_ref()));
        return text;
    }
    let more = match (run.only_in_ledger, run.only_in_record) {
        (0, 0) => String::new(),
        (there, 0) => {
            format!("; the last {there} only in the ledger: the record was cut off before")
        }
        (_, here) => format!("; the last {here} only in the record: the ledger was cut off before"),
    };
    format!("{place}: {same}, {}{more}\n", painted(GOOD, "all the same"))
}

fn what_was_read(
    runs: &[RunSummary],
    events: u64,
    observations: u64,
    torn_at: Option<u64>,
) -> String {
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
        return "the record is empty\n".to_owned();
    };
    let mut text = format!(
        "{} to {}: {} in {}\n",
        clock_time(first.from),
        clock_time(last.to),
        counted(observations, "answer"),
        counted(events, "event")
    );
    for run in runs {
        if let RunEnd::Gap { why } = &run.end {
            text.push_str(&format!(
                "recording broke off at {}: {why}\n",
                clock_time(run.to)
            ));
        }
        if run.times_back > 0 {
            let times = run.times_back;
            text.push_str(&format!(
                "the start at {} has {times} times that go back, which a server's clock never does\n",
                clock_time(run.from)
            ));
        }
        if run.pitcrew != pitcrew_server::VERSION {
            text.push_str(&format!(
                "recorded by pitcrew {}, and this is {}: a difference may come from what has changed between them\n",
                run.pitcrew,
                pitcrew_server::VERSION
            ));
        }
    }
    if let Some(at) = torn_at {
        text.push_str(&format!(
            "it ends within a frame, at byte {at}: a server that was killed, or one that records now\n"
        ));
    }
    text
}

pub(super) fn compared(outcome: &Comparison) -> String {
    let style = if outcome.is_alike() { GOOD } else { BOLD };
    let mut text = format!("{}\n", painted(style, &outcome.summary));
    text.push_str(&what_was_read(
        &outcome.runs,
        outcome.events,
        outcome.observations,
        outcome.torn_at,
    ));
    text.push_str(&format!(
        "then {} and people called {} times, now {} and {} times\n",
        counted(outcome.then.orders, "order"),
        outcome.then.people_called,
        counted(outcome.now.orders, "order"),
        outcome.now.people_called
    ));
    if !outcome.differences.is_empty() {
        text.push('\n');
        text.push_str(&table(&outcome.differences));
    }
    for asked in &outcome.people {
        let answered = |refused: &Option<String>| match refused {
            Some(why) => format!("refused: {why}"),
            None => "done".to_owned(),
        };
        text.push_str(&format!(
            "{} {} {}: then {}, now {}\n",
            clock_time(asked.at),
            asked.by,
            asked.act,
            answered(&asked.refused_then),
            answered(&asked.refused_now)
        ));
    }
    if !outcome.is_alike() {
        text.push('\n');
        for note in &outcome.notes {
            text.push_str(&format!("{}\n", painted(FAINT, note)));
        }
    }
    text
}

fn table(differences: &[CaseDifference]) -> String {
    let mut rows = vec![
        ["since", "target", "difference", "then", "now", ""]
            .map(|title| cell(title).style(FAINT))
            .to_vec(),
    ];
    for difference in differences {
        let because = difference.because.as_ref();
        let because = because.map(|why| format!(" ({why})")).unwrap_or_default();
        let conjecture = difference
            .conjecture_from
            .map(|at| format!("conjecture from {}", clock_time(at)));
        rows.push(vec![
            cell(clock_time(difference.began)),
            cell(&difference.target).style(BOLD),
            cell(format!("{}{because}", what(&difference.what))).style(BUSY),
            cell(treated(difference.then.as_ref())),
            cell(treated(difference.now.as_ref())),
            cell(conjecture.unwrap_or_default()).style(FAINT),
        ]);
    }
    columns(&rows)
}

fn what(what: &Difference) -> String {
    let by = |by_ms: u64| length(std::time::Duration::from_millis(by_ms));
    match what {
        Difference::ActedOnlyNow => "repaired only now".to_owned(),
        Difference::ActedOnlyThen => "not repaired now".to_owned(),
        Difference::Earlier { by_ms } => format!("{} earlier", by(*by_ms)),
        Difference::Later { by_ms } => format!("{} later", by(*by_ms)),
        Difference::OtherAction { then, now } => format!("{now} instead of {then}"),
        Difference::MoreOrders => "more orders".to_owned(),
        Difference::FewerOrders => "fewer orders".to_owned(),
        Difference::HandedOverOnlyNow => "handed over only now".to_owned(),
        Difference::HandedOverOnlyThen => "not handed over now".to_owned(),
        Difference::ConfirmedOnlyNow => "believed only now".to_owned(),
        Difference::ConfirmedOnlyThen => "not believed now".to_owned(),
        Difference::ConfirmedEarlier { by_ms } => format!("believed {} earlier", by(*by_ms)),
        Difference::ConfirmedLater { by_ms } => format!("believed {} later", by(*by_ms)),
        Difference::HeldOtherwise { .. } => "held otherwise".to_owned(),
        Difference::EndedOtherwise { .. } => "ended otherwise".to_owned(),
    }
}

/// `restart 02:14:07, cured`
fn treated(story: Option<&CaseStory>) -> String {
    let Some(story) = story else {
        return "–".to_owned();
    };
    let at = |at: Timestamp| clock_time(at);
    let mut parts: Vec<String> = match (story.orders.first(), story.held.last()) {
        (Some(first), _) if story.orders.len() == 1 => {
            vec![format!("{} {}", first.action, at(first.at))]
        }
        (Some(first), _) => vec![format!(
            "{} {} and {} more",
            first.action,
            at(first.at),
            story.orders.len() - 1
        )],
        (None, Some(held)) => vec![format!("held: {}", with_local_times(&held.why))],
        (None, None) => Vec::new(),
    };
    if let Some(handed) = &story.handed_over {
        parts.push(format!("handed over {}", at(handed.at)));
    }
    parts.push(story.ending.clone().unwrap_or_else(|| "open".to_owned()));
    parts.join(", ")
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
