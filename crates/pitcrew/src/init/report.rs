//! What was found, for a person and for a script.

use std::path::Path;

use pitcrew_model::Verdict;
use serde_json::{Value, json};

use super::{
    document::seen_words,
    survey::{Found, Survey},
};
use crate::{
    output::{BOLD, BUSY, FAINT, cell, columns, painted, verdict_style},
    words::counted,
};

pub(super) fn for_people(survey: &Survey, file: &Path, directory: &Path) -> String {
    let mut text = String::new();
    if !survey.found.is_empty() {
        text.push_str(&table(&survey.found));
    }
    for found in &survey.found {
        for asked in found
            .tests
            .iter()
            .filter(|asked| asked.answer.verdict != Verdict::Pass)
        {
            let verdict = painted(
                verdict_style(asked.answer.verdict),
                &asked.answer.verdict.to_string(),
            );
            text.push_str(&format!(
                "{}: {} is {verdict} now: {}\n",
                found.name, asked.test.name, asked.answer.evidence
            ));
        }
    }
    for port in &survey.absent {
        text.push_str(&format!("nobody listens on port {port}\n"));
    }
    if !survey.seen.is_empty() {
        text.push_str("\nseen, not configured:\n");
        for seen in &survey.seen {
            text.push_str(&painted(FAINT, &format!("  {}\n", seen_words(seen))));
        }
    }
    if !survey.hidden.is_empty() {
        text.push_str(&format!("\n{}:\n", painted(BUSY, "not seen")));
        for hidden in &survey.hidden {
            text.push_str(&format!("  {hidden}\n"));
        }
    }
    let count = u64::try_from(survey.found.len()).unwrap_or(u64::MAX);
    text.push_str(&format!(
        "\n{}: {}, all only watched (`autonomy: observe`). Next:\n  pitcrew check {directory}\n  pitcrew serve --config {directory}\n",
        painted(BOLD, &file.display().to_string()),
        counted(count, "service"),
        directory = directory.display(),
    ));
    text
}

fn table(found: &[Found]) -> String {
    let heads = ["SERVICE", "ADDRESS", "TESTED BY", "WOULD BE RESTARTED AS"];
    let mut rows = vec![
        heads
            .iter()
            .map(|head| cell(head).style(FAINT))
            .collect::<Vec<_>>(),
    ];
    for one in found {
        let tests: Vec<&str> = one
            .tests
            .iter()
            .map(|asked| asked.test.kind.name())
            .collect();
        let runner = match &one.choice.runner {
            Some(runner) => cell(printable(&runner.to_string())),
            None => cell("not known: see the file").style(BUSY),
        };
        rows.push(vec![
            cell(&one.name).style(BOLD),
            cell(one.address),
            cell(tests.join(", ")),
            runner,
        ]);
    }
    columns(&rows)
}

/// A path may hold what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

pub(super) fn for_scripts(survey: &Survey, file: &Path) -> Value {
    let found = survey.found.iter().map(|one| {
        let tests = one.tests.iter().map(|asked| {
            json!({
                "name": asked.test.name,
                "kind": asked.test.kind.name(),
                "verdict": asked.answer.verdict,
                "evidence": asked.answer.evidence,
            })
        });
        json!({
            "service": one.name,
            "what": one.what,
            "address": one.address.to_string(),
            "pid": one.pid,
            "tests": tests.collect::<Vec<_>>(),
            "untested_ports": one.untested,
            "runs_as": one.choice.runner,
            "notes": one.choice.notes,
        })
    });
    let seen = survey.seen.iter().map(
        |seen| json!({ "address": seen.address.to_string(), "what": seen.what, "why": seen.why }),
    );
    json!({
        "file": file.display().to_string(),
        "found": found.collect::<Vec<_>>(),
        "seen": seen.collect::<Vec<_>>(),
        "hidden": survey.hidden,
        "absent_ports": survey.absent,
    })
}
