//! A lab's switch: the network that joins its hosts with each other and with the server under test.
//!
//! The switch and the server each have a network namespace that lives as long as the switch's owner, a process: when
//! it ends, however that comes, no name, link or rule is left behind, and hosts with a cable end with it. It holds the
//! cables' faults, so they outlast a host's power, as a cut cable does.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{Host, cable, directory, ensure_possible, wait_for};

const LIMIT: Duration = Duration::from_secs(20);
/// Its link in the switch's namespace.
pub(super) const SERVER: &str = "server";
pub(super) const SERVER_ADDRESS: &str = "10.99.0.254";

pub(super) struct Switch {
    lab: String,
}

impl Switch {
    pub(super) fn new(lab: &str) -> Self {
        Self {
            lab: lab.to_owned(),
        }
    }

    fn folder(&self) -> PathBuf {
        directory().join(&self.lab).join("switch")
    }

    /// A file that is locked for as long as the switch is on.
    pub(super) fn ownership(&self) -> PathBuf {
        self.folder().join("owner")
    }

    fn is_on(&self) -> bool {
        File::open(self.ownership()).is_ok_and(|owner| owner.try_lock().is_err())
    }

    /// The process whose network namespace is the switch, while it is on.
    pub(super) fn find(&self) -> anyhow::Result<Option<u32>> {
        if !self.is_on() {
            return Ok(None);
        }
        self.read("switch.pid").map(Some)
    }

    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        let found = self.find()?;
        found.with_context(|| format!("the switch of the lab `{}` is off", self.lab))
    }

    /// The namespace of the server under test.
    pub(super) fn server_namespace(&self) -> anyhow::Result<PathBuf> {
        self.pid()?;
        let pid = self.read("server.pid")?;
        Ok(PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    fn read(&self, name: &str) -> anyhow::Result<u32> {
        let path = self.folder().join(name);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        text.parse()
            .with_context(|| format!("{} holds no process id: `{text}`", path.display()))
    }

    /// Its owner, a child of this process; with a lease it ends when the child's standard input does.
    pub(super) fn start(&self, lease: bool) -> anyhow::Result<Child> {
        ensure_possible()?;
        ensure!(!self.is_on(), "the switch is on already");
        fs::create_dir_all(self.folder())?;
        let log = File::create(self.folder().join("log"))?;
        let mut owner = Command::new("unshare")
            .arg("--net")
            .arg(std::env::current_exe()?)
            .args(["lab", "--name", &self.lab, "own-switch"])
            .args(lease.then_some("--lease"))
            .stdin(if lease { Stdio::piped() } else { Stdio::null() })
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("failed to run unshare")?;
        wait_for("the switch to be on", LIMIT, || {
            if let Some(status) = owner.try_wait()? {
                let said = fs::read_to_string(self.folder().join("log")).unwrap_or_default();
                bail!("the switch did not start ({status}): {said}");
            }
            Ok((self.is_on() && self.folder().join("switch.pid").exists()).then_some(()))
        })?;
        Ok(owner)
    }

    /// What the owner does, inside the network namespace that is the switch.
    pub(super) fn own(&self, lease: bool) -> anyhow::Result<()> {
        let owned = File::create(self.ownership())?;
        owned
            .try_lock()
            .context("the switch has an owner already")?;
        let mut server = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("failed to run unshare")?;
        // It ends when this is closed, as late as with this process.
        let _input = server.stdin.take();
        let namespace = PathBuf::from(format!("/proc/{}/ns/net", server.id()));
        let own = fs::read_link("/proc/self/ns/net")?;
        wait_for("the server's network namespace", LIMIT, || {
            Ok(fs::read_link(&namespace)
                .is_ok_and(|name| name != own)
                .then_some(()))
        })?;
        let switch = std::process::id();
        cable::make_switch(switch)?;
        cable::plug_in(switch, SERVER, server.id(), SERVER_ADDRESS)?;
        self.write("server.pid", server.id())?;
        self.write("switch.pid", switch)?;
        if lease {
            io::copy(&mut io::stdin().lock(), &mut io::sink())?;
            self.end_hosts()?;
            self.clean()?;
        } else {
            server.wait()?;
        }
        Ok(())
    }

    fn write(&self, name: &str, pid: u32) -> anyhow::Result<()> {
        let new = self.folder().join("new");
        File::create(&new)?.write_all(pid.to_string().as_bytes())?;
        fs::rename(new, self.folder().join(name))?;
        Ok(())
    }

    fn end_hosts(&self) -> anyhow::Result<()> {
        self.end_servers()?;
        for number in Host::numbers(&self.lab)? {
            Host::new(&self.lab, number).off()?;
        }
        Ok(())
    }

    /// Ends what a test that was killed left in the server's namespace. The namespace is the lab's alone.
    pub(super) fn end_servers(&self) -> anyhow::Result<()> {
        let keeper = self.read("server.pid")?;
        let namespace = fs::read_link(format!("/proc/{keeper}/ns/net"))?;
        wait_for("processes of the server's namespace to end", LIMIT, || {
            let left = processes_in(&namespace, keeper);
            for pid in left
                .iter()
                .filter_map(|pid| Pid::from_raw(pid.cast_signed()))
            {
                // It may have ended by itself.
                kill_process(pid, Signal::KILL).ok();
            }
            Ok(left.is_empty().then_some(()))
        })
    }

    /// Nothing when it is off already. Hosts with a cable end with it.
    pub(super) fn off(&self) -> anyhow::Result<()> {
        if let Some(owner) = self.find()? {
            self.end_hosts()?;
            let owner = Pid::from_raw(owner.cast_signed()).context("no process id")?;
            kill_process(owner, Signal::TERM)?;
            wait_for("the switch's owner to end", LIMIT, || {
                Ok((!self.is_on()).then_some(()))
            })?;
        }
        self.clean()
    }

    /// Takes away what is left of it, once nobody owns it.
    fn clean(&self) -> anyhow::Result<()> {
        match fs::remove_dir_all(self.folder()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("failed to remove {}", self.folder().display()));
            }
            _ => {}
        }
        fs::remove_dir(directory().join(&self.lab)).ok();
        Ok(())
    }
}

fn processes_in(namespace: &Path, keeper: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        *pid > 1
            && *pid != keeper
            && fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|name| name == namespace)
    })
    .collect()
}
