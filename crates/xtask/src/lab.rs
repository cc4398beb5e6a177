//! `cargo xtask lab`: real hosts on one machine, each with systemd as its init, for tests.
//!
//! A host is a container over a small image of Debian that is built once and never written to. It has cgroups,
//! processes and a disk (in memory) of its own, and shares this machine's loopback, so that a test reaches what
//! listens there without a cable. Each host has one owner, a process that makes it, waits for its end, and
//! takes away all that it left; a host under a lease also ends when whoever holds the lease does.
//!
//! Everything it makes is called `pitcrew-lab`, followed by the lab's name, so labs never meet each other.

mod cgroup;
mod host;
mod image;
mod own;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use host::Host;
pub(crate) use host::Leased;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Labs of different names don't know of each other
    #[arg(long, default_value = "main", value_parser = lab_name)]
    name: String,
    #[command(subcommand)]
    task: Task,
}

#[derive(clap::Subcommand)]
enum Task {
    /// Builds the hosts' file system; done once
    Image,
    /// Switches host N on and waits until its systemd is
    Up { host: u8 },
    /// Cuts host N's power: nothing is told, and its disk is gone
    Off { host: u8 },
    /// Prints the address of host N's system D-Bus, seen from outside
    Bus { host: u8 },
    /// Runs a command inside host N, through its own systemd
    Run {
        host: u8,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Runs a command, such as cargo's tests, while a host is on that they find
    With {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Cuts the power of all hosts of this lab
    Clean,
    /// What a host's owner does, in a mount namespace of its own
    #[command(hide = true)]
    Own {
        host: u8,
        /// The host ends when standard input does
        #[arg(long)]
        lease: bool,
    },
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let host = |number: &u8| Host::new(&arguments.name, *number);
    match &arguments.task {
        Task::Image => println!("{}", image::build()?.display()),
        Task::Up { host: number } => host(number).up()?,
        Task::Off { host: number } => host(number).off()?,
        Task::Bus { host: number } => println!("{}", host(number).bus()?),
        Task::Run {
            host: number,
            command,
        } => host(number).run(command)?,
        Task::With { command } => with_host(command)?,
        Task::Clean => {
            for number in Host::numbers(&arguments.name)? {
                host(&number).off()?;
            }
        }
        Task::Own {
            host: number,
            lease,
        } => own::own(&host(number), *lease)?,
    }
    Ok(())
}

fn with_host(command: &[String]) -> anyhow::Result<()> {
    let host = Leased::for_tests()?;
    let (program, arguments) = command.split_first().context("no command is given")?;
    let status = Command::new(program)
        .args(arguments)
        .envs(host.environment()?)
        .status()
        .with_context(|| format!("failed to run {program}"))?;
    ensure!(
        status.success(),
        "`{}` ended with {status}",
        command.join(" ")
    );
    Ok(())
}

fn lab_name(text: &str) -> Result<String, String> {
    let is_name = (1..=24).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("a lab's name is 1 to 24 lower-case letters and digits".to_owned())
    }
}

/// Why no lab can be made here, if so.
fn ensure_possible() -> anyhow::Result<()> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0);
    ensure!(is_root, "a lab needs root");
    for (program, package) in [
        ("systemd-nspawn", "systemd-container"),
        ("mmdebstrap", "mmdebstrap"),
        ("nsenter", "util-linux"),
    ] {
        ensure!(
            Path::new("/usr/bin").join(program).exists(),
            "{program} is not installed: apt-get install {package}"
        );
    }
    Ok(())
}

/// Where labs keep what lives as long as their hosts.
fn directory() -> PathBuf {
    PathBuf::from("/run/pitcrew-lab")
}

fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s for {what} in vain", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::lab_name;

    #[test]
    fn a_labs_name_can_be_part_of_any_other_name() {
        assert!(lab_name("tests42").is_ok());
        for text in ["", "Main", "a/b", "..", "a-b", "a b", &"a".repeat(25)] {
            assert!(lab_name(text).is_err(), "{text}");
        }
    }
}
