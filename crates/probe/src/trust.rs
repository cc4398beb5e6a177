//! Whom TLS tests trust: the platform's authorities, those of a file, or (for availability only) anyone.
//!
//! aws-lc-rs is named explicitly everywhere; the process-wide default provider is not used. Sessions are
//! never resumed: a resumed handshake doesn't show the certificate.

use std::{
    collections::HashMap,
    fmt, fs, io,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
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

use crate::Answer;

/// What is offered by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
}

/// Whose signature counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Authorities {
    Platform,
    Anyone,
    /// With the time of its last change: a rotated file is read again.
    File(String, Option<SystemTime>),
}

/// Configurations already built, by what they were built from.
#[derive(Default)]
pub(crate) struct Trust {
    configs: Mutex<HashMap<(Authorities, Protocols), Arc<ClientConfig>>>,
    verifiers: Mutex<HashMap<Authorities, Arc<dyn ServerCertVerifier>>>,
}

impl Trust {
    /// More editions of authorities' files than this are not kept.
    const COUNT_MAX: usize = 256;

    pub(crate) fn client_config(
        &self,
        options: &TlsOptions,
        protocols: Protocols,
    ) -> Result<Arc<ClientConfig>, Answer> {
        let key = (Authorities::of(options), protocols);
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(&key) {
            return Ok(Arc::clone(config));
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Answer::unknown(format!("TLS can't be set up: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(options)?)
            .with_no_client_auth();
        config.alpn_protocols = protocols.alpn();
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        if configs.len() >= Self::COUNT_MAX {
            configs.clear();
        }
        configs.insert(key, Arc::clone(&config));
        Ok(config)
    }

    /// What judges a chain for these options.
    pub(crate) fn verifier(
        &self,
        options: &TlsOptions,
    ) -> Result<Arc<dyn ServerCertVerifier>, Answer> {
        let key = Authorities::of(options);
        let mut verifiers = self
            .verifiers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(verifier) = verifiers.get(&key) {
            return Ok(Arc::clone(verifier));
        }
        let verifier = key.verifier()?;
        if verifiers.len() >= Self::COUNT_MAX {
            verifiers.clear();
        }
        verifiers.insert(key, Arc::clone(&verifier));
        Ok(verifier)
    }
}

impl Authorities {
    fn of(options: &TlsOptions) -> Self {
        if options.insecure {
            return Self::Anyone;
        }
        match &options.ca_file {
            None => Self::Platform,
            Some(path) => {
                let changed = fs::metadata(path).and_then(|file| file.modified()).ok();
                Self::File(path.clone(), changed)
            }
        }
    }

    fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, Answer> {
        match self {
            Self::Anyone => Ok(Arc::new(TrustAnyone(provider()))),
            Self::Platform => rustls_platform_verifier::Verifier::new(provider())
                .map(|verifier| Arc::new(verifier) as Arc<dyn ServerCertVerifier>)
                .map_err(|error| {
                    Answer::unknown(format!("the system's authorities can't be read: {error}"))
                }),
            Self::File(path, _) => verifier_from_file(path)
                .map_err(|why| Answer::unknown(format!("ca_file {path}: {why}"))),
        }
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
