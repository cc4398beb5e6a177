//! Both processes of an agent in one, with a real socket between, and somebody in place of the one with a network.

use std::{fs, path::Path};

use pitcrew_model::{
    Action, Authority, HostCommand, HostSettings, Order, OrderId, Rate, Timestamp,
};
use pitcrew_wire::{Addressed, HostName, OrderSigner};
use proptest::prelude::*;
use tokio::{io::AsyncWriteExt as _, task::JoinHandle};

use super::{serve::serve, *};
use crate::{AgentError, run::boot_id};

const NOW_MS: u64 = 1_000_000;

/// A privileged process whose host has one command, `mark`, that appends a line to a file.
struct Host {
    directory: tempfile::TempDir,
    signer: OrderSigner,
    time: Arc<ServerTime>,
    apart: Apart,
    serving: Option<JoinHandle<Result<(), AgentError>>>,
}

fn signer() -> OrderSigner {
    OrderSigner::from_pkcs8(&OrderSigner::generate().unwrap()).unwrap()
}

fn own_name() -> String {
    let uid = rustix::process::getuid().as_raw().to_string();
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let mut lines = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let own = lines.find(|fields| fields.get(2) == Some(&uid.as_str()));
    own.expect("this user has a name")[0].to_owned()
}

fn options(directory: &Path) -> HandsOptions {
    let script = format!("echo done >> {}", directory.join("marks").display());
    let mut settings = HostSettings {
        commands: vec![HostCommand {
            name: "mark".into(),
            command: vec!["/bin/sh".into(), "-c".into(), script],
            timeout: Duration::from_secs(10),
        }],
        ..HostSettings::default()
    };
    settings.limits.disruptive = Rate {
        count: 3,
        per: Duration::from_secs(3_600),
    };
    HandsOptions {
        data: directory.join("data"),
        settings,
        socket: directory.join("hands"),
        user: own_name(),
    }
}

impl Host {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let signer = signer();
        let time = Arc::new(ServerTime::default());
        let now = boot_ms();
        time.learn(now, now, Timestamp::from_millis(NOW_MS));
        let principal = Principal {
            installation: "i1".into(),
            host: HostName::new("web-1").unwrap(),
            order_key: signer.key().to_text(),
        };
        let socket = directory.path().join("hands");
        let apart = Apart::new(socket, principal, Arc::clone(&time));
        let mut host = Self {
            directory,
            signer,
            time,
            apart,
            serving: None,
        };
        host.restart(|_| false).await;
        host
    }

    /// Until it answers, or refuses to in such words.
    async fn restart(&mut self, refuses: impl Fn(&str) -> bool) {
        if let Some(before) = self.serving.take() {
            before.abort();
            // What it held is free once the task is gone, not when that is asked for.
            before.await.ok();
            fs::remove_file(self.directory.path().join("hands")).unwrap();
        }
        let mut serving = tokio::spawn(serve(options(self.directory.path())));
        loop {
            tokio::select! {
                ended = &mut serving => panic!("{ended:?}"),
                states = self.apart.states() => match states {
                    Ok(_) => break,
                    Err(why) if refuses(&why) => break,
                    Err(_) => tokio::task::yield_now().await,
                },
            }
        }
        self.serving = Some(serving);
    }

    fn addressed(&self, operation: &str) -> Addressed {
        let principal = self.apart.lock();
        let host = principal.host.clone();
        let target = crate::inventory::Inventory::of(&host, &HostSettings::default());
        Addressed {
            installation: "i1".into(),
            host,
            boot_id: boot_id().unwrap(),
            order: Order {
                id: OrderId(1),
                operation: operation.parse().unwrap(),
                case: None,
                target: Arc::new(target.targets().remove(0)),
                host: None,
                lease: None,
                service: None,
                action: Action::Command {
                    name: "mark".into(),
                    command: Vec::new(),
                    timeout: Duration::ZERO,
                },
                runner: None,
                authority: Authority::Policy,
                repair: None,
                step: 0,
                attempt: 1,
                given_at: Timestamp::from_millis(NOW_MS),
                settle: Duration::from_secs(1),
                expires_at: Timestamp::from_millis(NOW_MS + 60_000),
                fence: 5,
                digest: String::new(),
                target_is_down: false,
            },
        }
    }

    async fn give(&self, addressed: &Addressed) -> Result<Outcome, String> {
        let signed = self.signer.sign(addressed).unwrap();
        let given = self.apart.order(signed, Request::CarryOut).await;
        given.map(|(_, outcome)| outcome)
    }

    fn marks(&self) -> usize {
        let marks = fs::read_to_string(self.directory.path().join("marks"));
        marks.map_or(0, |text| text.lines().count())
    }
}

#[tokio::test]
async fn an_order_is_carried_out_once_however_often_it_is_passed_on() {
    let host = Host::new().await;
    let addressed = host.addressed("op-1");
    for _ in 0..3 {
        let outcome = host.give(&addressed).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Done, "{outcome:?}");
    }
    let signed = host.signer.sign(&addressed).unwrap();
    let asked = host.apart.order(signed, Request::Reconcile).await.unwrap();
    assert_eq!((asked.1.kind, host.marks()), (OutcomeKind::Done, 1));
}

#[tokio::test]
async fn what_the_server_did_not_sign_is_refused_whatever_the_other_process_says_of_its_key() {
    let mut host = Host::new().await;
    let forger = signer();
    host.apart.lock().order_key = forger.key().to_text();
    let forged = forger.sign(&host.addressed("op-1")).unwrap();
    let refused = host.apart.order(forged, Request::CarryOut).await;
    let why = refused.unwrap_err();
    assert!(
        why.contains("another key") && why.contains("principal.json"),
        "{why}"
    );
    // And it knows its server after a restart, too.
    host.restart(|why| why.contains("principal.json")).await;
    assert_eq!(host.marks(), 0);
}

#[tokio::test]
async fn an_order_that_had_expired_when_another_was_given_is_refused_whatever_time_it_is_said_to_be()
 {
    let host = Host::new().await;
    let old = host.addressed("op-1");
    let mut newer = host.addressed("op-2");
    newer.order.given_at = old.order.expires_at;
    newer.order.expires_at = Timestamp::from_millis(NOW_MS + 120_000);
    assert_eq!(host.give(&newer).await.unwrap().kind, OutcomeKind::Done);
    let why = host.give(&old).await.unwrap_err();
    assert!(why.contains("it expired at"), "{why}");
    assert_eq!(host.marks(), 1);
}

#[tokio::test]
async fn the_hosts_own_limit_fence_and_boot_are_kept_there() {
    let host = Host::new().await;
    let refused = |words: &'static str, outcome: Result<Outcome, String>| {
        let outcome = outcome.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
        assert!(outcome.detail.contains(words), "{words} in {outcome:?}");
    };
    let mut other = host.addressed("op-0");
    other.boot_id = "another".into();
    refused("earlier boot", host.give(&other).await);
    for number in 1..=3 {
        let order = host.addressed(&format!("op-{number}"));
        assert_eq!(host.give(&order).await.unwrap().kind, OutcomeKind::Done);
    }
    refused("limit of 3/h", host.give(&host.addressed("op-4")).await);
    let mut older = host.addressed("op-5");
    older.order.fence = 4;
    refused("older server", host.give(&older).await);
}

#[tokio::test]
async fn without_the_privileged_process_an_order_has_certainly_no_effect() {
    let host = Host::new().await;
    fs::remove_file(host.directory.path().join("hands")).unwrap();
    let why = host.give(&host.addressed("op-1")).await.unwrap_err();
    assert!(why.contains("can't be asked"), "{why}");
}

#[tokio::test]
async fn nonsense_and_an_impossible_time_change_nothing() {
    let host = Host::new().await;
    let mut stream = UnixStream::connect(host.directory.path().join("hands"))
        .await
        .unwrap();
    stream
        .write_all(&[0, 0, 0, 3, b'{', b'x', b'}'])
        .await
        .unwrap();
    let answer: FromHands = pitcrew_wire::read(&mut stream, FRAME_BYTES_MAX)
        .await
        .unwrap();
    assert!(matches!(answer, FromHands::Refused { .. }), "{answer:?}");
    let now = boot_ms();
    host.time.learn(now, now, Timestamp::from_millis(u64::MAX));
    let outcome = host.give(&host.addressed("op-1")).await.unwrap();
    // By the time that it was told before.
    assert_eq!(outcome.kind, OutcomeKind::Done, "{outcome:?}");
}

proptest! {
    #[test]
    fn no_question_panics_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        pitcrew_wire::decode::<ToHands>(&bytes).ok();
        pitcrew_wire::decode::<FromHands>(&bytes).ok();
    }
}
