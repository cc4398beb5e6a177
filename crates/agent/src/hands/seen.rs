//! What the privileged process last said of those that it supervises, for tests that must not wait.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pitcrew_model::{Runner, Target, TargetId};
use pitcrew_probe::{ProcessState, ProcessStates};
use tokio::time::{Instant, sleep};

use super::{Apart, State};
use crate::inventory::local_name;

const EVERY: Duration = Duration::from_millis(500);
/// What was said longer ago says nothing of now.
const GOOD_FOR: Duration = Duration::from_secs(5);

pub(crate) struct Seen(Mutex<Look>);

struct Look {
    at: Instant,
    states: BTreeMap<TargetId, State>,
    /// Why there is nothing newer.
    trouble: String,
}

impl Default for Seen {
    fn default() -> Self {
        Self(Mutex::new(Look {
            at: Instant::now(),
            states: BTreeMap::new(),
            trouble: "it was not asked yet".to_owned(),
        }))
    }
}

impl Seen {
    /// Looks again and again, as long as anybody asks. The first look also tells the privileged process whose orders to obey.
    pub(crate) fn kept(apart: Arc<Apart>) -> Arc<Self> {
        let seen = Arc::new(Self::default());
        let kept = Arc::downgrade(&seen);
        tokio::spawn(async move {
            while let Some(seen) = kept.upgrade() {
                seen.note(apart.states().await);
                drop(seen);
                sleep(EVERY).await;
            }
        });
        seen
    }

    fn note(&self, looked: Result<Vec<(TargetId, State)>, String>) {
        let mut look = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match looked {
            Ok(states) => {
                *look = Look {
                    at: Instant::now(),
                    states: states.into_iter().collect(),
                    trouble: String::new(),
                };
            }
            Err(why) if look.trouble != why => {
                tracing::error!("the privileged part of this agent: {why}");
                look.trouble = why;
            }
            Err(_) => {}
        }
    }
}

impl ProcessStates for Seen {
    fn state(&self, target: &Target, runner: &Runner) -> ProcessState {
        let look = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = |why: String| ProcessState::Unknown { why };
        if *runner != Runner::Supervised {
            return unknown(format!("no process is known of a {runner}"));
        }
        match look.states.get(&local_name(target)) {
            Some(state) if look.at.elapsed() < GOOD_FOR => state.clone().into(),
            _ => unknown(format!(
                "the privileged part of this agent does not say: {}",
                look.trouble
            )),
        }
    }
}
