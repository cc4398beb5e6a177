//! From an order to its outcome: checks that don't trust the sender, then the one actuator that is meant.
//!
//! An operation runs in a task of its own. Whoever asked may stop waiting, may ask again, and gets the same
//! outcome; nothing is begun twice. It has a deadline, after which the outcome is that it may have taken
//! effect.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use pitcrew_model::{
    Action, Drain, DrainBy, OperationId, Order, Outcome, OutcomeKind, PowerRule, Runner, Timestamp,
};
use tokio::sync::watch;

use crate::{
    Answer, Given, Supervisor, command,
    journal::Known,
    power, process,
    reboot::{self, boot_id},
    runner::can_run,
    supervise::Verb,
    webhook,
};

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Cheap to clone; the clones are one.
#[derive(Clone)]
pub struct Actuators {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) supervisor: Supervisor,
    clock: Clock,
    http: Result<reqwest::Client, String>,
    /// Where systemd is asked to reboot this host, on a host that may be.
    reboot: Option<Reboot>,
    power: RwLock<Arc<[PowerRule]>>,
    /// Operations under way; ended ones are in the journal.
    under_way: Mutex<BTreeMap<OperationId, watch::Receiver<Option<Outcome>>>>,
}

/// That this host may be rebooted, and by which bus: `None` is the system's.
#[derive(Clone, Debug)]
pub struct Reboot {
    pub bus: Option<String>,
}

impl Actuators {
    /// Of a host's agent, which may reboot it.
    #[must_use]
    pub fn of_host(supervisor: Supervisor, clock: Clock, reboot: Reboot) -> Self {
        Self::with(supervisor, clock, Some(reboot))
    }

    /// `clock` is the one that orders are dated by.
    #[must_use]
    pub fn new(supervisor: Supervisor, clock: Clock) -> Self {
        Self::with(supervisor, clock, None)
    }

    fn with(supervisor: Supervisor, clock: Clock, reboot: Option<Reboot>) -> Self {
        Self {
            inner: Arc::new(Inner {
                supervisor,
                clock,
                http: webhook::client(),
                reboot,
                power: RwLock::default(),
                under_way: Mutex::new(BTreeMap::new()),
            }),
        }
    }

    /// Orders with an older fence are refused from now on, also after a restart. The error says why an order with
    /// this one would be.
    pub fn admit(&self, fence: u64) -> Result<(), String> {
        self.inner.supervisor.fence().admit(fence)
    }

    /// The controllers of hosts from now on.
    pub fn set_power(&self, rules: &[PowerRule]) {
        let power = self.inner.power.write();
        *power.unwrap_or_else(PoisonError::into_inner) = rules.into();
    }

    /// Every path ends in an outcome within a deadline. The same operation again returns the first outcome
    /// and does nothing.
    pub async fn carry_out(&self, order: &Order) -> Outcome {
        let mut ends = self.begin_or_join(order);
        let ended = ends.wait_for(Option::is_some).await;
        let outcome = ended.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| {
            let why = Answer::unknown("the operation was cut off: a bug, please report it");
            self.inner.outcome(order, why)
        })
    }

    /// What became of an order whose outcome is not known. What was never begun doesn't begin any more.
    pub async fn reconcile(&self, order: &Order, given: Given) -> Outcome {
        let never = Answer::failed("it was never begun");
        let never = self.inner.outcome(order, never);
        let journal = self.inner.supervisor.journal();
        match journal.deny(&order.operation, given.earliest(), &never) {
            Known::Ended(outcome) => return outcome,
            Known::Never => return never,
            Known::Begun | Known::Forgotten => {}
        }
        let joined = self.under_way().get(&order.operation).cloned();
        if let Some(mut ends) = joined
            && let Ok(ended) = ends.wait_for(Option::is_some).await
            && let Some(outcome) = ended.clone()
        {
            return outcome;
        }
        // It may have ended between the two looks.
        if let Known::Ended(outcome) = journal.look_up(&order.operation, given.earliest()) {
            return outcome;
        }
        let answer = self.inner.find_out(order, given).await;
        let outcome = self.inner.outcome(order, answer);
        if outcome.kind != OutcomeKind::Unknown {
            self.inner.write_end(order, &outcome);
        }
        outcome
    }

    /// Whether there is an actuator for this at all. The error says what is missing.
    pub fn can(&self, action: &Action, runner: Option<&Runner>) -> Result<(), String> {
        match action {
            Action::Restart => can_run(Verb::Restart, runner),
            Action::Start => can_run(Verb::Start, runner),
            Action::Stop => can_run(Verb::Stop, runner),
            Action::Command { name, command, .. } if command.is_empty() => Err(format!(
                "command `{name}` is of the target's own host, and no agent is known there"
            )),
            Action::Webhook { name, url, .. } => can_post(name, url),
            Action::Drain(Drain { by, .. }) | Action::Undrain(by) => match by {
                DrainBy::Webhook { url, .. } => can_post("drain", url),
                DrainBy::Command { .. } => Ok(()),
                DrainBy::HostCommand { drain, .. } => Err(format!(
                    "command `{drain}` is of the target's own host, and no agent is known there"
                )),
            },
            Action::Reboot
            | Action::PowerCycle
            | Action::Command { .. }
            | Action::HandOver { .. } => Ok(()),
        }
    }

    /// Gives back what an order of before took out of use. Whoever keeps its lease asks for it, and nothing else: neither
    /// expiry nor fence hold it up, and it is not written down.
    pub async fn give_back(&self, order: &Order) -> Outcome {
        let giving = tokio::time::timeout(self.inner.limit(order), self.inner.act(order)).await;
        let answer = giving.unwrap_or_else(|_| Answer::unknown("it has not ended in time"));
        self.inner.outcome(order, answer)
    }

    /// One task for each operation, however often it is asked for.
    fn begin_or_join(&self, order: &Order) -> watch::Receiver<Option<Outcome>> {
        let mut under_way = self.under_way();
        if let Some(ends) = under_way.get(&order.operation) {
            return ends.clone();
        }
        let (end, ends) = watch::channel(None);
        under_way.insert(order.operation.clone(), ends.clone());
        let (inner, order) = (Arc::clone(&self.inner), order.clone());
        tokio::spawn(async move {
            // Large, and of which there are few: on the heap.
            let outcome = Box::pin(inner.take(&order)).await;
            end.send_replace(Some(outcome));
            let under_way = inner.under_way.lock();
            under_way
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&order.operation);
        });
        ends
    }

    fn under_way(
        &self,
    ) -> std::sync::MutexGuard<'_, BTreeMap<OperationId, watch::Receiver<Option<Outcome>>>> {
        let under_way = self.inner.under_way.lock();
        under_way.unwrap_or_else(PoisonError::into_inner)
    }
}

fn can_post(name: &str, url: &str) -> Result<(), String> {
    let url: reqwest::Url = url
        .parse()
        .map_err(|error| format!("webhook `{name}`: `{url}` is no URL: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(()),
        other => Err(format!("webhook `{name}`: `{other}` is not http or https")),
    }
}

impl Inner {
    pub(crate) fn http(&self) -> Result<&reqwest::Client, &String> {
        self.http.as_ref()
    }

    /// By the clock that orders are dated by.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    async fn take(&self, order: &Order) -> Outcome {
        let journal = self.supervisor.journal();
        // Whether it is forgotten or was never begun makes no difference here.
        match journal.look_up(&order.operation, order.given_at) {
            Known::Ended(outcome) => return outcome,
            Known::Begun => {
                let why = "it was begun before Pitcrew's last start; it is not done again";
                return self.outcome(order, Answer::unknown(why));
            }
            Known::Never | Known::Forgotten => {}
        }
        if let Err(why) = self.may_begin(order) {
            let outcome = self.outcome(order, Answer::failed(why));
            journal.refuse(&order.operation, process::now(), &outcome);
            return outcome;
        }
        let acting = tokio::time::timeout(self.limit(order), self.act(order)).await;
        let answer = acting.unwrap_or_else(|_| Answer::unknown("it has not ended in time"));
        let outcome = self.outcome(order, answer);
        self.write_end(order, &outcome);
        outcome
    }

    /// Not expired, of today's server, and written down. The error: it has certainly had no effect.
    fn may_begin(&self, order: &Order) -> Result<(), String> {
        let now = (self.clock)();
        if now >= order.expires_at {
            return Err(format!("the order expired at {}", order.expires_at));
        }
        self.supervisor.fence().admit(order.fence)?;
        let boot = match order.action {
            Action::Reboot => Some(boot_id().map_err(|error| format!("no boot id: {error}"))?),
            _ => None,
        };
        self.supervisor
            .journal()
            .begin(&order.operation, process::now(), boot)
            .map_err(|error| format!("the operation can't be written down: {error}"))
    }

    async fn act(&self, order: &Order) -> Answer {
        let target = &order.target;
        let id = &order.operation;
        match &order.action {
            Action::Restart => self.run(order, Verb::Restart).await,
            Action::Start => self.run(order, Verb::Start).await,
            Action::Stop => self.run(order, Verb::Stop).await,
            Action::Reboot => match &self.reboot {
                Some(Reboot { bus }) => reboot::begin(bus.as_deref()).await,
                None => Answer::failed(format!(
                    "no agent is known on {}, and only it could reboot",
                    order.acts_on().id
                )),
            },
            Action::PowerCycle => {
                let power = self.power.read();
                let rules = Arc::clone(&power.unwrap_or_else(PoisonError::into_inner));
                power::cycle(&rules, &order.acts_on().id).await
            }
            Action::Drain(drain) => self.tell_hook(order, &drain.by, true).await,
            Action::Undrain(by) => self.tell_hook(order, by, false).await,
            Action::Command {
                command, timeout, ..
            } => command::carry_out(command, target, id, *timeout).await,
            Action::Webhook { url, timeout, .. } => match self.http() {
                Ok(client) => webhook::carry_out(client, order, url, *timeout).await,
                Err(why) => Answer::failed(why),
            },
            Action::HandOver { .. } => Answer::done("a person goes on from here"),
        }
    }

    /// That a machine goes down is no end: what became of it shows when it is back.
    fn write_end(&self, order: &Order, outcome: &Outcome) {
        if order.action.is_on_host() && outcome.kind == OutcomeKind::Unknown {
            return;
        }
        if let Err(error) = self.supervisor.journal().end(&order.operation, outcome) {
            // The ledger has the outcome too; after a crash it would be reconciled.
            tracing::error!(operation = %order.operation, "its end can't be written down: {error}");
        }
    }

    fn outcome(&self, order: &Order, answer: Answer) -> Outcome {
        Outcome {
            order: order.id,
            kind: answer.kind,
            at: (self.clock)(),
            detail: answer.detail,
        }
    }
}
