//! An authority of our own, and the certificates it signs.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    date_time_ymd,
};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Authority {
    pub(crate) fn new(directory: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("Tests' authority");
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        fs::write(directory.join("ca.pem"), issuer.pem()).unwrap();
        Self {
            issuer,
            directory: directory.to_owned(),
        }
    }

    pub(crate) fn ca_file(&self) -> String {
        self.directory.join("ca.pem").display().to_string()
    }

    /// Files of a chain for these names and its key, valid from 30 days ago for `days` from now
    /// (negative: until then).
    pub(crate) fn sign(&self, names: &[&str], days: i32) -> (PathBuf, PathBuf) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name = named(&names[0]);
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let now = date_time_ymd(1970, 1, 1) + since_1970;
        params.not_before = now - 30 * DAY;
        // An hour more, so that the days left are whole while the test runs.
        params.not_after = now + Duration::from_secs(3_600);
        if days >= 0 {
            params.not_after += days.unsigned_abs() * DAY;
        } else {
            params.not_after -= days.unsigned_abs() * DAY;
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str| self.directory.join(format!("{}{days}.{end}", names[0]));
        let (chain_file, key_file) = (file("pem"), file("key"));
        fs::write(&chain_file, certificate.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        (chain_file, key_file)
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
