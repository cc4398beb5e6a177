//! What runs under Pitcrew's care, found in `/proc` and not in memory.
//!
//! Every supervised process carries `PITCREW_SUPERVISED=INSTALLATION/NAME` in its environment, and so does
//! every child of it, also one that left its process group or was daemonized. The leader is told from its
//! children by `PITCREW_PID`, which the gate sets to its own number just before it becomes the program.
//! A program that writes its title over its environment is found through the state file and its group.

use pitcrew_model::{OperationId, TargetId};

use crate::process::{self, Identity, Stat};

use super::record::Leader;

pub(crate) const SUPERVISED: &str = "PITCREW_SUPERVISED";
pub(crate) const OPERATION: &str = "PITCREW_OPERATION";
pub(crate) const PID: &str = "PITCREW_PID";
/// Set only while the gate waits.
pub(crate) const GATE: &str = "PITCREW_GATE";

/// A process with a marker of this installation.
#[derive(Clone, Debug)]
pub(crate) struct Marked {
    pub(crate) stat: Stat,
    pub(crate) name: TargetId,
    pub(crate) operation: Option<OperationId>,
    /// Its leader's number.
    leader_pid: Option<u32>,
}

impl Marked {
    pub(crate) fn is_leader(&self) -> bool {
        self.leader_pid == Some(self.stat.identity.pid)
    }
}

pub(crate) fn marked(installation: &str) -> Vec<Marked> {
    process::all()
        .into_iter()
        .filter_map(|stat| mark(stat, installation))
        .collect()
}

fn mark(stat: Stat, installation: &str) -> Option<Marked> {
    let [name, operation, leader_pid] =
        process::environment(stat.identity.pid, [SUPERVISED, OPERATION, PID]);
    let name = name?;
    let name = name.strip_prefix(installation)?.strip_prefix('/')?;
    Some(Marked {
        stat,
        name: TargetId::new(name).ok()?,
        operation: operation.and_then(|text| OperationId::new(text).ok()),
        leader_pid: leader_pid.and_then(|text| text.parse().ok()),
    })
}

/// All processes of the instance: those marked with its name, and those of its leader's group.
pub(crate) fn family(
    installation: &str,
    name: &TargetId,
    leader: Option<&Leader>,
) -> Vec<Identity> {
    let group = leader.filter(|leader| leader.owns_group());
    process::all()
        .into_iter()
        .filter(|stat| {
            group.is_some_and(|leader| is_in_group(stat, leader))
                || mark(*stat, installation).is_some_and(|marked| marked.name == *name)
        })
        .map(|stat| stat.identity)
        .collect()
}

/// A process's group is the leader's when number and session agree and it isn't older than the leader.
/// What remains: the whole group ended, its number went to a new group leader in Pitcrew's own session, and
/// that one exited before its children; nobody has seen it.
fn is_in_group(stat: &Stat, leader: &Leader) -> bool {
    stat.group == leader.identity.pid
        && stat.session == leader.session
        && stat.identity.started_ticks >= leader.identity.started_ticks
}

/// The processes of one leader among several of one name.
pub(crate) fn family_of_double(
    installation: &str,
    name: &TargetId,
    leader_pid: u32,
) -> Vec<Identity> {
    marked(installation)
        .into_iter()
        .filter(|marked| marked.name == *name && marked.leader_pid == Some(leader_pid))
        .map(|marked| marked.stat.identity)
        .collect()
}

/// Whether the process still waits at the gate, so that the program itself hasn't begun.
pub(crate) fn is_at_gate(identity: Identity) -> bool {
    let [gate] = process::environment(identity.pid, [GATE]);
    gate.is_some() && identity.is_alive()
}
