//! Who this host is: its key, which never leaves it, and the certificate and authority it was given.
//!
//! `identity.json` in the agent's data, for its owner only, replaced whole: key and certificate are never of two kinds.

use std::{fs, io, path::Path, time::Duration};

use pitcrew_model::Timestamp;
use pitcrew_wire::{Enrolled, HostName};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde::{Deserialize, Serialize};
use x509_parser::{pem::parse_x509_pem, time::ASN1Time};

use pitcrew_act::write_durably;

use crate::AgentError;

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) installation: String,
    pub(crate) host: HostName,
    /// PEM.
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) authority: String,
    pub(crate) order_key: String,
    /// SHA-256 of the token's text, so that a new one in the same file is seen.
    pub(crate) token: String,
}

/// A new key and what a certificate for it is asked with.
pub(crate) struct Requested {
    pub(crate) key: String,
    pub(crate) request: String,
}

pub(crate) fn request() -> Result<Requested, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    // The authority names the host; it believes nothing that is asked for.
    params.distinguished_name = DistinguishedName::new();
    Ok(Requested {
        request: params.serialize_request(&key)?.pem()?,
        key: key.serialize_pem(),
    })
}

/// When a new certificate is asked for, and how long to wait for it before it is asked for again.
pub(crate) struct Renewal {
    pub(crate) at: Timestamp,
    pub(crate) patience: Duration,
}

impl Identity {
    pub(crate) fn new(enrolled: Enrolled, key: String, token: String) -> Self {
        Self {
            installation: enrolled.installation,
            host: enrolled.host,
            certificate: enrolled.certificate,
            key,
            authority: enrolled.authority,
            order_key: enrolled.order_key,
            token,
        }
    }

    pub(crate) fn load(data: &Path) -> Result<Option<Self>, AgentError> {
        let path = data.join("identity.json");
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes)
                    .map(Some)
                    .map_err(|error| AgentError::Content {
                        why: format!("it is broken ({error}): remove it and enrol this host again"),
                        path,
                    })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AgentError::File {
                doing: "read",
                path,
                source,
            }),
        }
    }

    pub(crate) fn save(&self, data: &Path) -> Result<(), AgentError> {
        let path = data.join("identity.json");
        let written = serde_json::to_vec(self)
            .map_err(io::Error::from)
            .and_then(|bytes| write_durably(&path, &bytes));
        written.map_err(|source| AgentError::File {
            doing: "write",
            path,
            source,
        })
    }

    /// When two thirds of the certificate's time are over. One that can't be read is renewed at once.
    pub(crate) fn renewal(&self) -> Renewal {
        let (from, to) = self.validity().unwrap_or_default();
        let lifetime = to.since(from);
        Renewal {
            at: from + lifetime * 2 / 3,
            patience: (lifetime / 10).clamp(Duration::from_secs(1), Duration::from_secs(60)),
        }
    }

    /// Of the certificate: by the clock of the server that issued it.
    pub(crate) fn validity(&self) -> Option<(Timestamp, Timestamp)> {
        let (_, pem) = parse_x509_pem(self.certificate.as_bytes()).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let at = |time: ASN1Time| {
            let seconds = u64::try_from(time.timestamp()).ok()?;
            Some(Timestamp::from_millis(seconds.checked_mul(1_000)?))
        };
        let validity = certificate.validity();
        Some((at(validity.not_before)?, at(validity.not_after)?))
    }
}
