//! The gate: a program begins only after its number is on the disk.
//!
//! Between fork and the writing of the record there is always a moment in which Pitcrew can be killed. A
//! program started directly would then run without anybody knowing it. So what is forked is a shell with
//! a fixed script that waits for a line on a pipe and then becomes the program under the same
//! number. If Pitcrew dies before the record is on the disk, the pipe ends and the gate leaves; if it dies
//! after, the record says who runs. The user's words are arguments (`"$@"`), never script.
//!
//! Rejected: only a marker in the environment, since nginx, Redis and PostgreSQL write their title over it;
//! a hidden command of Pitcrew's own program, since a library can't know that program.

use std::{fs::File, io, process::Stdio};

use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin},
};

use crate::{
    launch::Launch,
    process::{self, Stat},
};

use super::found::GATE;

const SCRIPT: &str = r#"IFS= read -r go && [ "$go" = go ] || exit 125
unset PITCREW_GATE go
PITCREW_PID=$$; export PITCREW_PID
exec "$@" </dev/null"#;

/// A forked process that is not yet the program. Dropped, it leaves without a trace.
pub(crate) struct Gated {
    child: Child,
    line: ChildStdin,
    pub(crate) stat: Stat,
}

impl Gated {
    /// `launch` must already carry the markers.
    pub(crate) fn fork(launch: &Launch, log: &File) -> io::Result<Self> {
        let mut command = launch.behind(SCRIPT);
        command
            .env(GATE, "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?);
        let mut child = command.spawn()?;
        let line = child.stdin.take().expect("its input is a pipe");
        let stat = child
            .id()
            .and_then(process::stat)
            .ok_or_else(|| io::Error::other("it was gone at once"))?;
        Ok(Self { child, line, stat })
    }

    /// Opens the gate: from here on the program runs.
    pub(crate) async fn open(mut self) -> io::Result<Child> {
        self.line.write_all(b"go\n").await?;
        Ok(self.child)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Identity;
    use std::time::{Duration, Instant};

    fn gated(place: &std::path::Path) -> Gated {
        let script = format!("echo $PITCREW_GATE$PITCREW_PID > {}/began", place.display());
        let command = ["sh", "-c", &script].map(str::to_owned);
        let launch = Launch::prepare(&command, None, None, []).unwrap();
        let log = tempfile::tempfile().unwrap();
        Gated::fork(&launch, &log).unwrap()
    }

    #[tokio::test]
    async fn a_gate_whose_pitcrew_dies_leaves_without_becoming_the_program() {
        let place = tempfile::tempdir().unwrap();
        let gated = gated(place.path());
        let identity: Identity = gated.stat.identity;
        drop(gated);
        let deadline = Instant::now() + Duration::from_secs(30);
        while identity.is_alive() {
            assert!(Instant::now() < deadline, "the gate stays");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(!place.path().join("began").exists());
    }

    #[tokio::test]
    async fn an_open_gate_becomes_the_program_under_the_same_number() {
        let place = tempfile::tempdir().unwrap();
        let gated = gated(place.path());
        let pid = gated.stat.identity.pid;
        let mut child = gated.open().await.unwrap();
        assert!(child.wait().await.unwrap().success());
        let began = std::fs::read_to_string(place.path().join("began")).unwrap();
        assert_eq!(began, format!("{pid}\n"));
    }
}
