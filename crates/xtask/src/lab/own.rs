//! A host's owner: makes its disk and its cgroup, starts its init, waits for the end, takes everything away. After a reset
//! or the host's own reboot it starts another init on the same disk.
//!
//! It runs in a mount namespace of its own, so that the disk is gone with it whatever happens, and outside the
//! host's cgroup, so that it outlives the host's power by as long as cleaning takes.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use super::{Host, cable, image, switch::Switch, wait_for};

pub(super) const SMALL_DISK: &str = "/srv";
const SMALL_DISK_BYTES: u64 = 16 * 1024 * 1024;

/// What systemd-nspawn ends with when the host rebooted, for whoever keeps the unit.
const REBOOTED: i32 = 133;

/// Enters every cgroup given before `--`, then becomes what is given after it.
const ENTER: &str = r#"until [ "$1" = -- ]; do echo $$ > "$1"; shift; done; shift; exec "$@""#;

pub(super) fn own(host: &Host, lease: bool, cable: bool) -> anyhow::Result<()> {
    // Until this process is dead.
    let _owned = host.take_ownership()?;
    let disk = make_disk(host)?;
    let small = make_small_disk(host)?;
    if lease {
        end_after(host, || {
            io::copy(&mut io::stdin().lock(), &mut io::sink()).ok();
        });
    }
    if cable {
        let switch = File::open(Switch::new(&host.lab).ownership())?;
        // Given to this process when the switch's owner is dead.
        end_after(host, move || {
            switch.lock_shared().ok();
        });
    }
    let ran = loop {
        let mut container = start(host, &disk, &small, cable)?;
        let ended = run_to_its_end(host, &mut container, cable);
        host.cgroup().destroy()?;
        match ended {
            Ok(status) if host.is_reset() || status.code() == Some(REBOOTED) => {}
            ended => break ended,
        }
    };
    unmount(&disk_folder(host))?;
    host.clean()?;
    ran.map(drop)
}

/// The host's end is noticed by whoever waits for its container.
fn end_after(host: &Host, waited: impl FnOnce() + Send + 'static) {
    let host = Host::new(&host.lab, host.number);
    thread::spawn(move || {
        waited();
        // Whatever was asked before, it does not come back.
        host.is_reset();
        host.cgroup().kill().ok();
    });
}

fn run_to_its_end(host: &Host, container: &mut Child, cable: bool) -> anyhow::Result<ExitStatus> {
    let leader = wait_for("the host's init", Duration::from_secs(20), || {
        if let Some(status) = container.try_wait()? {
            bail!("systemd-nspawn ended at once: {status}");
        }
        Ok(child_that_is_systemd(container.id()))
    })?;
    if cable {
        let switch = Switch::new(&host.lab).find()?;
        let switch = switch.context("the lab's switch was switched off")?;
        let (link, address) = (cable::link(host.number), cable::address(host.number));
        cable::plug_in(switch, &link, leader, &address)?;
    }
    host.write_leader(leader)?;
    Ok(container.wait()?)
}

fn disk_folder(host: &Host) -> PathBuf {
    host.folder().join("disk")
}

/// The image below, and above it what this host writes, in memory.
fn make_disk(host: &Host) -> anyhow::Result<PathBuf> {
    let image = image::build()?;
    let disk = disk_folder(host);
    fs::create_dir_all(&disk)?;
    mount("tmpfs", &disk, "mode=0755")?;
    let [root, written, work] = ["root", "written", "work"].map(|name| disk.join(name));
    for folder in [&root, &written, &work] {
        fs::create_dir(folder)?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        image.display(),
        written.display(),
        work.display()
    );
    mount("overlay", &root, &options)?;
    // What systemd-nspawn leaves there is gone with this namespace.
    fs::create_dir_all("/run/systemd/nspawn")?;
    mount("tmpfs", Path::new("/run/systemd/nspawn"), "mode=0755")?;
    Ok(root)
}

/// A file system of its own that is soon full, seen by the host at [`SMALL_DISK`].
fn make_small_disk(host: &Host) -> anyhow::Result<PathBuf> {
    let file = disk_folder(host).join("small.ext4");
    File::create(&file)?.set_len(SMALL_DISK_BYTES)?;
    let status = Command::new("mkfs.ext4")
        .args(["-q", "-m", "0", "-O", "^has_journal"])
        .arg(&file)
        .status()
        .context("failed to run mkfs.ext4")?;
    ensure!(status.success(), "mkfs.ext4 ended with {status}");
    let place = disk_folder(host).join("small");
    fs::create_dir(&place)?;
    // The loop device is gone with its last mount.
    let status = Command::new("mount")
        .args(["-o", "loop"])
        .args([&file, &place])
        .status()
        .context("failed to run mount")?;
    ensure!(status.success(), "failed to mount {}", file.display());
    Ok(place)
}

fn mount(kind: &str, place: &Path, options: &str) -> anyhow::Result<()> {
    let status = Command::new("mount")
        .args(["-t", kind, "-o", options, kind])
        .arg(place)
        .status()
        .context("failed to run mount")?;
    ensure!(
        status.success(),
        "failed to mount a {kind} at {}",
        place.display()
    );
    Ok(())
}

fn unmount(place: &Path) -> anyhow::Result<()> {
    let status = Command::new("umount")
        .args(["--lazy", "--recursive"])
        .arg(place)
        .status()?;
    ensure!(status.success(), "failed to unmount {}", place.display());
    Ok(())
}

fn start(host: &Host, root: &Path, small: &Path, cable: bool) -> anyhow::Result<Child> {
    let mut small_disk = small.as_os_str().to_owned();
    small_disk.push(":");
    small_disk.push(SMALL_DISK);
    Command::new("sh")
        .args(["-euc", ENTER, "sh"])
        .args(host.cgroup().make()?)
        .args([
            "--",
            "systemd-nspawn",
            "--quiet",
            "--settings=no",
            "--register=no",
            "--keep-unit",
        ])
        .arg(format!("--machine={}", host.name()))
        .arg(format!("--hostname=host{}", host.number))
        .arg("--directory")
        .arg(root)
        .args([
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            "--console=read-only",
        ])
        .arg("--bind")
        .arg(small_disk)
        .args(cable.then_some("--private-network"))
        .args(["--kill-signal=SIGRTMIN+3", "--boot"])
        .stdin(Stdio::null())
        .spawn()
        .context("failed to start systemd-nspawn")
}

fn child_that_is_systemd(parent: u32) -> Option<u32> {
    let pids = fs::read_dir("/proc").ok()?;
    let mut pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        parent_of(*pid) == Some(parent)
            && fs::read_link(format!("/proc/{pid}/exe"))
                .is_ok_and(|exe| exe.ends_with("systemd/systemd"))
    })
}

fn parent_of(pid: u32) -> Option<u32> {
    let mut stat = String::new();
    File::open(format!("/proc/{pid}/stat"))
        .ok()?
        .read_to_string(&mut stat)
        .ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
