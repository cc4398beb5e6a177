//! What an agent may do to its host: the process with a network nothing, the one without a network what is ordered.

use std::fs;

use crate::fleet::Fleet;

#[test]
fn the_process_with_a_network_has_no_privileges_and_the_one_with_privileges_no_network() {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    let lab = &fleet.lab;
    let proc_of = |unit: &str, file: &str| {
        let ask = format!("systemctl show --property MainPID --value {unit}");
        let pid = lab.shell(1, &ask);
        let path = lab.file(1, &format!("/proc/{}/{file}", pid.trim()));
        fs::read_to_string(path).expect("a running unit")
    };
    let has = |unit: &str, line: &str| {
        let status = proc_of(unit, "status");
        assert!(status.contains(line), "{line} in {unit}: {status}");
    };
    for capabilities in ["CapEff", "CapPrm", "CapBnd", "CapAmb"] {
        has("pitcrew-agent", &format!("{capabilities}:\t{:016x}", 0));
    }
    has("pitcrew-agent", "NoNewPrivs:\t1");
    has("pitcrew-agent", "Seccomp:\t2");
    has("pitcrew-agent-hands", "Seccomp:\t2");
    let user = lab.shell(1, "id --user pitcrew-agent");
    has("pitcrew-agent", &format!("Uid:\t{}\t", user.trim()));
    let devices = proc_of("pitcrew-agent-hands", "net/dev");
    assert!(
        !devices.contains("eth0") && devices.contains("lo:"),
        "{devices}"
    );
    let socket = lab.shell(1, "stat --format '%U %a %F' /run/pitcrew-agent/hands");
    assert_eq!(socket.trim(), "pitcrew-agent 600 socket");
    // The journal of what was done, and the limits, are out of the other one's reach.
    let data = lab.shell(1, "stat --format '%U %a' /var/lib/pitcrew-hands");
    assert_eq!(data.trim(), "root 700");
}
