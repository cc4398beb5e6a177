//! The labs that tests find by their environment: a host on this machine's loopback, and a switch for a fleet of hosts.
//!
//! Both are on until this is dropped, or the process that holds it is dead, however that comes.

use std::process::Child;

use super::{host::Host, switch::Switch};

pub(crate) struct ForTests {
    host: Host,
    switch: Switch,
    fleet: String,
    owners: Vec<Child>,
}

impl ForTests {
    /// In labs of this process's own. A fleet's hosts are switched on by the first test that needs them.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let id = std::process::id();
        let fleet = format!("fleet{id}");
        let mut labs = Self {
            host: Host::new(&format!("tests{id}"), 1),
            switch: Switch::new(&fleet),
            fleet,
            owners: Vec::new(),
        };
        labs.owners.push(labs.host.start(true)?);
        labs.owners.push(labs.switch.start(true)?);
        Ok(labs)
    }

    /// What tests look at to find them.
    pub(crate) fn environment(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let tool = std::env::current_exe()?;
        Ok(vec![
            ("PITCREW_TEST_SYSTEMD_BUS", self.host.bus()?),
            ("PITCREW_TEST_SYSTEMD_ROOT", self.host.root()?),
            ("PITCREW_TEST_LAB", self.fleet.clone()),
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
        if let Err(error) = self.host.off().and_then(|()| self.switch.off()) {
            eprintln!("failed to switch the labs off: {error:#}");
        }
    }
}
