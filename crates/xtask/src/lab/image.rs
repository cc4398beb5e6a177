//! The file system that all hosts are built over: Debian's smallest, an init, a bus, and what tests run there.
//!
//! It is built under another name and renamed when whole, so that nobody ever starts over half an image.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context, ensure};

const PACKAGES: &str = "systemd,systemd-sysv,dbus,nginx-light,faketime";
const SUITE: &str = "bookworm";
/// Grows with every change of what is built here, so that nobody goes on with an old image.
const REVISION: u8 = 2;

/// The image's folder; builds it if it isn't there (about 30 s).
pub(super) fn build() -> anyhow::Result<PathBuf> {
    super::ensure_possible()?;
    let cache =
        PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache/pitcrew-lab");
    let image = cache.join(format!("{SUITE}-{REVISION}"));
    if image.exists() {
        return Ok(image);
    }
    let unfinished = cache.join(format!("unfinished-{}", std::process::id()));
    fs::create_dir_all(&cache).with_context(|| format!("failed to make {}", cache.display()))?;
    eprintln!("building the lab's image in {}", image.display());
    let made = make(&unfinished);
    if made.is_ok() && fs::rename(&unfinished, &image).is_ok() {
        return Ok(image);
    }
    // Another one may have been faster.
    fs::remove_dir_all(&unfinished).ok();
    made?;
    ensure!(
        image.exists(),
        "failed to rename the image to {}",
        image.display()
    );
    Ok(image)
}

fn make(folder: &PathBuf) -> anyhow::Result<()> {
    let status = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase", "--format=directory"])
        .args([
            "--dpkgopt=force-unsafe-io",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
        ])
        .args([
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
        ])
        .arg(format!("--include={PACKAGES}"))
        .arg(SUITE)
        .arg(folder)
        .status()
        .context("failed to run mmdebstrap")?;
    ensure!(
        status.success(),
        "mmdebstrap could not build the image: {status}"
    );
    // A host starts nothing of its own accord but its bus; its name and identity are its own.
    let system = folder.join("etc/systemd/system");
    fs::create_dir_all(&system)?;
    fs::remove_dir_all(system.join("multi-user.target.wants")).ok();
    for unit in ["console-getty.service", "systemd-networkd.service"] {
        fs::remove_file(system.join(unit)).ok();
        std::os::unix::fs::symlink("/dev/null", system.join(unit))?;
    }
    fs::write(folder.join("etc/machine-id"), "")?;
    fs::remove_file(folder.join("etc/hostname")).ok();
    Ok(())
}
