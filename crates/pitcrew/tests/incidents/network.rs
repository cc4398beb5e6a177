//! Cables that are cut between two ends, in one direction, or lose what they carry.

use crate::fleet::{Fleet, name, web};

/// The server can't reach host 1, or host 1 not the server: others can, so nothing is wrong with what runs there.
fn cut_off(cut: &[&str]) {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    fleet
        .lab
        .on(1, "cut", &[&["--peer", "server"], cut].concat());
    fleet.wait_until_connected(1, false);
    fleet.wait_for_health(&name(1), "unknown");
    fleet.rounds(5);
    let seen_by = |observer| fleet.verdict(&web(1), "answers", observer);
    assert_eq!(seen_by("local").as_deref(), Some("fail"));
    assert_eq!(seen_by("h2").as_deref(), Some("pass"));
    assert_eq!(seen_by("h3").as_deref(), Some("pass"));
    assert_eq!(fleet.orders(), Vec::<String>::new());
    assert_eq!(fleet.starts(1), 1, "what runs there was left alone");
    fleet.lab.on(1, "heal", &[]);
    fleet.wait_until_seen(1);
    assert_eq!(fleet.orders(), Vec::<String>::new());
}

#[test]
fn when_server_and_agent_can_not_reach_each_other_other_observers_decide() {
    cut_off(&[]);
}

#[test]
fn when_the_server_hears_the_host_no_more_but_is_heard_nothing_is_done() {
    cut_off(&["--way", "out"]);
}

#[test]
fn when_the_host_hears_the_server_no_more_but_is_heard_nothing_is_done() {
    cut_off(&["--way", "in"]);
}

#[test]
fn a_host_that_nobody_reaches_is_not_repaired_blindly_and_is_whole_when_it_is_back() {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    fleet.lab.on(2, "cut", &[]);
    fleet.wait_for_health(&web(2), "failing");
    fleet.wait_until_connected(2, false);
    fleet.rounds(5);
    assert_eq!(fleet.starts(2), 1, "what runs there was left alone");
    fleet.lab.on(2, "heal", &[]);
    fleet.wait_until_seen(2);
    fleet.begun_once(2);
}

#[test]
fn a_cable_that_is_slow_and_loses_frames_is_no_reason_to_repair_what_is_behind_it() {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    // A lost hello of TCP comes again after a second, so each loss fails a test; three in a row, for most
    // observers, are too unlikely to wait for.
    fleet.lab.on(1, "delay", &["50"]);
    fleet.lab.on(1, "loss", &["3"]);
    fleet.rounds(12);
    assert_eq!(fleet.orders(), Vec::<String>::new());
    // And what is wrong behind it is repaired all the same.
    fleet.lab.on(1, "heal", &[]);
    fleet.lab.on(1, "delay", &["50"]);
    fleet.cured(&web(1), "restart", || {
        fleet.lab.shell(1, "systemctl kill --signal KILL web");
    });
}
