//! The server's own authority: it says who is a host of this installation, and signs what is ordered.
//!
//! `agents/authority.pem` and `authority.key`, made once, and `orders.key`, as the installation keeps them. In a data
//! directory keys are for their owner only. The server's own certificate is made anew with each start, and its key is never on a disk.

use std::{fmt::Display, sync::Arc, time::Duration};

use pitcrew_model::Timestamp;
use pitcrew_wire::{Addressed, HostName, OrderKey, OrderSigner, SERVER_NAME, SignedOrder, Spiffe};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use sha2::{Digest, Sha256};

use crate::kept::{Kept, KeptError};

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error("{name} can't be used: {why}")]
    Broken { name: &'static str, why: String },
    #[error("failed to make the authority of this installation: {0}")]
    Make(String),
}

const KEY: &str = "agents/authority.key";
const CERTIFICATE: &str = "agents/authority.pem";
const ORDER_KEY: &str = "agents/orders.key";

pub(crate) struct Authority {
    installation: String,
    issuer: Issuer<'static, KeyPair>,
    /// PEM, for new hosts.
    certificate: String,
    der: CertificateDer<'static>,
    signer: OrderSigner,
    lifetime: Duration,
}

pub(crate) struct Issued {
    /// PEM.
    pub(crate) certificate: String,
    pub(crate) expires_at: Timestamp,
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A clock that is behind by less than this still finds a new certificate valid; of a short-lived one a tenth.
const BACKDATED: Duration = Duration::from_secs(300);

fn make(error: impl Display) -> AuthorityError {
    AuthorityError::Make(error.to_string())
}

impl Authority {
    pub(crate) fn open(
        kept: &Kept,
        installation: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let key_pem = found_or_made(kept, KEY, || {
            Ok(KeyPair::generate()
                .map_err(make)?
                .serialize_pem()
                .into_bytes())
        })?;
        let key = as_key(KEY, &key_pem)?;
        let certificate = found_or_made(kept, CERTIFICATE, || {
            let params = authority_params(installation, now);
            let made = params.self_signed(&key).map_err(make)?;
            Ok(made.pem().into_bytes())
        })?;
        let broken = |error: &dyn Display| AuthorityError::Broken {
            name: CERTIFICATE,
            why: error.to_string(),
        };
        let der = CertificateDer::from_pem_slice(&certificate).map_err(|error| broken(&error))?;
        let certificate = String::from_utf8(certificate).map_err(|error| broken(&error))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(|error| broken(&error))?;
        let order_key = found_or_made(kept, ORDER_KEY, || OrderSigner::generate().map_err(make))?;
        let signer = OrderSigner::from_pkcs8(&order_key);
        Ok(Self {
            installation: installation.to_owned(),
            issuer,
            certificate,
            der,
            signer: signer.map_err(|error| AuthorityError::Broken {
                name: ORDER_KEY,
                why: error.to_string(),
            })?,
            lifetime,
        })
    }

    pub(crate) fn installation(&self) -> &str {
        &self.installation
    }

    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(crate) fn pin(&self) -> [u8; 32] {
        Sha256::digest(&self.der).into()
    }

    pub(crate) fn order_key(&self) -> OrderKey {
        self.signer.key()
    }

    pub(crate) fn sign(&self, order: &Addressed) -> Result<SignedOrder, serde_json::Error> {
        self.signer.sign(order)
    }

    /// A certificate that says `host`, whatever the request says; the error is the request's fault.
    pub(crate) fn issue(
        &self,
        host: &HostName,
        request: &str,
        now: Timestamp,
    ) -> Result<Issued, String> {
        let request = CertificateSigningRequestParams::from_pem(request)
            .map_err(|error| format!("not a request for a certificate: {error}"))?;
        let expires_at = now + self.lifetime;
        let from = now - BACKDATED.min(self.lifetime / 10);
        let mut params = params(host.as_str(), from, expires_at);
        let identity = Spiffe {
            installation: self.installation.clone(),
            host: host.clone(),
        };
        let identity = identity.to_string().try_into();
        params.subject_alt_names = vec![SanType::URI(
            identity.map_err(|error: rcgen::Error| error.to_string())?,
        )];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params.signed_by(&request.public_key, &self.issuer);
        Ok(Issued {
            certificate: signed.map_err(|error| error.to_string())?.pem(),
            expires_at,
        })
    }

    /// TLS 1.3 with a certificate of this authority; who connects shows one too, or none.
    pub(crate) fn server_config(&self, now: Timestamp) -> Result<ServerConfig, AuthorityError> {
        let key = KeyPair::generate().map_err(make)?;
        let mut params = params(SERVER_NAME, now - BACKDATED, now + YEAR * 10);
        let name = SERVER_NAME.to_owned().try_into().map_err(make)?;
        params.subject_alt_names = vec![SanType::DnsName(name)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let own = params.signed_by(&key, &self.issuer).map_err(make)?;
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).map_err(make)?;
        let provider = Arc::new(default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = verifier.allow_unauthenticated().build().map_err(make)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(make)?;
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(make)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![own.der().clone(), self.der.clone()], key)
            .map_err(make)
    }
}

fn params(name: &str, from: Timestamp, to: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_millis(from.as_millis());
    params.not_after = epoch + Duration::from_millis(to.as_millis());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn authority_params(installation: &str, now: Timestamp) -> CertificateParams {
    let name = format!("Pitcrew {installation}");
    let mut params = params(&name, now - BACKDATED, now + YEAR * 20);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn as_key(name: &'static str, pem: &[u8]) -> Result<KeyPair, AuthorityError> {
    let text = String::from_utf8_lossy(pem);
    KeyPair::from_pem(&text).map_err(|error| AuthorityError::Broken {
        name,
        why: error.to_string(),
    })
}

fn found_or_made(
    kept: &Kept,
    name: &str,
    make: impl FnOnce() -> Result<Vec<u8>, AuthorityError>,
) -> Result<Vec<u8>, AuthorityError> {
    if let Some(found) = kept.read(name)? {
        return Ok(found);
    }
    let made = make()?;
    kept.write(name, &made)?;
    Ok(made)
}
