//! The agent from start to stop: its identity, its processes, and one connection after the other.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use pitcrew_probe::ProcessStates;
use pitcrew_wire::HostName;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    AgentError, Options, Processes,
    backoff::Backoff,
    clock::ServerTime,
    enrol::{self, EnrolError, ReadToken},
    hands::{Apart, Hands, Principal, Seen},
    identity::Identity,
    inventory::Inventory,
    orders::Orders,
    session, tls,
};

pub(crate) struct Agent {
    pub(crate) options: Options,
    pub(crate) host: HostName,
    pub(crate) boot_id: String,
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) hands: Arc<Hands>,
    pub(crate) processes: Arc<dyn ProcessStates>,
    pub(crate) time: Arc<ServerTime>,
    /// New with each start.
    pub(crate) instance: String,
    identity: Mutex<Identity>,
    /// The identity on the disk is an older one.
    is_unsaved: AtomicBool,
}

/// Runs until SIGTERM or SIGINT; `ready` is told the host's name once it has one. What it supervises lives on.
pub async fn run(options: Options, ready: impl FnOnce(&HostName)) -> Result<(), AgentError> {
    until_a_signal(Box::pin(serve(options, ready))).await
}

pub(crate) async fn until_a_signal(
    served: impl Future<Output = Result<(), AgentError>>,
) -> Result<(), AgentError> {
    let mut signals = [SignalKind::terminate(), SignalKind::interrupt()]
        .into_iter()
        .map(signal)
        .collect::<Result<Vec<Signal>, _>>()
        .map_err(|source| AgentError::System {
            doing: "catch signals",
            source,
        })?;
    let [terminate, interrupt] = &mut signals[..] else {
        unreachable!("two signals are caught");
    };
    let name = tokio::select! {
        ended = served => return ended,
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!("{name}: stopping; supervised processes live on");
    Ok(())
}

async fn serve(options: Options, ready: impl FnOnce(&HostName)) -> Result<(), AgentError> {
    fs::create_dir_all(&options.data).map_err(|source| AgentError::File {
        doing: "make",
        path: options.data.clone(),
        source,
    })?;
    let identity = match Identity::load(&options.data)? {
        Some(identity) => identity,
        None => enrol_first(&options).await?,
    };
    ready(&identity.host);
    let agent = Arc::new(Agent::start(options, identity).await?);
    agent.keep_connected().await
}

/// Until it succeeds or the server says no.
async fn enrol_first(options: &Options) -> Result<Identity, AgentError> {
    let path = options
        .token_file
        .as_deref()
        .ok_or(AgentError::NotEnrolled)?;
    let token = enrol::read_token(path)?;
    let mut backoff = Backoff::default();
    loop {
        match enrol::enrol(&options.server, &token).await {
            Ok(identity) => {
                identity.save(&options.data)?;
                tracing::info!(host = %identity.host, "this host is enrolled");
                return Ok(identity);
            }
            Err(error @ EnrolError::Refused(_)) => {
                return Err(AgentError::Content {
                    path: path.to_owned(),
                    why: error.to_string(),
                });
            }
            Err(error) => tracing::warn!("not enrolled yet: {error}"),
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

impl Agent {
    pub(crate) async fn start(options: Options, identity: Identity) -> Result<Self, AgentError> {
        let settings = &options.settings;
        let principal = Principal::of(&identity);
        let time = Arc::new(ServerTime::default());
        let (hands, processes): (Hands, Arc<dyn ProcessStates>) = match &options.hands {
            None => {
                let (orders, supervisor) =
                    Orders::open(&options.data, settings, &principal, Arc::clone(&time)).await?;
                let processes = Arc::new(Processes(supervisor));
                (Hands::Here(Arc::new(orders)), processes)
            }
            Some(socket) => {
                let apart = Apart::new(socket.clone(), principal, Arc::clone(&time));
                let apart = Arc::new(apart);
                let seen = Seen::kept(Arc::clone(&apart));
                (Hands::Apart(apart), seen)
            }
        };
        Ok(Self {
            host: identity.host.clone(),
            boot_id: boot_id()?,
            inventory: Arc::new(Inventory::of(&identity.host, settings)),
            hands: Arc::new(hands),
            processes,
            time,
            instance: format!("{:016x}", RandomState::new().hash_one(())),
            identity: Mutex::new(identity),
            is_unsaved: AtomicBool::new(false),
            options,
        })
    }

    pub(crate) fn identity(&self) -> Identity {
        let identity = self.identity.lock();
        identity.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What can't be saved is good until the agent ends, and saved as soon as it can be.
    pub(crate) fn replace_identity(&self, new: Identity) -> Result<(), AgentError> {
        self.hands.replace_key(Principal::of(&new).order_key()?);
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = new;
        self.is_unsaved.store(true, Ordering::Relaxed);
        self.save_identity();
        Ok(())
    }

    pub(crate) fn save_identity(&self) {
        if !self.is_unsaved.load(Ordering::Relaxed) {
            return;
        }
        match self.identity().save(&self.options.data) {
            Ok(()) => self.is_unsaved.store(false, Ordering::Relaxed),
            Err(error) => tracing::error!("this host's new certificate is not saved yet: {error}"),
        }
    }

    async fn keep_connected(self: Arc<Self>) -> Result<(), AgentError> {
        let mut backoff = Backoff::default();
        let mut tried = self.identity().token;
        loop {
            self.enrol_again(&mut tried).await?;
            let identity = self.identity();
            let config = tls::as_host(&identity, &self.time);
            let connected = match config {
                Ok(config) => tls::connect(&self.options.server, config).await,
                Err(error) => Err(error),
            };
            match connected {
                Ok(stream) => {
                    let server = &self.options.server;
                    let welcomed = |return_within| {
                        backoff.succeeded(return_within);
                        tracing::info!(server, host = %identity.host, "connected");
                    };
                    let ended = Box::pin(session::run(&self, stream, welcomed)).await;
                    tracing::warn!("the connection to the server ended: {ended}");
                }
                Err(error) => tracing::warn!("{error}"),
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// A person has put a new token into the file, because the certificate has expired or the server is another.
    async fn enrol_again(&self, tried: &mut String) -> Result<(), AgentError> {
        let Some(token) = self.new_token(tried) else {
            return Ok(());
        };
        match enrol::enrol(&self.options.server, &token).await {
            Ok(identity)
                if identity.host == self.host
                    && identity.installation == self.identity().installation =>
            {
                tracing::info!("this host is enrolled again");
                *tried = token.digest;
                self.replace_identity(identity)?;
            }
            Ok(identity) => {
                *tried = token.digest;
                tracing::error!(
                    "the new token is for {} of installation {}, this host is {} of {}",
                    identity.host,
                    identity.installation,
                    self.host,
                    self.identity().installation
                );
            }
            Err(error @ EnrolError::Refused(_)) => {
                *tried = token.digest;
                tracing::error!("{error}");
            }
            Err(error) => tracing::warn!("not enrolled again yet: {error}"),
        }
        Ok(())
    }

    fn new_token(&self, tried: &str) -> Option<ReadToken> {
        let path: &Path = self.options.token_file.as_deref()?;
        let token = enrol::read_token(path).ok()?;
        (token.digest != tried).then_some(token)
    }
}

pub(crate) fn boot_id() -> Result<String, AgentError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(path).map_err(|source| AgentError::File {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(text.trim().to_owned())
}
