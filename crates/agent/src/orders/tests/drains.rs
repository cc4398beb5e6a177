//! Drains by a host: what counts against its limits, and that what it took out of use comes back whoever is captured or away.

use super::*;

fn by(drain: &str, undrain: &str) -> DrainBy {
    DrainBy::HostCommand {
        drain: drain.into(),
        undrain: undrain.into(),
    }
}

/// The first drain is order 1; `until` is in milliseconds from when it is given.
fn drain_by(host: &Host, by: DrainBy, operation: &str, id: u64, lasts_ms: u64) -> Addressed {
    let mut addressed = host.addressed(operation);
    addressed.order.id = OrderId(id);
    addressed.order.action = Action::Drain(Drain {
        by,
        lease: Duration::from_secs(60),
    });
    addressed.order.lease = Some(LeaseTerm {
        id: OrderId(1),
        until: addressed.order.given_at + Duration::from_millis(lasts_ms),
    });
    addressed
}

fn drain(host: &Host, operation: &str, id: u64, lasts_ms: u64) -> Addressed {
    let by = by("take_out", "give_back");
    drain_by(host, by, operation, id, lasts_ms)
}

fn undrain_by(host: &Host, by: DrainBy, operation: &str) -> Addressed {
    let mut addressed = drain(host, operation, 9, 0);
    addressed.order.action = Action::Undrain(by);
    addressed
}

fn undrain(host: &Host, operation: &str) -> Addressed {
    undrain_by(host, by("take_out", "give_back"), operation)
}

impl Host {
    fn drained(&self, target: &str) -> PathBuf {
        let name = format!("drained-{target}");
        self.directory.path().join(name)
    }

    fn is_drained(&self) -> bool {
        self.drained("web-1").exists()
    }

    async fn until_in_use(&self) {
        let back = async {
            while self.is_drained() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let back = tokio::time::timeout(Duration::from_secs(60), back).await;
        back.expect("it is given back");
    }

    async fn does(&self, addressed: &Addressed) {
        let outcome = self.give(addressed).await;
        assert_eq!(outcome.kind, OutcomeKind::Done, "{outcome:?}");
    }

    fn leases_file(&self) -> serde_json::Value {
        let file = self.directory.path().join("leases.json");
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }

    /// As if the agent had died and `change` had happened to each lease meanwhile. Nobody watches the leases yet.
    fn reopen_leases(&mut self, change: impl Fn(&mut serde_json::Value)) -> Arc<Leases> {
        self.orders.leases = None;
        let mut file = self.leases_file();
        file.as_object_mut().unwrap().values_mut().for_each(change);
        let data = self.directory.path();
        fs::write(data.join("leases.json"), file.to_string()).unwrap();
        Arc::new(Leases::open(data, "boot-1").unwrap())
    }
}

#[tokio::test]
async fn a_drain_counts_once_and_neither_its_renewals_nor_its_undrain_do() {
    let host = Host::new();
    for (number, operation) in ["op-1", "op-2", "op-3", "op-4"].into_iter().enumerate() {
        let id = u64::try_from(number).unwrap() + 1;
        let outcome = host.give(&drain(&host, operation, id, 60_000)).await;
        assert_eq!(outcome.kind, OutcomeKind::Done, "{outcome:?}");
    }
    assert!(host.is_drained());
    let outcome = host.give(&undrain(&host, "op-5")).await;
    assert_eq!(outcome.kind, OutcomeKind::Done, "{outcome:?}");
    assert!(!host.is_drained());
    host.refuses(&drain(&host, "op-6", 6, 60_000), "lease has run out")
        .await;
    assert!(!host.is_drained());
}

#[tokio::test]
async fn a_lease_that_nobody_renews_ends_by_itself() {
    let host = Host::new();
    host.give(&drain(&host, "op-1", 1, 1)).await;
    host.until_in_use().await;
}

#[tokio::test]
async fn a_lease_outlives_the_agent_and_ends_by_the_wall_clock_after_a_reboot() {
    let mut host = Host::new();
    host.does(&drain(&host, "op-1", 1, 60_000)).await;
    // As after a reboot of a host whose clock says that the lease has ended long since.
    let leases = host.reopen_leases(|lease| {
        lease["boot_id"] = "boot-0".into();
        lease["ends_wall"] = serde_json::to_value(Timestamp::from_millis(1)).unwrap();
    });
    let _watch = leases.watch(&host.orders.actuators);
    host.until_in_use().await;
}

#[tokio::test]
async fn after_a_reboot_with_a_clock_far_behind_restarts_of_the_agent_prolong_nothing() {
    let mut host = Host::new();
    host.does(&drain(&host, "op-1", 1, 60_000)).await;
    host.reopen_leases(|lease| {
        lease["boot_id"] = "boot-0".into();
        lease["ends_wall"] = serde_json::to_value(wall_now() + Drain::LEASE_MAX).unwrap();
    });
    let before = host.leases_file();
    assert_eq!(before["web-1"]["boot_id"], "boot-1");
    host.reopen_leases(|_| ());
    assert_eq!(host.leases_file(), before);
}

#[tokio::test]
async fn a_hook_that_hangs_holds_up_no_other_target() {
    let mut host = Host::new();
    let mut other = drain(&host, "op-1", 1, 60_000);
    let id = "other@web-1".parse().unwrap();
    other.order.target = Arc::clone(host.orders.inventory.get(&id).unwrap());
    host.does(&other).await;
    host.does(&drain(&host, "op-2", 1, 60_000)).await;
    let leases = host.reopen_leases(|lease| lease["ends_boot_ms"] = 0.into());
    // As while a hook for it is under way.
    let _hanging = leases.turn(&id).await;
    let watch = leases.watch(&host.orders.actuators);
    host.until_in_use().await;
    host.orders.leases = Some((leases, watch));
    host.does(&undrain(&host, "op-3")).await;
    assert!(host.drained("other@web-1").exists());
}

#[tokio::test]
async fn an_undrain_of_what_is_not_drained_counts_like_any_command() {
    let host = Host::new();
    let mark = |operation| undrain_by(&host, by("take_out", "mark"), operation);
    host.does(&mark("op-1")).await;
    host.does(&mark("op-2")).await;
    host.refuses(&mark("op-3"), "own limit of 2/h").await;
    assert_eq!(host.marks(), 2);
}

#[tokio::test]
async fn the_servers_undrain_of_what_the_host_gave_back_itself_counts_as_nothing_once() {
    let host = Host::new();
    host.does(&drain(&host, "op-1", 1, 0)).await;
    host.until_in_use().await;
    host.does(&host.addressed("op-2")).await;
    host.does(&undrain(&host, "op-3")).await;
    host.refuses(&undrain(&host, "op-4"), "own limit of 2/h")
        .await;
}

#[tokio::test]
async fn a_renewal_is_by_the_commands_of_its_drain_and_no_others() {
    let mut host = Host::new();
    host.does(&drain(&host, "op-1", 1, 60_000)).await;
    for (operation, other) in [
        ("op-2", by("mark", "give_back")),
        ("op-3", by("take_out", "mark")),
    ] {
        let other = drain_by(&host, other, operation, 2, 60_000);
        host.refuses(&other, "other commands").await;
    }
    // Whatever they are called by now.
    host.orders.commands.clear();
    fs::remove_file(host.drained("web-1")).unwrap();
    host.does(&drain(&host, "op-4", 2, 60_000)).await;
    assert!(host.is_drained());
    host.does(&undrain_by(&host, by("take_out", "mark"), "op-5"))
        .await;
    assert!(!host.is_drained());
    assert_eq!(host.marks(), 0);
}

#[tokio::test]
async fn what_can_not_be_given_back_is_not_drained_again_when_its_lease_has_run_out() {
    let host = Host::new();
    let failing = |operation, id, lasts_ms| {
        let by = by("take_out", "fail");
        drain_by(&host, by, operation, id, lasts_ms)
    };
    host.does(&failing("op-1", 1, 0)).await;
    host.refuses(&failing("op-2", 2, 60_000), "lease has run out")
        .await;
}

#[tokio::test]
async fn no_lease_is_longer_than_any_may_be_whatever_the_server_says() {
    let host = Host::new();
    let years = Drain::LEASE_MAX * 1_000;
    let mut order = drain(&host, "op-1", 1, 0);
    order.order.action = Action::Drain(Drain {
        by: by("take_out", "give_back"),
        lease: years,
    });
    order.order.lease.as_mut().unwrap().until = order.order.given_at + years;
    host.does(&order).await;
    let max = boot_ms() + u64::try_from(Drain::LEASE_MAX.as_millis()).unwrap();
    let ends = &host.leases_file()["web-1"]["ends_boot_ms"];
    assert!(ends.as_u64().unwrap() <= max, "{ends}");
}

#[tokio::test]
async fn a_drain_that_would_not_end_by_itself_is_not_begun() {
    let host = Host::new();
    let mut endless = drain(&host, "op-1", 1, 60_000);
    endless.order.lease = None;
    host.refuses(&endless, "without a lease").await;
    // The undrain at the end has a longer name.
    let long = drain(&host, &"o".repeat(256), 1, 60_000);
    host.refuses(&long, "longer than 256 bytes").await;
    assert!(!host.is_drained());
}

#[tokio::test]
async fn no_hook_of_a_host_takes_longer_than_the_server_waits_for_it() {
    let mut host = Host::new();
    for command in &mut host.orders.commands {
        command.timeout = Duration::from_secs(600);
    }
    let order = drain(&host, "op-1", 1, 60_000).order;
    let Action::Drain(drain) = host.orders.local(&order).unwrap().action else {
        panic!("no drain");
    };
    let DrainBy::Command { timeout, .. } = drain.by else {
        panic!("no command: {}", drain.by);
    };
    assert_eq!(timeout, Drain::TIMEOUT_MAX);
}

#[tokio::test]
async fn a_drain_that_the_host_could_not_undo_is_not_begun() {
    let host = Host::new();
    let order = drain_by(&host, by("take_out", "nothing"), "op-1", 1, 60_000);
    host.refuses(&order, "no command `nothing`").await;
    assert!(!host.is_drained());
}

#[test]
fn broken_leases_are_an_error_and_not_none() {
    let data = tempfile::tempdir().unwrap();
    fs::write(data.path().join("leases.json"), "[").unwrap();
    assert!(Leases::open(data.path(), "boot-1").is_err());
}
