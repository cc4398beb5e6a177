//! How much of anything one message may hold, beyond what its frame bounds.
//!
//! What is merely long is cut, as the model cuts it; what can't be meant is refused.

use pitcrew_model::{Evidence, Outcome};

use crate::{Hello, ToAgent, ToServer};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: at most {max}")]
pub struct OutOfBounds {
    pub what: &'static str,
    pub max: usize,
}

pub(crate) const OBSERVATIONS_MAX: usize = 1_000;
pub(crate) const TARGETS_MAX: usize = 1_000;
pub(crate) const TESTS_MAX: usize = 1_000;
/// A name, a version or an id.
const WORD_BYTES_MAX: usize = 128;

fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), OutOfBounds> {
    if count > max {
        return Err(OutOfBounds { what, max });
    }
    Ok(())
}

pub(crate) fn to_server(message: &mut ToServer) -> Result<(), OutOfBounds> {
    match message {
        ToServer::Hello(Hello {
            version,
            instance,
            boot_id,
            ..
        }) => [version, instance, boot_id]
            .iter()
            .try_for_each(|word| at_most("bytes of a word", word.len(), WORD_BYTES_MAX)),
        ToServer::Inventory { targets } => at_most("targets of a host", targets.len(), TARGETS_MAX),
        ToServer::Observations { observations } => {
            for seen in observations.iter_mut() {
                seen.evidence = Evidence::new(seen.evidence.as_str());
            }
            at_most("observations at once", observations.len(), OBSERVATIONS_MAX)
        }
        ToServer::Outcome { outcome, .. } => {
            cut(outcome);
            Ok(())
        }
        ToServer::Forged { reason, .. } => {
            *reason = one_line(reason);
            Ok(())
        }
        ToServer::Enrol { .. }
        | ToServer::Renew { .. }
        | ToServer::Beat { .. }
        | ToServer::Unknown => Ok(()),
    }
}

pub(crate) fn to_agent(message: &mut ToAgent) -> Result<(), OutOfBounds> {
    match message {
        ToAgent::Watch { tests, .. } => at_most("tests of a target", tests.len(), TESTS_MAX),
        ToAgent::Refused { reason } => {
            *reason = one_line(reason);
            Ok(())
        }
        ToAgent::NotLeading { leader } => {
            *leader = leader.as_deref().map(one_line);
            Ok(())
        }
        ToAgent::Enrolled(_)
        | ToAgent::Welcome(_)
        | ToAgent::Unwatch { .. }
        | ToAgent::Probe { .. }
        | ToAgent::Order(_)
        | ToAgent::Reconcile(_)
        | ToAgent::Certificate { .. }
        | ToAgent::Beat { .. }
        | ToAgent::Unknown => Ok(()),
    }
}

fn cut(outcome: &mut Outcome) {
    outcome.detail = one_line(&outcome.detail);
}

fn one_line(text: &str) -> String {
    Evidence::new(text).as_str().to_owned()
}
