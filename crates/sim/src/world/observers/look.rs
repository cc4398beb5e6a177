//! One question: what the truth answers, and what the observer who asked makes of it.

use std::time::Duration;

use pitcrew_model::{Evidence, Place, Test, TestKind, Verdict};

use super::{SHARD, World};
use crate::{
    FaultKind, Sick, TargetIndex,
    world::{chance::For, faults, fleet::Level, queue::Millis, truth::millis},
};

/// What one question brings.
pub(super) struct Look {
    pub(super) verdict: Verdict,
    pub(super) took: Duration,
    pub(super) evidence: Evidence,
}

impl World<'_> {
    /// Whether the target passes in truth and as it is told.
    pub(super) fn look_and_tell(
        &mut self,
        observer: u16,
        target: TargetIndex,
        test: u16,
        sure: bool,
    ) -> bool {
        let honest = self.honest_look(target, usize::from(test), self.now);
        let is_well = honest.verdict == Verdict::Pass;
        let Some(look) = self.seen_by(usize::from(observer), target, usize::from(test), honest)
        else {
            return is_well;
        };
        let verdict = look.verdict;
        self.tell(observer, target, test, look, sure);
        is_well && verdict == Verdict::Pass
    }

    fn honest_look(&self, target: TargetIndex, test: usize, at: Millis) -> Look {
        let asked = &self.tests_of(target)[test];
        let words = &self.observers.evidence;
        let failed = |evidence: &Evidence, took: Duration| Look {
            verdict: Verdict::Fail,
            took,
            evidence: evidence.clone(),
        };
        let quick = self.quick(target, test, at, asked);
        if self.truth.is_taken(target) {
            return failed(&words.refused, quick);
        }
        let mut kinds = self.truth.kinds(target);
        if let Some(kind) = kinds.find(|kind| faults::shows(*kind, &asked.kind)) {
            let pushes_nothing = asked.kind == TestKind::Push || asked.place == Place::Host;
            if faults::out_of_reach(kind) && pushes_nothing {
                let evidence = words.absent.clone();
                return Look {
                    verdict: Verdict::Unknown,
                    took: quick,
                    evidence,
                };
            }
            return match kind {
                _ if faults::times_out(kind) => failed(&words.timed_out, asked.timeout),
                FaultKind::Errors | FaultKind::Deploy => failed(&words.error, quick),
                _ => failed(&words.refused, quick),
            };
        }
        let blip = u16::try_from(test).unwrap_or(u16::MAX);
        if self
            .observers
            .blips
            .get(&(target, blip))
            .is_some_and(|until| at < *until)
        {
            return failed(&words.blip, quick);
        }
        Look {
            verdict: Verdict::Pass,
            took: quick,
            evidence: words.passed.clone(),
        }
    }

    /// A few milliseconds, sometimes fifty; never as long as the test's deadline.
    fn quick(&self, target: TargetIndex, test: usize, at: Millis, asked: &Test) -> Duration {
        let of = [u64::from(target), test as u64, at];
        let draw = self.chance.draw(For::Took, &of);
        let most = if draw.is_multiple_of(16) { 50 } else { 8 };
        Duration::from_millis(1 + (draw >> 8) % most).min(asked.timeout)
    }

    /// What an observer makes of it; nothing, if it is silent.
    fn seen_by(
        &self,
        observer: usize,
        target: TargetIndex,
        test: usize,
        honest: Look,
    ) -> Option<Look> {
        let words = &self.observers.evidence;
        let says = |verdict: Verdict, evidence: &Evidence, took: Duration| Look {
            verdict,
            took,
            evidence: evidence.clone(),
        };
        let look = match self.observers.list[observer].sickness() {
            Some(Sick::Silent) => return None,
            Some(Sick::LiesFailing | Sick::KnowsIt) if self.is_in_shard(target) => {
                says(Verdict::Fail, &words.refused, honest.took)
            }
            Some(Sick::LiesPassing) => says(Verdict::Pass, &words.passed, honest.took),
            Some(Sick::Stale(by)) => {
                let then = self.now.saturating_sub(millis(by));
                if self.truth.was_down(target, then) {
                    says(Verdict::Fail, &words.refused, honest.took)
                } else {
                    says(Verdict::Pass, &words.passed, honest.took)
                }
            }
            Some(Sick::LiesFailing | Sick::KnowsIt) | None => honest,
        };
        let zone = self.fleet.group_of(Level::Zone, target) as usize;
        if self.is_in_shard(target)
            && self
                .weather
                .blind_zones(observer)
                .any(|blind| blind == zone)
        {
            let timeout = self.tests_of(target)[test].timeout;
            return Some(says(Verdict::Fail, &words.unreachable, timeout));
        }
        Some(look)
    }

    pub(super) fn is_in_shard(&self, target: TargetIndex) -> bool {
        let shards = u64::from(self.fleet.len().div_ceil(SHARD)).max(1);
        self.chance.below(shards, For::Shard, &[u64::from(target)]) == 0
    }
}
