//! A unit that ends or hangs, and a disk that is full.

use crate::fleet::{Fleet, name, web};

#[test]
fn a_unit_that_was_killed_is_restarted_by_its_host() {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    fleet.cured(&web(1), "restart", || {
        fleet.lab.shell(1, "systemctl kill --signal KILL web");
    });
    assert_eq!(fleet.orders(), ["web@h1 restart"]);
}

#[test]
fn a_unit_that_hangs_is_active_for_its_host_and_restarted_because_others_see_it() {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    fleet.cured(&web(2), "restart", || {
        fleet.lab.shell(2, "systemctl kill --signal STOP web");
    });
    assert_eq!(fleet.orders(), ["web@h2 restart"]);
}

#[test]
fn a_full_disk_is_cleaned_by_the_command_that_the_host_names() {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    fleet.wait_for_health(&name(3), "healthy");
    fleet.cured(&name(3), "command", || {
        fleet.lab.on(3, "fill", &[]);
    });
    assert!(!fleet.lab.file(3, "/srv/filler").exists());
}
