//! The database itself goes: no order without it, everything else goes on, and orders come again by themselves.

use serde_json::Value;

use crate::{
    cluster::{Cluster, TARGET},
    postgres::is_missing,
    production::wait_for,
};

/// What a server says is wrong with itself.
fn troubles(said: &Value) -> String {
    said["troubles"].to_string()
}

#[test]
fn without_the_database_tests_go_on_and_orders_wait_until_it_is_back() {
    if is_missing() {
        return;
    }
    let mut cluster = Cluster::served(2);
    let agent = cluster.agent();
    let at = cluster.index_of(cluster.leader());
    cluster.postgres.kill();
    wait_for("the leader to say so", || {
        let (_, said) = cluster.servers[at].readiness()?;
        troubles(&said)
            .contains("the ledger can't be written")
            .then_some(())
            .ok_or_else(|| said.to_string())
    });
    agent.kill_web();
    cluster.servers[at].wait_for_health("failing");
    let held = format!("/api/v1/explain/{TARGET}");
    wait_for("its case to wait for the ledger", || {
        let cases = cluster.servers[at].production.get("/api/v1/cases")?;
        let stands = cases["items"][0]["stands"].to_string();
        stands.contains("ledger").then_some(()).ok_or(stands)
    });
    assert!(
        cluster.servers[at].production.get(&held).is_err(),
        "the ledger can't be read, and that is said"
    );
    assert_eq!(agent.begun(), Vec::<String>::new(), "no order leaves");
    cluster.postgres.run();
    let leader = cluster.leader();
    leader.wait_for_health("healthy");
    leader.wait_until_calm();
    assert_eq!(agent.begun().len(), 1);
    cluster.check_orders(&agent);
}

#[test]
fn connections_that_end_in_the_middle_of_it_all_cost_nothing() {
    if is_missing() {
        return;
    }
    let cluster = Cluster::served(2);
    let agent = cluster.agent();
    let before = cluster.leader().production.port;
    for _ in 0..2 {
        let seq = cluster.leader().production.last_seq();
        agent.kill_web();
        wait_for("its end", || {
            cluster.postgres.end_connections();
            let records = cluster
                .leader()
                .production
                .get(&format!("/api/v1/ledger?after={seq}"))?;
            let closed = records.to_string().contains("\"kind\":\"closed\"");
            closed.then_some(()).ok_or_else(|| records.to_string())
        });
        cluster.leader().wait_until_calm();
    }
    assert_eq!(
        cluster.leader().production.port,
        before,
        "it led all the time"
    );
    cluster.check_orders(&agent);
}
