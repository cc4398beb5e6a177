//! Learn: how often each repair of each finding cured, and how long that took.

use std::{collections::BTreeMap, time::Duration};

use pitcrew_model::{
    CaseId, CaseMemory, Effect, Limits, OrderId, Saved, ServiceName, TestName, Timestamp,
};

use crate::{
    Engine, Out,
    guards::{Guard, holds},
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    pub(crate) cured: u32,
    pub(crate) failed: u32,
    /// From order to proof, over all cures.
    pub(crate) seconds: u64,
}

const MEMORIES_SWEPT_EVERY: Duration = Duration::from_secs(3_600);

/// By service, test and action.
pub(crate) type Learned = BTreeMap<(ServiceName, TestName, String), Score>;

impl Engine {
    pub(crate) fn learn(
        &mut self,
        now: Timestamp,
        id: CaseId,
        order: OrderId,
        cured: bool,
        out: &mut Out,
    ) {
        let case = self.open_case(id);
        let (Some(finding), Some(state)) = (case.findings.first(), self.orders.get(&order)) else {
            return;
        };
        let key = (
            case.service.clone(),
            finding.test.clone(),
            state.order.action.name().to_owned(),
        );
        let took = now.since(state.order.given_at).as_secs();
        let score = self.learned.entry(key.clone()).or_default();
        if cured {
            score.cured += 1;
            score.seconds += took;
        } else {
            score.failed += 1;
        }
        let (
            Score {
                cured,
                failed,
                seconds,
            },
            (service, test, action),
        ) = (*score, key);
        out.push(Effect::Save(Saved::Learned {
            service,
            test,
            action,
            cured,
            failed,
            seconds,
        }));
    }

    /// Notes that a target had a confirmed case, for cooldown and lemons.
    pub(crate) fn remember_case(&mut self, now: Timestamp, id: CaseId, out: &mut Out) {
        let case = self.open_case(id);
        let (target, acted, service) = (
            case.target.clone(),
            !case.orders.is_empty(),
            case.service.clone(),
        );
        let Some(crew) = self.fleet.crew(&service) else {
            return;
        };
        let (cooldown, lemon) = (crew.service.limits.cooldown, crew.service.limits.lemon);
        self.forget_old_memories(now, out);
        let memory = self.memories.entry(target.clone()).or_default();
        if now.since(memory.cooldown_until) > Limits::COOLDOWN_MAX {
            memory.doublings = 0;
        }
        memory
            .closed_at
            .retain(|closed| now.since(*closed) < lemon.within);
        memory.closed_at.push(now);
        if acted {
            let most = if holds(Guard::CooldownDoubles) { 16 } else { 0 };
            let doublings = memory.doublings.min(most);
            let grown = cooldown.saturating_mul(1 << doublings);
            memory.cooldown_until = now + grown.min(Limits::COOLDOWN_MAX.max(cooldown));
            memory.doublings = memory.doublings.saturating_add(1);
        }
        let memory: CaseMemory = memory.clone();
        out.push(Effect::Save(Saved::Memory { target, memory }));
    }

    /// Where targets come and go, nobody asks again for most of what is remembered: once in a while, what no
    /// lemon and no cooldown can count any more is forgotten.
    fn forget_old_memories(&mut self, now: Timestamp, out: &mut Out) {
        if now.since(self.memories_swept_at) < MEMORIES_SWEPT_EVERY {
            return;
        }
        self.memories_swept_at = now;
        let crews = self.fleet.crews.iter();
        let lemon = crews.map(|crew| crew.service.limits.lemon.within).max();
        let counts = |memory: &CaseMemory| {
            let mut closed = memory.closed_at.iter();
            closed.any(|closed| lemon.is_some_and(|within| now.since(*closed) < within))
                || now.since(memory.cooldown_until) <= Limits::COOLDOWN_MAX
        };
        for (target, _) in self.memories.extract_if(.., |_, memory| !counts(memory)) {
            let memory = CaseMemory::default();
            out.push(Effect::Save(Saved::Memory { target, memory }));
        }
    }
}
