//! The fleet that a trace implies: how many nodes, racks and rooms there were, and where the failed nodes stood in it.
//!
//! Nodes that failed keep their rack, racks with a failure their room. All others are spread evenly over what is
//! left, because nothing is known of them. Targets are numbered rack by rack, so that a rack is a range.

use std::{cmp::Reverse, collections::BinaryHeap};

use serde::Serialize;

use super::{Seen, Trace, population::Population};
use crate::mishap::{Fault, FaultKind, Mishap, TargetIndex, What};

/// Where no column tells: servers in a rack, and racks in a room, of an ordinary data centre.
const NODES_PER_RACK: u64 = 20;
const RACKS_PER_ROOM: u64 = 40;

/// Counts of the fleet in which the failures happened; each is at least what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Implied {
    pub nodes: u64,
    pub racks: u64,
    pub rooms: u64,
}

impl Implied {
    /// With a sentence on each number.
    pub(super) fn by(seen: &Seen) -> (Self, Vec<String>) {
        let mut said = Vec::new();
        let nodes = Population::of(seen.nodes.iter().map(|node| node.id.as_str()));
        said.push(sentence("nodes", nodes, "rack"));
        let racks = distinct(seen.racks.iter().map(|rack| rack.id.as_str()));
        let racks = if racks.is_empty() {
            said.push(format!(
                "the file names no rack: {NODES_PER_RACK} nodes in each are assumed"
            ));
            nodes.count().div_ceil(NODES_PER_RACK)
        } else {
            let twice = seen.racks.len() - racks.len();
            let racks = Population::of(racks.into_iter());
            said.push(sentence("racks", racks, "room"));
            if twice > 0 {
                said.push(format!(
                    "racks that the file puts into several rooms are a rack in each of them ({twice} more)"
                ));
            }
            racks.count().max(count(seen.racks.len()))
        };
        let rooms = if seen.rooms.is_empty() {
            said.push(format!(
                "the file names no room: {RACKS_PER_ROOM} racks in each are assumed"
            ));
            racks.div_ceil(RACKS_PER_ROOM)
        } else {
            let rooms = Population::of(seen.rooms.iter().map(String::as_str));
            said.push(sentence("rooms", rooms, ""));
            rooms.count()
        };
        if seen.moved > 0 {
            said.push(format!(
                "{} failures name another rack than the first of their node; the first is taken",
                seen.moved
            ));
        }
        said.push(KIND.to_owned());
        let nodes = nodes.count();
        (
            Self {
                nodes,
                racks,
                rooms,
            },
            said,
        )
    }
}

const KIND: &str = "each recorded failure takes its node down, and no restart cures it: only a person does, who is called when a repair's ladder ends";

fn sentence(what: &str, population: Population, within: &str) -> String {
    let spread = if within.is_empty() {
        String::new()
    } else {
        format!("; those without a failure are spread evenly over the {within}s")
    };
    match population {
        Population::Seen(count) => {
            format!(
                "{count} {what}, as many as the file names: others that never failed are not known"
            )
        }
        Population::Estimated {
            count,
            seen,
            highest,
        } => format!(
            "{count} {what}, estimated from {seen} different ids up to {highest} as if they were drawn evenly{spread}"
        ),
    }
}

fn distinct<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A fleet with the trace's failures in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub rooms: u32,
    /// Targets are numbered in this order: the first rack's, then the second's.
    pub racks: Vec<Rack>,
    /// In the order of their times, since [`Trace::begins`].
    pub mishaps: Vec<Mishap>,
}

impl Placed {
    #[must_use]
    pub fn targets(&self) -> u32 {
        self.racks.iter().map(|rack| rack.nodes).sum()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rack {
    pub room: u32,
    pub nodes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{targets} targets are fewer than the {failed} nodes that failed in the trace; the fleet that it implies has {implied}"
)]
pub struct TooFewTargets {
    pub targets: u32,
    pub failed: usize,
    pub implied: u64,
}

impl Trace {
    /// The recorded failures in a fleet of `targets` nodes, or of as many as the trace implies.
    ///
    /// A drive that failed is no crash: nothing that Pitcrew can order brings it back, so each failure is
    /// [`FaultKind::Permanent`] on its node, and lasts until a person ends it.
    pub fn place(&self, targets: Option<u32>) -> Result<Placed, TooFewTargets> {
        let implied = u32::try_from(self.implied.nodes).unwrap_or(u32::MAX);
        let targets = targets.unwrap_or(implied);
        if self.seen.nodes.len() > usize::try_from(targets).unwrap_or(usize::MAX) {
            return Err(TooFewTargets {
                targets,
                failed: self.seen.nodes.len(),
                implied: self.implied.nodes,
            });
        }
        let (rooms, room_of) = self.rack_rooms(targets);
        let mut rack_of: Vec<Option<usize>> = self.seen.nodes.iter().map(|n| n.rack).collect();
        rack_of.resize(usize::try_from(targets).unwrap_or(usize::MAX), None);
        let rack_of = spread(&rack_of, room_of.len());
        let (racks, numbers) = number(&room_of, &rack_of);
        let begins = self.begins();
        let mishaps = self.failures.iter().map(|failure| Mishap {
            at: failure.at.since(begins),
            what: fault(numbers[failure.node]),
        });
        Ok(Placed {
            rooms: index(rooms),
            racks,
            mishaps: mishaps.collect(),
        })
    }

    /// How many rooms, and each rack's, in a fleet of that size: as many racks as its share of the implied ones.
    fn rack_rooms(&self, targets: u32) -> (usize, Vec<usize>) {
        let Implied {
            nodes,
            racks,
            rooms,
        } = self.implied;
        let share = |whole: u64| {
            let part = u128::from(whole) * u128::from(targets) / u128::from(nodes.max(1));
            usize::try_from(part).unwrap_or(usize::MAX)
        };
        let racks = share(racks).max(self.seen.racks.len()).max(1);
        let rooms = share(rooms).max(self.seen.rooms.len()).max(1);
        let mut room_of: Vec<Option<usize>> = self.seen.racks.iter().map(|r| r.room).collect();
        room_of.resize(racks, None);
        (rooms, spread(&room_of, rooms))
    }
}

fn fault(target: TargetIndex) -> What {
    What::Fault(Fault {
        kind: FaultKind::Permanent,
        targets: vec![target],
        heals_after: None,
    })
}

/// Gives everything without a place the emptiest of `places`, of equals the first.
fn spread(members: &[Option<usize>], places: usize) -> Vec<usize> {
    let mut filled = vec![0_usize; places];
    for place in members.iter().flatten() {
        filled[*place] += 1;
    }
    let mut emptiest: BinaryHeap<Reverse<(usize, usize)>> = filled
        .into_iter()
        .enumerate()
        .map(|(place, members)| Reverse((members, place)))
        .collect();
    let take = |member: &Option<usize>| {
        member.unwrap_or_else(|| {
            let Some(mut top) = emptiest.peek_mut() else {
                return 0;
            };
            top.0.0 += 1;
            top.0.1
        })
    };
    members.iter().map(take).collect()
}

/// Racks by room, without empty ones, and each node's number as the racks are counted through.
fn number(room_of: &[usize], rack_of: &[usize]) -> (Vec<Rack>, Vec<TargetIndex>) {
    let mut nodes_of = vec![Vec::new(); room_of.len()];
    for (node, rack) in rack_of.iter().enumerate() {
        nodes_of[*rack].push(node);
    }
    let mut order: Vec<usize> = (0..room_of.len()).collect();
    order.sort_by_key(|rack| room_of[*rack]);
    let mut racks = Vec::new();
    let mut numbers = vec![0; rack_of.len()];
    let mut next: TargetIndex = 0;
    for rack in order.into_iter().filter(|rack| !nodes_of[*rack].is_empty()) {
        for node in &nodes_of[rack] {
            numbers[*node] = next;
            next += 1;
        }
        racks.push(Rack {
            room: index(room_of[rack]),
            nodes: index(nodes_of[rack].len()),
        });
    }
    (racks, numbers)
}

/// Bounded by the number of targets, which is one.
fn index(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
