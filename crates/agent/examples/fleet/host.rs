//! One simulated host, from its token to its connections.

use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pitcrew_agent::Backoff;
use pitcrew_model::{
    Evidence, Labels, Observation, Outcome, OutcomeKind, Runner, Target, TargetId, Test, Timestamp,
    Verdict,
};
use pitcrew_wire::{
    EnrolToken, FRAME_BYTES_MAX, Hello, HostName, Protocol, SERVER_NAME, SignedOrder, ToAgent,
    ToServer, Welcome, to_hex,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::TLS13,
};
use tokio::{
    io::{ReadHalf, WriteHalf, split},
    net::TcpSocket,
    sync::{mpsc, oneshot},
    time::{Instant as Moment, sleep_until, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Failure, counted::Counted};

type Stream = TlsStream<Counted>;

const PATIENCE: Duration = Duration::from_secs(10);

/// What all hosts tell whoever measures.
#[derive(Default)]
pub(crate) struct Watched {
    bytes: Arc<AtomicU64>,
    answers: AtomicU64,
    orders: Mutex<HashMap<usize, oneshot::Sender<Instant>>>,
    attempts: Mutex<Vec<Instant>>,
}

impl Watched {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Told when the next order of this host would begin.
    pub(crate) fn expect_order(&self, host: usize) -> oneshot::Receiver<Instant> {
        let (begun, begins) = oneshot::channel();
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.insert(host, begun);
        begins
    }

    fn begun(&self, host: usize) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(begun) = orders.remove(&host) {
            // Whoever asked may have given up.
            begun.send(Instant::now()).ok();
        }
    }

    pub(crate) fn begin_attempts(&self) -> &Self {
        self.attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self
    }

    pub(crate) fn busiest_second(&self) -> usize {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = attempts.iter().min() else {
            return 0;
        };
        let mut seconds: BTreeMap<u64, usize> = BTreeMap::new();
        for attempt in attempts.iter() {
            *seconds.entry((*attempt - *first).as_secs()).or_default() += 1;
        }
        seconds.into_values().max().unwrap_or(0)
    }
}

/// One for all: what making it costs is not measured.
pub(crate) struct Key {
    pem: String,
    request: String,
}

impl Key {
    pub(crate) fn new() -> Result<Self, Failure> {
        let key = KeyPair::generate()?;
        let request = CertificateParams::default()
            .serialize_request(&key)?
            .pem()?;
        Ok(Self {
            pem: key.serialize_pem(),
            request,
        })
    }
}

pub(crate) struct Enrolled {
    number: usize,
    name: HostName,
    config: Arc<ClientConfig>,
}

impl Enrolled {
    pub(crate) async fn new(
        number: usize,
        port: u16,
        token: &str,
        key: &Key,
    ) -> Result<Self, Failure> {
        let token: EnrolToken = token.parse()?;
        let nobody = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trusting::Trusting(default_provider())))
            .with_no_client_auth();
        let bytes = Arc::default();
        let mut stream = connect(number, port, Arc::new(nobody), &bytes).await?;
        let enrol = ToServer::Enrol {
            secret: to_hex(&token.secret),
            request: key.request.clone(),
        };
        pitcrew_wire::write(&mut stream, &enrol).await?;
        let ToAgent::Enrolled(enrolled) = read(&mut stream).await? else {
            return Err("the server refused an enrolment".into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(
            enrolled.authority.as_bytes(),
        )?)?;
        let certificate = CertificateDer::from_pem_slice(enrolled.certificate.as_bytes())?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![certificate],
                PrivateKeyDer::from_pem_slice(key.pem.as_bytes())?,
            )?;
        Ok(Self {
            number,
            name: token.host,
            config: Arc::new(config),
        })
    }

    fn inventory(&self) -> Vec<Target> {
        let label = |name, value: &str| Labels::new([(name, value)]).expect("a fit name");
        let own = Target {
            id: self.name.target(),
            address: None,
            labels: label("role", "host"),
            run_on: None,
            runner: None,
            source: "agents".parse().expect("a fit name"),
        };
        let web = Target {
            id: self.name.target_of("web-1").expect("a short name"),
            labels: label("service", "web"),
            run_on: Some(self.name.target()),
            runner: Some(Runner::Supervised),
            ..own.clone()
        };
        vec![own, web]
    }
}

async fn connect(
    number: usize,
    port: u16,
    config: Arc<ClientConfig>,
    bytes: &Arc<AtomicU64>,
) -> Result<Stream, Failure> {
    let socket = TcpSocket::new_v4()?;
    let number = u32::try_from(number)?;
    let own = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number);
    socket.bind(SocketAddr::from((own, 0)))?;
    let connecting = async {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        let stream = Counted {
            stream,
            bytes: Arc::clone(bytes),
        };
        let name = ServerName::try_from(SERVER_NAME)?;
        Ok::<_, Failure>(TlsConnector::from(config).connect(name, stream).await?)
    };
    timeout(PATIENCE, connecting).await?
}

async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<ToAgent, Failure> {
    Ok(pitcrew_wire::read(stream, FRAME_BYTES_MAX).await?)
}

/// Connected, again and again, as the agent is.
pub(crate) async fn live(host: Enrolled, port: u16, watched: Arc<Watched>) {
    let mut backoff = Backoff::default();
    loop {
        let attempts = watched.attempts.lock();
        attempts
            .unwrap_or_else(PoisonError::into_inner)
            .push(Instant::now());
        let config = Arc::clone(&host.config);
        if let Ok(stream) = connect(host.number, port, config, &watched.bytes).await {
            // However it ended, there is another.
            Box::pin(session(&host, stream, &watched, &mut backoff))
                .await
                .ok();
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

/// What it was told to ask, each in its own rhythm.
#[derive(Default)]
struct Due(BTreeMap<(Moment, u64), (TargetId, Arc<Test>)>);

impl Due {
    fn watch(&mut self, host: usize, target: &TargetId, tests: Vec<Arc<Test>>) {
        self.0.retain(|_, (asked, _)| asked != target);
        for test in tests {
            // Spread as the scheduler spreads them: anywhere in the interval.
            let number = u64::try_from(host * 31 + self.0.len() * 7).unwrap_or(0);
            let phase = test.interval.mul_f64(crate::float(number % 997) / 997.0);
            let at = Moment::now() + phase;
            self.0.insert((at, self.unique()), (target.clone(), test));
        }
    }

    fn unique(&self) -> u64 {
        self.0
            .keys()
            .map(|(_, unique)| unique + 1)
            .max()
            .unwrap_or(0)
    }

    async fn next(&mut self) -> (TargetId, Arc<Test>) {
        loop {
            let Some(((at, unique), _)) = self.0.first_key_value() else {
                std::future::pending::<()>().await;
                continue;
            };
            let (at, unique) = (*at, *unique);
            sleep_until(at).await;
            let Some((target, test)) = self.0.remove(&(at, unique)) else {
                continue;
            };
            let again = (at + test.interval, unique);
            self.0.insert(again, (target.clone(), Arc::clone(&test)));
            return (target, test);
        }
    }
}

struct Session<'a> {
    host: &'a Enrolled,
    watched: &'a Watched,
    writer: WriteHalf<Stream>,
    due: Due,
    beat_ms: u64,
    /// Orders that wait for the answer to a later beat.
    orders: Vec<(u64, SignedOrder)>,
}

async fn session(
    host: &Enrolled,
    mut stream: Stream,
    watched: &Watched,
    backoff: &mut Backoff,
) -> Result<(), Failure> {
    let hello = ToServer::Hello(Hello {
        protocol: Protocol::OURS,
        version: "simulated".into(),
        instance: format!("{}", host.number),
        boot_id: "b".into(),
    });
    pitcrew_wire::write(&mut stream, &hello).await?;
    let ToAgent::Welcome(welcome) = timeout(PATIENCE, read(&mut stream)).await?? else {
        return Err("no welcome".into());
    };
    backoff.succeeded(welcome.return_within);
    let (reader, writer) = split(stream);
    let mut session = Session {
        host,
        watched,
        writer,
        due: Due::default(),
        beat_ms: 0,
        orders: Vec::new(),
    };
    let targets = host.inventory();
    session.say(&ToServer::Inventory { targets }).await?;
    session.last(reader, &welcome).await
}

impl Session<'_> {
    async fn say(&mut self, message: &ToServer) -> Result<(), Failure> {
        Ok(pitcrew_wire::write(&mut self.writer, message).await?)
    }

    async fn beat(&mut self) -> Result<(), Failure> {
        self.beat_ms = now_ms().max(self.beat_ms + 1);
        let sent_ms = self.beat_ms;
        self.say(&ToServer::Beat { sent_ms }).await
    }

    async fn last(
        &mut self,
        mut reader: ReadHalf<Stream>,
        welcome: &Welcome,
    ) -> Result<(), Failure> {
        let (said, mut hears) = mpsc::channel(16);
        let reading = async move {
            loop {
                let message = read(&mut reader).await?;
                if said.send(message).await.is_err() {
                    return Ok::<(), Failure>(());
                }
            }
        };
        let speaking = async {
            let mut beats = tokio::time::interval(welcome.beat);
            loop {
                tokio::select! {
                    _ = beats.tick() => self.beat().await?,
                    Some(message) = hears.recv() => self.take(message).await?,
                    (target, test) = self.due.next() => self.answer(target, &test).await?,
                }
            }
        };
        tokio::select! {
            ended = reading => ended,
            ended = speaking => ended,
        }
    }

    async fn answer(&mut self, target: TargetId, test: &Test) -> Result<(), Failure> {
        let now = Timestamp::from_millis(now_ms());
        let observation = Observation {
            target,
            test: test.name.clone(),
            observer: self.host.name.observer(),
            asked_at: now,
            answered_at: now,
            took: Duration::from_micros(150),
            verdict: Verdict::Pass,
            evidence: Evidence::new("61% of memory is available"),
        };
        self.watched.answers.fetch_add(1, Ordering::Relaxed);
        let observations = vec![observation];
        self.say(&ToServer::Observations { observations }).await
    }

    async fn take(&mut self, message: ToAgent) -> Result<(), Failure> {
        match message {
            ToAgent::Watch { target, tests, .. } => {
                self.due.watch(self.host.number, &target.id, tests);
            }
            ToAgent::Order(signed) => {
                self.orders.push((self.beat_ms, signed));
                self.beat().await?;
            }
            ToAgent::Beat { sent_ms, now, .. } => {
                let begun = self.orders.extract_if(.., |(beat, _)| *beat < sent_ms);
                for (_, signed) in begun.collect::<Vec<_>>() {
                    self.watched.begun(self.host.number);
                    self.outcome(&signed, now).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn outcome(&mut self, signed: &SignedOrder, at: Timestamp) -> Result<(), Failure> {
        let signed = serde_json::to_value(signed)?;
        let payload = signed["payload"].as_str().ok_or("no payload")?;
        let addressed: pitcrew_wire::Addressed = serde_json::from_str(payload)?;
        let outcome = ToServer::Outcome {
            operation: addressed.order.operation,
            outcome: Outcome {
                order: addressed.order.id,
                kind: OutcomeKind::Done,
                at,
                detail: "simulated".to_owned(),
            },
        };
        self.say(&outcome).await
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

mod trusting {
    //! Believes any server: only to enrol, on loopback.

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
