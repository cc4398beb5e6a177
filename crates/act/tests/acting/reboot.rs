//! Reboots: asked of a logind of the test's own, on a bus of its own, so that nothing here goes down.

use std::{
    fs,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use futures_util::StreamExt as _;
use pitcrew_act::{Actuators, Given, Reboot, boot_id};
use pitcrew_model::{Action, OutcomeKind, Runner};

use crate::support::{Home, Peer, now, order, program, wait_for};

/// Takes the name of logind, and counts how often it is asked to reboot.
async fn logind(bus: &str, asked: Arc<AtomicU32>) {
    let connection = zbus::connection::Builder::address(bus)
        .name("org.freedesktop.login1")
        .build()
        .await
        .unwrap();
    let mut calls = zbus::MessageStream::from(&connection);
    tokio::spawn(async move {
        while let Some(Ok(call)) = calls.next().await {
            let header = call.header();
            if header.member().is_some_and(|member| member == "Reboot") {
                asked.fetch_add(1, Ordering::SeqCst);
                connection.reply(&header, &()).await.unwrap();
            }
        }
    });
}

struct Bus {
    address: String,
    _daemon: Peer,
}

impl Bus {
    fn start(home: &Home) -> Option<Self> {
        let daemon = program("/usr/bin/dbus-daemon", "dbus-daemon")?;
        let socket = home.path("bus");
        let address = format!("unix:path={socket}");
        let child = Command::new(daemon)
            .args([
                "--session",
                "--nofork",
                "--nopidfile",
                "--address",
                &address,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("the bus", || fs::metadata(&socket).ok());
        Some(Self {
            address,
            _daemon: Peer(child),
        })
    }
}

fn agent(home: &Home, bus: &str) -> Actuators {
    let bus = Some(bus.to_owned());
    Actuators::of_host(home.supervisor(), Arc::new(now), Reboot { bus })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_is_asked_for_once_and_done_only_when_the_boot_id_is_another() {
    let home = Home::new();
    let Some(bus) = Bus::start(&home) else { return };
    let asked = Arc::new(AtomicU32::new(0));
    logind(&bus.address, Arc::clone(&asked)).await;
    let reboot = order("op-1", "web-7", Action::Reboot, Runner::Supervised);
    let actuators = agent(&home, &bus.address);
    let outcome = actuators.carry_out(&reboot).await;
    assert_eq!(outcome.kind, OutcomeKind::Unknown, "{outcome:?}");
    assert!(outcome.detail.contains("logind has begun"), "{outcome:?}");
    let outcome = actuators.carry_out(&reboot).await;
    assert_eq!(outcome.kind, OutcomeKind::Unknown, "{outcome:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    drop(actuators);
    let found = agent(&home, &bus.address)
        .reconcile(&reboot, Given::exactly(reboot.given_at))
        .await;
    assert_eq!(found.kind, OutcomeKind::Unknown, "{found:?}");
    // As it is when the machine has booted since: what was written down is of another boot.
    let journal = home.run_directory().join("operations.jsonl");
    let written = fs::read_to_string(&journal).unwrap();
    let earlier = written.replace(&boot_id().unwrap(), "an-earlier-boot");
    assert_ne!(
        earlier, written,
        "the boot id is written down before the act"
    );
    fs::write(&journal, earlier).unwrap();
    let found = agent(&home, &bus.address)
        .reconcile(&reboot, Given::exactly(reboot.given_at))
        .await;
    assert_eq!(found.kind, OutcomeKind::Done, "{found:?}");
    assert!(found.detail.contains("an-earlier-boot"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_systemd_is_not_rebooted_and_says_so() {
    let home = Home::new();
    let Some(bus) = Bus::start(&home) else { return };
    let reboot = order("op-1", "web-7", Action::Reboot, Runner::Supervised);
    let outcome = agent(&home, &bus.address).carry_out(&reboot).await;
    assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
    let nowhere = format!("{}-nowhere", bus.address);
    let reboot = order("op-2", "web-7", Action::Reboot, Runner::Supervised);
    let outcome = agent(&home, &nowhere).carry_out(&reboot).await;
    assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_never_reboots_the_machine_it_runs_on() {
    let home = Home::new();
    let reboot = order("op-1", "web-7", Action::Reboot, Runner::Supervised);
    let outcome = home.actuators().carry_out(&reboot).await;
    assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
    assert!(
        outcome.detail.contains("no agent is known on web-7"),
        "{outcome:?}"
    );
}
