//! What the supervisor of a host knows of a process, for tests that ask.

use pitcrew_act::Supervisor;
use pitcrew_model::{Runner, Target};
use pitcrew_probe::{ProcessState, ProcessStates};

use crate::inventory::local_name;

pub struct Processes(pub Supervisor);

impl ProcessStates for Processes {
    fn state(&self, target: &Target, runner: &Runner) -> ProcessState {
        match runner {
            Runner::Supervised => match self.0.state(&local_name(target)) {
                pitcrew_act::ProcessState::Running { pid, since } => {
                    ProcessState::Running { pid, since }
                }
                pitcrew_act::ProcessState::Exited { detail, .. } => ProcessState::Exited { detail },
                pitcrew_act::ProcessState::Stopped => ProcessState::Stopped {
                    by: "an order".to_owned(),
                },
                pitcrew_act::ProcessState::Unknown { why } => ProcessState::Unknown { why },
            },
            Runner::Listener { .. }
            | Runner::Unit { .. }
            | Runner::Container { .. }
            | Runner::Command { .. } => ProcessState::Unknown {
                why: format!("no process is known of a {runner}"),
            },
        }
    }
}
