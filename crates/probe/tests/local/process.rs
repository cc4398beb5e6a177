//! What the supervisor says is passed on.

use std::{sync::Arc, time::Duration};

use pitcrew_model::{Runner, Target, TestKind, Timestamp, Verdict};
use pitcrew_probe::{Answer, ProcessState, ProcessStates, Question, Tools, ask};

use crate::support::{check, target, test};

struct Says(ProcessState);

impl ProcessStates for Says {
    fn state(&self, _target: &Target, _runner: &Runner) -> ProcessState {
        self.0.clone()
    }
}

async fn asked(state: ProcessState, runner: Option<&Runner>) -> Answer {
    let (target, tools) = (target(None, &[]), Tools::new(Arc::new(Says(state))));
    let test = test(TestKind::Process, Duration::from_secs(1));
    ask(Question::new(&target, runner, &test, &tools)).await
}

#[tokio::test]
async fn an_exit_is_a_failure_and_a_persons_stop_is_not() {
    let runner = Some(&Runner::Supervised);
    let running = ProcessState::Running {
        pid: 42,
        since: Timestamp::ZERO,
    };
    check(
        &asked(running.clone(), runner).await,
        Verdict::Pass,
        "process 42 runs",
    );
    check(&asked(running, None).await, Verdict::Unknown, "runs_as");
    let exited = ProcessState::Exited {
        detail: "signal 9".to_owned(),
    };
    check(
        &asked(exited, runner).await,
        Verdict::Fail,
        "process is gone: signal 9",
    );
    let stopped = ProcessState::Stopped {
        by: "ada".to_owned(),
    };
    check(
        &asked(stopped, runner).await,
        Verdict::Unknown,
        "stopped by ada",
    );
    let unknown = ProcessState::Unknown {
        why: "no such process".to_owned(),
    };
    check(
        &asked(unknown, runner).await,
        Verdict::Unknown,
        "no such process",
    );
}
