//! A fleet with hosts of the test at the other end of streams in memory, and an engine's inbox that the test empties.

use std::{net::IpAddr, sync::mpsc as std_mpsc};

use pitcrew_model::{
    Action, Address, Authority as OrderAuthority, Autonomy, Labels, Limits, Order, OrderId,
    Outcome, OutcomeKind, Place, Proves, RedisTest, Runner, Secret, Selector, TestKind, Timestamp,
};
use pitcrew_probe::Tools;
use pitcrew_wire::{Hello, Protocol, ToAgent, ToServer, WireError};
use tokio::{
    io::{DuplexStream, duplex},
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::core::Message;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

struct Base {
    fleet: Arc<Fleet>,
    messages: std_mpsc::Receiver<Message>,
    /// As the engine has it: the fleet alone keeps no way open.
    _notices: mpsc::UnboundedSender<Notice>,
    noticed: mpsc::UnboundedReceiver<Notice>,
    directory: tempfile::TempDir,
}

fn settings() -> AgentSettings {
    AgentSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        certificate_lifetime: Duration::from_secs(3_600),
        observers: 2,
        trust_addresses: false,
        authority: None,
    }
}

impl Base {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::of(&settings(), directory)
    }

    fn of(settings: &AgentSettings, directory: tempfile::TempDir) -> Self {
        let (inbox, messages) = Inbox::new();
        let (notices, noticed) = mpsc::unbounded_channel();
        let clock = Clock::start();
        let for_scheduler = clock.clone();
        let processes = Arc::new(NoProcesses);
        let scheduler = Scheduler::start(
            local_observer(),
            Tools::new(processes),
            1,
            Arc::new(move || for_scheduler.now()),
            |_| {},
        );
        let around = Surroundings {
            clock,
            inbox,
            metrics: Arc::new(Metrics::new()),
            notices: notices.clone(),
            scheduler,
            leadership: Arc::new(Leadership::new(1, None)),
        };
        let kept = Kept::Directory(directory.path().to_owned());
        let fleet = Fleet::open(Some(settings), &kept, "i1", around).unwrap();
        Self {
            fleet: Arc::new(fleet),
            messages,
            _notices: notices,
            noticed,
            directory,
        }
    }

    fn host(&self) -> HostName {
        HostName::new("web-1").unwrap()
    }

    fn enrolled(&self) -> u64 {
        let office = self.fleet.office.as_ref().unwrap();
        office.generations.advance(&self.host()).unwrap()
    }

    /// A connection that the certificate of this generation was shown on.
    fn connect(&self, generation: u64, peer: IpAddr) -> Host {
        self.connect_as(self.host(), generation, peer)
    }

    fn connect_as(&self, host: HostName, generation: u64, peer: IpAddr) -> Host {
        let (stream, theirs) = duplex(1 << 16);
        let proven = Proven {
            host,
            generation,
            peer,
            expires_at: self.fleet.clock.now() + Duration::from_secs(3_600),
        };
        let fleet = Arc::clone(&self.fleet);
        let session = tokio::spawn(async move { session::run(&fleet, theirs, proven).await });
        Host { stream, session }
    }

    async fn greeted(&self) -> Host {
        let mut host = self.connect(self.enrolled(), PEER);
        host.hello("1").await;
        assert!(matches!(host.hear().await, Ok(ToAgent::Welcome(_))));
        host
    }

    /// What the engine would decide on, everything before answered.
    fn observations(&self) -> Vec<Observation> {
        let mut all = Vec::new();
        for message in self.messages.try_iter() {
            match message {
                Message::Event(Event::Observations(observations)) => all.extend(observations),
                Message::Flush(done) => done.send(()).unwrap(),
                _ => {}
            }
        }
        all
    }
}

struct NoProcesses;

impl pitcrew_probe::ProcessStates for NoProcesses {
    fn state(&self, _: &Target, _: &Runner) -> pitcrew_probe::ProcessState {
        pitcrew_probe::ProcessState::Unknown { why: String::new() }
    }
}

struct Host {
    stream: DuplexStream,
    session: JoinHandle<()>,
}

impl Host {
    async fn say(&mut self, message: &ToServer) {
        pitcrew_wire::write(&mut self.stream, message)
            .await
            .unwrap();
    }

    async fn hear(&mut self) -> Result<ToAgent, WireError> {
        let hearing = pitcrew_wire::read(&mut self.stream, pitcrew_wire::FRAME_BYTES_MAX);
        timeout(Duration::from_secs(60), hearing)
            .await
            .expect("an answer in time")
    }

    async fn hello(&mut self, instance: &str) {
        let hello = Hello {
            protocol: Protocol::OURS,
            version: "0".into(),
            instance: instance.into(),
            boot_id: "b".into(),
        };
        self.say(&ToServer::Hello(hello)).await;
    }

    /// Told, and taken in.
    async fn inventory(&mut self, targets: Vec<Target>) {
        self.say(&ToServer::Inventory { targets }).await;
        self.say(&ToServer::Beat { sent_ms: 1 }).await;
        while !matches!(self.hear().await, Ok(ToAgent::Beat { .. })) {}
    }

    async fn refusal(&mut self) -> String {
        match self.hear().await {
            Ok(ToAgent::Refused { reason }) => reason,
            other => panic!("{other:?}"),
        }
    }
}

fn target(id: &str, address: &str) -> Target {
    let run_on = id.split_once('@').map(|(_, host)| host.parse().unwrap());
    Target {
        id: id.parse().unwrap(),
        address: Some(Address(address.into())),
        labels: Labels::default(),
        run_on,
        runner: None,
        source: "agents-1".parse().unwrap(),
    }
}

fn inventory(address: &str) -> Vec<Target> {
    vec![target("web-1", "10.0.0.7"), target("db@web-1", address)]
}

/// With one test, `answers`.
fn service_of(kind: TestKind) -> Arc<Service> {
    Arc::new(Service {
        name: "db".parse().unwrap(),
        select: Selector::default(),
        domains: Vec::new(),
        autonomy: Autonomy::Observe,
        tests: vec![Arc::new(Test {
            name: "answers".parse().unwrap(),
            kind,
            interval: Duration::from_secs(3_600),
            timeout: Duration::from_secs(1),
            failure_threshold: 3,
            success_threshold: 2,
            proves: Proves::Down,
            place: Place::Server,
        })],
        repairs: Vec::new(),
        limits: Limits::default(),
        windows: Vec::new(),
        runs_as: None,
        drain: None,
    })
}

fn service_inside() -> Arc<Service> {
    service_of(TestKind::Process)
}

/// Its test has a password.
fn service() -> Arc<Service> {
    service_of(TestKind::Redis(RedisTest {
        port: None,
        user: None,
        password: Some(Secret::new("secret")),
        role: None,
    }))
}

fn order() -> Order {
    Order {
        id: OrderId(1),
        operation: "op-1".parse().unwrap(),
        case: None,
        target: Arc::new(target("db@web-1", "10.0.0.7:1")),
        host: None,
        lease: None,
        service: None,
        action: Action::Restart,
        runner: None,
        authority: OrderAuthority::Policy,
        repair: None,
        step: 0,
        attempt: 1,
        given_at: Timestamp::ZERO,
        settle: Duration::from_secs(1),
        expires_at: Timestamp::ZERO,
        fence: 5,
        digest: String::new(),
        target_is_down: false,
    }
}

#[tokio::test]
async fn this_hosts_own_agent_hears_what_looks_into_it_and_is_sent_signed_orders_as_any_other() {
    let base = Base::new();
    let mut own = base.connect_as(HostName::local(), 0, PEER);
    own.hello("1").await;
    assert!(matches!(own.hear().await, Ok(ToAgent::Welcome(_))));
    own.inventory(Vec::new()).await;
    let web = Target {
        runner: Some(Runner::Supervised),
        ..target("web-1", "127.0.0.1:80")
    };
    base.fleet.watch(&Arc::new(web.clone()), &service_inside());
    let Ok(ToAgent::Watch { runner, tests, .. }) = own.hear().await else {
        panic!("it is told");
    };
    assert_eq!((runner, tests.len()), (Some(Runner::Supervised), 1));
    let order = Order {
        target: Arc::new(web),
        ..order()
    };
    let local = HostName::local();
    let carrying_out = base.fleet.carry_out(&local, &order);
    let answering = async {
        let Ok(ToAgent::Order(signed)) = own.hear().await else {
            panic!("it is ordered");
        };
        let addressed = base.fleet.own_signer.key().verify(&signed).unwrap();
        assert!(addressed.host.is_local());
        let outcome = Outcome {
            order: order.id,
            kind: OutcomeKind::Done,
            at: Timestamp::ZERO,
            detail: "restarted".into(),
        };
        let operation = order.operation.clone();
        own.say(&ToServer::Outcome { operation, outcome }).await;
    };
    let (outcome, ()) = tokio::join!(carrying_out, answering);
    assert_eq!(
        (outcome.kind, &*outcome.detail),
        (OutcomeKind::Done, "restarted")
    );
    assert_eq!(
        base.fleet.sessions().len(),
        0,
        "it is no host on the network"
    );
    assert!(base.fleet.targets().is_empty());
}

#[tokio::test]
async fn a_secret_is_told_only_where_the_host_itself_connects_from() {
    let base = Base::new();
    let (db, service) = (Arc::new(target("db@web-1", "10.0.0.8:6379")), service());
    let asked = || base.fleet.not_asked_here(&db, &service.tests[0]).is_none();
    let mut host = base.greeted().await;
    host.inventory(inventory("10.0.0.8:6379")).await;
    base.fleet.watch(&db, &service);
    assert!(!asked());
    let seen = base.observations().pop().unwrap();
    assert_eq!(seen.verdict, Verdict::Unknown);
    let why = seen.evidence.as_str();
    assert!(why.contains("10.0.0.7") && why.contains("trust_addresses"));
    host.session.abort();

    // It was moved there.
    let there = IpAddr::from([10, 0, 0, 8]);
    let mut host = base.connect(1, there);
    host.hello("1").await;
    host.inventory(inventory("10.0.0.8:6379")).await;
    assert!(asked());
    assert!(base.observations().is_empty());

    let trusting = AgentSettings {
        trust_addresses: true,
        ..settings()
    };
    let base = Base::of(&trusting, base.directory);
    base.fleet
        .hear(&base.host(), PEER, inventory("10.0.0.8:6379"));
    let why = base.fleet.not_asked_here(&db, &service.tests[0]);
    assert_eq!(why, None);
}

#[tokio::test]
async fn who_is_enrolled_again_or_revoked_is_nobody_with_the_former_certificate() {
    let base = Base::new();
    let mut before = base.greeted().await;
    base.fleet.revoke(&base.host()).unwrap();
    assert!(before.hear().await.is_err(), "its connection ends");
    let mut revoked = base.connect(1, PEER);
    revoked.hello("1").await;
    assert!(
        revoked
            .refusal()
            .await
            .contains("enrolled again or revoked")
    );
    let mut after = base.greeted().await;
    after.inventory(inventory("10.0.0.7:1")).await;
    let stranger = HostName::new("web-2").unwrap();
    assert!(base.fleet.revoke(&stranger).is_err());
}

#[tokio::test]
async fn a_host_that_takes_nothing_in_keeps_its_connection_and_hears_its_beats_first() {
    let base = Base::new();
    let mut host = base.greeted().await;
    host.inventory(inventory("10.0.0.7:1")).await;
    let service = service_inside();
    for number in 0..sessions::ASSIGNMENTS_MAX * 2 {
        let target = target(&format!("{number}@web-1"), "10.0.0.7:1");
        base.fleet.watch(&Arc::new(target), &service);
    }
    let mut said = base.fleet.changes();
    host.say(&ToServer::Beat { sent_ms: 2 }).await;
    let targets = inventory("10.0.0.7:2");
    host.say(&ToServer::Inventory { targets }).await;
    said.changed().await.unwrap();
    let mut assigned = 0;
    while !matches!(host.hear().await.unwrap(), ToAgent::Beat { sent_ms: 2, .. }) {
        assigned += 1;
    }
    assert!(assigned < sessions::ASSIGNMENTS_MAX, "{assigned}");
}

#[tokio::test]
async fn a_host_that_floods_waits_until_what_it_said_is_decided() {
    let base = Base::new();
    let mut host = base.greeted().await;
    host.inventory(inventory("10.0.0.7:1")).await;
    let watched = Arc::new(target("db@web-1", "10.0.0.7:1"));
    base.fleet.watch(&watched, &service_inside());
    let now = base.fleet.clock.now();
    let seen = Observation {
        target: watched.id.clone(),
        test: "answers".parse().unwrap(),
        observer: base.host().observer(),
        asked_at: now,
        answered_at: now,
        took: Duration::ZERO,
        verdict: Verdict::Pass,
        evidence: Evidence::new(""),
    };
    let observations = vec![seen];
    host.say(&ToServer::Observations { observations }).await;
    let messages = base.messages;
    let heard = tokio::task::spawn_blocking(move || {
        let next = || messages.recv_timeout(Duration::from_secs(60)).unwrap();
        [next(), next()]
    });
    let [Message::Event(Event::Observations(_)), Message::Flush(done)] = heard.await.unwrap()
    else {
        panic!("something else than observations, and a wait for them");
    };
    host.say(&ToServer::Beat { sent_ms: 3 }).await;
    done.send(()).unwrap();
    while !matches!(host.hear().await.unwrap(), ToAgent::Beat { sent_ms: 3, .. }) {}
}

#[tokio::test]
async fn what_a_host_says_is_written_and_a_host_that_loses_half_of_it_is_reported_once() {
    let mut base = Base::new();
    let mut host = base.greeted().await;
    let mut all = inventory("10.0.0.7:1");
    all.extend((0..8).map(|number| target(&format!("{number}@web-1"), "10.0.0.7:1")));
    host.inventory(all).await;
    for _ in 0..2 {
        host.inventory(inventory("10.0.0.7:1")).await;
    }
    let notice = base.noticed.try_recv().unwrap();
    assert!(notice.summary.contains("2 targets instead of 10"));
    assert!(base.noticed.try_recv().is_err());
    assert_eq!(base.fleet.targets().len(), 10);
    assert!(base.fleet.status(&base.host()).is_refused);
    base.fleet.accept(&base.host()).unwrap();
    assert_eq!(base.fleet.targets().len(), 2);
    Arc::clone(&base.fleet).save().await;
    let again = Base::of(&settings(), base.directory);
    assert_eq!(again.fleet.targets().len(), 2);
}

#[tokio::test]
async fn what_is_named_after_a_host_is_never_the_servers_to_do() {
    let base = Base::new();
    let host = Some(base.host());
    let unit = target("nginx@web-1", "10.0.0.7:80");
    assert_eq!(base.fleet.must_do(&unit), host, "a host that nobody knows");
    let own = target("web-1", "10.0.0.7");
    assert_eq!(base.fleet.must_do(&own), None, "not enrolled: any target");
    base.enrolled();
    assert_eq!(base.fleet.must_do(&own), host, "whatever source gives it");
    assert_eq!(base.fleet.must_do(&target("nginx", "10.0.0.7:80")), None);
}

#[tokio::test]
async fn an_order_that_the_host_refuses_as_forged_has_failed_and_nobody_waits_for_it() {
    let base = Base::new();
    let mut host = base.greeted().await;
    host.inventory(inventory("10.0.0.7:1")).await;
    let order = order();
    let (fleet, name) = (Arc::clone(&base.fleet), base.host());
    let ordered = tokio::spawn(async move { fleet.carry_out(&name, &order).await });
    let signed = loop {
        if let ToAgent::Order(signed) = host.hear().await.unwrap() {
            break signed;
        }
    };
    let reason = "its signature is not the server's".to_owned();
    let operation = signed.claimed();
    host.say(&ToServer::Forged { operation, reason }).await;
    let outcome = ordered.await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Failed);
    assert!(outcome.detail.contains("signature"), "{outcome:?}");
}

#[tokio::test]
async fn an_order_that_nobody_waits_for_any_more_leaves_nothing_behind() {
    let base = Base::new();
    let mut host = base.greeted().await;
    host.inventory(inventory("10.0.0.7:1")).await;
    let (fleet, name, order) = (Arc::clone(&base.fleet), base.host(), order());
    let asking = tokio::spawn(async move { fleet.reconcile(&name, &order).await });
    while !matches!(host.hear().await.unwrap(), ToAgent::Reconcile(_)) {}
    assert!(base.fleet.sessions().awaits_anything());
    asking.abort();
    asking.await.unwrap_err();
    assert!(!base.fleet.sessions().awaits_anything());
}

#[test]
fn an_authority_that_is_none_is_refused_with_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let kept = Kept::Directory(directory.path().to_owned());
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (key, other) = (
        rcgen::KeyPair::generate().unwrap(),
        rcgen::KeyPair::generate().unwrap(),
    );
    let refused = |is_ca, key_file: &rcgen::KeyPair| {
        let mut params = rcgen::CertificateParams::default();
        if is_ca {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }
        let pem = params.self_signed(&key).unwrap().pem();
        let settings = AgentSettings {
            authority: Some(pitcrew_model::AuthorityFiles {
                certificate_file: file("ca.pem", pem),
                key_file: file("ca.key", key_file.serialize_pem()),
            }),
            ..settings()
        };
        let now = Clock::start().now();
        let opened = Authority::open(&kept, "i1", &settings, now);
        opened
            .err()
            .map_or_else(String::new, |error| error.to_string())
    };
    assert_eq!(refused(true, &key), "");
    assert!(refused(false, &key).contains("no authority's"));
    assert!(refused(true, &other).contains("another certificate"));
}
