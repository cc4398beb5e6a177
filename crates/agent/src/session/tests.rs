//! A server of the test at the other end of a stream in memory, which says what it likes.

use pitcrew_model::{Action, Authority, HostCommand, HostSettings, Order, OrderId, OutcomeKind};
use pitcrew_wire::{Addressed, Enrolled, HostName, OrderSigner};
use tokio::{
    io::{DuplexStream, duplex},
    task::JoinHandle,
};

use super::*;
use crate::{Options, identity::Identity, run::Remote};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

struct Server {
    stream: DuplexStream,
    signer: OrderSigner,
    directory: tempfile::TempDir,
    agent: Arc<Agent>,
    session: JoinHandle<SessionError>,
}

fn signer() -> OrderSigner {
    OrderSigner::from_pkcs8(&OrderSigner::generate().unwrap()).unwrap()
}

fn identity(signer: &OrderSigner) -> Identity {
    let enrolled = Enrolled {
        installation: "i1".into(),
        host: HostName::new("web-1").unwrap(),
        certificate: String::new(),
        authority: String::new(),
        order_key: signer.key().to_text(),
    };
    Identity::new(enrolled, String::new(), String::new())
}

/// A host whose configuration has one command, `mark`, that makes a file.
async fn agent(signer: &OrderSigner, directory: &std::path::Path) -> Arc<Agent> {
    let mark = directory.join("mark").display().to_string();
    let settings = HostSettings {
        commands: vec![HostCommand {
            name: "mark".into(),
            command: vec!["touch".into(), mark],
            timeout: Duration::from_secs(10),
        }],
        ..HostSettings::default()
    };
    let options = Options {
        servers: vec!["a:1".to_owned()],
        token_file: None,
        data: directory.to_owned(),
        settings,
        hands: None,
        version: "0".into(),
    };
    let remote = Remote::start(options, identity(signer)).await;
    remote.unwrap().agent
}

impl Server {
    /// Greeted, at [`NOW`].
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let signer = signer();
        let agent = agent(&signer, directory.path()).await;
        let (stream, theirs) = duplex(1 << 16);
        let host = Arc::clone(&agent);
        let session = tokio::spawn(async move { run(&host, "a:1", theirs, |_| {}).await });
        let mut server = Self {
            stream,
            signer,
            directory,
            agent,
            session,
        };
        assert!(matches!(server.hear().await, ToServer::Hello(_)));
        let welcome = Welcome {
            protocol: 1,
            version: "0".into(),
            beat: Duration::from_secs(3_600),
            lease: Duration::from_secs(7_200),
            fence: 1,
            return_within: Duration::from_secs(1),
        };
        server.say(&ToAgent::Welcome(welcome)).await;
        server.answer_beat(NOW).await;
        assert!(matches!(server.hear().await, ToServer::Inventory { .. }));
        // The first beat of the hour; its certificate is none, so it wants another.
        assert!(matches!(server.hear().await, ToServer::Renew { .. }));
        server.answer_beat(NOW).await;
        server
    }

    async fn say(&mut self, message: &ToAgent) {
        pitcrew_wire::write(&mut self.stream, message)
            .await
            .unwrap();
    }

    async fn hear(&mut self) -> ToServer {
        let hearing = pitcrew_wire::read(&mut self.stream, FRAME_BYTES_MAX);
        let heard = timeout(Duration::from_secs(60), hearing).await;
        heard.expect("a message in time").unwrap()
    }

    async fn beat(&mut self) -> u64 {
        match self.hear().await {
            ToServer::Beat { sent_ms } => sent_ms,
            other => panic!("{other:?}"),
        }
    }

    async fn answer_beat(&mut self, now: Timestamp) {
        let sent_ms = self.beat().await;
        self.say(&ToAgent::Beat {
            sent_ms,
            now,
            unsure: false,
        })
        .await;
    }

    async fn outcome(&mut self) -> Outcome {
        match self.hear().await {
            ToServer::Outcome { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn addressed(&self) -> Addressed {
        let agent = &self.agent;
        Addressed {
            installation: "i1".into(),
            host: agent.host.clone(),
            boot_id: agent.boot_id.clone(),
            order: Order {
                id: OrderId(1),
                operation: "op-1".parse().unwrap(),
                case: None,
                target: Arc::new(agent.inventory.targets().remove(0)),
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
                given_at: NOW,
                settle: Duration::from_secs(1),
                expires_at: NOW + Duration::from_secs(60),
                fence: 5,
                digest: String::new(),
                target_is_down: false,
            },
        }
    }

    async fn order(&mut self) {
        let signed = self.signer.sign(&self.addressed()).unwrap();
        self.say(&ToAgent::Order(signed)).await;
    }

    fn is_marked(&self) -> bool {
        self.directory.path().join("mark").exists()
    }
}

#[tokio::test]
async fn an_order_waits_for_a_beat_that_was_sent_after_it_came() {
    let mut server = Server::new().await;
    server.order().await;
    let sent_ms = server.beat().await;
    assert!(!server.is_marked());
    // An answer to an earlier beat says nothing about the time since.
    let now = NOW;
    server
        .say(&ToAgent::Beat {
            sent_ms: 0,
            now,
            unsure: false,
        })
        .await;
    server
        .say(&ToAgent::Beat {
            sent_ms,
            now,
            unsure: false,
        })
        .await;
    assert_eq!(server.outcome().await.kind, OutcomeKind::Done);
    assert!(server.is_marked());
}

#[tokio::test]
async fn a_host_that_was_paused_with_its_clocks_does_not_obey_what_has_expired_meanwhile() {
    let mut server = Server::new().await;
    server.order().await;
    // By the host's own clocks no time has passed since the order was given.
    let now = NOW + Duration::from_secs(3_600);
    server.answer_beat(now).await;
    let outcome = server.outcome().await;
    assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
    assert!(outcome.detail.contains("expired"), "{outcome:?}");
    assert!(!server.is_marked());
}

#[tokio::test]
async fn a_forged_order_is_answered_and_not_obeyed() {
    let mut server = Server::new().await;
    let forged = signer().sign(&server.addressed()).unwrap();
    server.say(&ToAgent::Order(forged)).await;
    server.answer_beat(NOW).await;
    let ToServer::Forged { operation, reason } = server.hear().await else {
        panic!("another answer");
    };
    assert_eq!(operation, Some("op-1".parse().unwrap()));
    assert!(reason.contains("signature"), "{reason}");
    assert!(!server.is_marked());
    assert!(!server.session.is_finished());
}

#[tokio::test]
async fn answers_that_find_no_room_keep_no_beat_from_being_said() {
    let directory = tempfile::tempdir().unwrap();
    let agent = agent(&signer(), directory.path()).await;
    let (outgoing, mut to_write) = outgoing(FIRST_MAX, REST_MAX);
    let full = outgoing.rest.clone();
    let observations = || ToServer::Observations {
        observations: Vec::new(),
    };
    while full.try_send(observations()).is_ok() {}
    let mut session = Session {
        agent: &agent,
        scheduler: start_scheduler(&agent, &outgoing),
        outgoing,
        beat_ms: 0,
        unadmitted: Vec::new(),
        server: "a:1",
        fence: 1,
        looking: JoinSet::new(),
        looks: 0,
        look_next: Instant::now(),
        requested: None,
        asked_at: Instant::now(),
    };
    session.say_beat().unwrap();
    assert!(matches!(to_write.next().await, Some(ToServer::Beat { .. })));
    assert_eq!(to_write.next().await, Some(observations()));
}

#[tokio::test]
async fn a_certificate_that_can_not_be_saved_is_used_and_saved_later() {
    let mut server = Server::new().await;
    let at = server.directory.path().join("identity.json");
    // Where the new file would be written.
    let in_the_way = server.directory.path().join("identity.json.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let certificate = "new".to_owned();
    server.say(&ToAgent::Certificate { certificate }).await;
    // The order after it is obeyed: the session goes on.
    server.order().await;
    server.answer_beat(NOW).await;
    assert_eq!(server.outcome().await.kind, OutcomeKind::Done);
    let membership = server.agent.membership.as_ref().unwrap();
    assert_eq!(membership.identity().certificate, "new");
    assert!(!at.exists());
    std::fs::remove_dir(&in_the_way).unwrap();
    membership.save_identity();
    let saved = Identity::load(server.directory.path()).unwrap().unwrap();
    assert_eq!(saved.certificate, "new");
}
