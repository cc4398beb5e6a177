//! A server that dies in the middle of an order, and one that comes back from the past.

use std::{fs, path::Path, process::Command};

use crate::{
    fleet::{Fleet, web},
    production::wait_for,
};

#[test]
fn a_server_that_is_killed_in_the_middle_of_a_restart_does_not_order_it_twice() {
    let Some(mut fleet) = Fleet::healthy() else {
        return;
    };
    // Long enough to be in the middle of it.
    fleet.set_unit(1, "web", "ExecStartPre=/bin/sleep 3");
    fleet.lab.shell(1, "systemctl kill --signal KILL web");
    wait_for("the host to begin", || {
        (fleet.begun(1).len() == 1)
            .then_some(())
            .ok_or_else(|| format!("{:?}", fleet.orders()))
    });
    fleet.production.kill();
    fleet.production.serve();
    fleet.wait_until_connected(1, true);
    let outcome = fleet.production.wait_for_fact(&web(1), "outcome");
    assert_eq!(
        outcome["record"]["fact"]["outcome"]["kind"], "done",
        "{outcome}"
    );
    fleet.production.wait_for_fact(&web(1), "closed");
    fleet.wait_until_seen(1);
    assert_eq!(fleet.starts(1), 2, "once by us, once by the order");
    assert_eq!(fleet.begun(1).len(), 1);
    fleet.production.says(&["ledger", "verify"], 0);
}

#[test]
fn an_old_server_that_is_back_is_refused_by_the_host() {
    let Some(mut fleet) = Fleet::healthy() else {
        return;
    };
    let data = fleet.production.data();
    let old = fleet.production.path().join("old");
    fleet.production.kill();
    copy(&data, &old);
    // Each start is another server to the agents. The third gives an order, so they have seen its fence.
    fleet.production.serve();
    fleet.production.kill();
    fleet.production.serve();
    for host in crate::lab::HOSTS {
        fleet.wait_until_seen(host);
    }
    fleet.cured(&web(1), "restart", || {
        fleet.lab.shell(1, "systemctl kill --signal KILL web");
    });
    let starts = fleet.starts(1);
    fleet.production.kill();
    fs::remove_dir_all(&data).expect("the newer server is gone");
    fs::rename(&old, &data).expect("the old one in its place");
    fleet.production.serve();
    for host in crate::lab::HOSTS {
        fleet.wait_until_seen(host);
    }
    fleet.lab.shell(1, "systemctl kill --signal KILL web");
    let outcome = fleet.production.wait_for_fact(&web(1), "outcome");
    let outcome = &outcome["record"]["fact"]["outcome"];
    assert_eq!(outcome["kind"], "failed", "{outcome}");
    assert!(
        outcome["detail"].to_string().contains("older server"),
        "{outcome}"
    );
    assert_eq!(fleet.starts(1), starts, "it was not obeyed");
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("--archive")
        .args([from, to])
        .status();
    assert!(status.expect("cp runs").success());
}
