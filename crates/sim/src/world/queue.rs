//! What happens next: by time, and among equals in the order in which it was put there. So one seed gives one run.

use std::{cmp::Ordering, collections::BinaryHeap};

use pitcrew_model::{Event, Order, TargetId, TestName};

use super::people::Errand;
use crate::TargetIndex;

/// Milliseconds since the simulation's start.
pub(crate) type Millis = u64;

#[derive(Debug)]
pub(super) enum Happening {
    /// The next one of the plan.
    Mishap(usize),
    MishapOver(usize),
    /// A slow target's answers miss their deadline from now on, or an intermittent one changes.
    Turns {
        fault: u32,
        target: TargetIndex,
        turn: u32,
    },
    /// A cascade or a release reaches its next target.
    Spreads {
        fault: u32,
    },
    Heals {
        fault: u32,
    },
    /// A person finds it, though nobody was called.
    Found {
        fault: u32,
    },
    /// By now the policy should have cured it.
    Due {
        fault: u32,
        target: TargetIndex,
    },
    Ask {
        observer: u16,
        target: TargetIndex,
        test: u16,
    },
    Probe {
        target: TargetIndex,
        test: TestName,
    },
    Flush {
        observer: u16,
    },
    Unchanged {
        observer: u16,
    },
    /// The first round of a run of the server, a slice of the fleet at a time.
    Sweep {
        observer: u16,
        run: u64,
        slice: u32,
    },
    /// An observer's own control test has an answer.
    Control {
        observer: u16,
        trouble: bool,
    },
    Arrives {
        run: u64,
        event: Box<Event>,
    },
    Tick {
        run: u64,
        due: Millis,
    },
    Written {
        run: u64,
    },
    WriteAgain {
        run: u64,
    },
    Wakes {
        run: u64,
    },
    Starts,
    OrderArrives {
        run: u64,
        order: Box<Order>,
    },
    /// The actuator is through with an operation.
    OrderEnds {
        operation: u32,
    },
    /// Its target has warmed up.
    TakesEffect {
        operation: u32,
    },
    Reconcile {
        run: u64,
        order: Box<Order>,
    },
    /// A host gives back what it drained.
    LeaseEnds {
        target: TargetId,
    },
    Person(Box<Errand>),
    /// The timeline's next point.
    Step,
}

#[derive(Debug)]
struct Entry {
    at: Millis,
    sequence: u64,
    what: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The heap gives the greatest first: that is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Entry>,
    sequence: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Millis, what: Happening) {
        self.sequence += 1;
        let sequence = self.sequence;
        self.heap.push(Entry { at, sequence, what });
    }

    /// The next one, unless it comes after `end`.
    pub(super) fn pop(&mut self, end: Millis) -> Option<(Millis, Happening)> {
        if self.heap.peek()?.at > end {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.what))
    }
}
