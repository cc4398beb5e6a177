//! An observer that does not repeat each pass: it says once a round that nothing changed.

use std::collections::BTreeMap;

use pitcrew_model::{Observation, ObserverName, TargetId, TestName, Verdict};

/// Rounds after a failure or no answer in which every answer is reported, as [`pitcrew_model::Event::Unchanged`]
/// wants it.
const REPORTED_ROUNDS: u8 = 32;

/// For each question, how many rounds are still reported whatever they say.
#[derive(Default)]
pub(super) struct Reported(BTreeMap<(ObserverName, TargetId, TestName), u8>);

impl Reported {
    pub(super) fn is_due(&mut self, answer: &Observation) -> bool {
        let key = (
            answer.observer.clone(),
            answer.target.clone(),
            answer.test.clone(),
        );
        let Some(rounds) = self.0.get_mut(&key) else {
            let is_pass = matches!(answer.verdict, Verdict::Pass | Verdict::Warn);
            self.0
                .insert(key, if is_pass { 0 } else { REPORTED_ROUNDS });
            return true;
        };
        match answer.verdict {
            Verdict::Fail | Verdict::Unknown => {
                *rounds = REPORTED_ROUNDS;
                true
            }
            Verdict::Pass | Verdict::Warn => {
                let is_due = *rounds > 0;
                *rounds = rounds.saturating_sub(1);
                is_due
            }
        }
    }
}
