//! Units of a real systemd: the one whose bus `PITCREW_TEST_SYSTEMD_BUS` names, or this machine's own.
//! With the variable set, the test may start and stop transient units there.

use std::{env, path::Path, process::Command, sync::Arc, time::Duration};

use pitcrew_model::{Runner, TestKind, Verdict};
use pitcrew_probe::{Answer, Question, Tools, ask};
use tokio::time::{Instant, sleep};

use crate::support::{NoProcesses, PATIENCE, Server, check, skipped, target, test};

async fn ask_with(tools: &Tools, runner: Option<&Runner>, name: Option<&str>) -> Answer {
    let target = target(None, &[("instance", "7")]);
    let kind = TestKind::Unit {
        name: name.map(str::to_owned),
    };
    let test = test(kind, Duration::from_secs(5));
    ask(Question::new(&target, runner, &test, tools)).await
}

fn unit(name: &str, bus: &str) -> Runner {
    Runner::Unit {
        name: name.to_owned(),
        bus: Some(bus.to_owned()),
    }
}

/// A systemd to ask, and whether units may be made in it.
fn systemd() -> Option<(String, bool)> {
    if let Ok(bus) = env::var("PITCREW_TEST_SYSTEMD_BUS") {
        return Some((bus, true));
    }
    if Path::new("/run/systemd/system").exists() {
        return Some(("unix:path=/run/dbus/system_bus_socket".to_owned(), false));
    }
    skipped(
        "no systemd runs here: set PITCREW_TEST_SYSTEMD_BUS to the bus of one that may be used",
    );
    None
}

#[tokio::test]
async fn an_active_unit_passes_and_an_absent_one_is_unknown() {
    let Some((bus, _)) = systemd() else { return };
    let tools = Tools::new(Arc::new(NoProcesses));
    let journal = unit("systemd-journald", &bus);
    let answer = ask_with(&tools, Some(&journal), None).await;
    check(
        &answer,
        Verdict::Pass,
        "systemd-journald.service active (running)",
    );
    let answer = ask_with(&tools, Some(&journal), Some("basic.target")).await;
    check(&answer, Verdict::Pass, "basic.target active");
    let answer = ask_with(&tools, Some(&journal), Some("nothing@{instance}")).await;
    check(
        &answer,
        Verdict::Unknown,
        "no unit nothing@7.service on this host",
    );
    let answer = ask_with(&tools, Some(&journal), Some("bad/../name.service")).await;
    check(&answer, Verdict::Unknown, "bad/../name.service: ");
}

/// Starts a service that lives until it is stopped and reset; what an earlier test left of it goes first.
fn start_transient(bus: &str, name: &str, program: &[&str], restart: &str) {
    let count = |list: &[&str]| list.len().to_string();
    stop(bus, name);
    let mut command = Command::new("busctl");
    command
        .arg(format!("--address={bus}"))
        .args([
            "--",
            "call",
            "org.freedesktop.systemd1",
            "/org/freedesktop/systemd1",
        ])
        .args(["org.freedesktop.systemd1.Manager", "StartTransientUnit"])
        .args(["ssa(sv)a(sa(sv))", name, "replace", "3"])
        .args(["Restart", "s", restart])
        .args(["RestartUSec", "t", "600000000"])
        .args(["ExecStart", "a(sasb)", "1", program[0]])
        .arg(count(program))
        .args(program)
        .args(["false", "0"]);
    crate::support::run(&mut command).unwrap();
}

fn stop(bus: &str, name: &str) {
    manager(bus, "StopUnit", name);
    manager(bus, "ResetFailedUnit", name);
}

fn manager(bus: &str, method: &str, name: &str) {
    let mut command = Command::new("busctl");
    command
        .arg(format!("--address={bus}"))
        .args([
            "--",
            "call",
            "org.freedesktop.systemd1",
            "/org/freedesktop/systemd1",
        ])
        .args(["org.freedesktop.systemd1.Manager", method]);
    match method {
        "ResetFailedUnit" => command.args(["s", name]),
        _ => command.args(["ss", name, "replace"]),
    };
    crate::support::run(&mut command).ok();
}

async fn until(tools: &Tools, runner: &Runner, verdict: Verdict, words: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask_with(tools, Some(runner), None).await;
        if answer.verdict == verdict && answer.evidence.as_str().contains(words) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "never {verdict} {words}: {answer:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn failed_and_restarting_units_fail_with_systemds_reason() {
    let Some((bus, may_make_units)) = systemd() else {
        return;
    };
    if !may_make_units {
        return skipped("this machine's own systemd is not for making units in");
    }
    let tools = Tools::new(Arc::new(NoProcesses));
    for (name, program, restart, verdict, words) in [
        (
            "pitcrew-probe-runs.service",
            &["/bin/sleep", "600"][..],
            "no",
            Verdict::Pass,
            "active (running)",
        ),
        (
            "pitcrew-probe-exits.service",
            &["/bin/sh", "-c", "exit 7"],
            "no",
            Verdict::Fail,
            "failed: exit-code 7",
        ),
        (
            "pitcrew-probe-killed.service",
            // systemd makes one `$` of two.
            &["/bin/sh", "-c", "kill -SEGV $$$$"],
            "no",
            Verdict::Fail,
            "11/SEGV",
        ),
        (
            "pitcrew-probe-absent.service",
            &["/nonexistent"],
            "no",
            Verdict::Fail,
            "failed: exit-code 203/EXEC",
        ),
        (
            "pitcrew-probe-loops.service",
            &["/bin/false"],
            "always",
            Verdict::Fail,
            "activating (auto-restart) after exit-code 1",
        ),
    ] {
        start_transient(&bus, name, program, restart);
        until(&tools, &unit(name, &bus), verdict, words).await;
        stop(&bus, name);
    }
    // Debian's plain image has it, and nothing starts it.
    let rescue = unit("rescue.service", &bus);
    check(
        &ask_with(&tools, Some(&rescue), None).await,
        Verdict::Fail,
        "inactive (dead)",
    );
}

#[tokio::test]
async fn a_bus_that_is_not_there_is_unknown() {
    let tools = Tools::new(Arc::new(NoProcesses));
    let absent = unit("any", "unix:path=/nonexistent/bus");
    let answer = ask_with(&tools, Some(&absent), None).await;
    check(
        &answer,
        Verdict::Unknown,
        "systemd's bus at unix:path=/nonexistent/bus can't be reached: ",
    );
    let nonsense = unit("any", "nonsense");
    check(
        &ask_with(&tools, Some(&nonsense), None).await,
        Verdict::Unknown,
        "can't be reached",
    );
    check(
        &ask_with(&tools, None, None).await,
        Verdict::Unknown,
        "names no unit",
    );
    let no_label = unit("web@{rack}", "unix:path=/nonexistent/bus");
    check(
        &ask_with(&tools, Some(&no_label), None).await,
        Verdict::Unknown,
        "no label `rack`",
    );
}

#[tokio::test]
async fn a_bus_without_systemd_is_unknown_and_a_restarted_bus_is_reconnected_to() {
    if crate::support::is_missing("/usr/bin/dbus-daemon", "dbus-daemon") {
        return;
    }
    let directory = tempfile::TempDir::new().unwrap();
    let bus = format!("unix:path={}", directory.path().join("bus").display());
    let settings = directory.path().join("settings");
    let policy = "<policy context='default'><allow send_destination='*'/><allow receive_sender='*'/></policy>";
    let text =
        format!("<busconfig><listen>{bus}</listen><auth>EXTERNAL</auth>{policy}</busconfig>");
    std::fs::write(&settings, text).unwrap();
    let start = || {
        let mut command = Command::new("dbus-daemon");
        command.args(["--nofork", "--config-file"]).arg(&settings);
        Server::start(&mut command)
    };
    let tools = Tools::new(Arc::new(NoProcesses));
    let any = unit("any", &bus);
    let without = "org.freedesktop.systemd1";
    let first = start();
    until(&tools, &any, Verdict::Unknown, without).await;
    drop(first);
    until(&tools, &any, Verdict::Unknown, "can't be reached").await;
    let _second = start();
    until(&tools, &any, Verdict::Unknown, without).await;
}

#[tokio::test]
async fn a_silent_bus_is_unknown_at_the_deadline() {
    let port = crate::support::peer_that_sends(b"", false);
    let silent = unit("any", &format!("tcp:host=127.0.0.1,port={port}"));
    let tools = Tools::new(Arc::new(NoProcesses));
    let target = target(None, &[]);
    let test = test(TestKind::Unit { name: None }, Duration::from_millis(300));
    let answer = ask(Question::new(&target, Some(&silent), &test, &tools)).await;
    check(&answer, Verdict::Unknown, "systemd does not answer");
}
