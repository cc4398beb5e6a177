//! What the engine wants done, carried to whoever does it.
//!
//! [`Errands`] are run at once: they disrupt nothing. [`Couriers`] bring orders to the actuators, and only the
//! ledger's thread calls them, after the commit.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use pitcrew_act::{Actuators, Given, Notifier};
use pitcrew_model::{
    Action, Drain, DrainBy, Effect, Event, Fact, Notice, Order, Outcome, OutcomeKind,
};
use pitcrew_probe::Scheduler;
use pitcrew_wire::HostName;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
};

use crate::{
    clock::Clock, core::Inbox, fleet::Fleet, leadership::Leadership, metrics::Metrics,
    recorder::Records, roster::Roster,
};

pub(crate) struct Errands {
    pub(crate) scheduler: Scheduler,
    pub(crate) roster: Arc<Roster>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) notices: mpsc::UnboundedSender<Notice>,
}

impl Errands {
    pub(crate) fn run(&self, effect: Effect) {
        match effect {
            Effect::Watch { target, service } => {
                self.fleet.watch(&target, &service);
                self.roster.watch(target, service);
            }
            Effect::Unwatch { target } => {
                self.fleet.unwatch(&target);
                self.roster.unwatch(&target);
            }
            Effect::Probe { target, test } => {
                self.scheduler.probe_now(&target, &test);
                self.fleet.probe(&target, &test);
            }
            Effect::Notify(notice) => {
                if self.notices.send(notice).is_err() {
                    tracing::error!("a notice found nobody to deliver it");
                }
            }
            Effect::Record(_) | Effect::Save(_) | Effect::Give(_) => {
                unreachable!("what must be durable first goes to the ledger's thread")
            }
        }
    }
}

/// The server's own, for what is done beside it, and those of hosts, this one among them.
#[derive(Clone)]
pub(crate) struct Hands {
    pub(crate) actuators: Actuators,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) clock: Clock,
    /// Fences of orders that were given here; nothing where all were.
    pub(crate) own_fences: Option<Arc<BTreeSet<u64>>>,
}

impl Hands {
    /// The host that must do it; what no other must do, this one does.
    fn host_of(&self, order: &Order) -> Option<HostName> {
        match &order.action {
            Action::Restart | Action::Start | Action::Stop | Action::Reboot => {
                let host = self.fleet.must_do(order.acts_on());
                Some(host.unwrap_or_else(HostName::local))
            }
            // Without a command of its own it is one that the host's configuration names.
            Action::Command { command, .. } if command.is_empty() => {
                self.fleet.must_do(&order.target)
            }
            Action::Drain(Drain { by, .. }) | Action::Undrain(by) => match by {
                DrainBy::HostCommand { .. } => self.fleet.must_do(&order.target),
                DrainBy::Webhook { .. } | DrainBy::Command { .. } => None,
            },
            Action::PowerCycle
            | Action::Command { .. }
            | Action::Webhook { .. }
            | Action::HandOver { .. } => None,
        }
    }

    async fn carry_out(self, order: Order) -> Outcome {
        let acting = async {
            match self.host_of(&order) {
                Some(host) => self.fleet.carry_out(&host, &order).await,
                None => self.actuators.carry_out(&order).await,
            }
        };
        match order.action.is_on_host() {
            true => self.fleet.prove(&order, acting).await,
            false => acting.await,
        }
    }

    async fn reconcile(&self, order: &Order) -> Outcome {
        let said = match self.host_of(order) {
            Some(host) if !host.is_local() => self.fleet.reconcile(&host, order).await,
            Some(_) | None if self.is_foreign(order) => {
                let why = "it was given by another server, which can't be asked";
                self.outcome(order, OutcomeKind::Unknown, why)
            }
            Some(here) => self.fleet.reconcile(&here, order).await,
            None => {
                let given = Given::exactly(order.given_at);
                self.actuators.reconcile(order, given).await
            }
        };
        match order.action.is_on_host() {
            true => self.fleet.prove_later(order, said).await,
            false => said,
        }
    }

    fn outcome(&self, order: &Order, kind: OutcomeKind, why: &str) -> Outcome {
        Outcome {
            order: order.id,
            kind,
            at: self.clock.now(),
            detail: why.to_owned(),
        }
    }

    /// Whether it was another server's to do, so that nothing here knows whether it was begun.
    fn is_foreign(&self, order: &Order) -> bool {
        let own = self.own_fences.as_ref();
        own.is_some_and(|own| !own.contains(&order.fence))
    }
}

#[derive(Clone)]
pub(crate) struct Couriers {
    hands: Hands,
    inbox: Inbox,
    metrics: Arc<Metrics>,
    clock: Clock,
    leadership: Arc<Leadership>,
    runtime: Handle,
    under_way: Arc<watch::Sender<usize>>,
    stopping: watch::Receiver<bool>,
}

impl Couriers {
    pub(crate) fn new(
        hands: Hands,
        inbox: Inbox,
        metrics: Arc<Metrics>,
        clock: Clock,
        leadership: Arc<Leadership>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            hands,
            inbox,
            metrics,
            clock,
            leadership,
            runtime: Handle::current(),
            under_way: Arc::new(watch::Sender::new(0)),
            stopping,
        }
    }

    /// While the server stops, nothing leaves any more: the next start finds the order and asks what became of it.
    pub(crate) fn carry_out(&self, order: Order) {
        if *self.stopping.borrow() {
            tracing::info!(order = %order.id, "not given: the server is stopping");
            return;
        }
        let waited = self.clock.now().since(order.given_at);
        self.metrics
            .order_given_seconds
            .observe(waited.as_secs_f64());
        let leadership = Arc::clone(&self.leadership);
        self.run(order, |hands, order| async move {
            match leadership.is_sure() {
                true => hands.carry_out(order).await,
                false => {
                    let why = "it was not given: another server may lead by now";
                    hands.outcome(&order, OutcomeKind::Failed, why)
                }
            }
        });
    }

    /// Finds out what became of an order that a former run gave. The outcome is told when the engine knows the
    /// target again: only then can it go on with the case from there.
    pub(crate) fn reconcile(&self, order: Order) {
        tracing::info!(order = %order.id, target = %order.target.id, "finding out what became of it");
        let inbox = self.inbox.clone();
        self.run(order, |hands, order| async move {
            let outcome = hands.reconcile(&order).await;
            let known = tokio::time::timeout(TARGETS_GRACE, until_known(&inbox, &order)).await;
            if known.is_err() {
                tracing::warn!(order = %order.id, target = %order.target.id, "its target is not found any more");
            }
            outcome
        });
    }

    fn run<F: Future<Output = Outcome> + Send + 'static>(
        &self,
        order: Order,
        act: impl FnOnce(Hands, Order) -> F,
    ) {
        let (id, action) = (order.id, order.action.name());
        let acting = self.runtime.spawn(act(self.hands.clone(), order));
        let this = self.clone();
        this.under_way.send_modify(|count| *count += 1);
        self.runtime.spawn(async move {
            let outcome = acting.await.unwrap_or_else(|error| Outcome {
                order: id,
                kind: OutcomeKind::Unknown,
                at: this.clock.now(),
                detail: format!("the actuator broke off: {error}"),
            });
            tracing::info!(order = %id, action, outcome = %outcome.kind, detail = outcome.detail, "order ended");
            this.metrics.count_order(action, outcome_label(outcome.kind));
            this.inbox.event(Event::Outcome(outcome));
            this.under_way.send_modify(|count| *count -= 1);
        });
    }

    /// Returns when no order is with its actuator.
    pub(crate) async fn all_back(&self) {
        let mut under_way = self.under_way.subscribe();
        // The sender is ours: it can't be gone.
        under_way.wait_for(|count| *count == 0).await.ok();
    }
}

/// How long sources may take to give a target of a former run again.
const TARGETS_GRACE: Duration = Duration::from_secs(60);

async fn until_known(inbox: &Inbox, order: &Order) {
    loop {
        let target = order.target.id.clone();
        let known = inbox.ask(move |engine, now| engine.target(now, &target).is_some());
        match known.await {
            Ok(false) => tokio::time::sleep(Duration::from_millis(50)).await,
            // The server may also be stopping: then the next start asks again.
            Ok(true) | Err(_) => return,
        }
    }
}

fn outcome_label(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::Done => "done",
        OutcomeKind::Failed => "failed",
        OutcomeKind::Unknown => "unknown",
    }
}

/// The receivers of the current configuration.
#[derive(Clone)]
pub(crate) struct Receivers(Arc<RwLock<Arc<Notifier>>>);

impl Receivers {
    pub(crate) fn new(notifier: Notifier) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(notifier))))
    }

    pub(crate) fn replace(&self, notifier: Notifier) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(notifier);
    }

    fn current(&self) -> Arc<Notifier> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A receiver that hangs must not keep the others from being told.
const NOTICES_AT_ONCE: usize = 16;

/// Delivers notices until nobody can send one any more and the last is delivered.
pub(crate) async fn deliver(
    mut notices: mpsc::UnboundedReceiver<Notice>,
    receivers: Receivers,
    records: Records,
) {
    let turns = Arc::new(Semaphore::new(NOTICES_AT_ONCE));
    let mut deliveries = JoinSet::new();
    while let Some(notice) = notices.recv().await {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
            return;
        };
        deliveries.spawn(deliver_one(
            notice,
            receivers.current(),
            records.clone(),
            turn,
        ));
        while deliveries.try_join_next().is_some() {}
    }
    while deliveries.join_next().await.is_some() {}
}

async fn deliver_one(
    notice: Notice,
    notifier: Arc<Notifier>,
    records: Records,
    _turn: OwnedSemaphorePermit,
) {
    for (receiver, result) in notifier.notify(&notice).await {
        if let Err(error) = &result {
            tracing::error!(%receiver, error, summary = notice.summary, "a notice was not delivered");
        }
        let fact = Fact::Notified {
            receiver,
            delivered: result.is_ok(),
            detail: result.err().unwrap_or_else(|| notice.summary.clone()),
        };
        records.write_about(notice.case, notice.target.clone(), fact);
    }
}
