//! `explain`: the whole chain of a case, an order or a target, and what to do about it.

use pitcrew_model::{Hold, OrderState, Phase, Record};
use pitcrew_server::api::{CaseLine, Explanation, Subject};

use crate::{
    arguments::{ExplainOptions, General},
    client::Client,
    failure::{Answer, Answered},
    look::{order_stands, tests_text},
    output::{BOLD, FAINT, NEEDS_YOU, cell, columns, health_style, painted, print, print_json},
    story::{self, findings_text},
    words::{clock_time, with_local_times},
};

pub(crate) fn explain(options: &ExplainOptions, general: &General) -> Answered {
    let explanation: Explanation = Client::new(general)?.get(&["explain", &options.id], &[])?;
    if general.json {
        print_json(&explanation)?;
    } else {
        print(&text(&explanation))?;
    }
    Ok(Answer::Yes)
}

fn text(explanation: &Explanation) -> String {
    let mut text = headline(explanation);
    if explanation.left_out > 0 {
        text.push_str(&format!(
            "  … {} older records are left out\n",
            explanation.left_out
        ));
    }
    let records = explanation.records.iter().map(|entry| &entry.record);
    let mut rows: Vec<_> = story::lines(records)
        .into_iter()
        .map(|line| {
            vec![
                cell(format!("  {}", line.at)).style(FAINT),
                cell(line.word).style(BOLD),
                cell(line.text),
            ]
        })
        .collect();
    rows.extend(now_rows(explanation));
    text.push_str(&columns(&rows));
    text.push_str(&advice(explanation));
    text
}

/// `db-1 · replica lag above 10 min, believed since 02:14:05`
fn headline(explanation: &Explanation) -> String {
    let target = subject_target(explanation);
    let mut parts = Vec::new();
    if let Some(status) = &explanation.target {
        parts.push(painted(
            health_style(status.health),
            &status.health.to_string(),
        ));
    }
    match &explanation.case {
        Some(line) if line.case.is_open() => parts.push(case_headline(line)),
        Some(line) => parts.push(format!("{} {}", line.case.id, line.stands)),
        None => parts.extend(explanation.target.as_ref().map(tests_text)),
    }
    if parts.is_empty() {
        parts.push("not here now".to_owned());
    }
    format!("{} · {}\n", painted(BOLD, &target), parts.join(" · "))
}

fn case_headline(line: &CaseLine) -> String {
    let believed = match line.case.confirmed_at {
        Some(at) => format!(", believed since {}", clock_time(at)),
        None => ", not yet believed".to_owned(),
    };
    format!("{}{believed}", findings_text(&line.case.findings))
}

fn subject_target(explanation: &Explanation) -> String {
    if let Some(status) = &explanation.target {
        return status.target.id.to_string();
    }
    let named = |record: &Record| record.target.as_ref().map(ToString::to_string);
    let from_records = explanation
        .records
        .iter()
        .rev()
        .find_map(|entry| named(&entry.record));
    from_records.unwrap_or_else(|| match &explanation.subject {
        Subject::Case(case) => case.to_string(),
        Subject::Order(order) => order.to_string(),
        Subject::Target(target) => target.to_string(),
    })
}

fn now_rows(explanation: &Explanation) -> Vec<Vec<crate::output::Cell>> {
    let mut rows = Vec::new();
    let mut row = |word: &str, text: String, style| {
        rows.push(vec![
            cell("  now").style(FAINT),
            cell(word).style(BOLD),
            cell(text).style(style),
        ]);
    };
    if let Some(line) = explanation.case.as_ref().filter(|line| line.case.is_open()) {
        let style = if line.needs_person { NEEDS_YOU } else { BOLD };
        row("stands", with_local_times(&line.stands), style);
    }
    if let Subject::Order(_) = explanation.subject {
        // One that waits for approval is what holds its case: said above.
        let waits = |state: &&OrderState| !state.given && state.ended_at.is_none();
        for state in explanation.orders.iter().filter(|state| !waits(state)) {
            let (stands, style) = order_stands(state);
            row("order", format!("{}: {stands}", state.order.id), style);
        }
    }
    if let Some(hold) = explanation
        .target
        .as_ref()
        .and_then(|target| target.hold.as_ref())
    {
        let text = format!(
            "by {} until {}: {}",
            hold.by,
            clock_time(hold.until),
            hold.why
        );
        row("on hold", text, BOLD);
    }
    let target = explanation.target.as_ref();
    if let Some(drained) = target.and_then(|target| target.drained.as_ref()) {
        let whose = match drained.case {
            Some(case) => format!("for {case}"),
            None => "on a person's word".to_owned(),
        };
        let text = match &drained.ending {
            None => format!(
                "{whose}, by {}, until {}",
                drained.lease,
                clock_time(drained.until)
            ),
            Some(why) => format!("{whose}, by {}; being given back: {why}", drained.lease),
        };
        row("drained", text, BOLD);
    }
    rows
}

/// The commands that move it on, for whoever is awake.
fn advice(explanation: &Explanation) -> String {
    let Some(line) = explanation.case.as_ref().filter(|line| line.case.is_open()) else {
        let held = explanation
            .target
            .as_ref()
            .filter(|status| status.hold.is_some());
        return held.map_or_else(String::new, |status| {
            format!("To give it back: pitcrew release {}\n", status.target.id)
        });
    };
    let case = &line.case;
    let target = &case.target;
    let mut rows: Vec<(&str, String)> = Vec::new();
    match &case.phase {
        Phase::Held(Hold::AwaitingApproval { order, .. }) => {
            rows.push(("To do it:", format!("pitcrew approve {order}")));
            rows.push(("To refuse it:", format!("pitcrew deny {order}")));
        }
        Phase::Held(Hold::HeldByPerson { .. }) => {
            rows.push(("To give it back:", format!("pitcrew release {target}")));
        }
        Phase::Held(Hold::Paused { scope, .. }) => {
            let scope = if scope == "fleet" {
                String::new()
            } else {
                format!(" {}", case.service)
            };
            rows.push(("To lift the pause:", format!("pitcrew resume{scope}")));
        }
        Phase::Held(Hold::Breaker { .. } | Hold::FleetRate { .. }) => {
            rows.push((
                "To go on anyway:",
                format!("pitcrew resume {}", case.service),
            ));
        }
        Phase::Held(Hold::Denied { .. }) => {
            rows.push((
                "To do it after all:",
                format!("pitcrew order {target} restart --why …"),
            ));
        }
        Phase::Held(_) | Phase::Confirmed if case.progress.is_some() => {
            rows.push((
                "To do it now:",
                format!("pitcrew order {target} restart --why …"),
            ));
        }
        Phase::Held(_)
        | Phase::Suspected
        | Phase::Confirmed
        | Phase::Repairing { .. }
        | Phase::Verifying { .. }
        | Phase::Probation { .. }
        | Phase::Closed(_) => {}
    }
    if case.handed_over.is_some() || matches!(case.phase, Phase::Held(Hold::Denied { .. })) {
        rows.push((
            "When it is dealt with:",
            format!("pitcrew close {} --why …", case.id),
        ));
    }
    if !matches!(case.phase, Phase::Held(Hold::HeldByPerson { .. })) {
        rows.push((
            "To leave it alone:",
            format!("pitcrew hold {target} --for 2h --why …"),
        ));
    }
    let cells: Vec<_> = rows
        .iter()
        .map(|(what, command)| vec![cell(what), cell(command)])
        .collect();
    columns(&cells)
}
