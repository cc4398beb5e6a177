//! Another server leads: after a kill, a cut, a freeze, or in peace.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, TARGET},
    postgres::is_missing,
    production::{send, wait_for},
};

#[expect(clippy::print_stderr, reason = "a measured figure")]
fn say_takeover(after: &str, since: Instant) {
    eprintln!(
        "another server led {:.1} s after {after}",
        since.elapsed().as_secs_f64()
    );
}

#[test]
fn a_follower_tells_what_the_ledger_has_and_sends_everything_else_to_the_leader() {
    if is_missing() {
        return;
    }
    let cluster = Cluster::served(2);
    let agent = cluster.agent();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    follower.wait_until_it_follows(leader);
    let url = leader.production.url();
    agent.kill_web();
    leader.production.wait_for_fact(TARGET, "closed");
    leader.wait_until_calm();

    for path in [
        "cases", "orders", "targets", "limits", "services", "report", "ledger",
    ] {
        let answer = follower
            .production
            .request("GET", &format!("/api/v1/{path}"), &[], "")
            .expect("the follower answers");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("pitcrew-follows"), Some(&*url), "{answer:?}");
    }
    let found = format!("/api/v1/targets/{TARGET}");
    follower
        .production
        .wait_until("the target", &found, |target| {
            (target["health"] == "unknown")
                .then_some(())
                .ok_or_else(|| target.to_string())
        });
    assert_eq!(leader.production.records(), follower.production.records());
    follower.production.says(&["ledger", "verify"], 0);
    let status = follower.production.says(&["status"], 1);
    assert!(
        status.contains(&format!("this server follows; {url} leads")),
        "{status}"
    );

    let refused = follower
        .production
        .post("/api/v1/pause", &json!({ "why": "a test" }));
    let problem = refused.json();
    assert_eq!(
        (refused.status, &problem["leader"]),
        (503, &json!(url)),
        "{refused:?}"
    );
    for path in ["/api/v1/hosts", "/api/v1/events"] {
        let answer = follower.production.request("GET", path, &[], "");
        assert_eq!(answer.expect("an answer").status, 503, "{path}");
    }
    let said = follower
        .production
        .says(&["hold", TARGET, "--for", "1h", "--why", "x"], 1);
    assert!(said.contains(&url), "{said}");
    cluster.check_orders(&agent);
}

#[test]
fn when_the_leader_is_killed_in_the_middle_of_an_order_another_one_ends_it() {
    if is_missing() {
        return;
    }
    let mut cluster = Cluster::served(3);
    let agent = cluster.agent();
    for moment in ["intent", "outcome"] {
        let seq = cluster.leader().production.last_seq();
        agent.kill_web();
        let leader = cluster.leader();
        leader.production.wait_for_fact_after(seq, TARGET, moment);
        let killed = cluster.index_of(leader);
        cluster.servers[killed].production.kill();
        let since = Instant::now();
        let leader = cluster.leader();
        say_takeover(&format!("a kill -9 of the leader ({moment})"), since);
        leader.wait_for_health("healthy");
        leader.wait_until_calm();
        let leader = cluster.index_of(leader);
        cluster.servers[killed].production.spawn();
        cluster.servers[killed].wait_until_it_follows(&cluster.servers[leader]);
    }
    let records = cluster.check_orders(&agent);
    let orders = |kind: &str| {
        let of_kind = |entry: &&Value| entry["record"]["fact"]["kind"] == kind;
        let found = records.iter().filter(of_kind);
        let mut orders: Vec<String> = found
            .map(|entry| entry["record"]["order"].to_string())
            .collect();
        orders.sort();
        orders
    };
    assert_eq!(orders("intent"), orders("outcome"), "none is lost");
}

#[test]
fn a_leader_that_was_frozen_wakes_up_as_a_follower() {
    if is_missing() {
        return;
    }
    let cluster = Cluster::served(2);
    let agent = cluster.agent();
    let (old, new) = (cluster.leader(), cluster.follower());
    agent.kill_web();
    send(old.production.server_pid(), Signal::STOP);
    new.wait_until_it_leads();
    new.wait_until_calm();
    send(old.production.server_pid(), Signal::CONT);
    old.wait_until_it_follows(new);
    cluster.check_orders(&agent);
}

#[test]
fn a_leader_that_stops_lets_go_and_the_next_one_need_not_wait() {
    if is_missing() {
        return;
    }
    let mut cluster = Cluster::served(2);
    let agent = cluster.agent();
    let at = cluster.index_of(cluster.leader());
    assert_eq!(cluster.servers[at].production.stop(), Some(0));
    let since = Instant::now();
    cluster.leader().wait_for_health("healthy");
    say_takeover("the leader was stopped, and its agent was there", since);
    let records = cluster.check_orders(&agent);
    assert!(
        records
            .iter()
            .all(|entry| entry["record"]["fact"]["kind"] != "intent")
    );
}

/// The second time the one that was cut before leads again, in the same process.
#[test]
fn a_leader_that_is_cut_from_the_database_is_replaced_and_follows_when_it_is_back() {
    if is_missing() {
        return;
    }
    let cluster = Cluster::served(2);
    let agent = cluster.agent();
    for _ in 0..2 {
        let (old, new) = (cluster.leader(), cluster.follower());
        let pid = old.production.server_pid();
        old.relay.cut();
        let since = Instant::now();
        new.wait_until_it_leads();
        say_takeover("the leader was cut from the database", since);
        let (status, said) = old.readiness().expect("it answers");
        assert_eq!((status, &said["role"]), (503, &json!("leads")), "{said}");
        // The agent could stay with the old one, which answers; it goes to the one that leads.
        new.wait_for_health("healthy");
        let seq = new.production.last_seq();
        agent.kill_web();
        new.production.wait_for_fact_after(seq, TARGET, "closed");
        new.wait_until_calm();
        old.relay.mend();
        old.wait_until_it_follows(new);
        assert_eq!(old.production.server_pid(), pid);
    }
    cluster.check_orders(&agent);
}

#[test]
fn what_a_killed_leader_did_on_its_own_host_may_have_taken_effect() {
    if is_missing() {
        return;
    }
    let more = r#"
find:
  - static: [{ targets: ["127.0.0.1:9"], labels: { service: local } }]
services:
  - name: local
    select: { service: local }
    autonomy: act
    tests: [{ name: answers, tcp: {}, interval: 300ms, timeout: 250ms }]
    repairs:
      - name: act-once
        when: [answers]
        steps:
          - command: { name: mark, command: [/bin/sh, -c, "echo >> {dir}/acts; sleep 60"], timeout: 90s }
            tries: 1
            settle: 5s
"#;
    let mut cluster = Cluster::served_with(2, more);
    let at = cluster.index_of(cluster.leader());
    let killed = &mut cluster.servers[at];
    let acts = killed.production.path().join("acts");
    wait_for("the command to run", || {
        std::fs::read(&acts).map_err(|error| error.to_string())
    });
    killed.production.kill();
    let new = cluster.leader();
    let outcome = new.production.wait_for_fact("127.0.0.1:9", "outcome");
    let outcome = &outcome["record"]["fact"]["outcome"];
    assert_eq!(outcome["kind"], "unknown", "{outcome}");
    assert!(
        outcome["detail"].to_string().contains("another server"),
        "{outcome}"
    );
    new.production.wait_for_fact("127.0.0.1:9", "handed_over");
    assert!(
        !new.production.path().join("acts").exists(),
        "one try is one try"
    );
}
