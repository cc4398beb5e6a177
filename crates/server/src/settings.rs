//! Where the server listens, keeps its data and what token it wants: checked before anything begins.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use pitcrew_ledger::{LedgerError, Postgres};
use pitcrew_model::{PostgresSettings, ServerSettings};

use crate::ServeError;

/// What the command line says; it wins over the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    pub configuration: PathBuf,
    pub listen: Option<SocketAddr>,
    pub data: Option<PathBuf>,
    /// Where to record everything that enters the engine.
    pub record: Option<PathBuf>,
    /// What the metrics store may take, instead of `metrics.memory`.
    pub memory_bytes: Option<u64>,
}

impl Options {
    pub(crate) fn over(&self, settings: &ServerSettings) -> ServerSettings {
        ServerSettings {
            listen: self.listen.unwrap_or(settings.listen),
            data: self.data.clone().unwrap_or_else(|| settings.data.clone()),
            ..settings.clone()
        }
    }
}

/// The database that several servers share.
pub fn database(settings: &PostgresSettings) -> Result<Postgres, LedgerError> {
    Postgres::new(
        settings.url.expose(),
        settings.password_file.as_deref(),
        settings.ca_file.as_deref(),
    )
}

/// What people and other servers are told of this one, which listens there.
pub(crate) fn advertised(settings: &ServerSettings, listen: SocketAddr) -> String {
    let url = settings.advertise.clone();
    url.unwrap_or_else(|| format!("http://{listen}"))
}

/// Short tokens can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// The token that every request must carry, if any.
pub(crate) fn token(settings: &ServerSettings) -> Result<Option<String>, ServeError> {
    let Some(path) = &settings.token_file else {
        if settings.listen.ip().is_loopback() {
            return Ok(None);
        }
        return Err(ServeError::Open {
            listen: settings.listen,
        });
    };
    let token = std::fs::read_to_string(path).map_err(|source| ServeError::TokenFile {
        path: path.clone(),
        source,
    })?;
    let token = token.trim();
    if token.len() < TOKEN_BYTES_MIN || token.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(ServeError::Token {
            path: path.clone(),
            bytes_min: TOKEN_BYTES_MIN,
        });
    }
    warn_when_others_read(path);
    Ok(Some(token.to_owned()))
}

fn warn_when_others_read(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!("{} can be read by others: chmod 600", path.display());
    }
}
