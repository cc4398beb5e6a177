//! A host's cgroup in every hierarchy of this machine: what holds all its processes, so that all end at once.
//!
//! Killing goes through the second version's `cgroup.kill`, which no process escapes; the first version's
//! hierarchies, where a machine still has them, only have to be entered and left tidy.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};

/// Those of the first version that a host's init looks at. Not `cpuset`: an empty one takes no process.
const FIRST_VERSION: [&str; 7] = [
    "systemd", "memory", "cpu", "cpuacct", "pids", "blkio", "freezer",
];

pub(super) struct Cgroup {
    name: String,
}

impl Cgroup {
    pub(super) fn new(name: String) -> Self {
        Self { name }
    }

    /// In the hierarchy that can kill.
    fn killable(&self) -> anyhow::Result<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let found = [root.to_owned(), root.join("unified")]
            .into_iter()
            .find(|hierarchy| hierarchy.join("cgroup.subtree_control").exists());
        let hierarchy =
            found.context("this machine has no cgroup hierarchy of the second version")?;
        Ok(hierarchy.join("pitcrew-lab").join(&self.name))
    }

    fn all(&self) -> anyhow::Result<Vec<PathBuf>> {
        let first = FIRST_VERSION.map(|name| Path::new("/sys/fs/cgroup").join(name));
        let first = first
            .into_iter()
            .filter(|hierarchy| hierarchy.join("cgroup.procs").exists());
        let mut all: Vec<PathBuf> = first
            .map(|hierarchy| hierarchy.join("pitcrew-lab").join(&self.name))
            .collect();
        all.push(self.killable()?);
        Ok(all)
    }

    /// The files that a process writes its id to, to belong to it.
    pub(super) fn make(&self) -> anyhow::Result<Vec<PathBuf>> {
        let all = self.all()?;
        for folder in &all {
            fs::create_dir_all(folder)
                .with_context(|| format!("failed to make {}", folder.display()))?;
        }
        Ok(all
            .into_iter()
            .map(|folder| folder.join("cgroup.procs"))
            .collect())
    }

    pub(super) fn contains(&self, pid: u32) -> bool {
        let of = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        of.contains(&format!("/pitcrew-lab/{}", self.name))
    }

    pub(super) fn kill(&self) -> anyhow::Result<()> {
        match fs::write(self.killable()?.join("cgroup.kill"), "1") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("failed to kill the cgroup {}", self.name))
            }
            _ => Ok(()),
        }
    }

    /// Nothing in it runs until it is thawed; what the kernel does for it, such as taking connections in, goes on.
    pub(super) fn freeze(&self, frozen: bool) -> anyhow::Result<()> {
        let file = self.killable()?.join("cgroup.freeze");
        let state = if frozen { "1" } else { "0" };
        fs::write(&file, state).with_context(|| format!("failed to write {}", file.display()))
    }

    /// Kills all in it and takes it away; nothing if it isn't there.
    pub(super) fn destroy(&self) -> anyhow::Result<()> {
        let all = self.all()?;
        super::wait_for("a host's processes to end", Duration::from_secs(20), || {
            self.kill()?;
            let left: Vec<&PathBuf> = all.iter().filter(|folder| !remove(folder)).collect();
            Ok(left.is_empty().then_some(()))
        })?;
        ensure!(
            all.iter().all(|folder| !folder.exists()),
            "the cgroup {} is still there",
            self.name
        );
        Ok(())
    }
}

/// Depth first; a cgroup's own files can't be removed and need not be. `false` while processes are in it.
fn remove(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return true;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !remove(&entry.path()) {
            return false;
        }
    }
    match fs::remove_dir(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
