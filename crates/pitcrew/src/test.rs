//! `test`: runs tests now and shows what they saw.

use std::time::Duration;

use pitcrew_model::Verdict;
use pitcrew_server::api::{TestRequest, TestResults};

use crate::{
    arguments::{General, TestOptions},
    client::Client,
    failure::{Answer, Answered},
    output::{FAINT, cell, columns, print, print_json, verdict_style},
    words::length,
};

/// Unknown is not healthy: only passes, with or without a warning, are a yes.
pub(crate) fn test(options: TestOptions, general: &General) -> Answered {
    let client = Client::new(general)?;
    let request = TestRequest {
        tests: options.tests,
    };
    let answer: TestResults =
        client.post_long(&["targets", options.target.as_str(), "test"], &request)?;
    let healthy = |verdict| matches!(verdict, Verdict::Pass | Verdict::Warn);
    let all_healthy = answer.results.iter().all(|result| healthy(result.verdict));
    if general.json {
        print_json(&answer)?;
    } else if answer.results.is_empty() {
        print(&format!(
            "{} has no test that can be run: results of its tests are pushed",
            answer.target
        ))?;
    } else {
        print(&table(&answer))?;
    }
    Ok(if all_healthy { Answer::Yes } else { Answer::No })
}

fn table(answer: &TestResults) -> String {
    let rows: Vec<_> = answer
        .results
        .iter()
        .map(|result| {
            vec![
                cell(&result.test),
                cell(&result.kind).style(FAINT),
                cell(result.verdict).style(verdict_style(result.verdict)),
                cell(length(Duration::from_micros(result.took_us))).aligned_right(),
                cell(&result.evidence),
            ]
        })
        .collect();
    columns(&rows)
}
