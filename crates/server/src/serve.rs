//! Start, run, stop.
//!
//! The order of the start matters. The ledger is opened first: it keeps a second server away. State is restored
//! before anything new is heard. Processes are taken over before orders of a former run are reconciled. The API
//! answers last.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use pitcrew_act::SuperviseError;
use pitcrew_config::LoadError;
use pitcrew_ledger::LedgerError;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    clock::Clock,
    fleet::AuthorityError,
    following::configuration_status,
    recording::{RecordFile, RecordingError},
    running::{Parts, Running},
    settings::{self, Options},
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
    let loaded = pitcrew_config::load(&options.configuration)?;
    let settings = options.over(&loaded.production.server);
    let token = settings::token(&settings)?;
    let record = options
        .record
        .as_deref()
        .map(RecordFile::open)
        .transpose()?;
    let signals = Signals::catch()?;
    let (listener, listen) = bind(settings.listen).await?;
    let agents = match &settings.agents {
        Some(agents) => Some(bind(agents.listen).await?),
        None => None,
    };
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let production = Arc::new(loaded.production);
    let told = Ready {
        listen,
        agents: agents.as_ref().map(|(_, listen)| *listen),
        data: settings.data.clone(),
        services: production.services.len(),
        warnings: warnings.clone(),
    };
    let clock = Clock::start();
    let directory = options.configuration.clone();
    let configuration = configuration_status(&directory, &production, warnings, &clock);
    let mut running = Running::start(Parts {
        directory,
        settings,
        configuration,
        clock,
        record,
    })?;
    running.apply(Arc::clone(&production)).await;
    running.answer(listener, listen, token.as_deref());
    if let Some((listener, _)) = agents {
        running.take_agents_in(listener)?;
    }
    ready(&told);
    notify_ready();
    running.follow(signals.hangup);
    ended(signals.terminate, signals.interrupt).await;
    running.stop().await;
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> Result<Self, ServeError> {
        let catch = |kind| {
            signal(kind).map_err(|source| ServeError::System {
                doing: "catch signals",
                source,
            })
        };
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }
}

async fn ended(mut terminate: Signal, mut interrupt: Signal) {
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!("{name}: stopping; supervised processes live on");
}

async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let actual = listener.local_addr().map_err(failed)?;
    Ok((listener, actual))
}

fn notify_ready() {
    use sd_notify::NotifyState;
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::warn!(%error, "failed to tell systemd that the server is ready");
    }
}
