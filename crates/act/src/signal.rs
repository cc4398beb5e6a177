//! Signals that can't hit the wrong process, and the way from a polite request to a certain end.
//!
//! A process is first held by a descriptor (pidfd), then checked for its start time, then signalled through
//! the descriptor: between check and signal its number can't come to mean another process. Numbers 0 and 1
//! and Pitcrew's own are never held.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::io::unix::AsyncFd;

use crate::process::{Identity, stat};

/// How long something may remain after KILL, before it counts as unkillable (waiting in the kernel).
const KILL_WAIT: Duration = Duration::from_secs(5);

/// Pauses between looks grow from the first to the second.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(2);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(50);

/// A process that can be signalled and waited for without its number being trusted.
#[derive(Debug)]
pub(crate) struct Held(OwnedFd);

impl Held {
    /// `None`: it is gone, or it is one that must never be signalled.
    pub(crate) fn hold(identity: Identity) -> Option<Self> {
        if identity.pid <= 1 || identity.pid == std::process::id() {
            return None;
        }
        let pid = Pid::from_raw(i32::try_from(identity.pid).ok()?)?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        stat(identity.pid)
            .is_some_and(|stat| stat.identity == identity)
            .then_some(Self(descriptor))
    }

    /// The error is a process that exists and may not be signalled; one that is gone is no error.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns when it has exited.
    #[expect(
        deprecated,
        reason = "its successor is unsafe for types that may close their descriptor early; an OwnedFd can't"
    )]
    pub(crate) async fn exited(self) -> io::Result<()> {
        let descriptor = AsyncFd::with_interest(self.0, tokio::io::Interest::READABLE)?;
        descriptor.readable().await.map(drop)
    }
}

/// `TERM`, `SIGTERM`, `INT`, …
pub(crate) fn by_name(name: &str) -> Option<Signal> {
    Some(match name.strip_prefix("SIG").unwrap_or(name) {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "ABRT" => Signal::ABORT,
        "KILL" => Signal::KILL,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "TERM" => Signal::TERM,
        "WINCH" => Signal::WINCH,
        _ => return None,
    })
}

/// `9 (KILL)`
pub(crate) fn name(number: i32) -> String {
    let name = match number {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        5 => "TRAP",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        11 => "SEGV",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        24 => "XCPU",
        25 => "XFSZ",
        31 => "SYS",
        _ => return number.to_string(),
    };
    format!("{number} ({name})")
}

/// How the processes of something came to their end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// There were none.
    Nothing,
    /// All left within the grace.
    Politely { after: Duration },
    /// Those still there after the grace were killed.
    Killed { count: usize },
    /// Not even KILL ended them, or they may not be signalled.
    Remain { why: String },
}

impl Ended {
    /// For a person: `stopped after 40 ms`.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Nothing => "nothing ran".to_owned(),
            Self::Politely { after } => format!("stopped after {} ms", after.as_millis()),
            Self::Killed { count: 1 } => "killed after its grace".to_owned(),
            Self::Killed { count } => format!("{count} processes killed after their grace"),
            Self::Remain { why } => why.clone(),
        }
    }
}

/// Finds the processes that are meant, anew at each call.
pub(crate) type Members = Arc<dyn Fn() -> Vec<Identity> + Send + Sync>;

/// Sends `signal` to `asked` (or to all members when `None`), waits `grace` for all members to leave, and
/// kills what remains. Stopped processes are continued, or they could not heed the signal.
pub(crate) async fn end(
    members: &Members,
    asked: Option<&[Identity]>,
    signal: Signal,
    grace: Duration,
) -> Ended {
    let began = Instant::now();
    let present = look(members).await;
    if present.is_empty() {
        return Ended::Nothing;
    }
    for identity in asked.unwrap_or(&present) {
        send(*identity, signal);
    }
    for identity in &present {
        send(*identity, Signal::CONT);
    }
    if wait_gone(members, present, began + grace).await.is_empty() {
        return Ended::Politely {
            after: began.elapsed(),
        };
    }
    kill(members).await
}

async fn kill(members: &Members) -> Ended {
    let deadline = Instant::now() + KILL_WAIT;
    let mut killed = std::collections::BTreeSet::new();
    let mut pause = LOOK_PAUSE_MIN;
    loop {
        let present = look(members).await;
        if present.is_empty() {
            return Ended::Killed {
                count: killed.len(),
            };
        }
        let mut trouble = None;
        for identity in &present {
            trouble = send(*identity, Signal::KILL).or(trouble);
            killed.insert(*identity);
        }
        if Instant::now() >= deadline {
            return Ended::Remain {
                why: remain(&present, trouble),
            };
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_PAUSE_MAX);
    }
}

fn remain(present: &[Identity], trouble: Option<io::Error>) -> String {
    let pids: Vec<String> = present.iter().map(|who| who.pid.to_string()).collect();
    let why = trouble.map_or_else(
        || "stuck in the kernel".to_owned(),
        |error| error.to_string(),
    );
    format!("process {} survives KILL: {why}", pids.join(", "))
}

/// The error, when it is there and may not be signalled.
fn send(identity: Identity, signal: Signal) -> Option<io::Error> {
    Held::hold(identity)?.signal(signal).err()
}

/// The members still there at `deadline`. Known ones are cheap to look at; the whole of `/proc` is searched
/// again only when they are gone.
async fn wait_gone(
    members: &Members,
    mut present: Vec<Identity>,
    deadline: Instant,
) -> Vec<Identity> {
    let mut pause = LOOK_PAUSE_MIN;
    loop {
        present.retain(Identity::is_alive);
        if present.is_empty() {
            present = look(members).await;
        }
        if present.is_empty() || Instant::now() >= deadline {
            return present;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_PAUSE_MAX);
    }
}

/// Reading all of `/proc` takes milliseconds on a busy host: not on a thread that serves others.
async fn look(members: &Members) -> Vec<Identity> {
    let members = Arc::clone(members);
    tokio::task::spawn_blocking(move || members())
        .await
        .expect("reading /proc does not panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(script: &str) -> (std::process::Child, Identity) {
        let child = std::process::Command::new("/bin/sh")
            .args(["-c", script])
            .spawn()
            .unwrap();
        let identity = Identity::of(child.id()).unwrap();
        (child, identity)
    }

    fn only(identity: Identity) -> Members {
        Arc::new(move || Vec::from_iter(identity.is_alive().then_some(identity)))
    }

    #[test]
    fn the_untouchable_and_the_reborn_are_never_held() {
        assert!(Held::hold(Identity::of(1).unwrap()).is_none());
        assert!(Held::hold(Identity::of(std::process::id()).unwrap()).is_none());
        let (mut child, identity) = sleeper("exec sleep 30");
        let reborn = Identity {
            started_ticks: identity.started_ticks + 1,
            ..identity
        };
        assert!(Held::hold(reborn).is_none());
        Held::hold(identity).unwrap().signal(Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(Held::hold(identity).is_none());
    }

    #[tokio::test]
    async fn a_stopped_process_is_continued_so_that_it_can_leave() {
        let (mut child, identity) = sleeper("exec sleep 30");
        Held::hold(identity).unwrap().signal(Signal::STOP).unwrap();
        let ended = end(&only(identity), None, Signal::TERM, Duration::from_secs(10)).await;
        assert!(matches!(ended, Ended::Politely { .. }), "{ended:?}");
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn what_ignores_the_signal_is_killed_after_its_grace() {
        let (mut child, identity) = sleeper("trap '' TERM; exec sleep 30");
        let ended = end(
            &only(identity),
            None,
            Signal::TERM,
            Duration::from_millis(50),
        )
        .await;
        // The shell may not have set its trap yet; either way it is gone.
        assert!(
            !matches!(ended, Ended::Remain { .. } | Ended::Nothing),
            "{ended:?}"
        );
        assert!(!identity.is_alive());
        child.wait().unwrap();
    }
}
