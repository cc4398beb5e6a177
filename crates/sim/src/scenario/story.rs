//! What was decided and why, line by line: the ledger's records and the notices as a person would tell them.

use std::{collections::BTreeSet, fmt, time::Duration};

use pitcrew_model::{
    Authority, Ending, Fact, Finding, Hold, Notice, Objection, Order, PersonAct, Phase, Record,
    TargetId, Urgency, format_duration,
};

use super::{
    names::order_name,
    said::{Count, Subject},
};

/// Everything that happened in one run of a scenario.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Story {
    pub lines: Vec<StoryLine>,
    /// Names of the limits that held something back, of the phases that a case was in, of the ways cases ended.
    pub holds: BTreeSet<String>,
    pub phases: BTreeSet<String>,
    pub endings: BTreeSet<String>,
    /// Invariants that the interlock objected by.
    pub objections: BTreeSet<u8>,
    /// Lines that the expectations so far have looked at.
    pub(super) looked_until: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StoryLine {
    /// Since the scenario's start.
    pub at: Duration,
    pub target: Option<TargetId>,
    pub what: String,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// What the scenario itself did: shown, and never what is expected.
    Said,
    Order {
        action: String,
        step: u8,
        attempt: u8,
        by: Option<String>,
    },
    Notice,
    Refusal,
    Objection(u8),
    Other,
}

/// `1m10s web-1 order restart, step 1 try 1`
impl fmt::Display for StoryLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", format_duration(self.at))?;
        if let Some(target) = &self.target {
            write!(f, " {target}")?;
        }
        write!(f, " {}", self.what)
    }
}

impl Story {
    pub(super) fn write(
        &mut self,
        at: Duration,
        target: Option<TargetId>,
        kind: Kind,
        what: impl Into<String>,
    ) {
        self.lines.push(StoryLine {
            at,
            target,
            what: what.into(),
            kind,
        });
    }

    pub(super) fn record(&mut self, at: Duration, record: &Record) {
        self.note(&record.fact);
        if let Some((kind, what)) = told(&record.fact) {
            let target = match record.fact {
                // The act names it already.
                Fact::Person { .. } => None,
                _ => record.target.clone(),
            };
            self.write(at, target, kind, what);
        }
    }

    fn note(&mut self, fact: &Fact) {
        match fact {
            Fact::Held { hold, .. } => {
                self.holds.insert(hold.name().to_owned());
                if let Hold::Interlock { objections } = hold {
                    self.object(objections);
                }
            }
            Fact::HandedOver { .. } => {
                self.holds.insert("handed_over".to_owned());
            }
            Fact::Closed { ending, .. } => {
                self.endings.insert(ending.to_string());
            }
            _ => {}
        }
    }

    pub(super) fn object(&mut self, objections: &[Objection]) {
        // 0 is no invariant: what a scenario `without: planner` objects.
        let invariants = objections.iter().map(|objection| objection.invariant);
        let invariants = invariants.filter(|invariant| *invariant > 0);
        self.objections.extend(invariants);
    }

    pub(super) fn looked(&mut self) {
        self.looked_until = self.lines.len();
    }

    pub(super) fn phase(&mut self, phase: &Phase) {
        if !self.phases.contains(phase.name()) {
            self.phases.insert(phase.name().to_owned());
        }
        if let Phase::Held(hold) = phase
            && !self.holds.contains(hold.name())
        {
            self.holds.insert(hold.name().to_owned());
        }
    }

    pub(super) fn notice(&mut self, at: Duration, notice: &Notice) {
        let urgency = match notice.urgency {
            Urgency::Page => "page",
            Urgency::Inform => "inform",
        };
        let what = format!("{urgency}{}: {}", receivers(&notice.to), notice.summary);
        self.write(at, notice.target.clone(), Kind::Notice, what);
    }
}

impl StoryLine {
    pub(super) fn is_said(&self) -> bool {
        self.kind == Kind::Said
    }

    pub(super) fn is(&self, of: &Subject) -> bool {
        match of {
            Subject::Anything => !self.is_said(),
            Subject::Line(text) => !self.is_said() && self.to_string().contains(text.as_str()),
            Subject::Notice(text) => self.kind == Kind::Notice && self.what.contains(text.as_str()),
            Subject::Refusal(text) => {
                self.kind == Kind::Refusal && self.what.contains(text.as_str())
            }
            Subject::Objection { invariant, text } => match self.kind {
                Kind::Objection(by) => {
                    invariant.is_none_or(|wanted| wanted == by) && self.what.contains(text.as_str())
                }
                _ => false,
            },
            Subject::Order {
                action,
                target,
                step,
                attempt,
                by,
            } => {
                let Kind::Order {
                    action: is_action,
                    step: is_step,
                    attempt: is_attempt,
                    by: is_by,
                } = &self.kind
                else {
                    return false;
                };
                action.as_ref().is_none_or(|wanted| wanted == is_action)
                    && target
                        .as_ref()
                        .is_none_or(|wanted| Some(wanted) == self.target.as_ref())
                    && step.is_none_or(|wanted| wanted == *is_step)
                    && attempt.is_none_or(|wanted| wanted == *is_attempt)
                    && by
                        .as_ref()
                        .is_none_or(|wanted| Some(wanted) == is_by.as_ref())
            }
        }
    }
}

impl Count {
    /// What is wrong with so many lines of these.
    pub(super) fn objection(self, of: &Subject, found: usize) -> Option<String> {
        match self {
            Self::Some if found > 0 => None,
            Self::Some => Some(format!("there was no {}", noun(of))),
            Self::Exactly(wanted) if wanted == found => None,
            Self::Exactly(_) => Some(match found {
                0 => format!("there was no {}", noun(of)),
                1 => format!("there was 1 {}", noun(of)),
                _ => format!("there were {found} such {}s", noun(of)),
            }),
        }
    }
}

fn noun(of: &Subject) -> &'static str {
    match of {
        Subject::Anything | Subject::Line(_) => "line",
        Subject::Order { .. } => "order",
        Subject::Notice(_) => "notice",
        Subject::Refusal(_) => "refusal",
        Subject::Objection { .. } => "objection",
    }
}

pub(super) fn ordered(order: &Order) -> (Kind, String) {
    let action = order_name(order);
    let (by, how) = match &order.authority {
        Authority::Policy if order.is_upkeep() => (None, String::new()),
        Authority::Policy => (None, rung(order)),
        Authority::Approval { by } => (
            Some(by.clone()),
            format!("{}, approved by {by}", rung(order)),
        ),
        Authority::Person { by, .. } => (Some(by.clone()), format!(" by {by}")),
    };
    let what = format!("order {action}{how}");
    let kind = Kind::Order {
        action,
        step: order.step.saturating_add(1),
        attempt: order.attempt,
        by,
    };
    (kind, what)
}

fn rung(order: &Order) -> String {
    format!(", step {} try {}", u32::from(order.step) + 1, order.attempt)
}

fn told(fact: &Fact) -> Option<(Kind, String)> {
    let what = match fact {
        Fact::Intent { order } => return Some(ordered(order)),
        Fact::Person { by, act, refused } => {
            let what = format!("{by} {}", done(act));
            return Some(match refused {
                Some(why) => (Kind::Refusal, format!("{what} refused: {why}")),
                None => (Kind::Other, what),
            });
        }
        Fact::Confirmed { findings } => format!("confirmed: {}", tests(findings)),
        Fact::Held { hold, .. } => format!("held {}: {hold}", hold.name()),
        Fact::Outcome { outcome } => format!("outcome {}", outcome.kind),
        Fact::Verified { passed: true, .. } => "verified".to_owned(),
        Fact::Verified { passed: false, .. } => "not verified".to_owned(),
        Fact::Probation { .. } => "probation".to_owned(),
        Fact::Relapsed { findings } => format!("relapsed: {}", tests(findings)),
        Fact::HandedOver { to, why } => format!("handed over{}: {why}", receivers(to)),
        Fact::Closed { ending, .. } => closed(*ending),
        Fact::BreakerTripped { scope, failing, of } => {
            format!("breaker of {scope} trips: {failing} of {of}")
        }
        Fact::BreakerReleased { scope, by: None } => format!("breaker of {scope} releases itself"),
        Fact::BreakerReleased {
            scope,
            by: Some(by),
        } => format!("breaker of {scope} released by {by}"),
        Fact::Source {
            trouble: Some(trouble),
            ..
        } => format!("discovery refused: {trouble}"),
        Fact::Source { trouble: None, .. } => "discovery believed again".to_owned(),
        Fact::Observer {
            observer,
            trouble: Some(trouble),
        } => format!("observer {observer} suspect: {trouble}"),
        Fact::Observer {
            observer,
            trouble: None,
        } => format!("observer {observer} trusted again"),
        Fact::LedgerRecovered { .. } => "ledger works again".to_owned(),
        Fact::Woke { paused_for } => format!("woke after {}", format_duration(*paused_for)),
        Fact::ServerStarted { .. }
        | Fact::ConfigurationLoaded { .. }
        | Fact::ConfigurationRefused { .. }
        | Fact::TargetsChanged { .. }
        | Fact::ProcessStarted { .. }
        | Fact::ProcessStopped { .. }
        | Fact::Notified { .. } => return None,
    };
    Some((Kind::Other, what))
}

fn closed(ending: Ending) -> String {
    format!("closed {ending}")
}

/// Without the moment when a hold ends: it is written in the scenario as a length.
fn done(act: &PersonAct) -> String {
    match act {
        PersonAct::Hold { target, why, .. } => format!("holds {target}: {why}"),
        act => act.to_string(),
    }
}

fn tests(findings: &[Finding]) -> String {
    let names = findings.iter().map(|finding| finding.test.as_str());
    names.collect::<Vec<_>>().join(", ")
}

fn receivers(to: &[pitcrew_model::ReceiverName]) -> String {
    let names: Vec<&str> = to.iter().map(pitcrew_model::ReceiverName::as_str).collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" {}", names.join(", "))
    }
}
