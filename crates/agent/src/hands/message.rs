//! What the two processes of an agent say to each other: one question and one answer for each connection, in the frames
//! that server and agent use. Both are of one version, for they are one program.

use pitcrew_model::{OperationId, Outcome, TargetId, Timestamp};
use pitcrew_probe::ProcessState;
use pitcrew_wire::{Message, OutOfBounds, SignedOrder};
use serde::{Deserialize, Serialize};

use super::pinned::Principal;
use crate::clock::Exchange;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ToHands {
    pub(super) principal: Principal,
    /// Absent until the server has said what time it is.
    pub(super) time: Option<Exchange>,
    pub(super) request: Request,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    CarryOut(SignedOrder),
    Reconcile(SignedOrder),
    /// How are the processes that it supervises?
    States,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(super) enum FromHands {
    Ended {
        operation: OperationId,
        outcome: Outcome,
    },
    /// Nothing was begun.
    Refused {
        reason: String,
    },
    States {
        states: Vec<(TargetId, State)>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub(super) enum State {
    Running { pid: u32, since: Timestamp },
    Exited { detail: String },
    Stopped { by: String },
    Unknown { why: String },
}

impl Message for ToHands {
    /// A frame's length bounds it; what it says is checked where it is used.
    fn bound(&mut self) -> Result<(), OutOfBounds> {
        Ok(())
    }
}

impl Message for FromHands {
    fn bound(&mut self) -> Result<(), OutOfBounds> {
        Ok(())
    }
}

impl From<ProcessState> for State {
    fn from(state: ProcessState) -> Self {
        match state {
            ProcessState::Running { pid, since } => Self::Running { pid, since },
            ProcessState::Exited { detail } => Self::Exited { detail },
            ProcessState::Stopped { by } => Self::Stopped { by },
            ProcessState::Unknown { why } => Self::Unknown { why },
        }
    }
}

impl From<State> for ProcessState {
    fn from(state: State) -> Self {
        match state {
            State::Running { pid, since } => Self::Running { pid, since },
            State::Exited { detail } => Self::Exited { detail },
            State::Stopped { by } => Self::Stopped { by },
            State::Unknown { why } => Self::Unknown { why },
        }
    }
}
