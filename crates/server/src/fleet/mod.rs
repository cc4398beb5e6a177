//! The hosts that have an agent: who they are, what runs there, what they ask, and how orders reach them.
//!
//! A host is known by its certificate and has one connection. What it says is believed of itself and of what was
//! assigned to it, of nothing else. Nothing here decides about production: observations go to the engine, orders come from the
//! ledger's thread, and a host that is gone simply says nothing any more.

mod assignment;
mod authority;
mod inventories;
mod listen;
mod orders;
mod session;
mod sessions;
mod tokens;
mod turned_away;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use pitcrew_model::{
    AgentSettings, Notice, Service, Source, SourceKind, SourceName, Target, TargetId, Test,
    TestName, Urgency,
};
use pitcrew_wire::{EnrolToken, HostName};
use rustls::ServerConfig;
use tokio::sync::{Notify, mpsc, watch};

pub use self::authority::AuthorityError;
use self::{authority::Authority, inventories::Inventories, sessions::Sessions, tokens::Tokens};
pub(crate) use self::{listen::listen, tokens::GOOD_FOR, turned_away::turn_away};
use crate::{
    api::HostStatus, clock::Clock, core::Inbox, kept::Kept, leadership::Leadership,
    metrics::Metrics,
};

/// How often an agent beats, and after what silence either side gives the connection up.
const BEAT: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(15);

/// When many come or go at once, who asks what is settled once.
const SETTLE: Duration = Duration::from_millis(100);

/// Targets assigned in one go, so that nobody waits long for the rest.
const ASSIGNED_AT_ONCE: usize = 1_000;

pub(crate) struct Fleet {
    /// Without it no agent can connect.
    office: Option<Office>,
    /// Names of the configuration's sources that are the agents.
    sources: RwLock<BTreeSet<SourceName>>,
    clock: Clock,
    inbox: Inbox,
    metrics: Arc<Metrics>,
    /// Weak, because whoever delivers notices ends when nobody can send one any more.
    notices: mpsc::WeakUnboundedSender<Notice>,
    /// When this server began to take agents in.
    began: Instant,
    leadership: Arc<Leadership>,
    sessions: Mutex<Sessions>,
    inventories: Mutex<Inventories>,
    /// Counts hosts that came or went.
    moved: watch::Sender<u64>,
    /// Counts inventories that changed.
    said: watch::Sender<u64>,
    unsettled: Notify,
}

pub(crate) struct Office {
    authority: Authority,
    tokens: Tokens,
    settings: AgentSettings,
}

/// What the fleet needs of the rest of the server.
pub(crate) struct Surroundings {
    pub(crate) clock: Clock,
    pub(crate) inbox: Inbox,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) notices: mpsc::UnboundedSender<Notice>,
    pub(crate) leadership: Arc<Leadership>,
}

impl Fleet {
    pub(crate) fn open(
        settings: Option<&AgentSettings>,
        kept: &Kept,
        installation: &str,
        around: Surroundings,
    ) -> Result<Self, AuthorityError> {
        let office =
            settings.map(|settings| Office::open(kept, installation, settings, &around.clock));
        let office = office.transpose()?;
        let inventories = match &office {
            Some(_) => Inventories::open(kept)?,
            None => Inventories::none(),
        };
        Ok(Self {
            sources: RwLock::default(),
            clock: around.clock,
            inbox: around.inbox,
            metrics: around.metrics,
            notices: around.notices.downgrade(),
            began: Instant::now(),
            leadership: around.leadership,
            sessions: Mutex::new(Sessions::new(
                office
                    .as_ref()
                    .map_or(0, |office| office.settings.observers.into()),
            )),
            inventories: Mutex::new(inventories),
            moved: watch::Sender::new(0),
            said: watch::Sender::new(0),
            unsettled: Notify::new(),
            office,
        })
    }

    pub(crate) fn server_config(&self) -> Result<ServerConfig, AuthorityError> {
        let office = self.office.as_ref();
        let office = office.expect("there is a listener for agents only with an office");
        office.authority.server_config(self.clock.now())
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inventories(&self) -> MutexGuard<'_, Inventories> {
        self.inventories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Before the engine hears of a configuration: from then on its targets are known for what they are.
    pub(crate) fn set_sources(&self, sources: &[Source]) {
        let agents = sources
            .iter()
            .filter(|source| source.kind == SourceKind::Agents);
        let names = agents.map(|source| source.name.clone()).collect();
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// The host that a target is on, when only its agent may touch it, whether or not that is connected.
    pub(crate) fn host_of(&self, target: &Target) -> Option<HostName> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        if !sources.contains(&target.source) {
            return None;
        }
        let host = target.run_on.as_ref().unwrap_or(&target.id);
        HostName::new(host.as_str()).ok()
    }

    /// All hosts and what runs there, as they last said.
    pub(crate) fn targets(&self) -> Vec<Target> {
        self.inventories().targets()
    }

    /// Told when what [`Fleet::targets`] says has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.said.subscribe()
    }

    /// From now on these tests are asked; gives back those that the server itself asks.
    pub(crate) fn watch(&self, target: &Arc<Target>, service: &Arc<Service>) -> Vec<Arc<Test>> {
        let host = self.host_of(target);
        let own = match &host {
            Some(_) => assignment::by_server(&service.tests),
            None => service.tests.clone(),
        };
        if self.office.is_some() {
            let all_told = self.sessions().watch(target, service, host);
            if !all_told {
                self.unsettled.notify_one();
            }
        }
        own
    }

    pub(crate) fn unwatch(&self, target: &TargetId) {
        self.sessions().unwatch(target);
    }

    pub(crate) fn probe(&self, target: &TargetId, test: &TestName) {
        self.sessions().probe(target, test);
    }

    /// A token for a new host, or for one that needs a new certificate.
    pub(crate) fn enrol(&self, host: &HostName) -> Result<EnrolToken, String> {
        let office = self.office.as_ref();
        let office =
            office.ok_or("this server has no listener for agents: set `server.agents.listen`")?;
        let pin = office.authority.pin();
        office.tokens.make(host, pin, self.clock.now())
    }

    /// The first `count` by name after `after`.
    pub(crate) fn hosts_after(&self, after: &str, count: usize) -> Vec<HostStatus> {
        let sessions = self.sessions();
        let inventories = self.inventories();
        let status = |(host, targets): (&HostName, usize)| sessions.status(host, targets);
        let hosts = inventories.hosts();
        let rest = hosts.skip_while(|(host, _)| host.as_str() <= after);
        rest.take(count).map(status).collect()
    }

    /// Settles again and again who asks what, until the task is ended.
    pub(crate) async fn keep_settled(self: Arc<Self>) {
        loop {
            self.unsettled.notified().await;
            tokio::time::sleep(SETTLE).await;
            let targets = self.sessions().watched();
            let mut all_told = true;
            for chunk in targets.chunks(ASSIGNED_AT_ONCE) {
                all_told &= self.sessions().settle(chunk);
                tokio::task::yield_now().await;
            }
            if !all_told {
                self.unsettled.notify_one();
            }
        }
    }

    /// No host stays, and none may come: another server leads, or this one stops.
    pub(crate) fn close(&self) {
        self.sessions().close();
    }

    /// Somebody came or went.
    fn has_moved(&self) {
        self.moved.send_modify(|count| *count += 1);
        let connected = self.sessions().len();
        self.metrics.set_agents(connected);
        self.unsettled.notify_one();
    }

    fn refused(&self, reason: &str) {
        self.metrics.count_refused(reason);
    }

    fn report(&self, summary: String, evidence: Vec<String>) {
        tracing::error!("{summary}");
        let notice = Notice {
            to: Vec::new(),
            at: self.clock.now(),
            urgency: Urgency::Inform,
            case: None,
            target: None,
            service: None,
            summary,
            evidence,
        };
        let notices = self.notices.upgrade();
        if notices.is_none_or(|notices| notices.send(notice).is_err()) {
            tracing::error!("a notice found nobody to deliver it");
        }
    }
}

impl Office {
    fn open(
        kept: &Kept,
        installation: &str,
        settings: &AgentSettings,
        clock: &Clock,
    ) -> Result<Self, AuthorityError> {
        let lifetime = settings.certificate_lifetime;
        Ok(Self {
            authority: Authority::open(kept, installation, lifetime, clock.now())?,
            tokens: Tokens::open(kept)?,
            settings: settings.clone(),
        })
    }
}
