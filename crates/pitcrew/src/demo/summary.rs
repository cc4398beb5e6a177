//! The summary: one line a fault, as a table or as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    demo::production::Production,
    output::{BAD, BOLD, FAINT, GOOD, cell, columns, painted},
};

/// How one fault went.
pub(crate) struct Line {
    pub(crate) fault: &'static str,
    pub(crate) targets: Vec<String>,
    pub(crate) detected_after: Option<Duration>,
    pub(crate) action: String,
    pub(crate) orders: usize,
    pub(crate) verified_after: Option<Duration>,
    pub(crate) ended: String,
    pub(crate) as_it_should: bool,
}

fn seconds(duration: Option<Duration>) -> String {
    duration.map_or_else(
        || "–".to_owned(),
        |duration| format!("{:.1} s", duration.as_secs_f64()),
    )
}

pub(crate) fn table(lines: &[Line], chain: &Result<u64, String>) -> String {
    let heads = [
        "fault",
        "target",
        "detected after",
        "action",
        "verified after",
        "how it ended",
        "",
    ];
    let mut rows = vec![
        heads
            .iter()
            .map(|head| cell(head).style(FAINT))
            .collect::<Vec<_>>(),
    ];
    for line in lines {
        let target = match line.targets.as_slice() {
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
            [] => String::new(),
        };
        let verdict = if line.as_it_should {
            cell("as it should").style(GOOD)
        } else {
            cell("NOT AS IT SHOULD").style(BAD)
        };
        rows.push(vec![
            cell(line.fault).style(BOLD),
            cell(target),
            cell(seconds(line.detected_after)),
            cell(&line.action),
            cell(seconds(line.verified_after)),
            cell(&line.ended),
            verdict,
        ]);
    }
    let well = lines.iter().filter(|line| line.as_it_should).count();
    let verdict = format!("{well} of {} faults ended as they should.", lines.len());
    let style = if well == lines.len() { GOOD } else { BAD };
    let chain = match chain {
        Ok(entries) => {
            format!("Every decision is in the ledger: {entries} records, the chain is whole.")
        }
        Err(error) => painted(BAD, &format!("The ledger is broken: {error}")),
    };
    format!(
        "\n{}\n{}\n{chain}\n",
        columns(&rows),
        painted(style, &verdict)
    )
}

pub(crate) fn report(
    production: &Production,
    lines: &[Line],
    chain: &Result<u64, String>,
    all_well: bool,
) -> Value {
    let millis = |duration: Option<Duration>| duration.map(|duration| duration.as_millis());
    let faults: Vec<Value> = lines
        .iter()
        .map(|line| {
            json!({
                "fault": line.fault,
                "targets": line.targets,
                "detected_after_ms": millis(line.detected_after),
                "action": line.action,
                "orders": line.orders,
                "verified_after_ms": millis(line.verified_after),
                "ended": line.ended,
                "as_it_should": line.as_it_should,
            })
        })
        .collect();
    json!({
        "all_as_they_should": all_well,
        "faults": faults,
        "ledger": { "records": chain.as_ref().ok(), "error": chain.as_ref().err() },
        "configuration": production.configuration(),
        "data": production.data(),
    })
}
