//! Who a host is: two that say they are one, and one whose time is over.

use std::fs;

use crate::{
    fleet::{Choices, Fleet, name},
    lab::Lab,
    production::wait_for,
};

const IDENTITY: &str = "/var/lib/pitcrew-agent/identity.json";

#[test]
fn of_two_hosts_that_claim_one_identity_the_second_is_refused_and_a_person_is_told() {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    let instance = fleet.host(1)["connected_since"].clone();
    let identity = fs::read(fleet.lab.file(1, IDENTITY)).expect("its identity");
    fleet.lab.shell(2, "systemctl stop pitcrew-agent");
    fs::write(fleet.lab.file(2, IDENTITY), identity).expect("a copied disk");
    fleet.lab.shell(2, "systemctl start pitcrew-agent");
    wait_for("the second to be refused and reported", || {
        let log = fleet.production.log();
        let is_reported = log.contains("two agents claim to be h1");
        (is_reported && fleet.refused("second_claimant") >= 1)
            .then_some(())
            .ok_or(log)
    });
    fleet.rounds(5);
    assert_eq!(
        fleet.host(1)["connected_since"],
        instance,
        "the first is still the one"
    );
    assert_eq!(fleet.orders(), Vec::<String>::new());
}

#[test]
fn a_host_that_was_away_for_longer_than_its_certificate_is_unknown_until_it_is_enrolled_again() {
    let Some(lab) = Lab::find() else {
        return;
    };
    let choices = Choices {
        certificate_lifetime: "24s",
        ..Choices::default()
    };
    let fleet = Fleet::healthy_with(lab, &choices);
    fleet.lab.on(3, "freeze", &[]);
    fleet.wait_until_connected(3, false);
    // The server's word counts, not the host's.
    fleet.rounds(12);
    let refused = fleet.refused("certificate");
    fleet.lab.on(3, "thaw", &[]);
    wait_for("the expired certificate to be refused", || {
        let now = fleet.refused("certificate");
        (now > refused).then_some(()).ok_or_else(|| fleet.log_of(3))
    });
    fleet.wait_for_health(&name(3), "unknown");
    let token = fleet.production.says(&["enroll", &name(3)], 0);
    fleet.lab.write(3, "/etc/pitcrew/agent-token", &token);
    fleet.wait_until_connected(3, true);
    fleet.wait_until_seen(3);
    fleet.begun_once(3);
}
