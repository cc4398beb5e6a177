//! Cables between a lab's switch and what is plugged into it, and their faults: cut, one way only, losing frames, slow.
//!
//! A fault is a rule of the bridge's own firewall, never of a host's: hosts can't see why nothing arrives. This kernel
//! may lack `tc netem`, so loss is drawn by nftables and delay made by a relay between two TAP devices.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};

use super::{relay, switch::SERVER};

/// Chains of faults are made for so many hosts when the switch is; addresses are 10.99.0.N.
pub(super) const HOSTS_MAX: u8 = 9;
pub(super) const BRIDGE: &str = "switch";

/// Which of a cable's directions a fault is in.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Way {
    /// What the host sends is lost.
    Out,
    /// What is sent to the host is lost.
    In,
    Both,
}

pub(super) fn link(host: u8) -> String {
    format!("h{host}")
}

pub(super) fn address(host: u8) -> String {
    format!("10.99.0.{host}")
}

/// In the network namespace of process `switch`.
pub(super) fn make_switch(switch: u32) -> anyhow::Result<()> {
    run(inside(switch, "ip").args(["link", "add", BRIDGE, "type", "bridge"]))?;
    run(inside(switch, "ip").args(["link", "set", BRIDGE, "up"]))?;
    let mut rules = String::from("table bridge lab {\n");
    for host in 1..=HOSTS_MAX {
        rules += &format!("chain {} {{}}\n", link(host));
    }
    rules += "chain forward { type filter hook forward priority 0;\n";
    for host in 1..=HOSTS_MAX {
        rules += &format!("jump {}\n", link(host));
    }
    rules += "}\n}\n";
    nft(switch, &rules)
}

/// From the switch to the network namespace of process `pid`, which sees it as `eth0`.
pub(super) fn plug_in(switch: u32, link: &str, pid: u32, address: &str) -> anyhow::Result<()> {
    unplug(switch, link);
    let other_end = pid.to_string();
    run(inside(switch, "ip").args([
        "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", &other_end,
    ]))?;
    run(inside(switch, "ip").args(["link", "set", link, "master", BRIDGE, "up"]))?;
    let address = format!("{address}/24");
    for arguments in [
        &["link", "set", "lo", "up"][..],
        &["addr", "add", &address, "dev", "eth0"],
        &["link", "set", "eth0", "up"],
    ] {
        run(inside(pid, "ip").args(arguments))?;
    }
    Ok(())
}

/// Nothing more comes from the host, not even the goodbyes of its connections when its processes end.
pub(super) fn unplug(switch: u32, link: &str) {
    let mut ip = inside(switch, "ip");
    // There may be none: the kernel takes it away with the host's namespace, some time after its last process.
    ip.args(["link", "del", link])
        .stderr(Stdio::null())
        .status()
        .ok();
}

/// Loses what passes between a host and `peer` (everybody when there is none), `percent` of it.
pub(super) fn lose(
    switch: u32,
    host: u8,
    way: Way,
    peer: Option<&str>,
    percent: u8,
) -> anyhow::Result<()> {
    ensure!(percent <= 100, "{percent} % can't be lost");
    let link = link(host);
    let drawn = match percent {
        100 => String::new(),
        _ => format!("numgen random mod 100 < {percent} "),
    };
    let rule = |host_is: &str, peer_is: &str| {
        let peer = peer.map(|peer| format!("{peer_is} \"{peer}\" "));
        let peer = peer.unwrap_or_default();
        format!("add rule bridge lab {link} {host_is} \"{link}\" {peer}{drawn}drop\n")
    };
    let mut rules = String::new();
    if way != Way::In {
        rules += &rule("iifname", "oifname");
    }
    if way != Way::Out {
        rules += &rule("oifname", "iifname");
    }
    nft(switch, &rules)
}

pub(super) fn heal(switch: u32, host: u8) -> anyhow::Result<()> {
    relay::end(switch, host);
    let rules = format!("flush chain bridge lab {}\n", link(host));
    nft(switch, &rules)
}

/// The name of a link, from what a person writes: a host's number or `server`.
pub(super) fn peer(text: &str) -> Result<String, String> {
    match (text, text.parse::<u8>()) {
        (SERVER, _) => Ok(SERVER.to_owned()),
        (_, Ok(host)) => Ok(link(host)),
        _ => Err("write `server` or a host's number".to_owned()),
    }
}

/// `program` of this machine in the network of process `pid`.
pub(super) fn inside(pid: u32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--net", "--target", &pid.to_string(), program]);
    command
}

pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("failed to run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// All of them or none.
fn nft(switch: u32, rules: &str) -> anyhow::Result<()> {
    let mut nft = inside(switch, "nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("failed to run nft")?;
    let mut input = nft.stdin.take().context("nft has no input")?;
    input.write_all(rules.as_bytes())?;
    drop(input);
    let status = nft.wait()?;
    ensure!(status.success(), "nft refused:\n{rules}");
    Ok(())
}
