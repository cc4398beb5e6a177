//! What CI runs, in order of what fails fastest.

use std::{env, path::Path, process::Command};

use anyhow::{Context, ensure};

use crate::lab::{FLEETS, ForTests};

/// Debian packages that tests talk to, with a file each that shows it is installed.
const PACKAGES: &[(&str, &str)] = &[
    ("nginx", "/usr/sbin/nginx"),
    ("redis-server", "/usr/bin/redis-server"),
    ("postgresql", "/usr/lib/postgresql/15/bin/postgres"),
    ("mariadb-server", "/usr/sbin/mariadbd"),
    ("memcached", "/usr/bin/memcached"),
    ("rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server"),
    (
        "monitoring-plugins-basic",
        "/usr/lib/nagios/plugins/check_tcp",
    ),
    ("docker.io", "/usr/sbin/dockerd"),
    ("iptables", "/usr/sbin/iptables"),
    ("busybox-static", "/bin/busybox"),
    ("openipmi", "/usr/bin/ipmi_sim"),
    ("ipmitool", "/usr/bin/ipmitool"),
    ("qemu-system-x86", "/usr/bin/qemu-system-x86_64"),
    ("libvirt-daemon-system", "/usr/sbin/libvirtd"),
    (
        "libvirt-daemon-driver-qemu",
        "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so",
    ),
    ("libvirt-clients", "/usr/bin/virsh"),
    (
        "python3-libvirt",
        "/usr/lib/python3/dist-packages/libvirt.py",
    ),
    ("python3-pip", "/usr/bin/pip3"),
    (
        "linux-image-cloud-amd64",
        "/usr/share/doc/linux-image-cloud-amd64",
    ),
    ("cpio", "/usr/bin/cpio"),
    ("iproute2", "/sbin/ip"),
    ("dbus-daemon", "/usr/bin/dbus-daemon"),
    ("dnsmasq", "/usr/sbin/dnsmasq"),
    ("systemd-container", "/usr/bin/systemd-nspawn"),
    ("mmdebstrap", "/usr/bin/mmdebstrap"),
    ("nftables", "/usr/sbin/nft"),
    ("prometheus", "/usr/bin/prometheus"),
    (
        "prometheus-node-exporter",
        "/usr/bin/prometheus-node-exporter",
    ),
    (
        "prometheus-blackbox-exporter",
        "/usr/bin/prometheus-blackbox-exporter",
    ),
    ("redis-tools", "/usr/bin/redis-cli"),
    ("e2fsprogs", "/sbin/mkfs.ext4"),
    ("procps", "/usr/bin/ps"),
    ("python3", "/usr/bin/python3"),
    ("mold", "/usr/bin/mold"),
];

pub(crate) fn run() -> anyhow::Result<()> {
    install_packages()?;
    cargo("format", &["fmt", "--all", "--check"], &[])?;
    super::rules::check()?;
    cargo(
        "lints",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    )?;
    tests()?;
    super::guards::check()
}

/// With labs of their own, which end with this process, however that comes.
fn tests() -> anyhow::Result<()> {
    let labs = labs()?;
    let environment = labs
        .as_ref()
        .map_or(Ok(Vec::new()), ForTests::environment)?;
    let has_nextest = Command::new(env!("CARGO"))
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    let all = ["--workspace", "--locked", "--no-fail-fast"];
    if !has_nextest {
        eprintln!("cargo-nextest is not installed; using cargo test (slower)");
        return cargo("tests", &[&["test"][..], &all].concat(), &environment);
    }
    let run = ["nextest", "run"];
    let rest = ["-E", "not binary(incidents)"];
    cargo("tests", &[&run[..], &all, &rest].concat(), &environment)?;
    // By themselves, because they wait rather than work: as many at once as there are fleets, whatever the processors.
    let fleets = FLEETS.to_string();
    let incidents = [
        "-p",
        "pitcrew",
        "--test",
        "incidents",
        "--test-threads",
        &fleets,
    ];
    let incidents = [&run[..], &incidents, &all[1..]].concat();
    cargo("incidents", &incidents, &environment)
}

fn labs() -> anyhow::Result<Option<ForTests>> {
    println!("== lab: hosts with systemd for the tests");
    match ForTests::start() {
        Ok(labs) => Ok(Some(labs)),
        Err(error) if env::var("CI").as_deref() == Ok("true") => {
            Err(error.context("CI needs hosts with systemd for the tests"))
        }
        Err(error) => {
            eprintln!("tests that need systemd are skipped: {error:#}");
            Ok(None)
        }
    }
}

fn cargo(what: &str, arguments: &[&str], environment: &[(&str, String)]) -> anyhow::Result<()> {
    println!("== {what}: cargo {}", arguments.join(" "));
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .status()
        .context("failed to run cargo")?;
    ensure!(
        status.success(),
        "{what} failed; run it alone with: {}cargo {}",
        environment
            .iter()
            .map(|(name, _)| format!("{name}=… "))
            .collect::<String>(),
        arguments.join(" ")
    );
    Ok(())
}

/// Installs what is missing, when that is possible here; a test that lacks something says so itself.
fn install_packages() -> anyhow::Result<()> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, file)| !Path::new(file).exists())
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!(
        "apt-get install -y --no-install-recommends {}",
        missing.join(" ")
    );
    let is_root = env::var("USER").is_ok_and(|user| user == "root")
        || Command::new("id")
            .arg("-u")
            .output()
            .is_ok_and(|output| output.stdout.starts_with(b"0\n"));
    if !is_root || !Path::new("/usr/bin/apt-get").exists() {
        eprintln!("tests that need these are skipped; install them with: {command}");
        return Ok(());
    }
    // Debian's packages start their servers unless this says no.
    let policy = Path::new("/usr/sbin/policy-rc.d");
    if !policy.exists() {
        std::fs::write(policy, "#!/bin/sh\nexit 101\n").context("failed to write policy-rc.d")?;
        let status = Command::new("chmod")
            .arg("+x")
            .arg(policy)
            .status()
            .context("failed to run chmod")?;
        ensure!(status.success(), "chmod +x {} failed", policy.display());
    }
    println!("== packages: {command}");
    for arguments in [vec!["update", "-qq"], command.split(' ').skip(1).collect()] {
        let status = Command::new("apt-get")
            .args(&arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .status()
            .context("failed to run apt-get")?;
        ensure!(status.success(), "apt-get {} failed", arguments.join(" "));
    }
    Ok(())
}
