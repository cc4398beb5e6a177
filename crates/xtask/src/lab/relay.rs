//! A slow cable: between the host's link and the switch, a relay that passes each frame on later.
//!
//! The relay (`relay.py`) holds both its TAP devices; when it ends, they are gone. It ends with the switch, or when the
//! cable is healed. Faults between the host and one peer alone don't see who is behind a relay: only whole-cable ones do.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, ensure};

use super::{
    cable::{self, BRIDGE},
    switch::Switch,
};

const SCRIPT: &str = include_str!("relay.py");

struct Names {
    host: String,
    bridge: String,
    outer: String,
    inner: String,
}

impl Names {
    fn of(host: u8) -> Self {
        Self {
            host: cable::link(host),
            bridge: format!("b{host}"),
            outer: format!("o{host}"),
            inner: format!("i{host}"),
        }
    }
}

/// Starts a relay that outlives this process, and waits until frames take the way through it.
pub(super) fn start(lab: &str, switch: u32, host: u8, ms: u32) -> anyhow::Result<()> {
    end(switch, host);
    let mut owner = Command::new("nsenter")
        .args(["--net", "--target", &switch.to_string()])
        .arg(std::env::current_exe()?)
        .args(["lab", "--name", lab, "own-relay"])
        .args([host.to_string(), ms.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Whoever reads what this process says must not wait for the relay's end.
        .stderr(Stdio::null())
        .spawn()
        .context("failed to run nsenter")?;
    let said = owner.stdout.take().context("it has an output")?;
    let mut ready = String::new();
    BufReader::new(said).read_line(&mut ready)?;
    ensure!(ready == "ready\n", "the relay did not start");
    Ok(())
}

/// What the relay's owner does, in the switch's network namespace.
pub(super) fn own(switch: &Switch, host: u8, ms: u32) -> anyhow::Result<()> {
    let names = Names::of(host);
    let mut relay = Command::new("python3")
        .args(["-c", SCRIPT, &ms.to_string(), &names.outer, &names.inner])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to run python3")?;
    let mut ready = [0; 6];
    let said = relay.stdout.as_mut().context("it has an output")?;
    said.read_exact(&mut ready)
        .context("the relay did not start")?;
    for arguments in [
        &["link", "add", &names.bridge, "type", "bridge"][..],
        &["link", "set", &names.bridge, "up"],
        &["link", "set", &names.outer, "master", BRIDGE, "up"],
        &["link", "set", &names.inner, "master", &names.bridge, "up"],
        &["link", "set", &names.host, "master", &names.bridge],
    ] {
        cable::run(Command::new("ip").args(arguments))?;
    }
    println!("ready");
    // Closed when the switch's owner is dead and its lock is given to this process.
    let input = relay.stdin.take();
    let switch = File::open(switch.ownership())?;
    thread::spawn(move || {
        switch.lock_shared().ok();
        drop(input);
    });
    relay.wait()?;
    Ok(())
}

/// Nothing when there is none.
pub(super) fn end(switch: u32, host: u8) {
    let names = Names::of(host);
    for arguments in [
        &["link", "set", &names.host, "master", BRIDGE][..],
        &["link", "del", &names.outer],
        &["link", "del", &names.inner],
        &["link", "del", &names.bridge],
    ] {
        let mut ip = cable::inside(switch, "ip");
        ip.args(arguments).stderr(Stdio::null()).status().ok();
    }
}
