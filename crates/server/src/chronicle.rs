//! The server's own log of what is decided, one line for each record that somebody who reads along would miss.
//! The ledger is the record; this is for eyes.

use pitcrew_model::{Fact, Finding, Record, format_duration};

/// Told of every record once the ledger has it.
pub(crate) fn log(record: &Record) {
    match &record.fact {
        Fact::Confirmed { findings } => warning(record, "believed", &evidence(findings)),
        Fact::Relapsed { findings } => warning(record, "relapsed", &evidence(findings)),
        Fact::HandedOver { why, .. } => warning(record, "handed over", why),
        Fact::BreakerTripped { scope, failing, of } => {
            let what = format!("{failing} of {of} newly failing in {scope}: nothing new is disrupted there");
            warning(record, "breaker tripped", &what);
        }
        Fact::Source { source, trouble: Some(trouble) } => {
            warning(record, "source", &format!("{source}: {trouble}"));
        }
        Fact::Held { wanted, hold, .. } => {
            let wanted = wanted.as_ref().map(|wanted| format!("{wanted}: ")).unwrap_or_default();
            line(record, "held", &format!("{wanted}{hold}"));
        }
        Fact::Intent { order } => {
            line(record, "order", &format!("{} by `{}`", order.deed(), authority(order)));
        }
        Fact::Verified { passed, detail, .. } => {
            line(record, if *passed { "verified" } else { "not cured" }, detail);
        }
        Fact::Closed { ending, why } => line(record, "closed", &format!("{ending}: {why}")),
        Fact::BreakerReleased { scope, .. } => line(record, "breaker released", &scope.to_string()),
        Fact::Source { source, trouble: None } => {
            line(record, "source", &format!("{source} is fine again"));
        }
        Fact::TargetsChanged { added, removed } => {
            line(record, "targets", &format!("{added} more, {removed} fewer"));
        }
        Fact::Person { by, act, refused } => {
            let refused = refused.as_ref().map(|why| format!(", refused: {why}")).unwrap_or_default();
            line(record, "person", &format!("{by} {act}{refused}"));
        }
        Fact::Woke { paused_for } => {
            warning(record, "woke", &format!("after {}: everything is tested anew", format_duration(*paused_for)));
        }
        Fact::LedgerRecovered { not_given } => {
            warning(record, "ledger", &format!("it can be written again; {} orders were not given", not_given.len()));
        }
        // Said where they happen.
        Fact::ServerStarted { .. }
        | Fact::ConfigurationLoaded { .. }
        | Fact::ConfigurationRefused { .. }
        | Fact::Observer { .. }
        | Fact::ProcessStarted { .. }
        | Fact::ProcessStopped { .. }
        | Fact::Outcome { .. }
        | Fact::Notified { .. }
        // Verified says as much.
        | Fact::Probation { .. } => {}
    }
}

fn authority(order: &pitcrew_model::Order) -> &str {
    use pitcrew_model::Authority;
    match &order.authority {
        Authority::Policy => order
            .repair
            .as_ref()
            .map_or("policy", |repair| repair.as_str()),
        Authority::Approval { by } | Authority::Person { by, .. } => by,
    }
}

fn evidence(findings: &[Finding]) -> String {
    let each = findings
        .iter()
        .map(|finding| format!("{}: {}", finding.test, finding.evidence));
    each.collect::<Vec<_>>().join("; ")
}

/// `believed (case-1 web-2): answers: connection refused`
fn sentence(record: &Record, what: &str, text: &str) -> String {
    let parts = [
        record.case.map(|case| case.to_string()),
        record.order.map(|order| order.to_string()),
        record.target.as_ref().map(ToString::to_string),
    ];
    let about: Vec<String> = parts.into_iter().flatten().collect();
    if about.is_empty() {
        return format!("{what}: {text}");
    }
    format!("{what} ({}): {text}", about.join(" "))
}

fn line(record: &Record, what: &str, text: &str) {
    tracing::info!("{}", sentence(record, what, text));
}

fn warning(record: &Record, what: &str, text: &str) {
    tracing::warn!("{}", sentence(record, what, text));
}
