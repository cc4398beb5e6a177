//! Whom TLS tests trust: the platform's authorities, those of a file, or (for availability only) anyone.
//!
//! aws-lc-rs is named explicitly everywhere; the process-wide default provider is not used. Sessions are
//! never resumed: a resumed handshake doesn't show the certificate.

use std::{
    collections::HashMap,
    fmt, fs, io,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use pitcrew_model::TlsOptions;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::sync::oneshot;

use crate::Answer;

/// What is offered by ALPN.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocols {
    /// No ALPN at all: not HTTP.
    Unnamed,
    Http1,
    Http2,
    /// HTTP/2 before HTTP/1.1.
    AnyHttp,
}

impl Protocols {
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Unnamed => vec![],
            Self::Http1 => vec![b"http/1.1".to_vec()],
            Self::Http2 => vec![b"h2".to_vec()],
            Self::AnyHttp => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Unnamed => 0,
            Self::Http1 => 1,
            Self::Http2 => 2,
            Self::AnyHttp => 3,
        }
    }
}

/// How long what was read of a file counts before the file is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The authorities that tests name, read once and again when their file changes.
///
/// Files are read by a thread each, at most one at a time for the same file, which all tests that need
/// it wait for within their own deadlines: a file on a dead network mount costs one thread and blocks
/// nobody else. Not the runtime's blocking pool, because such a thread would keep the runtime from ending.
#[derive(Default)]
pub(crate) struct Trust {
    anyone: OnceLock<Arc<Authorities>>,
    /// By file; `None` is the platform's.
    kept: Mutex<HashMap<Option<String>, Kept>>,
}

struct Kept {
    looked_at: Instant,
    reading: Reading,
}

type Read = Result<Arc<Authorities>, Answer>;
type Reading = Shared<BoxFuture<'static, Read>>;

impl Trust {
    /// More files of authorities than this are not kept.
    const COUNT_MAX: usize = 256;

    /// Whose signatures count with these options.
    pub(crate) async fn authorities(&self, options: &TlsOptions) -> Read {
        if options.insecure {
            let anyone = || Authorities::new(None, Arc::new(TrustAnyone(provider())));
            return Ok(Arc::clone(self.anyone.get_or_init(anyone)));
        }
        self.reading(&options.ca_file).await
    }

    fn reading(&self, file: &Option<String>) -> Reading {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match kept.get(file) {
            Some(known) if known.counts(file) => return known.reading.clone(),
            Some(known) => known.reading.peek().and_then(|read| read.clone().ok()),
            None => None,
        };
        let reading = start_reading(file.clone(), before);
        if kept.len() >= Self::COUNT_MAX {
            kept.clear();
        }
        let now = Kept {
            looked_at: Instant::now(),
            reading: reading.clone(),
        };
        kept.insert(file.clone(), now);
        reading
    }
}

impl Kept {
    fn counts(&self, file: &Option<String>) -> bool {
        match self.reading.peek() {
            None => true,
            Some(Ok(_)) if file.is_none() => true,
            Some(_) => self.looked_at.elapsed() < LOOK_EVERY,
        }
    }
}

fn start_reading(file: Option<String>, before: Option<Arc<Authorities>>) -> Reading {
    let (done, read) = oneshot::channel();
    let thread = thread::Builder::new().name("authorities".to_owned());
    let started = thread.spawn(move || {
        let read = match &file {
            None => Authorities::of_the_platform(),
            Some(path) => Authorities::of_file(path, before),
        };
        // Nobody waits any more when the scheduler has ended.
        done.send(read).ok();
    });
    let waiting = async move {
        started.map_err(|error| {
            Answer::unknown(format!(
                "no thread can be started to read authorities: {error}"
            ))
        })?;
        read.await
            .unwrap_or_else(|_gone| Err(Answer::unknown("reading the authorities broke")))
    };
    waiting.boxed().shared()
}

/// Whose signatures count, and the configurations built for that.
pub(crate) struct Authorities {
    /// When the file was last changed.
    changed: Option<SystemTime>,
    verifier: Arc<dyn ServerCertVerifier>,
    configs: [OnceLock<Arc<ClientConfig>>; 4],
}

impl Authorities {
    fn new(changed: Option<SystemTime>, verifier: Arc<dyn ServerCertVerifier>) -> Arc<Self> {
        Arc::new(Self {
            changed,
            verifier,
            configs: Default::default(),
        })
    }

    fn of_the_platform() -> Read {
        rustls_platform_verifier::Verifier::new(provider())
            .map(|verifier| Self::new(None, Arc::new(verifier)))
            .map_err(|error| {
                Answer::unknown(format!("the system's authorities can't be read: {error}"))
            })
    }

    fn of_file(path: &str, before: Option<Arc<Self>>) -> Read {
        let changed = fs::metadata(path).and_then(|file| file.modified()).ok();
        match before {
            Some(before) if changed.is_some() && before.changed == changed => Ok(before),
            _ => verifier_from_file(path)
                .map(|verifier| Self::new(changed, verifier))
                .map_err(|why| Answer::unknown(format!("ca_file {path}: {why}"))),
        }
    }

    /// What judges a chain.
    pub(crate) fn verifier(&self) -> &dyn ServerCertVerifier {
        &*self.verifier
    }

    pub(crate) fn client_config(&self, protocols: Protocols) -> Result<Arc<ClientConfig>, Answer> {
        let place = &self.configs[protocols.index()];
        if let Some(config) = place.get() {
            return Ok(Arc::clone(config));
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Answer::unknown(format!("TLS can't be set up: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.verifier))
            .with_no_client_auth();
        config.alpn_protocols = protocols.alpn();
        config.resumption = Resumption::disabled();
        Ok(Arc::clone(place.get_or_init(|| Arc::new(config))))
    }
}

fn verifier_from_file(path: &str) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| error.to_string())?;
    Ok(verifier)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The chain is not judged; that the peer holds the key of the certificate it shows still is.
struct TrustAnyone(Arc<CryptoProvider>);

impl fmt::Debug for TrustAnyone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrustAnyone")
    }
}

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What a failed handshake says of the target.
pub(crate) fn answer_from_handshake(error: &io::Error) -> Answer {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(tls) => Answer::fail(words(tls)),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Answer::fail("connection closed in the TLS handshake")
        }
        None => Answer::from_io(error),
    }
}

/// A TLS error as an operator says it.
pub(crate) fn words(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(wrong) = error else {
        return match error {
            rustls::Error::InvalidMessage(_) => "the peer does not speak TLS".to_owned(),
            rustls::Error::NoApplicationProtocol => "the peer refuses this protocol".to_owned(),
            other => format!("TLS: {other}"),
        };
    };
    match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not valid yet".to_owned()
        }
        CertificateError::UnknownIssuer => "certificate is signed by an unknown issuer".to_owned(),
        CertificateError::Revoked => "certificate is revoked".to_owned(),
        other => format!("certificate: {other}"),
    }
}
