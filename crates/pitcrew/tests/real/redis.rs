//! Redis: one that became somebody's replica by accident answers, but wrongly.

use std::process::Command;

use rustix::process::Signal;

use crate::{
    production::{Process, Production, free_port, has},
    story::{Kept, RESTART, actions, cured},
};

#[test]
fn killed_hung_and_turned_into_a_replica_it_comes_back() {
    if !has("/usr/bin/redis-server", "redis-server") {
        return;
    }
    let port = free_port();
    let command = [
        "/usr/bin/redis-server",
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
    ]
    .map(str::to_owned);
    let in_yaml = command
        .iter()
        .map(|word| format!("'{word}'"))
        .collect::<Vec<_>>()
        .join(", ");
    let runs_as = format!(
        "{{ listener: {{ port: {port}, exe: redis-server, command: [{in_yaml}, '{{dir}}'], grace: 2s }} }}"
    );
    let kept = Kept {
        port,
        runs_as: &runs_as,
        test: "redis: { role: master }",
        steps: RESTART,
    };
    let mut production = Production::new(&kept.yaml());
    let _first = Process::start(
        Command::new(&command[0])
            .args(&command[1..])
            .arg(production.path()),
    );
    production.serve();
    let (production, target) = (&production, &kept.target());

    for signal in [Signal::KILL, Signal::STOP] {
        let before = production.processes("redis-check-rdb");
        let orders = cured(production, target, || {
            production.signal_all("redis-check-rdb", signal)
        });
        assert_eq!(actions(&orders), ["restart"], "{orders:?}");
        assert!(
            production
                .processes("redis-check-rdb")
                .iter()
                .all(|pid| !before.contains(pid))
        );
    }

    let nobody = free_port().to_string();
    let orders = cured(production, target, || {
        let replica_of_nobody = Command::new("/usr/bin/redis-cli")
            .args(["-p", &port.to_string(), "replicaof", "127.0.0.1", &nobody])
            .output()
            .expect("redis-cli runs");
        assert_eq!(replica_of_nobody.stdout, b"OK\n");
    });
    assert_eq!(actions(&orders), ["restart"], "{orders:?}");
    production.says(&["ledger", "verify"], 0);
}
