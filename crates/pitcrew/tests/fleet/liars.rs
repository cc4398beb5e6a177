//! Somebody with a host's certificate who says what is not its to say, and somebody without one.
//!
//! Each lie is refused with a reason, counted, and changes nothing.

use std::{fs, sync::Arc, time::Duration};

use pitcrew_model::{Evidence, Observation, Target, Timestamp, Verdict};
use pitcrew_wire::{FRAME_BYTES_MAX, Hello, Protocol, SERVER_NAME, ToAgent, ToServer, WireError};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, runtime::Runtime};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    agents::{Agent, Fleet},
    production::wait_for,
};

/// A connection with the certificate of an agent that has gone, byte by byte as the test wants it.
struct Liar {
    runtime: Runtime,
    stream: TlsStream<TcpStream>,
    inventory: Vec<Target>,
}

impl Liar {
    fn instead_of(fleet: &Fleet, mut agent: Agent) -> Self {
        agent.kill();
        fleet.wait_until_connected("web-a", false);
        let identity = fs::read(agent.directory.join("data/identity.json")).expect("an identity");
        let identity: serde_json::Value = serde_json::from_slice(&identity).expect("JSON");
        let file = fleet.production.data().join("agents/hosts/web-a.json");
        let mut said: serde_json::Value = wait_for("its inventory", || {
            let bytes = fs::read(&file).map_err(|error| error.to_string())?;
            serde_json::from_slice(&bytes).map_err(|error| error.to_string())
        });
        let inventory = serde_json::from_value(said["targets"].take()).expect("targets");
        let runtime = Runtime::new().expect("a runtime");
        let stream = runtime.block_on(connect(fleet.agents, Some(&identity)));
        Self {
            runtime,
            stream,
            inventory,
        }
    }

    fn nobody(fleet: &Fleet) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let stream = runtime.block_on(connect(fleet.agents, None));
        Self {
            runtime,
            stream,
            inventory: Vec::new(),
        }
    }

    fn say(&mut self, message: &ToServer) {
        let saying = pitcrew_wire::write(&mut self.stream, message);
        self.runtime.block_on(saying).expect("it is written");
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let writing = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        self.runtime.block_on(writing).expect("it is written");
    }

    fn hear(&mut self) -> Result<ToAgent, WireError> {
        let stream = &mut self.stream;
        self.runtime.block_on(async {
            let hearing = pitcrew_wire::read(stream, FRAME_BYTES_MAX);
            let heard = tokio::time::timeout(Duration::from_secs(20), hearing).await;
            heard.expect("an answer in time")
        })
    }

    fn greet(&mut self) {
        self.say(&ToServer::Hello(Hello {
            protocol: Protocol::OURS,
            version: "0".into(),
            instance: "liar".into(),
            boot_id: "b".into(),
        }));
        assert!(matches!(self.hear(), Ok(ToAgent::Welcome(_))));
    }

    /// The reason with which it is turned away.
    fn refusal(&mut self) -> String {
        loop {
            match self.hear().expect("a last word") {
                ToAgent::Refused { reason } => return reason,
                _ => continue,
            }
        }
    }
}

async fn connect(port: u16, identity: Option<&serde_json::Value>) -> TlsStream<TcpStream> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let text = |name: &str| {
        let identity = identity.expect("an identity");
        identity[name].as_str().expect("text").as_bytes().to_vec()
    };
    let config = match identity {
        Some(_) => {
            let mut roots = RootCertStore::empty();
            let certificate = |name| CertificateDer::from_pem_slice(&text(name)).expect("PEM");
            roots.add(certificate("authority")).expect("an authority");
            let key = PrivateKeyDer::from_pem_slice(&text("key")).expect("a key");
            let builder = builder.with_root_certificates(roots);
            let chain = vec![certificate("certificate")];
            builder
                .with_client_auth_cert(chain, key)
                .expect("a certificate")
        }
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trusting::Trusting(default_provider())))
            .with_no_client_auth(),
    };
    let stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("the server listens");
    let name = ServerName::try_from(SERVER_NAME).expect("a name");
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    connecting.await.expect("a TLS connection")
}

fn seen(target: &str, observer: &str) -> Observation {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.expect("after 1970").as_millis();
    let now = Timestamp::from_millis(u64::try_from(millis).expect("a time"));
    Observation {
        target: target.parse().expect("a name"),
        test: "answers".parse().expect("a name"),
        observer: observer.parse().expect("a name"),
        asked_at: now,
        answered_at: now,
        took: Duration::ZERO,
        verdict: Verdict::Fail,
        evidence: Evidence::new("a lie"),
    }
}

#[test]
fn what_is_oversized_or_no_message_is_refused_before_it_costs_anything() {
    let fleet = Fleet::served();
    let agent = fleet.agent("web-a");
    let mut liar = Liar::instead_of(&fleet, agent);
    liar.greet();
    liar.bytes(&[0xff; 4]);
    assert!(liar.refusal().contains("at most 1048576"));
    assert_eq!(fleet.refused("oversized"), 1);

    let mut nobody = Liar::nobody(&fleet);
    nobody.bytes(&[0, 0, 0, 3, b'{', b'"', b'x']);
    assert!(nobody.refusal().contains("not a message"));
    assert_eq!(fleet.refused("malformed"), 1);

    let mut nobody = Liar::nobody(&fleet);
    nobody.bytes(&[0, 1, 0, 0]);
    assert!(nobody.refusal().contains("at most 16384"));
    assert_eq!(fleet.refused("oversized"), 2);
}

#[test]
fn nobody_can_do_anything_but_enrol_and_that_only_with_a_token() {
    let fleet = Fleet::served();
    let mut nobody = Liar::nobody(&fleet);
    nobody.say(&ToServer::Inventory {
        targets: Vec::new(),
    });
    assert!(nobody.refusal().contains("can only enrol"));
    let mut nobody = Liar::nobody(&fleet);
    nobody.say(&ToServer::Enrol {
        secret: "00".repeat(32),
        request: String::new(),
    });
    assert!(nobody.refusal().contains("not known here"));
    assert_eq!(
        (fleet.refused("no_certificate"), fleet.refused("token")),
        (1, 1)
    );
}

#[test]
fn a_host_can_not_speak_for_another() {
    let fleet = Fleet::served();
    let _other = fleet.agent("web-b");
    fleet.wait_for_health("web-1@web-b", "healthy");
    let agent = fleet.agent("web-a");
    let mut liar = Liar::instead_of(&fleet, agent);
    liar.greet();
    let mut targets = liar.inventory.clone();
    targets[0].id = "web-1@web-b".parse().expect("a name");
    liar.say(&ToServer::Inventory { targets });
    assert!(liar.refusal().contains("can't speak for web-1@web-b"));
    assert_eq!(fleet.refused("inventory"), 1);
}

#[test]
fn observations_that_nobody_asked_for_or_of_another_observer_are_dropped_and_counted() {
    let fleet = Fleet::served();
    let agent = fleet.agent("web-a");
    fleet.wait_for_health("web-1@web-a", "healthy");
    let mut liar = Liar::instead_of(&fleet, agent);
    liar.greet();
    let targets = liar.inventory.clone();
    liar.say(&ToServer::Inventory { targets });
    let mut future = seen("web-1@web-a", "web-a");
    future.answered_at = future.answered_at + Duration::from_secs(3_600);
    let observations = vec![seen("web-a", "web-a"), seen("web-1@web-a", "local"), future];
    liar.say(&ToServer::Observations { observations });
    wait_for("them to be refused", || {
        let count = fleet.refused("unassigned_observation");
        (count == 3).then_some(()).ok_or_else(|| count.to_string())
    });
    // And it is still connected: this may also be a test that was just taken away from it.
    fleet.wait_until_connected("web-a", true);
}

mod trusting {
    //! Believes any server: this end has no reason not to.

    use rustls::{
        DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::CryptoProvider,
        pki_types::{CertificateDer, ServerName, UnixTime},
    };

    #[derive(Debug)]
    pub(super) struct Trusting(pub(super) CryptoProvider);

    impl ServerCertVerifier for Trusting {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
