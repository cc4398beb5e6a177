//! What the agent refuses, whoever asks, and that what it does is its own host's word.

use std::{fs, path::PathBuf, time::Duration};

use pitcrew_act::Supervisor;
use pitcrew_model::{
    Authority, HostLimits, HostSettings, HostThing, Labels, LeaseTerm, OrderId, Rate, Timestamp,
};
use pitcrew_wire::OrderSigner;

use super::*;

/// A host whose configuration has a command `mark`, which appends a line to a file, and two that make and remove one that
/// says who is drained.
struct Host {
    directory: tempfile::TempDir,
    signer: OrderSigner,
    orders: Orders,
}

fn signer() -> OrderSigner {
    OrderSigner::from_pkcs8(&OrderSigner::generate().unwrap()).unwrap()
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let marks = directory.path().join("marks");
        let script = format!("echo done >> {}", marks.display());
        let mark = HostCommand {
            name: "mark".into(),
            command: vec!["/bin/sh".into(), "-c".into(), script],
            timeout: Duration::from_secs(10),
        };
        let drained = directory.path().join("drained-{target}");
        let command = |name: &str, program: &[&str]| HostCommand {
            name: name.into(),
            command: program
                .iter()
                .map(|word| (*word).to_owned())
                .chain([drained.display().to_string()])
                .collect(),
            timeout: Duration::from_secs(10),
        };
        let take_out = command("take_out", &["/usr/bin/touch"]);
        let give_back = command("give_back", &["/bin/rm", "-f"]);
        let fail = command("fail", &["/bin/false"]);
        let settings = HostSettings {
            things: vec![HostThing {
                name: "other".into(),
                runner: Runner::Supervised,
                address: None,
                labels: Labels::default(),
            }],
            ..HostSettings::default()
        };
        let per = Duration::from_secs(3_600);
        let limits = HostLimits {
            disruptive: Rate { count: 2, per },
            reboots: Rate { count: 1, per },
        };
        let host = HostName::new("web-1").unwrap();
        let supervisor = Supervisor::new(directory.path().join("run"), "i1-web-1".into()).unwrap();
        let time = Arc::new(ServerTime::default());
        let now = boot_ms();
        time.learn(now, now, Timestamp::from_millis(1_000_000));
        let for_actuators = Arc::clone(&time);
        let clock = move || for_actuators.latest(boot_ms()).unwrap();
        let signer = signer();
        let actuators = Actuators::new(supervisor, Arc::new(clock));
        let leases = Arc::new(Leases::open(directory.path(), "boot-1").unwrap());
        let watch = leases.watch(&actuators);
        let orders = Orders {
            installation: "i1".into(),
            boot_id: "boot-1".into(),
            key: Mutex::new(signer.key()),
            inventory: Arc::new(Inventory::of(&host, &settings)),
            host,
            commands: vec![mark, take_out, give_back, fail],
            caps: Some(Caps::open(directory.path(), limits).unwrap()),
            actuators,
            leases: Some((leases, watch)),
            time,
        };
        Self {
            directory,
            signer,
            orders,
        }
    }

    fn marks(&self) -> usize {
        let file: PathBuf = self.directory.path().join("marks");
        fs::read_to_string(file).map_or(0, |text| text.lines().count())
    }

    fn addressed(&self, operation: &str) -> Addressed {
        let target = self.orders.inventory.get(&self.orders.host.target());
        Addressed {
            installation: "i1".into(),
            host: self.orders.host.clone(),
            boot_id: "boot-1".into(),
            order: Order {
                id: OrderId(1),
                operation: operation.parse().unwrap(),
                case: None,
                target: Arc::clone(target.unwrap()),
                service: None,
                host: None,
                lease: None,
                // What the server says the command is must not matter.
                action: Action::Command {
                    name: "mark".into(),
                    command: vec!["/bin/false".into()],
                    timeout: Duration::ZERO,
                },
                runner: None,
                authority: Authority::Policy,
                repair: None,
                step: 0,
                attempt: 1,
                given_at: Timestamp::from_millis(1_000_000),
                settle: Duration::from_secs(1),
                expires_at: Timestamp::from_millis(1_060_000),
                fence: 5,
                digest: String::new(),
                target_is_down: false,
            },
        }
    }

    async fn give(&self, addressed: &Addressed) -> Outcome {
        let signed = self.signer.sign(addressed).unwrap();
        self.orders.carry_out(&signed).await.unwrap().1
    }

    /// It must have no effect and say so in these words.
    async fn refuses(&self, addressed: &Addressed, words: &str) {
        let before = self.marks();
        let outcome = self.give(addressed).await;
        assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
        assert!(outcome.detail.contains(words), "{words} in {outcome:?}");
        assert_eq!(self.marks(), before);
    }
}

#[tokio::test]
async fn a_command_is_what_the_host_says_it_is_and_done_once_however_often_it_is_sent() {
    let host = Host::new();
    let addressed = host.addressed("op-1");
    for _ in 0..3 {
        assert_eq!(host.give(&addressed).await.kind, OutcomeKind::Done);
    }
    assert_eq!(host.marks(), 1);
}

#[tokio::test]
async fn what_another_key_has_signed_is_nobodys_order() {
    let host = Host::new();
    let forged = signer().sign(&host.addressed("op-1")).unwrap();
    assert!(matches!(
        host.orders.carry_out(&forged).await,
        Err(Forged::Signature)
    ));
    assert!(matches!(
        host.orders.reconcile(&forged).await,
        Err(Forged::Signature)
    ));
    assert_eq!(host.marks(), 0);
}

#[tokio::test]
async fn a_host_that_is_enrolled_again_obeys_the_new_key_and_no_longer_the_old() {
    let host = Host::new();
    let new = signer();
    host.orders.replace_key(new.key());
    let old = host.signer.sign(&host.addressed("op-1")).unwrap();
    assert!(host.orders.carry_out(&old).await.is_err());
    let signed = new.sign(&host.addressed("op-1")).unwrap();
    let (_, outcome) = host.orders.carry_out(&signed).await.unwrap();
    assert_eq!((outcome.kind, host.marks()), (OutcomeKind::Done, 1));
}

#[tokio::test]
async fn what_is_for_another_host_boot_or_installation_is_refused() {
    let host = Host::new();
    let mut other = host.addressed("op-1");
    other.host = HostName::new("web-2").unwrap();
    host.refuses(&other, "it is for web-2").await;
    let mut other = host.addressed("op-2");
    other.installation = "i2".into();
    host.refuses(&other, "installation i2").await;
    let mut earlier = host.addressed("op-3");
    earlier.boot_id = "boot-0".into();
    host.refuses(&earlier, "earlier boot").await;
    let mut foreign = host.addressed("op-4");
    foreign.order.target = Arc::new(Target {
        id: "web-1@web-2".parse().unwrap(),
        ..(*foreign.order.target).clone()
    });
    host.refuses(&foreign, "no target of this host").await;
}

#[tokio::test]
async fn what_has_expired_or_is_of_an_older_server_is_refused() {
    let host = Host::new();
    let mut late = host.addressed("op-1");
    late.order.expires_at = Timestamp::from_millis(1_000_000);
    host.refuses(&late, "expired").await;
    assert_eq!(
        host.give(&host.addressed("op-2")).await.kind,
        OutcomeKind::Done
    );
    let mut old = host.addressed("op-3");
    old.order.fence = 4;
    host.refuses(&old, "older server").await;
}

#[tokio::test]
async fn nothing_is_obeyed_before_the_servers_time_is_known() {
    let mut host = Host::new();
    host.orders.time = Arc::new(ServerTime::default());
    host.refuses(&host.addressed("op-1"), "time is not known")
        .await;
}

#[tokio::test]
async fn only_what_is_in_the_catalogue_is_done() {
    let host = Host::new();
    let action = |action| {
        let mut addressed = host.addressed("op-1");
        addressed.order.action = action;
        addressed
    };
    let unnamed = action(Action::Command {
        name: "rm".into(),
        command: vec!["/bin/rm".into()],
        timeout: Duration::from_secs(1),
    });
    host.refuses(&unnamed, "no command `rm`").await;
    let webhook = action(Action::Webhook {
        name: "hook".into(),
        url: "http://127.0.0.1/".into(),
        timeout: Duration::from_secs(1),
    });
    host.refuses(&webhook, "nothing for a host").await;
    // The server's word on what runs the target is not taken: here nothing does.
    let mut restart = action(Action::Restart);
    restart.order.runner = Some(Runner::Command {
        start: None,
        stop: None,
        restart: Some(vec!["/bin/sh".into()]),
    });
    assert_eq!(host.give(&restart).await.kind, OutcomeKind::Failed);
}

#[tokio::test]
async fn only_this_very_host_is_rebooted_and_only_within_its_own_limit() {
    let host = Host::new();
    let mut other = host.addressed("op-1");
    other.order.action = Action::Reboot;
    other.order.host = Some(Arc::new(Target {
        id: "web-2".parse().unwrap(),
        ..(*other.order.target).clone()
    }));
    host.refuses(&other, "web-2, which is another host").await;
    let mut cycle = host.addressed("op-2");
    cycle.order.action = Action::PowerCycle;
    host.refuses(&cycle, "nothing for a host").await;
    // This agent's actuators know no systemd: what counts is that the limit was spent before they were asked.
    for (operation, words) in [
        ("op-3", "only it could reboot"),
        ("op-4", "limit of 1/h reboots"),
    ] {
        let mut reboot = host.addressed(operation);
        reboot.order.action = Action::Reboot;
        host.refuses(&reboot, words).await;
    }
}

#[tokio::test]
async fn the_hosts_own_limit_holds_for_every_order() {
    let host = Host::new();
    for operation in ["op-1", "op-2"] {
        let outcome = host.give(&host.addressed(operation)).await;
        assert_eq!(outcome.kind, OutcomeKind::Done);
    }
    host.refuses(&host.addressed("op-3"), "own limit of 2/h")
        .await;
}

#[tokio::test]
async fn asking_what_became_of_an_order_begins_nothing() {
    let host = Host::new();
    let signed = |operation| host.signer.sign(&host.addressed(operation)).unwrap();
    let (_, never) = host.orders.reconcile(&signed("op-1")).await.unwrap();
    assert_eq!(never.kind, OutcomeKind::Failed);
    // The order itself arrives after the question.
    host.refuses(&host.addressed("op-1"), "never begun").await;
    host.give(&host.addressed("op-2")).await;
    let (_, done) = host.orders.reconcile(&signed("op-2")).await.unwrap();
    assert_eq!((done.kind, host.marks()), (OutcomeKind::Done, 1));
}

mod drains;
