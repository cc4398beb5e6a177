//! What is true: which faults hold which targets down, since when, and what ended them. Nobody in the simulation
//! may ask it but the tests' answers, the actuators and the report.
//!
//! Only what is not well costs memory. A target is up when nothing holds it down; each fault that strikes it and
//! each order that is under way on it is one such thing.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    World,
    faults::{self, RAMP, ROLL_OUT, SPREAD},
    fleet::Fleet,
    people::UNPROMPTED,
    queue::{Happening, Millis},
};
use crate::{Fault, FaultKind, TargetIndex};

/// What ended a fault on a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By an order.
    Repaired,
    /// By itself.
    Healed,
    /// By a person.
    Fixed,
}

/// One fault of the plan, from its beginning on.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) kind: FaultKind,
    /// With everything that runs on them.
    targets: Vec<TargetIndex>,
    /// How many targets a cascade or a release has reached.
    reached: usize,
    over: bool,
}

/// One fault on one target.
#[derive(Clone, Debug)]
pub(super) struct Affliction {
    pub(super) kind: FaultKind,
    pub(super) began: Millis,
    /// Whether it holds its target down right now.
    pub(super) down: bool,
    turn: u32,
    pub(super) confirmed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) troubles: Vec<Trouble>,
    pub(super) afflictions: BTreeMap<(TargetIndex, u32), Affliction>,
    /// How many things hold a target down; absent: none.
    causes: BTreeMap<TargetIndex, u32>,
    /// Orders under way that take a target down.
    taken: BTreeMap<TargetIndex, u32>,
    /// On purpose, by a person.
    pub(super) stopped: BTreeSet<TargetIndex>,
    /// When a target went down and came up again, for observers that tell what was.
    history: BTreeMap<TargetIndex, Vec<(Millis, bool)>>,
}

impl Truth {
    pub(super) fn is_down(&self, target: TargetIndex) -> bool {
        self.causes.contains_key(&target) || self.stopped.contains(&target)
    }

    pub(super) fn is_taken(&self, target: TargetIndex) -> bool {
        self.taken.contains_key(&target) || self.stopped.contains(&target)
    }

    pub(super) fn of(&self, target: TargetIndex) -> impl Iterator<Item = (u32, &Affliction)> {
        let range = self.afflictions.range((target, 0)..=(target, u32::MAX));
        range.map(|((_, fault), affliction)| (*fault, affliction))
    }

    /// The kinds of faults that hold a target down now.
    pub(super) fn kinds(&self, target: TargetIndex) -> impl Iterator<Item = FaultKind> {
        let down = self.of(target).filter(|(_, affliction)| affliction.down);
        down.map(|(_, affliction)| affliction.kind)
    }

    pub(super) fn was_down(&self, target: TargetIndex, at: Millis) -> bool {
        let changes = self.history.get(&target).into_iter().flatten();
        let before = changes.take_while(|(when, _)| *when <= at).last();
        before.is_some_and(|(_, down)| *down)
    }

    /// Whether it has been down at some time since then.
    pub(super) fn was_down_since(&self, target: TargetIndex, since: Millis) -> bool {
        let Some(changes) = self.history.get(&target) else {
            return false;
        };
        self.is_down(target) || changes.last().is_some_and(|(when, _)| *when >= since)
    }

    /// Targets that have a fault.
    pub(super) fn afflicted(&self) -> Vec<TargetIndex> {
        let mut targets: Vec<TargetIndex> = self.afflictions.keys().map(|(t, _)| *t).collect();
        targets.dedup();
        targets
    }
}

/// The targets of a fault and what runs on them, each once, in the plan's order.
pub(super) fn struck(fleet: &Fleet, fault: &Fault) -> Vec<TargetIndex> {
    let mut seen = BTreeSet::new();
    let with_guests = fault.targets.iter().flat_map(|target| {
        let guests = fleet.is_host(*target).then(|| fleet.runs_on(*target));
        std::iter::once(*target).chain(guests.into_iter().flatten())
    });
    with_guests.filter(|target| seen.insert(*target)).collect()
}

/// How long after the fault's beginning its next target is struck; `None`: all at once.
pub(super) fn spacing(kind: FaultKind) -> Option<Millis> {
    match kind {
        FaultKind::Cascade => Some(SPREAD),
        FaultKind::Deploy => Some(ROLL_OUT),
        _ => None,
    }
}

impl World<'_> {
    pub(super) fn strike(&mut self, fault: &Fault) {
        let number = u32::try_from(self.truth.troubles.len()).unwrap_or(u32::MAX);
        let targets = struck(&self.fleet, fault);
        self.truth.troubles.push(Trouble {
            kind: fault.kind,
            targets,
            reached: 0,
            over: false,
        });
        if let Some(after) = fault.heals_after {
            let at = self.now + millis(after);
            self.queue.push(at, Happening::Heals { fault: number });
        }
        self.queue
            .push(self.now + UNPROMPTED, Happening::Found { fault: number });
        match spacing(fault.kind) {
            Some(_) => self.spread(number),
            None => {
                for target in self.truth.troubles[number as usize].targets.clone() {
                    self.afflict(number, target);
                }
            }
        }
    }

    /// Reaches the next target, if the last one that was reached still suffers.
    pub(super) fn spread(&mut self, fault: u32) {
        let trouble = &mut self.truth.troubles[fault as usize];
        let reached = trouble.reached;
        let Some(target) = trouble
            .targets
            .get(reached)
            .copied()
            .filter(|_| !trouble.over)
        else {
            return;
        };
        let before = reached.checked_sub(1).map(|at| trouble.targets[at]);
        let stopped = before.is_some_and(|before| {
            trouble.kind == FaultKind::Cascade
                && !self.truth.afflictions.contains_key(&(before, fault))
        });
        if stopped {
            return;
        }
        trouble.reached += 1;
        let next = spacing(trouble.kind).unwrap_or(SPREAD);
        self.queue
            .push(self.now + next, Happening::Spreads { fault });
        self.afflict(fault, target);
    }

    fn afflict(&mut self, fault: u32, target: TargetIndex) {
        let kind = self.truth.troubles[fault as usize].kind;
        if self.truth.afflictions.contains_key(&(target, fault)) {
            return;
        }
        let down = kind != FaultKind::Slow;
        let affliction = Affliction {
            kind,
            began: self.now,
            down,
            turn: 0,
            confirmed: false,
        };
        self.truth.afflictions.insert((target, fault), affliction);
        self.tally.fault_struck(kind);
        self.queue.push(
            self.now + super::tally::BOUND,
            Happening::Due { fault, target },
        );
        if down {
            self.hold_down(target);
        }
        self.schedule_turn(fault, target);
    }

    fn schedule_turn(&mut self, fault: u32, target: TargetIndex) {
        let Some(affliction) = self.truth.afflictions.get(&(target, fault)) else {
            return;
        };
        let turn = affliction.turn;
        let after = match affliction.kind {
            FaultKind::Slow if !affliction.down => RAMP,
            FaultKind::Intermittent => faults::phase(self.chance, fault, target, turn),
            _ => return,
        };
        self.queue.push(
            self.now + after,
            Happening::Turns {
                fault,
                target,
                turn,
            },
        );
    }

    pub(super) fn turn(&mut self, fault: u32, target: TargetIndex, turn: u32) {
        let Some(affliction) = self.truth.afflictions.get_mut(&(target, fault)) else {
            return;
        };
        if affliction.turn != turn {
            return;
        }
        affliction.turn += 1;
        affliction.down = !affliction.down;
        if affliction.down {
            self.hold_down(target);
        } else {
            self.let_up(target);
        }
        self.schedule_turn(fault, target);
    }

    /// A slow target that was restarted is fast again, for a while.
    pub(super) fn begin_anew(&mut self, fault: u32, target: TargetIndex) {
        let Some(affliction) = self.truth.afflictions.get_mut(&(target, fault)) else {
            return;
        };
        affliction.turn += 1;
        if std::mem::take(&mut affliction.down) {
            self.let_up(target);
        }
        self.schedule_turn(fault, target);
    }

    /// The fault is over on this target, and on what runs on it.
    pub(super) fn relieve(&mut self, fault: u32, target: TargetIndex, how: Ended) {
        let mut all = vec![target];
        if self.fleet.is_host(target) {
            all.extend(self.fleet.runs_on(target));
        }
        for target in all {
            let Some(affliction) = self.truth.afflictions.remove(&(target, fault)) else {
                continue;
            };
            self.tally.fault_ended(affliction.kind, how);
            if affliction.down {
                self.let_up(target);
            }
        }
    }

    pub(super) fn end_fault(&mut self, fault: u32, how: Ended) {
        let trouble = &mut self.truth.troubles[fault as usize];
        if std::mem::replace(&mut trouble.over, true) {
            return;
        }
        for target in trouble.targets.clone() {
            self.relieve(fault, target, how);
        }
    }

    /// A release that is not rolled back reaches every instance that is restarted.
    pub(super) fn restarted_into_release(&mut self, target: TargetIndex) {
        let releases: Vec<u32> = (0..)
            .zip(&self.truth.troubles)
            .filter(|(_, trouble)| {
                trouble.kind == FaultKind::Deploy
                    && !trouble.over
                    && trouble.targets.contains(&target)
            })
            .map(|(fault, _)| fault)
            .collect();
        for fault in releases {
            self.afflict(fault, target);
        }
    }

    /// An order takes a target and what runs on it down while it is carried out.
    pub(super) fn take_down(&mut self, target: TargetIndex) {
        for target in self.with_guests(target) {
            *self.truth.taken.entry(target).or_default() += 1;
            self.hold_down(target);
        }
    }

    pub(super) fn bring_back(&mut self, target: TargetIndex) {
        for target in self.with_guests(target) {
            decrement(&mut self.truth.taken, target);
            self.let_up(target);
        }
    }

    pub(super) fn with_guests(&self, target: TargetIndex) -> Vec<TargetIndex> {
        let guests = self
            .fleet
            .is_host(target)
            .then(|| self.fleet.runs_on(target));
        std::iter::once(target)
            .chain(guests.into_iter().flatten())
            .collect()
    }

    pub(super) fn stop(&mut self, target: TargetIndex) {
        if self.truth.stopped.insert(target) {
            self.changed(target, true);
        }
    }

    pub(super) fn unstop(&mut self, target: TargetIndex) {
        if self.truth.stopped.remove(&target) {
            let down = self.truth.is_down(target);
            self.changed(target, down);
        }
    }

    fn hold_down(&mut self, target: TargetIndex) {
        let causes = self.truth.causes.entry(target).or_default();
        *causes += 1;
        if *causes == 1 {
            self.tally
                .went_down(self.now, target, self.fleet.service_of(target));
            self.changed(target, true);
        } else {
            self.watch_closely(target);
        }
    }

    fn let_up(&mut self, target: TargetIndex) {
        if decrement(&mut self.truth.causes, target) {
            self.tally
                .came_up(self.now, target, self.fleet.service_of(target));
            let down = self.truth.is_down(target);
            self.changed(target, down);
        } else {
            self.watch_closely(target);
        }
    }

    fn changed(&mut self, target: TargetIndex, down: bool) {
        let changes = self.truth.history.entry(target).or_default();
        // Long enough for whoever tells stale news.
        if changes.len() >= 256 {
            changes.drain(..128);
        }
        changes.push((self.now, down));
        self.watch_closely(target);
    }
}

/// Whether that was the last one.
fn decrement(counts: &mut BTreeMap<TargetIndex, u32>, target: TargetIndex) -> bool {
    let Some(count) = counts.get_mut(&target) else {
        return false;
    };
    *count -= 1;
    if *count == 0 {
        counts.remove(&target);
        return true;
    }
    false
}

pub(super) fn millis(duration: std::time::Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
