//! The ledger in PostgreSQL, for several servers: where it is and how to get there.
//!
//! The same records, chain and rows as in SQLite; one server leads ([`Leader`]) and the others wait for their
//! turn ([`Candidate`]) and read. Never here: a password in an error or a log, and a connection over a network
//! without TLS or to a server whose certificate nobody vouches for, unless the address says `sslmode=disable`.

mod candidate;
mod files;
mod leader;
mod moving;
mod rows;
mod session;
mod tables;

use std::{
    fmt, fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

pub use candidate::{Bid, Candidate, LEASE};
pub use files::SharedFiles;
pub use leader::{Leader, RENEW_WITHIN};
pub(crate) use session::words;

use crate::{LedgerError, Reader};
use rows::PostgresRows;

const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// A database that holds the ledger of several servers, or shall.
#[derive(Clone)]
pub struct Postgres {
    config: Config,
    password_file: Option<PathBuf>,
    tls: MakeRustlsConnect,
    /// Without a password: for errors.
    place: Arc<Path>,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Without a password.
impl fmt::Display for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place.display())
    }
}

impl Postgres {
    /// `address` is `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…` or `host=… user=… dbname=…`. Without a
    /// password in it, that is the first line of `password_file`, read at each login. Nothing is asked yet.
    ///
    /// `sslmode=require` verifies the server's certificate against `ca_file`, or against the system's
    /// authorities. It is the default, save for loopback addresses and Unix sockets.
    pub fn new(
        address: &str,
        password_file: Option<&Path>,
        ca_file: Option<&Path>,
    ) -> Result<Self, LedgerError> {
        let unusable = |why: &str| LedgerError::Address {
            why: why.to_owned(),
        };
        // The same here; the parser knows only one word for it.
        let address = address.replace("sslmode=verify-full", "sslmode=require");
        // What the parser says can quote a part of a password that was not escaped.
        let mut config: Config = address.parse().map_err(|_quotes_its_input| {
            unusable("it is not like postgresql://USER@HOST:5432/DATABASE?sslmode=require")
        })?;
        if config.get_password().is_some() && password_file.is_some() {
            return Err(unusable(
                "it holds a password, and there is a file with one: one is possible",
            ));
        }
        if config.get_hosts().is_empty() {
            return Err(unusable("it names no host"));
        }
        if config.get_user().is_none() {
            return Err(unusable("it names no user"));
        }
        if config.get_ssl_mode() == SslMode::Prefer {
            config.ssl_mode(match config.get_hosts().iter().all(is_local) {
                true => SslMode::Disable,
                false => SslMode::Require,
            });
        }
        config
            .application_name("pitcrew")
            .connect_timeout(CONNECT_WITHIN)
            .keepalives_idle(Duration::from_secs(2))
            .keepalives_interval(Duration::from_secs(1))
            .keepalives_retries(3);
        Ok(Self {
            place: place(&config).into(),
            tls: MakeRustlsConnect::new(tls(ca_file)?),
            password_file: password_file.map(Path::to_owned),
            config,
        })
    }

    /// For reading beside the server that leads. It is not kept from reading by a lost connection: the call
    /// that meets the loss says so, a later one connects again.
    pub fn reader(&self) -> Result<Reader, LedgerError> {
        Reader::new(PostgresRows::new(self.clone()))
    }

    fn login(&self) -> Result<Config, LedgerError> {
        let mut config = self.config.clone();
        if let Some(path) = &self.password_file {
            let text = fs::read_to_string(path).map_err(LedgerError::io(path, "read"))?;
            config.password(text.lines().next().unwrap_or_default());
        }
        Ok(config)
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
    }
}

fn place(config: &Config) -> PathBuf {
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(at, host)| {
            let ports = config.get_ports();
            let port = ports.get(at).or_else(|| ports.first()).unwrap_or(&5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(directory) => format!("{}:{port}", directory.display()),
            }
        })
        .collect();
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    format!("postgresql://{user}@{}/{database}", hosts.join(",")).into()
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, LedgerError> {
    let unusable = |why: String| LedgerError::Address { why };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match ca_file {
        None => rustls_platform_verifier::Verifier::new(Arc::clone(&provider))
            .map(Arc::new)
            .map_err(|error| {
                unusable(format!("the system's authorities can't be read: {error}"))
            })?,
        Some(path) => authorities(path, &provider)
            .map_err(|why| unusable(format!("its authorities in {}: {why}", path.display())))?,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(format!("TLS can't be set up: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

fn authorities(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(address: &str) -> SslMode {
        Postgres::new(address, None, None)
            .unwrap()
            .config
            .get_ssl_mode()
    }

    #[test]
    fn only_what_stays_on_this_machine_goes_without_tls_unless_told() {
        for (address, expected) in [
            ("postgresql://p@127.0.0.1/ledger", SslMode::Disable),
            ("postgresql://p@localhost/ledger", SslMode::Disable),
            ("host=/run/postgresql user=p", SslMode::Disable),
            ("postgresql://p@db.example.org/ledger", SslMode::Require),
            (
                "postgresql://p@127.0.0.1,db.example.org/ledger",
                SslMode::Require,
            ),
            (
                "postgresql://p@db.example.org/ledger?sslmode=disable",
                SslMode::Disable,
            ),
            (
                "postgresql://p@127.0.0.1/ledger?sslmode=require",
                SslMode::Require,
            ),
            (
                "postgresql://p@127.0.0.1/ledger?sslmode=verify-full",
                SslMode::Require,
            ),
        ] {
            assert_eq!(mode(address), expected, "{address}");
        }
    }

    #[test]
    fn no_error_and_no_description_repeats_a_password() {
        for address in [
            "postgresql://p:s3cret@127.0.0.1/ledger?sslmode=no",
            "host=127.0.0.1 user=p passwort=s3cret",
        ] {
            let error = Postgres::new(address, None, None).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
        for address in [
            "postgresql://p:s3cret@127.0.0.1/ledger",
            "postgresql://p:x?s3cret=y@127.0.0.1/ledger",
            "host=127.0.0.1 user=p password=s3cret",
        ] {
            let database = Postgres::new(address, None, None).unwrap();
            assert!(!format!("{database:?} {database}").contains("s3cret"));
            let file = Some(Path::new("password"));
            assert!(Postgres::new(address, file, None).is_err(), "two passwords");
        }
    }
}
