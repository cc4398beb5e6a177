//! The privileged process: takes questions from the other one, over a socket that only its user may open.
//!
//! It has no network and starts nothing that this host's configuration does not name. What it is told is checked as if
//! everybody could have said it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pitcrew_act::{Supervisor, user_id};
use pitcrew_model::HostSettings;
use pitcrew_probe::ProcessStates as _;
use pitcrew_wire::{FRAME_BYTES_MAX, SignedOrder};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{OnceCell, Semaphore},
    time::timeout,
};

use super::{
    message::{FromHands, Request, ToHands},
    pinned::{self, Newest, Principal},
};
use crate::{AgentError, Processes, orders::Orders, run::until_a_signal};

/// For a question; the answer takes as long as the deed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Questions at once; more wait in the socket.
const CONCURRENCY: usize = 256;

#[derive(Clone, Debug)]
pub struct HandsOptions {
    pub data: PathBuf,
    pub settings: HostSettings,
    pub socket: PathBuf,
    /// Who may ask, beside root.
    pub user: String,
}

/// Runs until SIGTERM or SIGINT. What it supervises lives on.
pub async fn hands(options: HandsOptions) -> Result<(), AgentError> {
    until_a_signal(serve(options)).await
}

pub(super) async fn serve(options: HandsOptions) -> Result<(), AgentError> {
    ensure_network(&options.settings)?;
    let user = user_id(&options.user).map_err(AgentError::User)?;
    let listener = listen(&options, user)?;
    let newest = Newest::open(&options.data)?;
    let hands = Arc::new(Privileged {
        options,
        user,
        doing: OnceCell::new(),
        newest,
    });
    // What it supervises must not wait for a server.
    if let Some(principal) = pinned::load(&hands.options.data)? {
        hands.begin(principal).await?;
    }
    let places = Arc::new(Semaphore::new(CONCURRENCY));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.expect("it is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let hands = Arc::clone(&hands);
                tokio::spawn(async move {
                    hands.answer(stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::error!("failed to take a question: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// In a directory that only root writes to.
fn listen(options: &HandsOptions, user: u32) -> Result<UnixListener, AgentError> {
    let path = &options.socket;
    let failed = |source| AgentError::File {
        doing: "listen at",
        path: path.clone(),
        source,
    };
    fs::create_dir_all(&options.data).map_err(|source| AgentError::File {
        doing: "make",
        path: options.data.clone(),
        source,
    })?;
    // Of the process before this one.
    fs::remove_file(path).ok();
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    chown(path, Some(user), None).map_err(failed)?;
    Ok(listener)
}

/// What `run` starts has the network of this process, so it must have one.
fn ensure_network(settings: &HostSettings) -> Result<(), AgentError> {
    let devices = Path::new("/proc/self/net/dev");
    let text = fs::read_to_string(devices).unwrap_or_default();
    let has_network = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .any(|(name, _)| name.trim() != "lo");
    if settings.runs.is_empty() || has_network {
        Ok(())
    } else {
        Err(AgentError::NoNetwork)
    }
}

struct Privileged {
    options: HandsOptions,
    user: u32,
    /// From when it is known whose orders to obey.
    doing: OnceCell<Doing>,
    newest: Newest,
}

struct Doing {
    principal: Principal,
    orders: Orders,
    supervisor: Supervisor,
}

impl Privileged {
    async fn begin(&self, principal: Principal) -> Result<&Doing, AgentError> {
        let begin = || async {
            let HandsOptions { data, settings, .. } = &self.options;
            let begun = Orders::open(data, settings, &principal, Arc::default()).await;
            let (orders, supervisor) = begun?;
            pinned::pin(data, &principal)?;
            tracing::info!(host = %principal.host, installation = principal.installation, "obeying");
            Ok(Doing {
                principal: principal.clone(),
                orders,
                supervisor,
            })
        };
        self.doing.get_or_try_init(begin).await
    }

    async fn answer(&self, mut stream: UnixStream) {
        match stream.peer_cred() {
            Ok(peer) if [0, self.user].contains(&peer.uid()) => {}
            peer => {
                tracing::error!("a question was refused: it is from {peer:?}");
                return;
            }
        }
        let asked = pitcrew_wire::read::<ToHands>(&mut stream, FRAME_BYTES_MAX);
        let answer = match timeout(PATIENCE, asked).await {
            Ok(Ok(question)) => self.judge(question).await,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err("the question did not come".to_owned()),
        };
        let answer = answer.unwrap_or_else(|reason| {
            tracing::warn!("refused: {reason}");
            FromHands::Refused { reason }
        });
        if let Err(error) = pitcrew_wire::write(&mut stream, &answer).await {
            tracing::warn!("nobody waits for the answer any more: {error}");
        }
    }

    /// The error: nothing was begun, and why.
    async fn judge(&self, question: ToHands) -> Result<FromHands, String> {
        let doing = self.begin(question.principal.clone()).await;
        let doing = doing.map_err(|error| error.to_string())?;
        pinned::judge(&self.options.data, &doing.principal, &question.principal)?;
        if let Some(time) = question.time {
            doing.orders.time.learn_exchange(time);
        }
        match question.request {
            Request::CarryOut(signed) => self.carry_out(doing, &signed).await,
            Request::Reconcile(signed) => {
                let ended = doing.orders.reconcile(&signed).await;
                let (operation, outcome) = ended.map_err(|forged| forged.to_string())?;
                Ok(FromHands::Ended { operation, outcome })
            }
            Request::States => Ok(doing.states(&self.options.settings)),
        }
    }

    async fn carry_out(&self, doing: &Doing, signed: &SignedOrder) -> Result<FromHands, String> {
        let addressed = doing
            .orders
            .verify(signed)
            .map_err(|forged| forged.to_string())?;
        self.newest.admit(&addressed.order)?;
        let ended = doing.orders.carry_out(signed).await;
        let (operation, outcome) = ended.map_err(|forged| forged.to_string())?;
        Ok(FromHands::Ended { operation, outcome })
    }
}

impl Doing {
    fn states(&self, settings: &HostSettings) -> FromHands {
        let processes = Processes(self.supervisor.clone());
        let targets = Supervisor::targets(&settings.runs);
        let states = targets.into_iter().filter_map(|target| {
            let state = processes.state(&target, target.runner.as_ref()?);
            Some((target.id, state.into()))
        });
        FromHands::States {
            states: states.collect(),
        }
    }
}
