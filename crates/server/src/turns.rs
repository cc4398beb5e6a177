//! What stays while this process leads, follows and leads again: where it listens, its clock, what was configured.
//!
//! Whoever comes while the one ends and the other begins waits at the door for that moment.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, sync::Arc};

use pitcrew_act::Supervisor;
use pitcrew_ledger::{Leader, Postgres};
use pitcrew_model::{Production, ServerSettings};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    api::ConfigurationStatus,
    clock::Clock,
    follower::{self, Follower},
    following::configuration_status,
    http::Place,
    kept::Kept,
    recording::RecordFile,
    running::{self, Running},
    serve::{Ready, ServeError},
    settings::{self, Options},
    store::Store,
    telemetry::Telemetry,
};

pub(crate) struct Server {
    directory: PathBuf,
    pub(crate) settings: ServerSettings,
    /// As last read without a mistake.
    production: Arc<Production>,
    warnings: Vec<String>,
    clock: Clock,
    /// From the first turn on.
    telemetry: Option<Arc<Telemetry>>,
    signals: Signals,
    /// Closed as soon as the server stops.
    listener: Option<Arc<TcpListener>>,
    listen: SocketAddr,
    agents: Option<Arc<TcpListener>>,
    token: Option<String>,
    /// Opened at the start, so that a mistake is told then; later ones by their path.
    record: Option<RecordFile>,
    record_at: Option<PathBuf>,
    /// For metrics, from the command line.
    memory_bytes: Option<u64>,
    pub(crate) supervisor: Option<Supervisor>,
    pub(crate) own_fences: BTreeSet<u64>,
}

impl Server {
    pub(crate) async fn prepare(options: Options) -> Result<(Self, Ready), ServeError> {
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
            telemetry: None,
            signals,
            listener: Some(Arc::new(listener)),
            listen,
            agents: agents.map(|(listener, _)| Arc::new(listener)),
            token,
            record,
            record_at: options.record,
            memory_bytes: options.memory_bytes,
            supervisor: None,
            own_fences: BTreeSet::new(),
        };
        Ok((server, told))
    }

    /// Until a signal that ends the process. What comes to the doors from then on is refused.
    pub(crate) async fn ended(&mut self) {
        self.signals.ended().await;
        self.listener = None;
        self.agents = None;
    }

    /// The metrics store is the process', whoever leads. It is opened once the data directory is known to be its own.
    fn telemetry(&mut self) -> Result<Arc<Telemetry>, ServeError> {
        if let Some(telemetry) = &self.telemetry {
            return Ok(Arc::clone(telemetry));
        }
        let started = tokio::task::block_in_place(|| {
            Telemetry::start(
                &self.settings.data.join("metrics"),
                &self.production.metrics,
                self.memory_bytes,
                self.clock.clone(),
            )
        })?;
        Ok(Arc::clone(self.telemetry.insert(started)))
    }

    /// What was measured is on the disk when this returns.
    pub(crate) fn close(self) {
        if let Some(telemetry) = self.telemetry {
            tokio::task::block_in_place(|| telemetry.stop());
        }
        tracing::info!("stopped");
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
    pub(crate) async fn follow(
        &mut self,
        database: &Postgres,
    ) -> Result<Option<Box<Leader>>, ServeError> {
        let mut follower = Follower::start(follower::Parts {
            database: database.clone(),
            settings: self.settings.clone(),
            production: Arc::clone(&self.production),
            configuration: self.configuration(),
            clock: self.clock.clone(),
            telemetry: self.telemetry()?,
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

    pub(crate) async fn lead(
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
            telemetry: self.telemetry()?,
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
pub(crate) fn hangups() -> Result<Signal, ServeError> {
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
