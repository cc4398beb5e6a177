//! Start, run, stop.
//!
//! The order of the start matters. The ledger is opened first: it keeps a second server away. State is restored
//! before anything new is heard. Processes are taken over before orders of a former run are reconciled. The API
//! answers last.
//!
//! A server that shares its ledger follows first, leads when it is its turn, and follows again when another one leads,
//! without ending. What it listens on stays open all the time.

use std::{collections::BTreeSet, io, net::SocketAddr, path::PathBuf, sync::Arc};

use pitcrew_act::{SuperviseError, Supervisor};
use pitcrew_config::LoadError;
use pitcrew_ledger::{Leader, Ledger, LedgerError, Postgres};
use pitcrew_model::{Production, ServerSettings};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    api::ConfigurationStatus,
    clock::Clock,
    fleet::AuthorityError,
    follower::{self, Follower},
    following::configuration_status,
    http::Place,
    kept::{Kept, KeptError},
    recording::{RecordFile, RecordingError},
    running::{self, Running},
    settings::{self, Options},
    store::Store,
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
        tracing::info!("stopped");
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
    tracing::info!("stopped");
    Ok(())
}

/// What stays while this process leads, follows and leads again.
struct Server {
    directory: PathBuf,
    settings: ServerSettings,
    /// As last read without a mistake.
    production: Arc<Production>,
    warnings: Vec<String>,
    clock: Clock,
    signals: Signals,
    /// Closed as soon as the server stops.
    listener: Option<Arc<TcpListener>>,
    listen: SocketAddr,
    agents: Option<Arc<TcpListener>>,
    token: Option<String>,
    /// Opened at the start, so that a mistake is told then; later ones by their path.
    record: Option<RecordFile>,
    record_at: Option<PathBuf>,
    supervisor: Option<Supervisor>,
    own_fences: BTreeSet<u64>,
}

impl Server {
    async fn prepare(options: Options) -> Result<(Self, Ready), ServeError> {
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
        let told = Ready {
            listen,
            agents: agents.as_ref().map(|(_, listen)| *listen),
            data: settings.data.clone(),
            services: loaded.production.services.len(),
            warnings: warnings.clone(),
        };
        let server = Self {
            directory: options.configuration,
            settings,
            production: Arc::new(loaded.production),
            warnings,
            clock: Clock::start(),
            signals,
            listener: Some(Arc::new(listener)),
            listen,
            agents: agents.map(|(listener, _)| Arc::new(listener)),
            token,
            record,
            record_at: options.record,
            supervisor: None,
            own_fences: BTreeSet::new(),
        };
        Ok((server, told))
    }

    /// Until a signal that ends the process. What comes to the doors from then on is refused.
    async fn ended(&mut self) {
        self.signals.ended().await;
        self.listener = None;
        self.agents = None;
    }

    fn configuration(&self) -> ConfigurationStatus {
        let warnings = self.warnings.clone();
        configuration_status(&self.directory, &self.production, warnings, &self.clock)
    }

    fn doors(&self) -> Arc<TcpListener> {
        let listener = self.listener.as_ref();
        Arc::clone(listener.expect("nothing begins after the signal that ends"))
    }

    /// Follows until this server leads; nothing when the process ends.
    async fn follow(&mut self, database: &Postgres) -> Result<Option<Box<Leader>>, ServeError> {
        let mut follower = Follower::start(follower::Parts {
            database: database.clone(),
            settings: self.settings.clone(),
            production: Arc::clone(&self.production),
            configuration: self.configuration(),
            clock: self.clock.clone(),
            listener: self.doors(),
            listen: self.listen,
            agents: self.agents.clone(),
            token: self.token.clone(),
            advertised: settings::advertised(&self.settings, self.listen),
        })?;
        let leader = tokio::select! {
            () = self.ended() => None,
            leader = follower.leads() => Some(leader?),
        };
        follower.stop().await;
        if leader.is_some() {
            tracing::info!("it is this server's turn to lead");
            self.read_again().await;
        }
        Ok(leader)
    }

    /// What the files say by now; what was read before, when they have a mistake.
    async fn read_again(&mut self) {
        let directory = self.directory.clone();
        let loading = tokio::task::spawn_blocking(move || pitcrew_config::load(&directory));
        match loading.await {
            Ok(Ok(loaded)) => {
                self.warnings = loaded.warnings.iter().map(ToString::to_string).collect();
                self.production = Arc::new(loaded.production);
            }
            Ok(Err(error)) => tracing::error!(
                "the configuration from before stays in force: {}",
                error.render(false).trim_end()
            ),
            Err(error) => tracing::error!("reading the configuration broke off: {error}"),
        }
    }

    async fn lead(
        &mut self,
        store: Store,
        database: Option<&Postgres>,
    ) -> Result<Running, ServeError> {
        let (kept, place) = match (database, &store) {
            (Some(database), Store::Postgres(leader)) => (
                Kept::shared(database, Some(leader.fence())),
                Place::Database(Box::new(database.clone())),
            ),
            _ => (
                Kept::Directory(self.settings.data.clone()),
                Place::Directory(self.settings.data.clone()),
            ),
        };
        let record = match self.record.take() {
            Some(record) => Some(record),
            None => self
                .record_at
                .as_deref()
                .map(RecordFile::open)
                .transpose()?,
        };
        let mut running = Running::start(running::Parts {
            directory: self.directory.clone(),
            settings: self.settings.clone(),
            configuration: self.configuration(),
            clock: self.clock.clone(),
            record,
            store,
            kept,
            place: Arc::new(place),
            advertised: database.map(|_| settings::advertised(&self.settings, self.listen)),
            supervisor: self.supervisor.take(),
            own_fences: database.map(|_| self.own_fences.clone()),
        })?;
        running.apply(Arc::clone(&self.production)).await;
        running.answer(self.doors(), self.listen, self.token.as_deref());
        if let Some(listener) = &self.agents {
            running.take_agents_in(Arc::clone(listener))?;
        }
        Ok(running)
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// A server that follows reads its configuration again before it leads.
    _hangup: Signal,
}

impl Signals {
    fn catch() -> Result<Self, ServeError> {
        Ok(Self {
            terminate: caught(SignalKind::terminate())?,
            interrupt: caught(SignalKind::interrupt())?,
            _hangup: hangups()?,
        })
    }

    async fn ended(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        tracing::info!("{name}: stopping; supervised processes live on");
    }
}

/// To read the configuration again.
fn hangups() -> Result<Signal, ServeError> {
    caught(SignalKind::hangup())
}

fn caught(kind: SignalKind) -> Result<Signal, ServeError> {
    signal(kind).map_err(|source| ServeError::System {
        doing: "catch signals",
        source,
    })
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
