//! TLS 1.3 to the server: with the host's certificate, or, to enrol, with none and the authority's fingerprint alone.

use std::{io, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use pitcrew_model::Timestamp;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, aws_lc_rs::default_provider, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    time_provider::TimeProvider,
    version::TLS13,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    clock::{ServerTime, boot_ms, wall_now},
    identity::Identity,
};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("failed to reach the server at {server}: {source}")]
    Connect { server: String, source: io::Error },
    #[error("no connection to {server} within {} s", PATIENCE.as_secs())]
    Late { server: String },
    #[error("what this host was given to prove itself can't be used: {0}")]
    Material(String),
}

pub(crate) async fn connect(
    server: &str,
    config: ClientConfig,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let connecting = async {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(pitcrew_wire::SERVER_NAME).expect("it is a fit name");
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    };
    let server = || server.to_owned();
    match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(ConnectError::Connect {
            server: server(),
            source,
        }),
        Err(_elapsed) => Err(ConnectError::Late { server: server() }),
    }
}

fn material(error: impl std::fmt::Display) -> ConnectError {
    ConnectError::Material(error.to_string())
}

/// By which certificates are judged: the server's time, as far as it is known. Before the first answer it is the host's own
/// clock, and no earlier than the server's last word, which this host's certificate is.
#[derive(Debug)]
struct Judged {
    by: Arc<ServerTime>,
    at_least: Timestamp,
}

impl TimeProvider for Judged {
    fn current_time(&self) -> Option<UnixTime> {
        let known = self.by.latest(boot_ms());
        let now = known.unwrap_or_else(|| wall_now().max(self.at_least));
        Some(UnixTime::since_unix_epoch(Duration::from_millis(
            now.as_millis(),
        )))
    }
}

/// As this host.
pub(crate) fn as_host(
    identity: &Identity,
    time: &Arc<ServerTime>,
) -> Result<ClientConfig, ConnectError> {
    let judged = Judged {
        by: Arc::clone(time),
        at_least: identity
            .validity()
            .map_or(Timestamp::ZERO, |(from, _)| from),
    };
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(material);
    let mut roots = RootCertStore::empty();
    roots
        .add(certificate(&identity.authority)?)
        .map_err(material)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(material)?;
    ClientConfig::builder_with_details(Arc::new(default_provider()), Arc::new(judged))
        .with_protocol_versions(&[&TLS13])
        .map_err(material)?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate(&identity.certificate)?], key)
        .map_err(material)
}

/// As nobody yet.
pub(crate) fn to_enrol(pin: [u8; 32]) -> Result<ClientConfig, ConnectError> {
    let provider = Arc::new(default_provider());
    let verifier = Pinned {
        pin,
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(material)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Ok(config.with_no_client_auth())
}

/// Believes the authority with this fingerprint, which the server shows beside its own certificate, and judges
/// the rest as usual.
#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut shown = intermediates.iter();
        let authority = shown
            .find(|shown| digest(&SHA256, shown).as_ref() == self.pin)
            .ok_or_else(|| {
                rustls::Error::General("this is not the server that the token is from".to_owned())
            })?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let usual = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        );
        let usual = usual
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
