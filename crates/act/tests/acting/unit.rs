//! Real systemd units, over the bus that `PITCREW_TEST_SYSTEMD_BUS` names or this machine's own.
//!
//! The units are written to `run/systemd/system` of the host whose bus it is (`PITCREW_TEST_SYSTEMD_ROOT`,
//! for a bus of another root), started through the bus, and taken away at the end.

use std::{path::PathBuf, process::Command, time::Duration};

use pitcrew_model::{Action, OutcomeKind, Runner};

use crate::support::{Home, given, kill, now, order, skipped};

struct Host {
    bus: Option<String>,
    root: PathBuf,
}

impl Host {
    fn find() -> Option<Self> {
        let bus = std::env::var("PITCREW_TEST_SYSTEMD_BUS").ok();
        let root = std::env::var("PITCREW_TEST_SYSTEMD_ROOT").unwrap_or_else(|_| "/".into());
        if bus.is_none() && !std::path::Path::new("/run/systemd/private").exists() {
            skipped(
                "no systemd: run on a host that has it, or name its bus in PITCREW_TEST_SYSTEMD_BUS",
            );
            return None;
        }
        Some(Self {
            bus,
            root: PathBuf::from(root),
        })
    }

    fn write(&self, name: &str, service: &str) {
        let directory = self.root.join("run/systemd/system");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(name), format!("[Service]\n{service}\n")).unwrap();
        self.busctl(
            "call",
            &[
                "/org/freedesktop/systemd1",
                "org.freedesktop.systemd1.Manager",
                "Reload",
            ],
        );
    }

    fn busctl(&self, verb: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("busctl");
        match &self.bus {
            Some(bus) => command.args(["--address", bus]),
            None => command.arg("--system"),
        };
        let out = command
            .args([verb, "org.freedesktop.systemd1"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// The main process's number in its own host's count.
    fn main_pid(&self, name: &str) -> u32 {
        let escaped: String = name
            .bytes()
            .map(|byte| match byte {
                byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                byte => format!("_{byte:02x}"),
            })
            .collect();
        let path = format!("/org/freedesktop/systemd1/unit/{escaped}");
        let text = self.busctl(
            "get-property",
            &[&path, "org.freedesktop.systemd1.Service", "MainPID"],
        );
        text.trim().strip_prefix("u ").unwrap().parse().unwrap()
    }

    /// The same process as this machine counts it.
    fn seen_from_here(&self, pid: u32) -> u32 {
        if self.bus.is_none() {
            return pid;
        }
        let leader = self
            .root
            .components()
            .nth(2)
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap()
            .to_owned();
        let inside = std::fs::read_link(format!("/proc/{leader}/ns/pid")).unwrap();
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .find(|there| {
                let status =
                    std::fs::read_to_string(format!("/proc/{there}/status")).unwrap_or_default();
                let inner = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
                inner.and_then(|line| line.split_whitespace().last()) == Some(&pid.to_string())
                    && std::fs::read_link(format!("/proc/{there}/ns/pid"))
                        .is_ok_and(|it| it == inside)
            })
            .unwrap()
    }

    fn runner(&self, name: &str) -> Runner {
        Runner::Unit {
            name: name.to_owned(),
            bus: self.bus.clone(),
        }
    }
}

/// Units that end with the test.
struct Units<'a>(&'a Host, &'a [&'a str]);

impl Drop for Units<'_> {
    fn drop(&mut self) {
        let Self(host, names) = self;
        for name in *names {
            host.busctl(
                "call",
                &[
                    "/org/freedesktop/systemd1",
                    "org.freedesktop.systemd1.Manager",
                    "StopUnit",
                    "ss",
                    name,
                    "replace",
                ],
            );
            std::fs::remove_file(host.root.join("run/systemd/system").join(name)).ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_is_started_restarted_killed_hung_and_stopped() {
    let Some(host) = Host::find() else {
        return;
    };
    let (web, broken) = ("pitcrew-test-web.service", "pitcrew-test-broken.service");
    let _units = Units(&host, &[web, broken]);
    // Its own stop command asks the hung process, and would wait for all of the unit's 90 seconds.
    host.write(web, "ExecStart=/bin/sh -c 'trap \"exit 0\" TERM; while :; do sleep 0.1; done'\nExecStop=/bin/sh -c 'kill $MAINPID; while kill -0 $MAINPID; do sleep 0.1; done'");
    host.write(broken, "ExecStart=/bin/false\nRestart=no");
    let home = Home::new();
    let actuators = home.actuators();
    let go = async |operation: &str, unit: &str, action: Action| {
        actuators
            .carry_out(&order(operation, "web", action, host.runner(unit)))
            .await
    };

    let started = go("op-start", "pitcrew-test-web", Action::Start).await;
    assert_eq!(started.kind, OutcomeKind::Done, "{started:?}");
    assert_eq!(started.detail, format!("{web} is active (running)"));
    let mut before = host.main_pid(web);
    let faults: [(&str, Option<&str>); 3] = [
        ("op-plain", None),
        ("op-hung", Some("STOP")),
        ("op-killed", Some("KILL")),
    ];
    for (operation, signal) in faults {
        if let Some(signal) = signal {
            kill(signal, host.seen_from_here(before));
        }
        let began = std::time::Instant::now();
        let outcome = go(operation, web, Action::Restart).await;
        assert_eq!(outcome.kind, OutcomeKind::Done, "{operation}: {outcome:?}");
        assert_eq!(outcome.detail, format!("{web} is active (running)"));
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it waited the unit's time-out out"
        );
        assert_ne!(host.main_pid(web), before, "{operation}");
        before = host.main_pid(web);
    }

    let failed = go("op-broken", broken, Action::Restart).await;
    assert_eq!(failed.kind, OutcomeKind::Done, "{failed:?}");
    assert!(
        failed.detail.contains("result exit-code") || failed.detail.contains("active"),
        "{failed:?}"
    );
    let absent = go("op-absent", "pitcrew-test-none", Action::Restart).await;
    assert_eq!(absent.kind, OutcomeKind::Failed);
    assert_eq!(absent.detail, "there is no unit pitcrew-test-none.service");

    let stopped = go("op-stop", web, Action::Stop).await;
    assert_eq!(stopped.kind, OutcomeKind::Done, "{stopped:?}");
    assert_eq!(host.main_pid(web), 0);
    go("op-start-2", web, Action::Start).await;
    drop(actuators);
    reconciled_by_the_time_it_is_active(&home, &host, web).await;
}

async fn reconciled_by_the_time_it_is_active(home: &Home, host: &Host, web: &str) {
    let journal = home.run_directory().join("operations.jsonl");
    let mut text = std::fs::read_to_string(&journal).unwrap();
    text.push_str("{\"begun\":\"op-new\",\"at\":1}\n{\"begun\":\"op-old\",\"at\":1}\n");
    std::fs::write(&journal, text).unwrap();
    let actuators = home.actuators();
    for (operation, given_at, kind) in [
        (
            "op-new",
            now() - Duration::from_secs(600),
            OutcomeKind::Done,
        ),
        (
            "op-old",
            now() + Duration::from_secs(5),
            OutcomeKind::Failed,
        ),
    ] {
        let mut order = order(operation, "web", Action::Restart, host.runner(web));
        order.given_at = given_at;
        let outcome = actuators.reconcile(&order, given(&order)).await;
        assert_eq!(outcome.kind, kind, "{operation}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_crashed_too_often_is_started_all_the_same() {
    let Some(host) = Host::find() else {
        return;
    };
    let name = "pitcrew-test-limit.service";
    let _units = Units(&host, &[name]);
    let home = Home::new();
    let marker = "/run/pitcrew-test-limit";
    let inside = host.root.join(marker.trim_start_matches('/'));
    std::fs::remove_file(&inside).ok();
    host.write(name, &format!("ExecStart=/bin/sh -c 'test -e {marker} && exec sleep 600; exit 1'\nRestart=on-failure\nRestartSec=0"));
    let actuators = home.actuators();
    actuators
        .carry_out(&order("op-1", "web", Action::Start, host.runner(name)))
        .await;
    crate::support::wait_for("its start limit is hit", || {
        let path = "/org/freedesktop/systemd1/unit/pitcrew_2dtest_2dlimit_2eservice";
        let text = host.busctl(
            "get-property",
            &[path, "org.freedesktop.systemd1.Unit", "ActiveState"],
        );
        text.contains("failed").then_some(())
    });
    std::fs::write(&inside, "").unwrap();
    let outcome = actuators
        .carry_out(&order("op-2", "web", Action::Start, host.runner(name)))
        .await;
    assert_eq!(
        outcome.detail,
        format!("{name} is active (running)"),
        "{outcome:?}"
    );
    std::fs::remove_file(&inside).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_is_not_there_is_a_failure_without_effect() {
    let home = Home::new();
    let bus = Some(format!("unix:path={}", home.path("no.sock")));
    let runner = Runner::Unit {
        name: "web".into(),
        bus,
    };
    let outcome = home
        .actuators()
        .carry_out(&order("op-1", "web", Action::Restart, runner))
        .await;
    assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
    assert!(outcome.detail.contains("can't be reached"), "{outcome:?}");
}
