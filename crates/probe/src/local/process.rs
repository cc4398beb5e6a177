//! Whether the target's own process runs, by the word of what supervises it.
//!
//! An exit is a failure. A person's stop is `Unknown`: the target serves nobody, but it is under a hand
//! that must not be undone, so it may neither count as healthy nor start a repair.

use crate::{Answer, ProcessState, Question};

pub(crate) fn ask(question: &Question<'_>) -> Answer {
    let Some(runner) = question.runner else {
        return Answer::unknown("nothing is known to run this target: set `runs_as`");
    };
    match question.tools.processes.state(question.target, runner) {
        ProcessState::Running { pid, .. } => Answer::pass(format!("process {pid} runs")),
        ProcessState::Exited { detail } => Answer::fail(format!("process is gone: {detail}")),
        ProcessState::Stopped { by } => Answer::unknown(format!("stopped by {by}")),
        ProcessState::Unknown { why } => Answer::unknown(why),
    }
}
