//! One run of a plugin: a process group of its own, a clean environment, bounded output.
//!
//! The whole group is killed when the plugin ends, when it floods and when the question is dropped at its
//! deadline. It is killed before the plugin itself is reaped, for as long as a dead leader isn't reaped
//! its number can't become another's group. A child that makes a session of its own escapes this; it can
//! hold the output open, but not the answer up.

use std::{
    ffi::OsStr,
    fmt, io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::Path,
    process::Stdio,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, unix::AsyncFd},
    process::{Child, Command},
    time::timeout,
};

/// Kept of each of standard output and error; the rest is read and dropped, so that the plugin can end.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// Written by a plugin that will not end.
const FLOOD_BYTES: usize = 16 << 20;
/// For output that is still in the pipe when the plugin has ended.
const DRAIN: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Output {
    pub(super) ending: Ending,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Exit(i32),
    Signal(i32),
    Flood,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exited with {code}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Self::Flood => f.write_str("wrote more than 16 MiB and was killed"),
        }
    }
}

pub(super) async fn run(program: &Path, arguments: &[String], path: &OsStr) -> io::Result<Output> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", path)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut group = Group::new(command.spawn()?)?;
    let mut stdout = Kept::new(group.child.stdout.take());
    let mut stderr = Kept::new(group.child.stderr.take());
    let is_flood = tokio::select! {
        biased;
        () = stdout.flood() => true,
        () = stderr.flood() => true,
        ended = group.ended() => { ended?; false }
    };
    group.kill();
    if !is_flood {
        // What was still in the pipes; an escaped child that holds them open is not waited for.
        timeout(DRAIN, async { tokio::join!(stdout.rest(), stderr.rest()) })
            .await
            .ok();
    }
    let status = group.child.wait().await?;
    let ending = match (is_flood, status.code(), status.signal()) {
        (true, ..) => Ending::Flood,
        (false, Some(code), _) => Ending::Exit(code),
        (false, None, signal) => Ending::Signal(signal.unwrap_or_default()),
    };
    Ok(Output {
        ending,
        stdout: stdout.bytes,
        stderr: stderr.bytes,
    })
}

/// A child that leads its process group; dropping it kills the group.
struct Group {
    child: Child,
    pid: Pid,
    /// Becomes readable when the child has ended, without reaping it.
    watch: AsyncFd<OwnedFd>,
}

impl Group {
    fn new(child: Child) -> io::Result<Self> {
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .expect("a child that was not waited for has its id");
        #[expect(
            deprecated,
            reason = "unsound only for types that may close the descriptor early; an OwnedFd keeps it"
        )]
        let watch = pidfd_open(pid, PidfdFlags::NONBLOCK)
            .map_err(io::Error::from)
            .and_then(AsyncFd::new);
        match watch {
            Ok(watch) => Ok(Self { child, pid, watch }),
            Err(error) => {
                kill_group(pid);
                Err(error)
            }
        }
    }

    async fn ended(&self) -> io::Result<()> {
        self.watch.readable().await.map(|_guard| ())
    }

    fn kill(&self) {
        // Once it is reaped its number may be anybody's.
        if self.child.id().is_some() {
            kill_group(self.pid);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn kill_group(leader: Pid) {
    match kill_process_group(leader, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => tracing::warn!(%error, group = %leader, "a plugin's group can't be killed"),
    }
}

/// The beginning of a stream.
struct Kept<R> {
    stream: Option<R>,
    bytes: Vec<u8>,
    dropped: usize,
    /// On the heap, because futures are moved and two streams are read at once.
    chunk: Box<[u8]>,
}

impl<R: AsyncRead + Unpin> Kept<R> {
    fn new(stream: Option<R>) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
            dropped: 0,
            chunk: vec![0; 8 << 10].into(),
        }
    }

    /// Reads until too much was written; never returns when the stream just ends.
    async fn flood(&mut self) {
        self.rest().await;
        if self.stream.is_some() {
            return;
        }
        std::future::pending().await
    }

    /// Reads until the end, or until too much was written.
    async fn rest(&mut self) {
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut self.chunk).await {
                Ok(0) | Err(_) => self.stream = None,
                Ok(read) => self.keep(read),
            }
            if self.dropped > FLOOD_BYTES {
                return;
            }
        }
    }

    fn keep(&mut self, read: usize) {
        let kept = read.min(KEPT_BYTES_MAX - self.bytes.len());
        self.bytes.extend_from_slice(&self.chunk[..kept]);
        self.dropped += read - kept;
    }
}
