//! The server's own authority: it says who is a host of this installation, and signs what is ordered.
//!
//! `agents/authority.pem` and `authority.key`, made once unless the configuration names others, and `agents/orders.key`, as
//! the installation keeps them; in a data directory keys are for their owner only. The server's own certificate is made
//! anew with each start, and its key is never on a disk. Certificates are issued and judged by one clock, the server's.

use std::{
    fmt::Display,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use pitcrew_model::{AgentSettings, AuthorityFiles, Timestamp};
use pitcrew_wire::{Addressed, HostName, OrderKey, OrderSigner, SERVER_NAME, SignedOrder, Spiffe};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
    SanType, SerialNumber, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
    time_provider::TimeProvider,
    version::TLS13,
};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{
    clock::Clock,
    kept::{Kept, KeptError},
};

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("failed to use {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error("{name} can't be used: {why}")]
    Broken { name: String, why: String },
    #[error(
        "the authority in {} can't be used: {why}; name an authority's certificate and the key that belongs to it",
        path.display()
    )]
    Outside { path: PathBuf, why: String },
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

/// A clock that is behind by less than this still finds a new host's certificate valid; of a short-lived one a tenth.
const BACKDATED: Duration = Duration::from_secs(300);

fn make(error: impl Display) -> AuthorityError {
    AuthorityError::Make(error.to_string())
}

/// An authority's certificate and its key, as they are in files.
struct Files {
    certificate: String,
    der: CertificateDer<'static>,
    key: KeyPair,
}

impl Files {
    /// The server's own.
    fn own(kept: &Kept, installation: &str, now: Timestamp) -> Result<Self, AuthorityError> {
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
            name: CERTIFICATE.to_owned(),
            why: error.to_string(),
        };
        let der = CertificateDer::from_pem_slice(&certificate).map_err(|error| broken(&error))?;
        let certificate = String::from_utf8(certificate).map_err(|error| broken(&error))?;
        Ok(Self {
            certificate,
            der,
            key,
        })
    }

    /// Those of the users' own authority.
    fn outside(files: &AuthorityFiles, now: Timestamp) -> Result<Self, AuthorityError> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| AuthorityError::File {
                path: path.to_owned(),
                source,
            })
        };
        let path = &files.certificate_file;
        let outside = |why: String| AuthorityError::Outside {
            path: path.clone(),
            why,
        };
        let certificate = read(path)?;
        let key_file = files.key_file.display().to_string();
        let key = as_key(&key_file, read(&files.key_file)?.as_bytes())?;
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| outside(error.to_string()))?;
        match unfit(&der, &key, now) {
            Some(why) => Err(outside(why)),
            None => Ok(Self {
                certificate,
                der,
                key,
            }),
        }
    }
}

/// Why this certificate and this key are no authority.
fn unfit(der: &CertificateDer<'_>, key: &KeyPair, now: Timestamp) -> Option<String> {
    let (_, certificate) = match X509Certificate::from_der(der) {
        Ok(parsed) => parsed,
        Err(error) => return Some(error.to_string()),
    };
    let seconds = i64::try_from(now.as_millis() / 1_000).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if !certificate.is_ca() {
        Some("its certificate is no authority's".to_owned())
    } else if certificate.public_key().raw != key.subject_public_key_info() {
        Some("its key belongs to another certificate".to_owned())
    } else if seconds < validity.not_before.timestamp() || seconds > validity.not_after.timestamp()
    {
        Some(format!(
            "it is not valid now: {} to {}",
            validity.not_before, validity.not_after
        ))
    } else {
        None
    }
}

/// For orders within this process: made anew with each start.
pub(super) fn new_signer() -> Result<OrderSigner, AuthorityError> {
    let key = OrderSigner::generate().map_err(make)?;
    OrderSigner::from_pkcs8(&key).map_err(make)
}

impl Authority {
    pub(crate) fn open(
        kept: &Kept,
        installation: &str,
        settings: &AgentSettings,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let Files {
            certificate,
            der,
            key,
        } = match &settings.authority {
            Some(files) => Files::outside(files, now)?,
            None => Files::own(kept, installation, now)?,
        };
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(make)?;
        let order_key = found_or_made(kept, ORDER_KEY, || OrderSigner::generate().map_err(make))?;
        let signer = OrderSigner::from_pkcs8(&order_key);
        Ok(Self {
            installation: installation.to_owned(),
            issuer,
            certificate,
            der,
            signer: signer.map_err(|error| AuthorityError::Broken {
                name: ORDER_KEY.to_owned(),
                why: error.to_string(),
            })?,
            lifetime: settings.certificate_lifetime,
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
        generation: u64,
        request: &str,
        now: Timestamp,
    ) -> Result<Issued, String> {
        let request = CertificateSigningRequestParams::from_pem(request)
            .map_err(|error| format!("not a request for a certificate: {error}"))?;
        let expires_at = now + self.lifetime;
        let from = now - BACKDATED.min(self.lifetime / 10);
        let mut params = params(host.as_str(), from, expires_at);
        params.serial_number = Some(serial(generation)?);
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
    pub(crate) fn server_config(&self, clock: &Clock) -> Result<ServerConfig, AuthorityError> {
        let key = KeyPair::generate().map_err(make)?;
        let now = clock.now();
        // Hosts judge it, some of them before they know the time.
        let mut params = params(SERVER_NAME, now - YEAR, now + YEAR * 10);
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
        let time = Arc::new(ByClock(clock.clone()));
        ServerConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&TLS13])
            .map_err(make)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![own.der().clone(), self.der.clone()], key)
            .map_err(make)
    }
}

#[derive(Debug)]
struct ByClock(Clock);

impl TimeProvider for ByClock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = Duration::from_millis(self.0.now().as_millis());
        Some(UnixTime::since_unix_epoch(now))
    }
}

/// One byte that says so, the generation in eight, the highest first, and seven at random.
const SERIAL: u8 = 1;

fn serial(generation: u64) -> Result<SerialNumber, String> {
    let mut serial = [0; 16];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_unspecified| "the system gives no random numbers".to_owned())?;
    serial[0] = SERIAL;
    serial[1..9].copy_from_slice(&generation.to_be_bytes());
    Ok(SerialNumber::from_slice(&serial))
}

/// The generation in a serial number of ours.
pub(crate) fn generation(serial: &[u8]) -> Option<u64> {
    match serial {
        [SERIAL, rest @ ..] if rest.len() == 15 => {
            let generation = rest.first_chunk::<8>()?;
            Some(u64::from_be_bytes(*generation))
        }
        _ => None,
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
    let mut params = params(&name, now - YEAR, now + YEAR * 20);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn as_key(name: &str, pem: &[u8]) -> Result<KeyPair, AuthorityError> {
    let text = String::from_utf8_lossy(pem);
    KeyPair::from_pem(&text).map_err(|error| AuthorityError::Broken {
        name: name.to_owned(),
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
