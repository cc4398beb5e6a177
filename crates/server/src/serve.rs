//! Start, run, stop.
//!
//! The order of the start matters. The ledger is opened first: it keeps a second server away. State is restored
//! before anything new is heard. Processes are taken over before orders of a former run are reconciled. The API
//! answers last.
//!
//! A server that shares its ledger follows first, leads when it is its turn, and follows again when another one leads,
//! without ending. What it listens on stays open all the time.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use pitcrew_act::SuperviseError;
use pitcrew_config::LoadError;
use pitcrew_ledger::{Ledger, LedgerError};

use crate::{
    fleet::AuthorityError,
    kept::KeptError,
    recording::RecordingError,
    settings::{self, Options},
    store::Store,
    turns::{Server, hangups},
};

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Configuration(#[from] LoadError),
    #[error(
        "refused to listen on {listen}, which others can reach, without a token: \
         set `server.token_file` to a file with a secret of 16 bytes or more, or listen on 127.0.0.1"
    )]
    Open { listen: SocketAddr },
    #[error("failed to read the token file {}", path.display())]
    TokenFile { path: PathBuf, source: io::Error },
    #[error(
        "the token in {} is too short or has white space within: it needs {bytes_min} bytes or more, \
         for example from `head -c 32 /dev/urandom | base64`", path.display()
    )]
    Token { path: PathBuf, bytes_min: usize },
    #[error(
        "failed to listen on {listen}; is another server there? Name another address: --listen 127.0.0.1:7401"
    )]
    Listen {
        listen: SocketAddr,
        source: io::Error,
    },
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Record(#[from] RecordingError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Supervise(#[from] SuperviseError),
    #[error("failed to {doing}")]
    System {
        doing: &'static str,
        source: io::Error,
    },
}

/// What whoever started it wants to know.
#[derive(Clone, Debug)]
pub struct Ready {
    pub listen: SocketAddr,
    /// Where agents connect.
    pub agents: Option<SocketAddr>,
    pub data: PathBuf,
    pub services: usize,
    pub warnings: Vec<String>,
}

/// Runs until SIGTERM or SIGINT. To be called on a multi-threaded tokio runtime. Supervised processes live on.
pub async fn serve(options: Options, ready: impl FnOnce(&Ready)) -> Result<(), ServeError> {
    let (mut server, told) = Server::prepare(options).await?;
    let settings = server.settings.clone();
    let say = || {
        ready(&told);
        notify_ready();
    };
    let Some(postgres) = &settings.postgres else {
        let ledger = tokio::task::block_in_place(|| Ledger::open(&settings.data))?;
        let store = Store::Sqlite(Box::new(ledger));
        let mut running = server.lead(store, None).await?;
        say();
        running.follow(hangups()?);
        server.ended().await;
        running.stop().await;
        server.close();
        return Ok(());
    };
    let database = settings::database(postgres)?;
    say();
    while let Some(leader) = server.follow(&database).await? {
        let fence = leader.fence();
        tracing::info!(fence, "this server leads");
        let mut running = match server.lead(Store::Postgres(leader), Some(&database)).await {
            Ok(running) => running,
            Err(
                ServeError::Ledger(error)
                | ServeError::Authority(AuthorityError::Kept(KeptError::Ledger(error))),
            ) if error.may_pass() => {
                tracing::error!("this server could not begin to lead: {error}");
                continue;
            }
            Err(error) => return Err(error),
        };
        server.own_fences.insert(fence);
        running.follow(hangups()?);
        let leadership = Arc::clone(&running.leadership);
        let deposed_by = tokio::select! {
            () = server.ended() => None,
            by = leadership.lost() => Some(by),
        };
        server.supervisor = Some(running.stop().await);
        let Some(by) = deposed_by else { break };
        tracing::error!("another server leads: {by}; this one follows from now on");
    }
    server.close();
    Ok(())
}

fn notify_ready() {
    use sd_notify::NotifyState;
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::warn!(%error, "failed to tell systemd that the server is ready");
    }
}
