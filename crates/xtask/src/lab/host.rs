//! A host as seen from outside: switched on and off, reached by its bus, told to run something.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use super::{
    cable::{self, HOSTS_MAX},
    cgroup::Cgroup,
    directory, ensure_possible, image,
    switch::Switch,
    wait_for,
};

const START_LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Host {
    pub(super) lab: String,
    pub(super) number: u8,
}

impl Host {
    pub(super) fn new(lab: &str, number: u8) -> Self {
        Self {
            lab: lab.to_owned(),
            number,
        }
    }

    /// Those of a lab that are on, or that an owner which was killed left behind.
    pub(super) fn numbers(lab: &str) -> anyhow::Result<Vec<u8>> {
        let folder = directory().join(lab);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("failed to read {}", folder.display()))?;
        Ok(entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect())
    }

    pub(super) fn name(&self) -> String {
        format!("pitcrew-lab-{}-{}", self.lab, self.number)
    }

    pub(super) fn folder(&self) -> PathBuf {
        directory().join(&self.lab).join(self.number.to_string())
    }

    pub(super) fn cgroup(&self) -> Cgroup {
        Cgroup::new(format!("{}-{}", self.lab, self.number))
    }

    pub(super) fn write_leader(&self, leader: u32) -> anyhow::Result<()> {
        let new = self.folder().join("leader.new");
        fs::write(&new, leader.to_string())?;
        fs::rename(new, self.folder().join("leader"))?;
        Ok(())
    }

    /// The process that is its init, as this machine counts, while it is on.
    fn find_leader(&self) -> Option<u32> {
        let leader = fs::read_to_string(self.folder().join("leader")).ok()?;
        // The number may be another process's by now.
        leader
            .parse()
            .ok()
            .filter(|pid| *pid > 1 && self.cgroup().contains(*pid))
    }

    fn leader(&self) -> anyhow::Result<u32> {
        self.find_leader()
            .with_context(|| format!("host {} of the lab `{}` is off", self.number, self.lab))
    }

    pub(super) fn bus(&self) -> anyhow::Result<String> {
        Ok(format!(
            "unix:path={}/run/dbus/system_bus_socket",
            self.root()?
        ))
    }

    /// Its file system, seen from outside.
    pub(super) fn root(&self) -> anyhow::Result<String> {
        Ok(format!("/proc/{}/root", self.leader()?))
    }

    /// Nothing when it is on already.
    pub(super) fn up(&self) -> anyhow::Result<()> {
        if self.find_leader().is_none() {
            self.start(false)?;
        }
        Ok(())
    }

    pub(super) fn start(&self, lease: bool) -> anyhow::Result<Child> {
        ensure_possible()?;
        image::build()?;
        let has_cable = Switch::new(&self.lab).find()?.is_some();
        ensure!(
            !has_cable || (1..=HOSTS_MAX).contains(&self.number),
            "a lab with a switch has hosts 1 to {HOSTS_MAX}"
        );
        self.off()?;
        fs::create_dir_all(self.folder())?;
        let console = self.folder().join("console.log");
        let log = File::create(&console)?;
        let mut owner = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(std::env::current_exe()?)
            .args(["lab", "--name", &self.lab, "own", &self.number.to_string()])
            .args(lease.then_some("--lease"))
            .args(has_cable.then_some("--cable"))
            .stdin(if lease { Stdio::piped() } else { Stdio::null() })
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for whoever asked for the host.
            .process_group(0)
            .spawn()
            .context("failed to run unshare")?;
        let has_ended = || match owner.try_wait()? {
            Some(status) => bail!("its owner ended: {status}"),
            None => Ok(()),
        };
        if let Err(error) = self.wait_until_up(has_ended) {
            let said = fs::read(&console).unwrap_or_default();
            let said = String::from_utf8_lossy(&said)
                .lines()
                .rev()
                .take(5)
                .collect::<Vec<_>>()
                .join(" ← ");
            drop(owner.stdin.take());
            self.off()?;
            owner.wait()?;
            return Err(error.context(format!("host {} did not start: {said}", self.number)));
        }
        Ok(owner)
    }

    fn wait_until_up(
        &self,
        mut has_ended: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        wait_for("systemd to be up", START_LIMIT, || {
            has_ended()?;
            let Some(leader) = self.find_leader() else {
                return Ok(None);
            };
            let said = enter(leader)
                .args(["systemctl", "is-system-running"])
                .output()?;
            Ok(matches!(said.stdout.trim_ascii(), b"running" | b"degraded").then_some(()))
        })
    }

    /// The power is cut and comes back: all that ran is gone, the disk and the owner stay.
    pub(super) fn reset(&self) -> anyhow::Result<()> {
        let old = self.leader()?;
        fs::write(self.reset_request(), "")?;
        self.cut_power()?;
        self.wait_until_up(|| Ok(()))
            .and_then(|()| {
                ensure!(self.leader()? != old, "its init is still the same");
                Ok(())
            })
            .with_context(|| format!("host {} did not come back", self.number))
    }

    fn reset_request(&self) -> PathBuf {
        self.folder().join("reset")
    }

    /// Whether whoever cut the power wants the host back.
    pub(super) fn is_reset(&self) -> bool {
        fs::remove_file(self.reset_request()).is_ok()
    }

    fn cut_power(&self) -> anyhow::Result<()> {
        if let Some(switch) = Switch::new(&self.lab).find()? {
            cable::unplug(switch, &cable::link(self.number));
        }
        fs::remove_file(self.folder().join("leader")).ok();
        self.cgroup().kill()
    }

    /// Held by the host's owner for as long as it lives, so that nobody else mistakes the next host for this one.
    pub(super) fn take_ownership(&self) -> anyhow::Result<File> {
        let lock = File::create(self.ownership())?;
        lock.try_lock().context("the host has an owner already")?;
        Ok(lock)
    }

    fn ownership(&self) -> PathBuf {
        self.folder().join("owner")
    }

    /// As when the plug is pulled. Nothing when it is off already.
    pub(super) fn off(&self) -> anyhow::Result<()> {
        self.cut_power()?;
        if let Ok(owner) = File::open(self.ownership()) {
            wait_for("the host's owner to end", Duration::from_secs(20), || {
                Ok(owner.try_lock().is_ok().then_some(()))
            })?;
        }
        self.clean()
    }

    /// Takes away what is left of it, once nobody owns it.
    pub(super) fn clean(&self) -> anyhow::Result<()> {
        self.cgroup().destroy()?;
        match fs::remove_dir_all(self.folder()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("failed to remove {}", self.folder().display()));
            }
            _ => {}
        }
        // Stays while the lab has other hosts.
        fs::remove_dir(directory().join(&self.lab)).ok();
        Ok(())
    }

    /// Nothing when it is off.
    pub(super) fn freeze(&self, frozen: bool) -> anyhow::Result<()> {
        if self.find_leader().is_some() {
            self.cgroup().freeze(frozen)?;
        }
        Ok(())
    }

    /// Through its systemd: a process that enters the namespaces alone would belong to no cgroup of the host.
    pub(super) fn run(&self, command: &[String]) -> anyhow::Result<()> {
        let status = enter(self.leader()?)
            .args([
                "systemd-run",
                "--quiet",
                "--pipe",
                "--wait",
                "--collect",
                "--",
            ])
            // systemd would take what follows for names of variables.
            .args(command.iter().map(|word| word.replace('$', "$$")))
            .status()?;
        ensure!(
            status.success(),
            "`{}` ended with {status}",
            command.join(" ")
        );
        Ok(())
    }
}

/// A command inside the namespaces of the host whose init is `leader`.
fn enter(leader: u32) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--all", "--target", &leader.to_string()]);
    command
}
