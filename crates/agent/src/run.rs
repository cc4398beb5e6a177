//! The agent from start to stop: its identity, its processes, and one connection after the other.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    sync::Arc,
};

use pitcrew_probe::ProcessStates;
use pitcrew_wire::{Hello, HostName, Protocol};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    AgentError, Options, Processes,
    clock::ServerTime,
    enrol::{self, EnrolError, ReadToken},
    hands::{Apart, Hands, Principal, Seen},
    identity::Identity,
    inventory::Inventory,
    membership::Membership,
    orders::Orders,
    servers::Servers,
    session::{self, SessionError},
    tls,
};

/// A host's agent, wherever its server is.
pub(crate) struct Agent {
    pub(crate) host: HostName,
    pub(crate) boot_id: String,
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) hands: Arc<Hands>,
    pub(crate) processes: Arc<dyn ProcessStates>,
    pub(crate) time: Arc<ServerTime>,
    /// New with each start.
    pub(crate) instance: String,
    pub(crate) version: String,
    /// Programs that a `nagios` test may run here.
    pub(crate) plugins: Vec<String>,
    /// Nothing within the server's own process, where nobody has to prove who he is.
    pub(crate) membership: Option<Arc<Membership>>,
}

/// An agent that comes to its servers over the network.
pub(crate) struct Remote {
    pub(crate) agent: Arc<Agent>,
    membership: Arc<Membership>,
    token_file: Option<PathBuf>,
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
    Remote::start(options, identity)
        .await?
        .keep_connected()
        .await
}

/// Until it succeeds or the server says no.
async fn enrol_first(options: &Options) -> Result<Identity, AgentError> {
    let path = options
        .token_file
        .as_deref()
        .ok_or(AgentError::NotEnrolled)?;
    let token = enrol::read_token(path)?;
    let mut servers = Servers::new(&options.servers);
    loop {
        let it_follows = match enrol::enrol(servers.current(), &token).await {
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
            Err(error) => {
                tracing::warn!("not enrolled yet: {error}");
                matches!(error, EnrolError::NotLeading(_))
            }
        };
        tokio::time::sleep(servers.failed(it_follows)).await;
    }
}

impl Agent {
    pub(crate) fn hello(&self) -> Hello {
        Hello {
            protocol: Protocol::OURS,
            version: self.version.clone(),
            instance: self.instance.clone(),
            boot_id: self.boot_id.clone(),
        }
    }
}

/// What no other start of an agent has.
pub(crate) fn new_instance() -> String {
    format!("{:016x}", RandomState::new().hash_one(()))
}

impl Remote {
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
        let host = identity.host.clone();
        let membership = Membership::new(options.servers, options.data, identity);
        let membership = Arc::new(membership);
        let agent = Agent {
            boot_id: boot_id()?,
            inventory: Arc::new(Inventory::of(&host, settings)),
            host,
            hands: Arc::new(hands),
            processes,
            time,
            instance: new_instance(),
            version: options.version,
            plugins: settings.plugins.clone(),
            membership: Some(Arc::clone(&membership)),
        };
        Ok(Self {
            agent: Arc::new(agent),
            membership,
            token_file: options.token_file,
        })
    }

    async fn keep_connected(self) -> Result<(), AgentError> {
        let mut servers = Servers::new(&self.membership.servers);
        let mut tried = self.membership.identity().token;
        loop {
            let server = servers.current().to_owned();
            self.enrol_again(&server, &mut tried).await?;
            let identity = self.membership.identity();
            let config = tls::as_host(&identity, &self.agent.time);
            let connected = match config {
                Ok(config) => tls::connect(&server, config).await,
                Err(error) => Err(error),
            };
            let pause = match connected {
                Ok(stream) => {
                    let welcomed = |return_within| {
                        servers.succeeded(return_within);
                        tracing::info!(server, host = %identity.host, "connected");
                    };
                    let ended =
                        Box::pin(session::run(&self.agent, &server, stream, welcomed)).await;
                    tracing::warn!(server, "the connection to the server ended: {ended}");
                    match ended {
                        SessionError::LeadsInstead(server) => {
                            servers.turn_to(&server);
                            continue;
                        }
                        ended => servers.failed(matches!(ended, SessionError::NotLeading(_))),
                    }
                }
                Err(error) => {
                    tracing::warn!("{error}");
                    servers.failed(false)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// A person has put a new token into the file, because the certificate has expired or the server is another.
    async fn enrol_again(&self, server: &str, tried: &mut String) -> Result<(), AgentError> {
        let Some(token) = self.new_token(tried) else {
            return Ok(());
        };
        match enrol::enrol(server, &token).await {
            Ok(identity)
                if identity.host == self.agent.host
                    && identity.installation == self.membership.identity().installation =>
            {
                tracing::info!("this host is enrolled again");
                *tried = token.digest;
                self.membership
                    .replace_identity(identity, &self.agent.hands)?;
            }
            Ok(identity) => {
                *tried = token.digest;
                tracing::error!(
                    "the new token is for {} of installation {}, this host is {} of {}",
                    identity.host,
                    identity.installation,
                    self.agent.host,
                    self.membership.identity().installation
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
        let path: &Path = self.token_file.as_deref()?;
        let token = enrol::read_token(path).ok()?;
        (token.digest != tried).then_some(token)
    }
}

pub(crate) fn boot_id() -> Result<String, AgentError> {
    pitcrew_act::boot_id().map_err(|source| AgentError::System {
        doing: "read the boot id",
        source,
    })
}
