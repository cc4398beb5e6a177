//! `status`, `targets`, `cases`, `orders`, `limits`: what is, now.

use pitcrew_model::{Case, OrderState, Phase, Scope, Timestamp, Verdict};
use pitcrew_server::api::{
    CaseLine, LimitStatus, PauseStatus, Report, ServiceStatus, TargetStatus,
};

use crate::{
    arguments::{CaseOptions, CaseState, General, ListOptions, TargetOptions},
    client::Client,
    failure::{Answer, Answered, Failure},
    output::{
        BAD, BOLD, BUSY, Cell, FAINT, GOOD, NEEDS_YOU, cell, columns, health_style, painted, print,
        print_json,
    },
    person::scope_argument,
    words::{clock_time, counted, length, with_local_times},
};

/// Exit 1 when a target fails, a case waits for a person, or Pitcrew itself is in trouble.
pub(crate) fn status(general: &General) -> Answered {
    let report: Report = Client::new(general)?.get(&["report"], &[])?;
    if general.json {
        print_json(&report)?;
    } else {
        print(&status_text(&report))?;
    }
    let fine = report.cases_needing_person == 0
        && report.server.ready
        && report.server.troubles.is_empty()
        && report.services.iter().all(|service| service.failing == 0);
    Ok(if fine { Answer::Yes } else { Answer::No })
}

fn status_text(report: &Report) -> String {
    let mut text = String::new();
    for trouble in &report.server.troubles {
        text.push_str(&format!("{} {trouble}\n", painted(BAD, "pitcrew:")));
    }
    let pauses = report.services.iter().flat_map(|service| &service.pauses);
    if let Some(pause) = pauses.clone().find(|pause| pause.scope == Scope::Fleet) {
        text.push_str(&format!("{}\n", painted(BUSY, &pause_text(pause))));
    }
    if report.services.is_empty() {
        text.push_str("no service is configured: add one to the configuration\n");
    }
    let rows: Vec<Vec<Cell>> = report
        .services
        .iter()
        .map(|service| service_row(service, report))
        .collect();
    text.push_str(&columns(&rows));
    text.push_str(&cases_text(report));
    // Last: a warning is never why somebody looks in the night.
    for warning in &report.server.configuration.warnings {
        text.push_str(&format!("\n{} {warning}", painted(BUSY, "warning:")));
    }
    text
}

fn cases_text(report: &Report) -> String {
    let mut text = String::new();
    if report.cases.is_empty() {
        return text;
    }
    text.push('\n');
    let rows: Vec<Vec<Cell>> = report
        .cases
        .iter()
        .map(|line| case_row(line, report.at))
        .collect();
    text.push_str(&columns(&rows));
    let left_out = report
        .cases_open
        .saturating_sub(u64::try_from(report.cases.len()).unwrap_or(u64::MAX));
    if left_out > 0 {
        text.push_str(&format!(
            "… and {} more: `pitcrew cases`\n",
            counted(left_out, "open case")
        ));
    }
    text
}

fn service_row(service: &ServiceStatus, report: &Report) -> Vec<Cell> {
    // A case that is held back is nearly always of a failing target: it is told once.
    let failing_held = service.held.min(service.failing);
    let counts = [
        (service.failing - failing_held, "failing", BAD),
        (failing_held, "failing and held", BAD),
        (service.repairing, "repairing", BUSY),
        (service.probation, "in probation", BUSY),
        (service.unknown, "unknown", FAINT),
        (service.held - failing_held, "held", BUSY),
    ];
    let mut rest: Vec<String> = counts
        .iter()
        .filter(|(count, _, _)| *count > 0)
        .map(|(count, word, _)| format!("{count} {word}"))
        .collect();
    if service.drained > 0 {
        rest.push(format!("({} drained)", service.drained));
    }
    if service.on_hold > 0 {
        rest.push(format!("({} on hold)", service.on_hold));
    }
    let worst = counts
        .iter()
        .find(|(count, _, _)| *count > 0)
        .map(|(_, _, style)| *style);
    let healthy_style = if service.healthy == service.targets && service.targets > 0 {
        GOOD
    } else {
        FAINT
    };
    vec![
        cell(&service.name).style(BOLD),
        cell(counted(u64::from(service.targets), "target")).aligned_right(),
        cell(format!("{} healthy", service.healthy))
            .style(healthy_style)
            .aligned_right(),
        cell(rest.join("  ")).style(worst.unwrap_or(FAINT)),
        service_note(service, report),
    ]
}

fn service_note(service: &ServiceStatus, report: &Report) -> Cell {
    let needing = report
        .cases
        .iter()
        .find(|line| line.needs_person && line.case.service == service.name);
    if let Some(line) = needing {
        return cell(format!("← needs you: `{}`", next_command(&line.case))).style(NEEDS_YOU);
    }
    // One of the fleet is said once, above.
    let own = |pause: &&PauseStatus| pause.scope != Scope::Fleet;
    if let Some(pause) = service.pauses.iter().find(own) {
        return cell(pause_text(pause)).style(BUSY);
    }
    if !service.breakers.is_empty() {
        return cell(format!("breaker: {}", service.breakers.join(", "))).style(BAD);
    }
    if service.unavailable > 0 {
        return cell(format!(
            "budget of disruption {} of {} used",
            service.unavailable, service.unavailable_max
        ));
    }
    cell("")
}

/// `paused by alice@host: release 4.2; \`pitcrew resume web\` lifts it`
fn pause_text(pause: &PauseStatus) -> String {
    let what = match &pause.scope {
        Scope::Fleet => "everything is paused".to_owned(),
        Scope::Service(_) => "paused".to_owned(),
        Scope::Domain { label, value, .. } => format!("{label}={value} paused"),
    };
    format!(
        "{what} by {}: {}; `pitcrew resume{}` lifts it",
        pause.by,
        shortened(&pause.why, 60),
        scope_argument(&pause.scope)
    )
}

fn next_command(case: &Case) -> String {
    format!("pitcrew explain {}", case.id)
}

/// `case-42  web-7  answers failing 14 s (connection refused, 3 observers)  restart, try 1, verifying`
fn case_row(line: &CaseLine, now: Timestamp) -> Vec<Cell> {
    let stands = with_local_times(&line.stands);
    vec![
        cell(line.case.id).style(if line.needs_person { NEEDS_YOU } else { BOLD }),
        cell(&line.case.target),
        cell(findings(&line.case, now)),
        cell(stands).style(if line.needs_person {
            NEEDS_YOU
        } else {
            phase_style(&line.case.phase)
        }),
    ]
}

fn phase_style(phase: &Phase) -> clap::builder::styling::Style {
    match phase {
        Phase::Suspected | Phase::Closed(_) => FAINT,
        Phase::Confirmed | Phase::Held(_) => BAD,
        Phase::Repairing { .. } | Phase::Verifying { .. } | Phase::Probation { .. } => BUSY,
    }
}

pub(crate) fn findings(case: &Case, now: Timestamp) -> String {
    let is_over = matches!(case.phase, Phase::Probation { .. } | Phase::Closed(_));
    let findings = case.findings.iter().map(|finding| {
        let observers = match finding.observers.len() {
            0 | 1 => String::new(),
            count => format!(", {count} observers"),
        };
        // When it ended is not among the findings, so only what lasts has a length.
        let lasting = if is_over {
            format!("failed at {}", clock_time(finding.since))
        } else {
            format!("failing {}", length(now.since(finding.since)))
        };
        format!(
            "{} {lasting} ({}{observers})",
            finding.test,
            shortened(finding.evidence.as_str(), 60)
        )
    });
    findings.collect::<Vec<_>>().join("; ")
}

fn shortened(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let start: String = text.chars().take(chars).collect();
    format!("{}…", start.trim_end())
}

const TABLE_ROWS: usize = 100;

/// As many as asked for; a table has 100 and JSON all when nothing is asked for.
fn row_limit(options: &ListOptions, general: &General) -> usize {
    options
        .limit
        .unwrap_or(if general.json { usize::MAX } else { TABLE_ROWS })
}

pub(crate) fn print_list<T: serde::Serialize>(
    (items, more): (Vec<T>, bool),
    general: &General,
    nothing: &str,
    row: impl Fn(&T) -> Vec<Cell>,
) -> Result<(), Failure> {
    if general.json {
        return print_json(&items);
    }
    if items.is_empty() {
        return print(nothing);
    }
    let rows: Vec<Vec<Cell>> = items.iter().map(row).collect();
    let mut text = columns(&rows);
    if more {
        text.push_str(&format!(
            "… and more: `--limit N` with N above {}\n",
            items.len()
        ));
    }
    print(&text)
}

pub(crate) fn targets(options: &TargetOptions, general: &General) -> Answered {
    let client = Client::new(general)?;
    let mut query = Vec::new();
    query.extend(
        options
            .service
            .as_ref()
            .map(|service| ("service", service.to_string())),
    );
    query.extend(options.health.map(|health| ("health", health.to_string())));
    let list = client.list(&["targets"], &query, row_limit(&options.list, general))?;
    print_list(list, general, "no target is found", target_row)?;
    Ok(Answer::Yes)
}

fn target_row(status: &TargetStatus) -> Vec<Cell> {
    let note = match (&status.hold, status.case) {
        (Some(hold), _) => format!(
            "held by {} until {}: {}",
            hold.by,
            clock_time(hold.until),
            hold.why
        ),
        (None, Some(case)) => case.to_string(),
        (None, None) => String::new(),
    };
    let drained = status
        .drained
        .as_ref()
        .map(|drained| match &drained.ending {
            None => format!("drained until {}", clock_time(drained.until)),
            Some(_) => "drained, being given back".to_owned(),
        });
    let note = [drained.unwrap_or_default(), note];
    let note = note.iter().filter(|part| !part.is_empty());
    let note = note.map(String::as_str).collect::<Vec<_>>().join(", ");
    let service = status.service.as_ref().map(ToString::to_string);
    let address = status.target.address.as_ref().map(ToString::to_string);
    vec![
        cell(&status.target.id).style(BOLD),
        cell(service.unwrap_or_else(|| "no service".to_owned())),
        cell(status.health).style(health_style(status.health)),
        cell(
            address
                .filter(|address| *address != *status.target.id.as_str())
                .unwrap_or_default(),
        )
        .style(FAINT),
        cell(tests_text(status)),
        cell(note),
    ]
}

/// What does not pass, with its evidence; otherwise how many pass.
pub(crate) fn tests_text(status: &TargetStatus) -> String {
    let failing: Vec<String> = status
        .tests
        .iter()
        .filter(|test| test.verdict != Verdict::Pass)
        .map(|test| match &test.evidence {
            Some(evidence) => format!(
                "{} {}: {}",
                test.test,
                test.verdict,
                shortened(evidence.as_str(), 60)
            ),
            None => format!("{} {}", test.test, test.verdict),
        })
        .collect();
    if !failing.is_empty() {
        return failing.join("; ");
    }
    match status.tests.len() {
        0 => "not tested".to_owned(),
        count => format!(
            "{} pass",
            counted(u64::try_from(count).unwrap_or(u64::MAX), "test")
        )
        .replace("test pass", "test passes"),
    }
}

pub(crate) fn cases(options: &CaseOptions, general: &General) -> Answered {
    let client = Client::new(general)?;
    let state = match options.state {
        CaseState::Open => "open",
        CaseState::Closed => "closed",
        CaseState::All => "all",
    };
    let mut query = vec![("state", state.to_owned())];
    query.extend(
        options
            .service
            .as_ref()
            .map(|service| ("service", service.to_string())),
    );
    let list = client.list(&["cases"], &query, row_limit(&options.list, general))?;
    let now = now();
    let nothing = if options.state == CaseState::Open {
        "no open case"
    } else {
        "no case"
    };
    print_list(list, general, nothing, |line| case_row(line, now))?;
    Ok(Answer::Yes)
}

fn now() -> Timestamp {
    Timestamp::from_millis(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0))
}

pub(crate) fn orders(options: &ListOptions, general: &General) -> Answered {
    let client = Client::new(general)?;
    let list = client.list(&["orders"], &[], row_limit(options, general))?;
    print_list(list, general, "no order was given lately", order_row)?;
    Ok(Answer::Yes)
}

fn order_row(state: &OrderState) -> Vec<Cell> {
    let order = &state.order;
    let case = order.case.map(|case| case.to_string());
    let (stands, style) = order_stands(state);
    vec![
        cell(order.id).style(BOLD),
        cell(clock_time(order.given_at)).style(FAINT),
        cell(&order.target.id),
        cell(order.deed()),
        cell(case.unwrap_or_default()),
        cell(stands).style(style),
    ]
}

pub(crate) fn order_stands(state: &OrderState) -> (String, clap::builder::styling::Style) {
    if !state.given {
        return match state.ended_at {
            None => (
                format!("waits for approval: `pitcrew approve {}`", state.order.id),
                NEEDS_YOU,
            ),
            Some(_) => ("never given".to_owned(), FAINT),
        };
    }
    match (&state.outcome, state.ended_at) {
        (None, None) => ("under way".to_owned(), BUSY),
        (Some(outcome), None) => (format!("{}, verifying", outcome.kind), BUSY),
        (Some(outcome), Some(_)) => (format!("{}: {}", outcome.kind, outcome.detail), FAINT),
        (None, Some(_)) => ("ended without an outcome".to_owned(), FAINT),
    }
}

pub(crate) fn limits(general: &General) -> Answered {
    let list = Client::new(general)?.list(&["limits"], &[], usize::MAX)?;
    print_list(
        list,
        general,
        "no limit is in force: no service is configured",
        limit_row,
    )?;
    Ok(Answer::Yes)
}

fn limit_row(limit: &LimitStatus) -> Vec<Cell> {
    let holds: Vec<String> = limit.holds.iter().map(ToString::to_string).collect();
    let holds = if holds.is_empty() {
        String::new()
    } else {
        format!("holds {}", holds.join(", "))
    };
    vec![
        cell(&limit.scope).style(BOLD),
        cell(&limit.name),
        cell(used_text(limit)).style(if limit.exhausted { BAD } else { FAINT }),
        cell(holds).style(NEEDS_YOU),
    ]
}

/// What has no count says what it is.
fn used_text(limit: &LimitStatus) -> String {
    if limit.used.is_empty() {
        return limit.limit.clone();
    }
    format!("{} of {}", limit.used, limit.limit)
}
