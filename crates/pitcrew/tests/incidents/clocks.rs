//! A host's clock that is stepped. Hosts of the lab share this machine's clock, so libfaketime steps the agent's alone.

use crate::fleet::{Fleet, web};

const FAKE: &str = "\
Environment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1
Environment=FAKETIME_TIMESTAMP_FILE=/run/fake-time FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1";

#[test]
fn a_stepped_clock_of_a_host_causes_no_repair_and_prevents_none() {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    fleet.lab.write(1, "/run/fake-time", "+0");
    fleet.set_unit(1, "pitcrew-agent", FAKE);
    fleet.lab.shell(1, "systemctl restart pitcrew-agent");
    fleet.wait_until_connected(1, true);
    fleet.wait_until_seen(1);
    for step in ["+2h", "-2h"] {
        fleet.lab.write(1, "/run/fake-time", step);
        fleet.rounds(5);
        let before = fleet.orders().len();
        fleet.cured(&web(1), "restart", || {
            fleet.lab.shell(1, "systemctl kill --signal KILL web");
        });
        assert_eq!(fleet.orders().len(), before + 1, "after a step of {step}");
    }
    fleet.begun_once(1);
}
