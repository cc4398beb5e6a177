//! A host that stands still, loses its power, or has no agent any more.

use crate::fleet::{Fleet, name, web};

#[test]
fn a_frozen_host_is_unknown_and_what_was_ordered_meanwhile_is_done_at_most_once() {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    fleet.lab.on(3, "freeze", &[]);
    // Its kernel still takes connections in; only tests that wait for an answer tell.
    fleet.wait_for_health(&web(3), "failing");
    fleet.wait_until_connected(3, false);
    fleet.wait_for_health(&name(3), "unknown");
    fleet.lab.on(3, "thaw", &[]);
    fleet.wait_until_connected(3, true);
    fleet.production.wait_for_fact(&web(3), "closed");
    fleet.wait_until_seen(3);
    fleet.begun_once(3);
    let orders = fleet.orders();
    assert!(
        orders.iter().all(|order| order.starts_with("web@h3 ")),
        "{orders:?}"
    );
}

#[test]
fn after_a_loss_of_power_the_host_is_back_as_another_boot_and_its_unit_is_started() {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    let before = fleet.host(2)["boot_id"].clone();
    fleet.lab.on(2, "reset", &[]);
    fleet.wait_for_another_boot(2, &before);
    // Nobody but Pitcrew starts it.
    fleet.wait_until_seen(2);
    fleet.begun_once(2);
    assert!(
        fleet.orders().contains(&"web@h2 restart".to_owned()),
        "{:?}",
        fleet.orders()
    );
}

#[test]
fn a_host_whose_agent_was_killed_is_unknown_not_dead_and_nothing_is_done_to_it() {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    fleet.set_unit(1, "pitcrew-agent", "Restart=no");
    fleet
        .lab
        .shell(1, "systemctl kill --signal KILL pitcrew-agent");
    fleet.wait_until_connected(1, false);
    fleet.wait_for_health(&name(1), "unknown");
    fleet.rounds(5);
    assert_eq!(fleet.orders(), Vec::<String>::new());
    assert_eq!(fleet.starts(1), 1, "what runs there was left alone");
    fleet.lab.shell(1, "systemctl start pitcrew-agent");
    fleet.wait_until_seen(1);
}
