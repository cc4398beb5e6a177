//! A program that was started by somebody else and is known by the port it listens on.
//!
//! It is touched only after its identity was read again: what holds the port must run the configured program.
//! The head of the matter (nginx's master, PostgreSQL's postmaster) is the topmost ancestor with the same
//! program; it is asked to leave, its whole tree is killed after the grace, and the command starts it again,
//! detached, so that it lives on when Pitcrew dies. When nothing listens, it is only started: which other
//! processes belong to it can't be told for certain. Its own lock files are its own matter.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pitcrew_model::OperationId;
use rustix::process::Signal;

use crate::{
    Answer, Given,
    launch::Launch,
    log_file,
    process::{self, Identity, Stat},
    signal::{self, Ended, Members},
    socket,
    supervise::{OPERATION, Verb, describe_exit},
};

/// How long the port may take to be free after the last process has gone.
const FREE_WAIT: Duration = Duration::from_secs(5);
/// How long the command may take until something listens.
const LISTEN_WAIT: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Where a program's bare name may be a link to it.
const PROGRAMS: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];

/// A listener's runner, with what it needs of this host.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) port: u16,
    pub(crate) exe: String,
    pub(crate) command: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) directory: Option<String>,
    pub(crate) grace: Duration,
    pub(crate) log: PathBuf,
}

impl Listener {
    /// Longest time that an operation may need by its own waits.
    pub(crate) fn limit(&self) -> Duration {
        self.grace + FREE_WAIT + LISTEN_WAIT + Duration::from_secs(10)
    }

    pub(crate) async fn carry_out(self, verb: Verb, id: &OperationId) -> Answer {
        let launch = match verb {
            Verb::Stop => None,
            Verb::Start | Verb::Restart => match self.prepare(id) {
                Ok(launch) => Some(launch),
                Err(why) => return Answer::failed(why),
            },
        };
        let heads = match self.heads().await {
            Ok(heads) => heads,
            Err(why) => return Answer::failed(format!("{why}; nothing was touched")),
        };
        if let (Verb::Start, Some(head)) = (verb, heads.first()) {
            let (exe, pid) = (&self.exe, head.pid);
            return Answer::done(format!("{exe} already listens as process {pid}"));
        }
        let ended = self.end(&heads).await;
        if let Ended::Remain { why } = ended {
            return Answer::unknown(why);
        }
        match launch {
            None => Answer::done(ended.describe()),
            Some(launch) => self.start(&launch, &ended).await,
        }
    }

    /// By start time: what listens now and started after the order is what the order started.
    pub(crate) async fn reconcile(self, verb: Verb, id: &OperationId, given: Given) -> Answer {
        let heads = match self.heads().await {
            Ok(heads) => heads,
            Err(why) => return Answer::unknown(why),
        };
        let Some(oldest) = heads.first() else {
            return match verb {
                Verb::Stop => Answer::done(format!("nothing listens on port {}", self.port)),
                Verb::Start | Verb::Restart => {
                    Answer::unknown(format!("nothing listens on port {}", self.port))
                }
            };
        };
        let pid = oldest.pid;
        let [operation] = process::environment(pid, [OPERATION]);
        let is_new = given.is_before(oldest.started_at()) == Some(true);
        match verb {
            Verb::Start => Answer::done(format!("{} listens as process {pid}", self.exe)),
            Verb::Restart if is_new || operation.as_deref() == Some(id.as_str()) => {
                Answer::done(format!("process {pid} started after the order"))
            }
            Verb::Restart | Verb::Stop => Answer::unknown(format!(
                "process {pid} still listens; it may have been told to stop"
            )),
        }
    }

    fn prepare(&self, id: &OperationId) -> Result<Launch, String> {
        let directory = self.directory.as_deref().map(Path::new);
        let marker = [(OPERATION.to_owned(), id.to_string())];
        Launch::prepare(&self.command, self.user.as_deref(), directory, marker)
    }

    /// The topmost processes that hold the port, oldest first; none: nobody listens. The error is a port in
    /// other hands.
    async fn heads(&self) -> Result<Vec<Identity>, String> {
        let (port, exe) = (self.port, self.exe.clone());
        tokio::task::spawn_blocking(move || heads(port, &exe))
            .await
            .expect("reading /proc does not panic")
    }

    async fn end(&self, heads: &[Identity]) -> Ended {
        // Everything below the heads as it is now, and whatever else they start while they leave. What has
        // lost its parent meanwhile is still known from before.
        let before = process::tree(&process::all(), &pids(heads));
        let roots = pids(&before);
        let tree: Members = Arc::new(move || {
            let now = process::all();
            let mut members: Vec<Identity> =
                before.iter().copied().filter(Identity::is_alive).collect();
            let roots: Vec<u32> = roots
                .iter()
                .copied()
                .filter(|pid| members.iter().any(|member| member.pid == *pid))
                .collect();
            for identity in process::tree(&now, &roots) {
                if !members.contains(&identity) {
                    members.push(identity);
                }
            }
            members
        });
        signal::end(&tree, Some(heads), stop_signal(&self.exe), self.grace).await
    }

    async fn start(&self, launch: &Launch, ended: &Ended) -> Answer {
        let before = match ended {
            Ended::Nothing => String::new(),
            ended => format!("{}, ", ended.describe()),
        };
        // Nothing ran before: then nothing has happened as long as nothing is started.
        let not_started = |why: String| match ended {
            Ended::Nothing => Answer::failed(why),
            _ => Answer::unknown(format!("{before}but not started: {why}")),
        };
        if !self.wait_free().await {
            return not_started(format!("port {} is still taken", self.port));
        }
        let from = log_file::size(&self.log);
        let mut child = match self.spawn(launch) {
            Ok(child) => child,
            Err(why) => return not_started(why),
        };
        let pid = child
            .id()
            .expect("it was spawned just now and nobody has waited for it");
        let waited = tokio::time::timeout(LISTEN_WAIT, self.wait_listening(&mut child)).await;
        // Reaps it when it exits, however long that takes.
        tokio::spawn(async move { child.wait().await.ok() });
        let words = log_file::last_line(&self.log, from);
        let words = words.map_or_else(String::new, |words| format!(": {words}"));
        match waited {
            Ok(Ok(head)) => Answer::done(format!("{before}started, process {} listens", head.pid)),
            Ok(Err(exit)) => Answer::done(format!("{before}started, but it {exit}{words}")),
            Err(_) => {
                let nobody = format!("nothing listens on port {} yet", self.port);
                let why = self.heads().await.err().unwrap_or(nobody);
                Answer::done(format!(
                    "{before}started as process {pid}, but {why}{words}"
                ))
            }
        }
    }

    fn spawn(&self, launch: &Launch) -> Result<tokio::process::Child, String> {
        let log = log_file::open(&self.log)
            .and_then(|log| Ok((log.try_clone()?, log)))
            .map_err(|error| format!("{} can't be written: {error}", self.log.display()))?;
        let mut command = launch.command();
        command.stdout(log.0).stderr(log.1);
        command
            .spawn()
            .map_err(|error| format!("`{}` can't be started: {error}", launch.program()))
    }

    async fn wait_free(&self) -> bool {
        let free = async {
            while !socket::listening(self.port).is_ok_and(|inodes| inodes.is_empty()) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(FREE_WAIT, free).await.is_ok()
    }

    /// A command that exits with 0 has put itself in the background; with anything else, it is over.
    async fn wait_listening(&self, child: &mut tokio::process::Child) -> Result<Identity, String> {
        loop {
            if let Ok(heads) = self.heads().await
                && let Some(head) = heads.first()
            {
                return Ok(*head);
            }
            if let Ok(Some(status)) = child.try_wait()
                && !status.success()
            {
                return Err(describe_exit(status));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// TERM, except where it would wait for every client to leave by itself: PostgreSQL's fast shutdown is INT
/// (its manual, "Shutting Down the Server").
fn stop_signal(exe: &str) -> Signal {
    match Path::new(exe).file_name().and_then(|name| name.to_str()) {
        Some("postgres") => Signal::INT,
        _ => Signal::TERM,
    }
}

fn pids(identities: &[Identity]) -> Vec<u32> {
    identities.iter().map(|identity| identity.pid).collect()
}

fn heads(port: u16, exe: &str) -> Result<Vec<Identity>, String> {
    let inodes = socket::listening(port)
        .map_err(|error| format!("who listens on port {port} can't be read: {error}"))?;
    if inodes.is_empty() {
        return Ok(Vec::new());
    }
    let all = process::all();
    let holders = socket::holders(&inodes, all.iter().map(|stat| stat.identity.pid));
    if holders.is_empty() {
        return Err(format!(
            "something listens on port {port} that can't be seen from here"
        ));
    }
    let mut heads: Vec<Identity> = holders
        .iter()
        .filter(|pid| runs(**pid, exe))
        .filter_map(|pid| topmost(*pid, exe, &all))
        .collect();
    heads.sort_unstable();
    heads.dedup();
    let own = pids(&process::tree(&all, &pids(&heads)));
    match holders.iter().find(|pid| !own.contains(pid)) {
        None => Ok(heads),
        Some(pid) => {
            let who =
                process::exe(*pid).map_or_else(|| "?".into(), |exe| exe.display().to_string());
            Err(format!(
                "port {port} is held by {who} (process {pid}), not by {exe}"
            ))
        }
    }
}

/// `exe` is a whole path, or the name of a file; either may be a link to what `/proc` calls the program
/// (Debian's `redis-server` is one).
fn runs(pid: u32, exe: &str) -> bool {
    let leads_to =
        |path: &Path, link: &Path| std::fs::canonicalize(link).is_ok_and(|it| it == path);
    process::exe(pid).is_some_and(|path| {
        if exe.contains('/') {
            path == Path::new(exe) || leads_to(&path, Path::new(exe))
        } else {
            path.file_name().is_some_and(|name| name == exe)
                || leads_to(&path, &path.with_file_name(exe))
                || PROGRAMS
                    .iter()
                    .any(|folder| leads_to(&path, &Path::new(folder).join(exe)))
        }
    })
}

fn topmost(pid: u32, exe: &str, all: &[Stat]) -> Option<Identity> {
    let stat_of = |pid: u32| all.iter().find(|stat| stat.identity.pid == pid);
    let mut head = stat_of(pid)?;
    while let Some(parent) = stat_of(head.parent)
        && parent.identity.pid > 1
        && runs(parent.identity.pid, exe)
    {
        head = parent;
    }
    Some(head.identity)
}
