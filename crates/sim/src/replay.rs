//! A record through the engine once more: the same policy decides the same, and another shows what it would have done.
//!
//! [`reproduce`] tells the engine what it was told then and compares what it decides with what was decided: they are
//! equal, or the record or the engine is wrong. [`survey`] and [`compare`] take a record through another policy. That
//! is an open loop: what was observed stays as it was, so what another order would have changed in production is not
//! known, and a case is marked as conjecture from its first order that differs.
//!
//! Nothing here reads a file: whoever calls has the bytes, and reads them twice for a comparison.

mod assumed;
mod case;
mod comparison;
mod other;
mod pair;
mod past;
mod reproduce;
mod sentence;
mod setting;
#[cfg(test)]
mod tests;

use pitcrew_model::{Effect, Event, Fact, Notice, Record, Timestamp};

use crate::{Brain, record::Entered, stopping};

pub use case::{Act, CaseStory, Handed, HeldBy};
pub use comparison::{CaseDifference, Comparison, Difference, PersonDifference, PolicyView};
pub use other::compare;
pub use past::{Past, survey};
pub use reproduce::{Decisions, Differing, Reproduction, RunEnd, RunSummary, reproduce};

/// Facts that the server writes about itself, without the engine: they are in the ledger and in no record.
#[must_use]
pub fn is_servers_own(fact: &Fact) -> bool {
    match fact {
        Fact::ServerStarted { .. }
        | Fact::ConfigurationRefused { .. }
        | Fact::ProcessStarted { .. }
        | Fact::ProcessStopped { .. }
        | Fact::Notified { .. } => true,
        Fact::ConfigurationLoaded { .. }
        | Fact::TargetsChanged { .. }
        | Fact::Source { .. }
        | Fact::Observer { .. }
        | Fact::Confirmed { .. }
        | Fact::Held { .. }
        | Fact::Intent { .. }
        | Fact::Outcome { .. }
        | Fact::Verified { .. }
        | Fact::Probation { .. }
        | Fact::Relapsed { .. }
        | Fact::HandedOver { .. }
        | Fact::Closed { .. }
        | Fact::BreakerTripped { .. }
        | Fact::BreakerReleased { .. }
        | Fact::Person { .. }
        | Fact::LedgerRecovered { .. }
        | Fact::Woke { .. } => false,
    }
}

/// As the server tells it.
fn tell(brain: &mut Brain, now: Timestamp, draining: bool, event: Event) -> Vec<Effect> {
    if draining {
        brain.tell_stopping(now, event, stopping)
    } else {
        brain.tell(now, event)
    }
}

fn tell_again(brain: &mut Brain, entered: &Entered) -> Vec<Effect> {
    tell(brain, entered.at, entered.draining, entered.event.clone())
}

/// What the ledger and people get of these effects.
fn made(effects: &[Effect]) -> (Vec<&Record>, Vec<&Notice>) {
    let (mut records, mut notices) = (Vec::new(), Vec::new());
    for effect in effects {
        match effect {
            Effect::Record(record) => records.push(record),
            Effect::Notify(notice) => notices.push(notice),
            Effect::Save(_)
            | Effect::Give(_)
            | Effect::Watch { .. }
            | Effect::Unwatch { .. }
            | Effect::Probe { .. } => {}
        }
    }
    (records, notices)
}
