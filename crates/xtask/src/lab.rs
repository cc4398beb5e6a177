//! `cargo xtask lab`: real hosts on one machine, each with systemd as its init, for tests.
//!
//! A host is a container over a small image of Debian that is built once and never written to. It has cgroups,
//! processes and a disk (in memory) of its own. Without a switch it shares this machine's loopback, so that a test
//! reaches what listens there; in a lab with a switch it has a cable, the address 10.99.0.N, and a server under test at
//! 10.99.0.254, in a network namespace of its own. Each host has one owner, a process that makes it, waits for its end,
//! and takes away all that it left; a host under a lease also ends when whoever holds the lease does.
//!
//! Hosts share this machine's kernel and its clock: a panic or a stepped clock must be made otherwise (a virtual machine;
//! libfaketime, which is in the image, for one program). A boot's id is each host's own, new with each boot.
//!
//! Everything it makes is called `pitcrew-lab`, followed by the lab's name, so labs never meet each other.

mod cable;
mod cgroup;
mod disk;
mod for_tests;
mod host;
mod image;
mod own;
mod relay;
mod switch;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use cable::Way;
use host::Host;
use switch::Switch;

pub(crate) use for_tests::{FLEETS, ForTests};

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
    Up {
        host: u8,
    },
    /// Cuts host N's power: nothing is told, and its disk is gone
    Off {
        host: u8,
    },
    /// Cuts host N's power and switches it on again, with the disk that it had
    Reset {
        host: u8,
    },
    /// Nothing on host N runs; it still answers pings and takes connections in
    Freeze {
        host: u8,
    },
    Thaw {
        host: u8,
    },
    /// Switches on the network that joins hosts which are switched on after it, and the server under test
    Switch,
    /// Cuts host N's cable
    Cut {
        host: u8,
        #[command(flatten)]
        between: Between,
    },
    /// Loses a share of what passes through host N's cable
    Loss {
        host: u8,
        #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
        percent: u8,
        #[command(flatten)]
        between: Between,
    },
    /// Each frame on host N's cable is on its way for so much longer, each way
    Delay {
        host: u8,
        ms: u32,
    },
    /// Ends all faults of host N's cable
    Heal {
        host: u8,
    },
    /// Fills host N's small disk, which is at /srv
    Fill {
        host: u8,
    },
    /// Frees it again
    Free {
        host: u8,
    },
    /// Heals all cables, thaws and frees all hosts, and ends what runs beside the server's end of the switch
    Tidy,
    /// Prints the network namespace for the server under test, whose address is 10.99.0.254
    Namespace,
    /// Prints host N's root directory, seen from outside
    Root {
        host: u8,
    },
    /// Prints the address of host N's system D-Bus, seen from outside
    Bus {
        host: u8,
    },
    /// Runs a command inside host N, through its own systemd
    Run {
        host: u8,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Runs a command, such as cargo's tests, with labs that they find
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
        /// It is plugged into the lab's switch
        #[arg(long)]
        cable: bool,
    },
    /// What a slow cable's owner does, in the switch's network namespace
    #[command(hide = true)]
    OwnRelay {
        host: u8,
        ms: u32,
    },
    /// What a switch's owner does, in a network namespace of its own
    #[command(hide = true)]
    OwnSwitch {
        /// The switch ends when standard input does
        #[arg(long)]
        lease: bool,
    },
}

/// What a fault is in; everything when nothing is given.
#[derive(clap::Args)]
struct Between {
    /// Only what the host sends, or only what is sent to it
    #[arg(long, value_enum, default_value = "both")]
    way: Way,
    /// Only with this one: `server` or a host's number
    #[arg(long, value_parser = cable::peer)]
    peer: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let host = |number: &u8| Host::new(&arguments.name, *number);
    let switch = Switch::new(&arguments.name);
    match &arguments.task {
        Task::Image => println!("{}", image::build()?.display()),
        Task::Up { host: number } => host(number).up()?,
        Task::Off { host: number } => host(number).off()?,
        Task::Reset { host: number } => host(number).reset()?,
        Task::Freeze { host: number } => host(number).freeze(true)?,
        Task::Thaw { host: number } => host(number).freeze(false)?,
        Task::Switch => drop(switch.start(false)?),
        Task::Cut {
            host: number,
            between,
        } => lose(&switch, *number, between, 100)?,
        Task::Loss {
            host: number,
            percent,
            between,
        } => lose(&switch, *number, between, *percent)?,
        Task::Delay { host, ms } => relay::start(&arguments.name, switch.pid()?, *host, *ms)?,
        Task::OwnRelay { host, ms } => relay::own(&switch, *host, *ms)?,
        Task::Heal { host: number } => cable::heal(switch.pid()?, *number)?,
        Task::Fill { host: number } => disk::fill(&host(number))?,
        Task::Free { host: number } => disk::free(&host(number))?,
        Task::Tidy => tidy(&arguments.name)?,
        Task::Namespace => println!("{}", switch.server_namespace()?.display()),
        Task::Root { host: number } => println!("{}", host(number).root()?),
        Task::Bus { host: number } => println!("{}", host(number).bus()?),
        Task::Run {
            host: number,
            command,
        } => host(number).run(command)?,
        Task::With { command } => with_labs(command)?,
        Task::Clean => {
            for number in Host::numbers(&arguments.name)? {
                host(&number).off()?;
            }
            switch.off()?;
        }
        Task::Own {
            host: number,
            lease,
            cable,
        } => own::own(&host(number), *lease, *cable)?,
        Task::OwnSwitch { lease } => switch.own(*lease)?,
    }
    Ok(())
}

fn lose(switch: &Switch, host: u8, between: &Between, percent: u8) -> anyhow::Result<()> {
    let peer = between.peer.as_deref();
    cable::lose(switch.pid()?, host, between.way, peer, percent)
}

/// As it was before any fault, except that hosts that are off stay off.
fn tidy(lab: &str) -> anyhow::Result<()> {
    let switch = Switch::new(lab);
    switch.end_servers()?;
    for number in Host::numbers(lab)? {
        let host = Host::new(lab, number);
        host.freeze(false)?;
        cable::heal(switch.pid()?, number)?;
        disk::free(&host)?;
    }
    Ok(())
}

fn with_labs(command: &[String]) -> anyhow::Result<()> {
    let labs = ForTests::start()?;
    let (program, arguments) = command.split_first().context("no command is given")?;
    let status = Command::new(program)
        .args(arguments)
        .envs(labs.environment()?)
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
        ("ip", "iproute2"),
        ("nft", "nftables"),
        ("mkfs.ext4", "e2fsprogs"),
    ] {
        let places = ["/usr/bin", "/usr/sbin"].map(|place| Path::new(place).join(program));
        ensure!(
            places.iter().any(|place| place.exists()),
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
