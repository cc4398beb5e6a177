//! The same faults without Pitcrew: each ends by itself, or when a person finds it because users complain.
//!
//! It follows from the plan and the fleet alone, so that every policy is compared with the same.

use super::{
    chance::Chance,
    faults::{self, RAMP},
    fleet::Fleet,
    people::UNPROMPTED,
    queue::Millis,
    truth::{millis, spacing, struck},
};
use crate::{Fault, FaultKind, Mishap, TargetIndex, What};

/// Downtime as it would have been.
#[derive(Debug, Default)]
pub(super) struct Without {
    pub(super) all_ms: u64,
    pub(super) by_service_ms: Vec<u64>,
    /// Targets down at the end of each step.
    pub(super) down: Vec<u64>,
}

type Outage = (TargetIndex, Millis, Millis);

pub(super) fn without(
    plan: &[Mishap],
    fleet: &Fleet,
    chance: Chance,
    length: Millis,
    step_ms: Millis,
    services: usize,
) -> Without {
    let mut outages: Vec<Outage> = Vec::new();
    let faults = plan.iter().filter_map(|mishap| match &mishap.what {
        What::Fault(fault) => Some((millis(mishap.at), fault)),
        _ => None,
    });
    for (number, (at, fault)) in (0u32..).zip(faults) {
        if at < length {
            suffer(number, at, fault, fleet, chance, &mut outages);
        }
    }
    for (_, begins, ends) in &mut outages {
        *begins = (*begins).min(length);
        *ends = (*ends).min(length);
    }
    outages.sort_unstable();
    let steps = usize::try_from(length.div_ceil(step_ms).max(1)).unwrap_or(1);
    let mut counted = Counted {
        sum: Without {
            all_ms: 0,
            by_service_ms: vec![0; services],
            down: Vec::new(),
        },
        changes: vec![0; steps + 1],
        step_ms,
    };
    let mut current: Option<Outage> = None;
    for (target, begins, ends) in outages {
        match &mut current {
            Some((same, _, until)) if *same == target && begins <= *until => {
                *until = (*until).max(ends);
            }
            _ => {
                counted.add(current.replace((target, begins, ends)), fleet);
            }
        }
    }
    counted.add(current, fleet);
    counted.finish(steps)
}

struct Counted {
    sum: Without,
    /// By how many more targets are down at the end of each step than of the one before.
    changes: Vec<i64>,
    step_ms: Millis,
}

impl Counted {
    fn add(&mut self, outage: Option<Outage>, fleet: &Fleet) {
        let Some((target, begins, ends)) = outage else {
            return;
        };
        let lasts = ends.saturating_sub(begins);
        self.sum.all_ms += lasts;
        if let Some(service) = fleet.service_of(target) {
            self.sum.by_service_ms[service] += lasts;
        }
        let last = self.changes.len() - 1;
        let step = |at: Millis| usize::try_from(at / self.step_ms).unwrap_or(last).min(last);
        let (from, to) = (step(begins), step(ends));
        self.changes[from] += 1;
        self.changes[to] -= 1;
    }

    fn finish(mut self, steps: usize) -> Without {
        let mut down = 0i64;
        for change in self.changes.iter().take(steps) {
            down += change;
            self.sum.down.push(u64::try_from(down).unwrap_or(0));
        }
        self.sum
    }
}

/// The outages of one fault, on each of its targets.
fn suffer(
    number: u32,
    began: Millis,
    fault: &Fault,
    fleet: &Fleet,
    chance: Chance,
    outages: &mut Vec<Outage>,
) {
    let heals = fault.heals_after.map_or(Millis::MAX, millis);
    let over = began + heals.min(UNPROMPTED);
    for (reached, target) in (0u64..).zip(struck(fleet, fault)) {
        let struck_at = began + spacing(fault.kind).unwrap_or(0) * reached;
        if struck_at >= over {
            break;
        }
        match fault.kind {
            FaultKind::Slow if struck_at + RAMP < over => {
                outages.push((target, struck_at + RAMP, over));
            }
            FaultKind::Slow => {}
            FaultKind::Intermittent => {
                let (mut at, mut turn) = (struck_at, 0);
                while at < over {
                    let until = at + faults::phase(chance, number, target, turn);
                    if turn % 2 == 0 {
                        outages.push((target, at, until.min(over)));
                    }
                    (at, turn) = (until, turn + 1);
                }
            }
            _ => outages.push((target, struck_at, over)),
        }
    }
}
