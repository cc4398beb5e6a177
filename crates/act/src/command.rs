//! A user's own command: an argument vector, never a shell; a clean environment; bounded time and output.
//!
//! It is given `PITCREW_OPERATION`, so that it can be idempotent too. It runs in a process group of its own,
//! which is killed when its time is up. A command that has begun and did not succeed may have had effect.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pitcrew_model::{OperationId, Target};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Child,
    task::JoinHandle,
};

use crate::{
    Answer,
    answer::one_line,
    launch::Launch,
    process::{self, Identity},
    signal::{self, Members},
    supervise::{OPERATION, describe_exit},
    template::{self, Meaning},
};

/// Output read; the rest is thrown away so that the command never waits for a reader.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
const LAST_LINE_CHARS: usize = 200;

/// How long output may still come after the exit: a daemon that the command left behind may hold it open.
const OUTPUT_AFTER_EXIT: Duration = Duration::from_millis(200);

/// How a command ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    Succeeded { last_line: String },
    Failed { how: String, last_line: String },
    TimedOut,
    NotStarted { why: String },
}

/// Runs an order's command on `target`: `{target}`, `{address}` and `{label}` replaced in each argument.
pub(crate) async fn carry_out(
    template: &[String],
    target: &Target,
    operation: &OperationId,
    timeout: Duration,
) -> Answer {
    carry_out_with(template, target, |_| None, operation, timeout).await
}

/// The same with more names, which win over labels of the same name.
pub(crate) async fn carry_out_with(
    template: &[String],
    target: &Target,
    more: impl Fn(&str) -> Option<String>,
    operation: &OperationId,
    timeout: Duration,
) -> Answer {
    if template.is_empty() {
        return Answer::failed(
            "it is a command of the target's own host, and no agent is known there",
        );
    }
    let command = match fill(template, target, more) {
        Ok(command) => command,
        Err(why) => return Answer::failed(why),
    };
    let program = command.first().map_or("", String::as_str);
    match run(&command, Some(operation), Vec::new(), timeout).await {
        Ran::Succeeded { last_line } if last_line.is_empty() => {
            Answer::done(format!("`{program}` succeeded"))
        }
        Ran::Succeeded { last_line } => Answer::done(format!("`{program}` succeeded: {last_line}")),
        Ran::Failed { how, last_line } => {
            Answer::unknown(format!("`{program}` {how}: {last_line}").trim_end_matches(": "))
        }
        Ran::TimedOut => Answer::unknown(format!(
            "`{program}` was killed after {}",
            pitcrew_model::format_duration(timeout)
        )),
        Ran::NotStarted { why } => Answer::failed(why),
    }
}

/// The target's own name and address win over labels called `target` and `address`.
fn fill(
    words: &[String],
    target: &Target,
    more: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, String> {
    let meaning = |name: &str| {
        let value = match (name, more(name)) {
            ("target", _) => Some(target.id.to_string()),
            ("address", _) => target.address.as_ref().map(ToString::to_string),
            (_, Some(value)) => Some(value),
            (label, None) => target.labels.get(label).map(ToString::to_string),
        };
        value.map_or(Meaning::Absent, Meaning::Value)
    };
    let fill = |text: &String| {
        template::fill(text, meaning)
            .map_err(|name| format!("`{text}`: {} has no label `{name}`", target.id))
    };
    words.iter().map(fill).collect()
}

/// `input` is what it reads.
pub(crate) async fn run(
    command: &[String],
    operation: Option<&OperationId>,
    input: Vec<u8>,
    timeout: Duration,
) -> Ran {
    let marker = operation.map(|id| (OPERATION.to_owned(), id.to_string()));
    let launch = match Launch::prepare(command, None, None, marker) {
        Ok(launch) => launch,
        Err(why) => return Ran::NotStarted { why },
    };
    let mut command = launch.command();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let why = format!("`{}` can't be started: {error}", launch.program());
            return Ran::NotStarted { why };
        }
    };
    finish(&mut child, input, timeout).await
}

async fn finish(child: &mut Child, input: Vec<u8>, timeout: Duration) -> Ran {
    let leader = child.id().and_then(Identity::of);
    let output = Arc::new(Mutex::new(Vec::new()));
    if let Some(mut stdin) = child.stdin.take() {
        // A command may leave its input unread, which is no trouble of ours.
        tokio::spawn(async move { stdin.write_all(&input).await.ok() });
    }
    let drains = [
        child.stdout.take().map(|it| drain(it, &output)),
        child.stderr.take().map(|it| drain(it, &output)),
    ];
    let Ok(status) = tokio::time::timeout(timeout, child.wait()).await else {
        // Not reaped yet, so its number still means it and its group.
        if let Some(leader) = leader {
            end_group(leader).await;
        }
        return Ran::TimedOut;
    };
    let drained = futures_util::future::join_all(drains.into_iter().flatten());
    tokio::time::timeout(OUTPUT_AFTER_EXIT, drained).await.ok();
    let last_line = last_line(&output.lock().unwrap_or_else(PoisonError::into_inner));
    match status {
        Ok(status) if status.success() => Ran::Succeeded { last_line },
        Ok(status) => Ran::Failed {
            how: describe_exit(status),
            last_line,
        },
        Err(error) => Ran::Failed {
            how: format!("exited, its status can't be had ({error})"),
            last_line,
        },
    }
}

/// Reads to the end and keeps the newest bytes.
fn drain(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    output: &Arc<Mutex<Vec<u8>>>,
) -> JoinHandle<()> {
    let output = Arc::clone(output);
    tokio::spawn(async move {
        let mut chunk = vec![0; 8 << 10];
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.extend_from_slice(&chunk[..read]);
            let excess = output.len().saturating_sub(OUTPUT_BYTES_MAX);
            output.drain(..excess);
        }
    })
}

fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    one_line(line.unwrap_or_default(), LAST_LINE_CHARS)
}

/// The group's number can't be given again before its leader is reaped, and that is done after this.
async fn end_group(leader: Identity) {
    let group: Members = Arc::new(move || {
        process::all()
            .into_iter()
            .filter(|stat| stat.group == leader.pid)
            .filter(|stat| stat.identity.started_ticks >= leader.started_ticks)
            .map(|stat| stat.identity)
            .collect()
    });
    let ended = signal::end(&group, None, rustix::process::Signal::KILL, Duration::ZERO).await;
    tracing::debug!("a command's time was up: {}", ended.describe());
}

#[cfg(test)]
mod tests {
    use super::*;
    use pitcrew_model::{Address, Labels, OutcomeKind, SourceName, TargetId};

    fn target() -> Target {
        Target {
            id: TargetId::new("web-1").unwrap(),
            address: Some(Address("127.0.0.1:80".into())),
            labels: Labels::new([("zone", "a b; $(x)"), ("target", "other")]).unwrap(),
            run_on: None,
            runner: None,
            source: SourceName::new("static").unwrap(),
        }
    }

    async fn answer(command: &[&str], timeout: Duration) -> Answer {
        let command: Vec<String> = command.iter().map(ToString::to_string).collect();
        let operation = OperationId::new("op-1").unwrap();
        carry_out(&command, &target(), &operation, timeout).await
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn arguments_are_filled_and_never_seen_by_a_shell() {
        let printed = answer(&["echo", "{target}", "{address}", "{zone}"], LONG).await;
        assert_eq!(printed.kind, OutcomeKind::Done);
        assert_eq!(
            printed.detail,
            "`echo` succeeded: web-1 127.0.0.1:80 a b; $(x)"
        );
        let absent = answer(&["echo", "{rack}"], LONG).await;
        assert_eq!(absent.kind, OutcomeKind::Failed);
        assert!(absent.detail.contains("no label `rack`"), "{absent:?}");
    }

    #[tokio::test]
    async fn a_command_gets_a_clean_environment_and_its_operation() {
        let printed = answer(
            &["sh", "-c", "env | cut -d= -f1 | sort | tr '\\n' ' '"],
            LONG,
        )
        .await;
        let names = printed.detail.rsplit(": ").next().unwrap();
        assert_eq!(names, "HOME LANG PATH PITCREW_OPERATION PWD USER");
    }

    #[tokio::test]
    async fn a_command_that_ran_and_failed_may_have_had_effect() {
        let failed = answer(&["sh", "-c", "echo why >&2; exit 3"], LONG).await;
        assert_eq!(failed.kind, OutcomeKind::Unknown);
        assert_eq!(failed.detail, "`sh` exited with 3: why");
        let absent = answer(&["no-such-program-x"], LONG).await;
        assert_eq!(absent.kind, OutcomeKind::Failed);
    }

    #[tokio::test]
    async fn when_its_time_is_up_its_whole_group_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("sleep 60 & echo $! > {}; sleep 60", file.display());
        let late = answer(&["sh", "-c", &script], Duration::from_millis(500)).await;
        assert_eq!(late.kind, OutcomeKind::Unknown);
        assert_eq!(late.detail, "`sh` was killed after 500ms");
        let pid: u32 = std::fs::read_to_string(file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        assert!(process::stat(pid).is_none_or(|stat| !stat.is_alive()));
    }

    #[tokio::test]
    async fn endless_output_is_bounded_and_a_daemon_left_behind_is_not_waited_for() {
        let flood = answer(&["sh", "-c", "yes | head -c 3000000; echo; echo end"], LONG).await;
        assert_eq!(flood.detail, "`sh` succeeded: end");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("sleep 60 & echo $! > {}; echo left", file.display());
        let left = answer(&["sh", "-c", &script], LONG).await;
        assert_eq!(left.detail, "`sh` succeeded: left");
        let pid: u32 = std::fs::read_to_string(file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let held = signal::Held::hold(Identity::of(pid).unwrap()).unwrap();
        held.signal(rustix::process::Signal::KILL).unwrap();
    }
}
