//! Drains by a host: it gives back what its server can't ask for any more.

use std::path::PathBuf;

use crate::{
    agents::{Agent, Fleet},
    production::wait_for,
};

/// There while the target is out of use: its commands make and remove it.
fn mark(agent: &Agent) -> PathBuf {
    agent.directory.join("drained")
}

fn wait_until_drained(agent: &Agent, drained: bool) {
    wait_for(&format!("the host to have drained: {drained}"), || {
        let is_there = mark(agent).exists();
        (is_there == drained)
            .then_some(())
            .ok_or_else(|| agent.log())
    });
}

/// One instance is never disrupted, so there is a second one.
fn fleet_with_drained() -> (Fleet, Agent, Agent) {
    let fleet = Fleet::served();
    let (agent, other) = (fleet.agent("web-a"), fleet.agent("web-b"));
    fleet.wait_for_health("web-1@web-a", "healthy");
    fleet.wait_for_health("web-1@web-b", "healthy");
    let production = &fleet.production;
    production.says(&["order", "web-1@web-a", "drain", "--why", "a test"], 0);
    wait_until_drained(&agent, true);
    (fleet, agent, other)
}

#[test]
fn a_person_drains_and_undrains_by_the_hosts_own_commands() {
    let (fleet, agent, _other) = fleet_with_drained();
    let target = fleet.target("web-1@web-a").expect("the target");
    assert!(target["drained"]["until"].is_u64(), "{target}");
    let production = &fleet.production;
    production.says(&["order", "web-1@web-a", "undrain", "--why", "done"], 0);
    wait_until_drained(&agent, false);
    let kept = std::fs::read_to_string(agent.directory.join("data/leases.json"));
    wait_for("the lease to be over", || {
        let target = fleet.target("web-1@web-a")?;
        let over = target["drained"].is_null();
        over.then_some(()).ok_or_else(|| target.to_string())
    });
    assert!(kept.is_ok(), "{kept:?}");
}

#[test]
fn a_host_whose_server_is_dead_gives_back_what_it_drained_also_after_a_restart_of_its_agent() {
    let (mut fleet, mut agent, _other) = fleet_with_drained();
    fleet.production.kill();
    agent.kill();
    assert!(mark(&agent).exists());
    agent.start();
    wait_until_drained(&agent, false);
    agent.wait_for_log("its lease ran out");
    fleet.production.serve();
    fleet.wait_until_connected("web-a", true);
    wait_for("the server to know that it is back", || {
        let target = fleet.target("web-1@web-a")?;
        let over = target["drained"].is_null() && target["health"] == "healthy";
        over.then_some(()).ok_or_else(|| target.to_string())
    });
    assert!(!mark(&agent).exists());
}
