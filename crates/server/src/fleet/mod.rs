//! The hosts that have an agent: who they are, what runs there, what they ask, and how orders reach them.
//!
//! A host is known by its certificate and has one connection. What it says is believed of itself and of what was
//! assigned to it, of nothing else. Nothing here decides about production: observations go to the engine, orders come from the
//! ledger's thread, and a host that is gone simply says nothing any more.

mod assignment;
mod authority;
mod embedded;
mod generations;
mod inventories;
mod listen;
mod machines;
mod orders;
mod session;
mod sessions;
mod tokens;
mod turned_away;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pitcrew_model::{
    AgentSettings, Event, Evidence, Notice, Observation, Service, Target, TargetId, Test, TestName,
    Urgency, Verdict,
};
use pitcrew_probe::Scheduler;
use pitcrew_wire::{EnrolToken, HostName, OrderSigner};
use rustls::ServerConfig;
use tokio::sync::{Notify, mpsc, watch};

pub use self::authority::AuthorityError;
use self::{
    authority::Authority,
    generations::Generations,
    inventories::{Heard, Inventories},
    session::Proven,
    sessions::Sessions,
    tokens::Tokens,
};
pub(crate) use self::{listen::listen, tokens::GOOD_FOR, turned_away::turn_away};
use crate::{
    api::HostStatus, clock::Clock, control::local_observer, core::Inbox, kept::Kept,
    leadership::Leadership, metrics::Metrics,
};

/// How often an agent beats, and after what silence either side gives the connection up.
const BEAT: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(15);

/// Hosts that may come back each second after all were gone: a handshake costs about a millisecond of one core.
const RETURNING_A_SECOND: usize = 250;

/// When many come or go at once, who asks what is settled once.
const SETTLE: Duration = Duration::from_millis(100);

/// Targets assigned in one go, so that nobody waits long for the rest.
const ASSIGNED_AT_ONCE: usize = 1_000;

const NO_LISTENER: &str = "this server has no listener for agents: set `server.agents.listen`";

/// Each host's inventory is written at most so often.
const SAVE: Duration = Duration::from_secs(1);

pub(crate) struct Fleet {
    installation: String,
    /// Signs what this host's own agent is ordered.
    own_signer: OrderSigner,
    /// Without it no agent can connect over the network.
    office: Option<Office>,
    /// Agents have been here: what is named `NAME@HOST` is a host's, even of one that nobody knows any more.
    has_hosts: bool,
    /// What the server itself asks.
    scheduler: Scheduler,
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
    unsaved: Notify,
    /// Only one at a time writes inventories.
    saving: Mutex<()>,
}

pub(crate) struct Office {
    authority: Authority,
    tokens: Tokens,
    generations: Generations,
    settings: AgentSettings,
}

/// What the fleet needs of the rest of the server.
pub(crate) struct Surroundings {
    pub(crate) clock: Clock,
    pub(crate) inbox: Inbox,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) notices: mpsc::UnboundedSender<Notice>,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) scheduler: Scheduler,
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
        let inventories = Inventories::open(kept)?;
        // Also without an office: an order of a former run may be a host's.
        let has_hosts = office.is_some() || !inventories.is_empty();
        Ok(Self {
            installation: installation.to_owned(),
            own_signer: authority::new_signer()?,
            has_hosts,
            scheduler: around.scheduler,
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
            unsaved: Notify::new(),
            saving: Mutex::new(()),
            office,
        })
    }

    pub(crate) fn server_config(&self) -> Result<ServerConfig, AuthorityError> {
        let office = self.office.as_ref();
        let office = office.expect("there is a listener for agents only with an office");
        office.authority.server_config(&self.clock)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inventories(&self) -> MutexGuard<'_, Inventories> {
        self.inventories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The host that must do what is ordered of a target, whether or not it is connected or even known any more: by the
    /// name of the target, whichever source gives it now, because an order may outlive its source. Whatever runs there is never
    /// looked for here.
    pub(crate) fn must_do(&self, target: &Target) -> Option<HostName> {
        let named_after = || {
            let host = HostName::new(target.run_on.as_ref()?.as_str()).ok()?;
            (self.has_hosts && host.may_have(&target.id)).then_some(host)
        };
        self.host_of(target).or_else(named_after)
    }

    /// The host that a target is or is on, when it has an agent.
    fn host_of(&self, target: &Target) -> Option<HostName> {
        let host = target.run_on.as_ref().unwrap_or(&target.id);
        let host = HostName::new(host.as_str()).ok()?;
        (host.may_have(&target.id) && self.knows(&host)).then_some(host)
    }

    fn knows(&self, host: &HostName) -> bool {
        let office = self.office.as_ref();
        office.is_some_and(|office| office.generations.knows(host))
            || self.inventories().knows(host)
    }

    fn is_current(&self, proven: &Proven) -> bool {
        if proven.host.is_local() {
            return true;
        }
        let office = self.office.as_ref();
        office.is_some_and(|office| {
            office
                .generations
                .is_current(&proven.host, proven.generation)
        })
    }

    /// All hosts and what runs there, as they last said.
    pub(crate) fn targets(&self) -> Vec<Target> {
        self.inventories().targets()
    }

    /// Told when what [`Fleet::targets`] says has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.said.subscribe()
    }

    /// From now on these tests are asked, here and by hosts.
    pub(crate) fn watch(&self, target: &Arc<Target>, service: &Arc<Service>) {
        // Held until both are told: nobody may tell the scheduler of an earlier state in between.
        let mut sessions = self.sessions();
        let host = self.host_of(target);
        self.schedule(target, service, host.as_ref());
        let has_inside = service.tests.iter().any(|test| test.is_inside());
        if self.office.is_none() && !has_inside {
            // Nobody but this server is there to ask.
            sessions.unwatch(&target.id);
        } else if !sessions.watch(target, service, host.unwrap_or_else(HostName::local)) {
            self.unsettled.notify_one();
        }
    }

    pub(crate) fn unwatch(&self, target: &TargetId) {
        let mut sessions = self.sessions();
        self.scheduler.unwatch(target);
        sessions.unwatch(target);
    }

    /// What the server itself asks.
    fn schedule(&self, target: &Arc<Target>, service: &Arc<Service>, host: Option<&HostName>) {
        let tests = match host {
            None => assignment::by_server(&service.tests, true),
            Some(host) => {
                self.withhold(target, service);
                let may_tell = self.untrusted(host, target).is_none();
                assignment::by_server(&service.tests, may_tell)
            }
        };
        let runner = service.runner_for(target);
        self.scheduler.watch(Arc::clone(target), runner, tests);
    }

    /// Where the host connects from, when it alone says that the target is at another address: no secret is told there.
    fn untrusted(&self, host: &HostName, target: &Target) -> Option<IpAddr> {
        let office = self.office.as_ref()?;
        if office.settings.trust_addresses {
            return None;
        }
        self.inventories().claimed_elsewhere(host, target)
    }

    /// Why the server itself does not ask this test of this target.
    pub(crate) fn not_asked_here(&self, target: &Target, test: &Test) -> Option<String> {
        let host = self.host_of(target)?;
        let holds_secret = test.kind.holds_secret();
        match (test.is_inside(), self.untrusted(&host, target)) {
            (true, _) if holds_secret => Some(format!(
                "its secret does not travel to {host}: only the server may ask it"
            )),
            (true, _) => Some(format!(
                "only the agent of {host} can ask this: `pitcrew targets` shows its last answer"
            )),
            (false, Some(peer)) if holds_secret => Some(format!(
                "its secret is told nobody: {host} says that it is elsewhere than at {peer}, where {host} connects from; \
                 to believe it set `server.agents.trust_addresses`"
            )),
            (false, _) => None,
        }
    }

    /// A test that nobody asks, because of the secret in it, is unknown, and a person can see why.
    fn withhold(&self, target: &Target, service: &Service) {
        let now = self.clock.now();
        let with_secret = service.tests.iter().filter(|test| test.kind.holds_secret());
        let unknown = with_secret.filter_map(|test| {
            Some(Observation {
                target: target.id.clone(),
                test: test.name.clone(),
                observer: local_observer(),
                asked_at: now,
                answered_at: now,
                took: Duration::ZERO,
                verdict: Verdict::Unknown,
                evidence: Evidence::new(&self.not_asked_here(target, test)?),
            })
        });
        let unknown: Vec<Observation> = unknown.collect();
        if !unknown.is_empty() {
            self.inbox.event(Event::Observations(unknown));
        }
    }

    /// What a host says it is and runs.
    fn hear(&self, host: &HostName, peer: IpAddr, targets: Vec<Target>) {
        let heard = self.inventories().hear(host, peer, targets);
        match heard {
            Heard::Same => {}
            Heard::New => self.has_said(host),
            Heard::Moved => {
                self.unsaved.notify_one();
                self.reschedule(host);
            }
            Heard::Shrank {
                before,
                now,
                is_news,
            } => {
                self.refused("shrunk_inventory");
                if is_news {
                    let summary = format!(
                        "{host} says that it has {now} targets instead of {before}, which is not believed; \
                         if it is right: pitcrew hosts --accept {host}"
                    );
                    self.report(summary, Vec::new());
                }
            }
        }
    }

    fn has_said(&self, host: &HostName) {
        self.unsaved.notify_one();
        self.reschedule(host);
        self.said.send_modify(|count| *count += 1);
    }

    /// Where the host is may decide what is told there.
    fn reschedule(&self, host: &HostName) {
        let ids = self.inventories().ids(host);
        let sessions = self.sessions();
        for (target, service) in ids.iter().filter_map(|id| sessions.watched_as(id)) {
            if service.tests.iter().any(|test| test.kind.holds_secret()) {
                self.schedule(&target, &service, Some(host));
            }
        }
    }

    /// A person believes what the host said last. The error says what there is instead.
    pub(crate) fn accept(&self, host: &HostName) -> Result<(), String> {
        if !self.inventories().accept(host) {
            return Err(format!("{host} has said nothing that was not believed"));
        }
        self.has_said(host);
        Ok(())
    }

    /// Whatever proves to be this host does so no longer, from now on and with its tokens.
    pub(crate) fn revoke(&self, host: &HostName) -> Result<(), String> {
        let office = self.office.as_ref().ok_or(NO_LISTENER)?;
        if !self.knows(host) {
            return Err(format!("{host} was never enrolled here"));
        }
        office.tokens.strike(host)?;
        office.generations.advance(host)?;
        self.sessions().end(host);
        Ok(())
    }

    pub(crate) fn probe(&self, target: &TargetId, test: &TestName) {
        self.sessions().probe(target, test);
    }

    /// A token for a new host, or for one that needs a new certificate.
    pub(crate) fn enrol(&self, host: &HostName) -> Result<EnrolToken, String> {
        let office = self.office.as_ref().ok_or(NO_LISTENER)?;
        let pin = office.authority.pin();
        office.tokens.make(host, pin, self.clock.now())
    }

    /// The first `count` by name after `after`.
    pub(crate) fn hosts_after(&self, after: &str, count: usize) -> Vec<HostStatus> {
        let sessions = self.sessions();
        let inventories = self.inventories();
        let status = |(host, targets, is_refused): (&HostName, usize, bool)| HostStatus {
            is_refused,
            ..sessions.status(host, targets)
        };
        let hosts = inventories.hosts();
        let rest = hosts.skip_while(|(host, ..)| host.as_str() <= after);
        rest.take(count).map(status).collect()
    }

    pub(crate) fn status(&self, host: &HostName) -> HostStatus {
        let sessions = self.sessions();
        let inventories = self.inventories();
        let mut known = inventories.hosts().filter(|(known, ..)| *known == host);
        let (targets, is_refused) = known
            .next()
            .map_or((0, false), |(_, targets, is_refused)| (targets, is_refused));
        HostStatus {
            is_refused,
            ..sessions.status(host, targets)
        }
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

    /// Writes inventories as they change, until the task is ended.
    pub(crate) async fn keep_saved(self: Arc<Self>) {
        loop {
            self.unsaved.notified().await;
            tokio::time::sleep(SAVE).await;
            Arc::clone(&self).save().await;
        }
    }

    /// Writes what has changed, on a thread that nobody waits for.
    pub(crate) async fn save(self: Arc<Self>) {
        let saving = tokio::task::spawn_blocking(move || {
            let _one = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
            let unsaved = self.inventories().take_unsaved();
            for unsaved in unsaved {
                if let Err(error) = unsaved.write() {
                    tracing::warn!(%error, host = %unsaved.host, "failed to write what the host said; it is tried again");
                    self.inventories().unsaved(unsaved.host);
                    self.unsaved.notify_one();
                }
            }
        });
        if let Err(error) = saving.await {
            tracing::error!("writing what hosts said broke off: {error}");
        }
    }

    /// Over which time hosts come back after the connection was lost, so that a server that starts is not met by all of
    /// them at once.
    fn return_within(&self) -> Duration {
        let office = self.office.as_ref();
        let hosts = office.map_or(0, |office| office.generations.len());
        let seconds = u64::try_from(hosts / RETURNING_A_SECOND).unwrap_or(u64::MAX);
        Duration::from_secs(seconds.clamp(1, 60))
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
        Ok(Self {
            authority: Authority::open(kept, installation, settings, clock.now())?,
            tokens: Tokens::open(kept)?,
            generations: Generations::open(kept)?,
            settings: settings.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
