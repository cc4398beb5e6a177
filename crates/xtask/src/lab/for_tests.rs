//! The labs that tests find by their environment: a host on this machine's loopback, and switches, each for a fleet of hosts.
//!
//! All are on until this is dropped, or the process that holds it is dead, however that comes.

use std::process::Child;

use super::{host::Host, switch::Switch};

/// Incidents mostly wait, so several at once cost little; each has a fleet to itself.
pub(crate) const FLEETS: u8 = 3;

pub(crate) struct ForTests {
    host: Host,
    fleets: Vec<String>,
    owners: Vec<Child>,
}

impl ForTests {
    /// In labs of this process's own. A fleet's hosts are switched on by the first test that needs them.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let id = std::process::id();
        let mut labs = Self {
            host: Host::new(&format!("tests{id}"), 1),
            fleets: (1..=FLEETS)
                .map(|number| format!("fleet{id}x{number}"))
                .collect(),
            owners: Vec::new(),
        };
        labs.owners.push(labs.host.start(true)?);
        for fleet in &labs.fleets {
            labs.owners.push(Switch::new(fleet).start(true)?);
        }
        Ok(labs)
    }

    /// What tests look at to find them.
    pub(crate) fn environment(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let tool = std::env::current_exe()?;
        Ok(vec![
            ("PITCREW_TEST_SYSTEMD_BUS", self.host.bus()?),
            ("PITCREW_TEST_SYSTEMD_ROOT", self.host.root()?),
            ("PITCREW_TEST_LABS", self.fleets.join(" ")),
            ("PITCREW_TEST_XTASK", tool.display().to_string()),
        ])
    }
}

impl Drop for ForTests {
    fn drop(&mut self) {
        for owner in &mut self.owners {
            drop(owner.stdin.take());
            if let Err(error) = owner.wait() {
                eprintln!("failed to wait for a lab's end: {error}");
            }
        }
        let switches = self.fleets.iter().map(|fleet| Switch::new(fleet).off());
        for error in switches.chain([self.host.off()]).filter_map(Result::err) {
            eprintln!("failed to switch a lab off: {error:#}");
        }
    }
}
