//! From one server's files into a database, and on from there.

use std::{fs, process::Command};

use crate::{
    cluster::{Agent, TARGET, configuration, state},
    postgres::{Server, is_missing},
    production::{Production, binary, free_port, wait_for},
};

fn moved(production: &Production) -> (Option<i32>, String) {
    let output = Command::new(binary())
        .args(["ledger", "move", "--config"])
        .arg(production.configuration())
        .arg("--data")
        .arg(production.data())
        .env("PITCREW_DATABASE_PASSWORD", "s3cret-w0rd")
        .output()
        .expect("the command runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("text"))
}

#[test]
fn a_ledger_that_is_moved_goes_on_with_its_agents_and_the_files_are_not_used_again() {
    if is_missing() {
        return;
    }
    let postgres = Server::start(&["fsync=off"]);
    let agents = free_port();
    let mut production = Production::served(&configuration(agents, ""));
    production.environment("PITCREW_DATABASE_PASSWORD", "s3cret-w0rd");
    let token = production.says(&["enroll", "web-a"], 0);
    let agent = Agent::started(production.path().join("web-a"), &token, vec![agents]);
    let healthy = |production: &Production| {
        let path = format!("/api/v1/targets/{TARGET}");
        production.wait_until("it to be healthy", &path, |found| {
            (found["health"] == "healthy")
                .then_some(())
                .ok_or_else(|| found.to_string())
        });
    };
    healthy(&production);
    agent.kill_web();
    production.wait_for_fact(TARGET, "closed");
    let shared = configuration(agents, &state(postgres.port));
    production.write("production.yaml", &shared);
    let (code, said) = moved(&production);
    assert_eq!(code, Some(1), "its server runs: {said}");
    let records = production.records();
    production.stop();

    let (code, said) = moved(&production);
    assert_eq!(code, Some(0), "{said}");
    let (code, again) = moved(&production);
    assert_eq!((code, &again), (Some(0), &said), "it may be repeated");
    production.serve();
    healthy(&production);
    assert_eq!(production.records()[..records.len()], records);
    agent.kill_web();
    production.wait_for_fact_after(records.len() as u64, TARGET, "closed");
    production.says(&["ledger", "verify"], 0);
    let (code, said) = moved(&production);
    assert_eq!(code, Some(1), "it is occupied: {said}");
    assert!(said.contains("give an empty one"), "{said}");
    production.stop();

    production.write("production.yaml", &configuration(agents, ""));
    production.spawn();
    wait_for("the old files to be refused", || {
        let log = production.log();
        log.contains("was moved to postgresql://")
            .then_some(())
            .ok_or(log)
    });
    assert!(fs::exists(production.data().join("ledger.db")).expect("the disk answers"));
}
