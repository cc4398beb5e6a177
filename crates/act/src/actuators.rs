//! From an order to its outcome: checks that don't trust the sender, then the one actuator that is meant.
//!
//! An operation runs in a task of its own. Whoever asked may stop waiting, may ask again, and gets the same
//! outcome; nothing is begun twice. It has a deadline, after which the outcome is that it may have taken
//! effect.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pitcrew_model::{Action, OperationId, Order, Outcome, OutcomeKind, Runner, Timestamp};
use tokio::sync::watch;

use crate::{
    Answer, Supervisor, command, container, journal::Known, listener::Listener, supervise::Verb,
    unit, webhook,
};

/// For commands that run a target: their configuration names no time.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Beyond what an actuator waits for by itself.
const MARGIN: Duration = Duration::from_secs(15);
/// When a process's own grace can't be told.
const GRACE_UNKNOWN: Duration = Duration::from_secs(60);

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Cheap to clone; the clones are one.
#[derive(Clone)]
pub struct Actuators {
    inner: Arc<Inner>,
}

struct Inner {
    supervisor: Supervisor,
    clock: Clock,
    http: Result<reqwest::Client, String>,
    /// Operations under way; ended ones are in the journal.
    under_way: Mutex<BTreeMap<OperationId, watch::Receiver<Option<Outcome>>>>,
}

impl Actuators {
    /// `fence` is the server's own: orders with an older one are refused from now on. `clock` is the one
    /// that orders are dated by.
    #[must_use]
    pub fn new(supervisor: Supervisor, clock: Clock, fence: u64) -> Self {
        if let Err(why) = supervisor.fence().admit(fence) {
            // Each order is checked again and refused for the same reason.
            tracing::error!("{why}");
        }
        Self {
            inner: Arc::new(Inner {
                supervisor,
                clock,
                http: webhook::client(),
                under_way: Mutex::new(BTreeMap::new()),
            }),
        }
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

    /// What became of an order whose outcome is not known, after a restart of Pitcrew.
    pub async fn reconcile(&self, order: &Order) -> Outcome {
        let joined = self.under_way().get(&order.operation).cloned();
        if let Some(mut ends) = joined
            && let Ok(ended) = ends.wait_for(Option::is_some).await
            && let Some(outcome) = ended.clone()
        {
            return outcome;
        }
        let answer = match self.inner.known(order) {
            Known::Ended(outcome) => return outcome,
            Known::Never => Answer::failed("it was never begun"),
            Known::Begun | Known::Forgotten => self.inner.find_out(order).await,
        };
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
            Action::Command { name, command, .. } if command.is_empty() => {
                Err(format!("command `{name}` is empty"))
            }
            Action::Webhook { name, url, .. } => {
                let url: reqwest::Url = url
                    .parse()
                    .map_err(|error| format!("webhook `{name}`: `{url}` is no URL: {error}"))?;
                match url.scheme() {
                    "http" | "https" => Ok(()),
                    other => Err(format!("webhook `{name}`: `{other}` is not http or https")),
                }
            }
            Action::Command { .. } | Action::HandOver { .. } => Ok(()),
        }
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

impl Inner {
    async fn take(&self, order: &Order) -> Outcome {
        match self.known(order) {
            Known::Ended(outcome) => return outcome,
            Known::Begun => {
                let why = "it was begun before Pitcrew's last start; it is not done again";
                return self.outcome(order, Answer::unknown(why));
            }
            Known::Never | Known::Forgotten => {}
        }
        if let Err(why) = self.may_begin(order) {
            let outcome = self.outcome(order, Answer::failed(why));
            let journal = self.supervisor.journal();
            journal.refuse(&order.operation, outcome.at, &outcome);
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
        self.supervisor
            .journal()
            .begin(&order.operation, now)
            .map_err(|error| format!("the operation can't be written down: {error}"))
    }

    async fn act(&self, order: &Order) -> Answer {
        let target = &order.target;
        let id = &order.operation;
        match &order.action {
            Action::Restart => self.run(order, Verb::Restart).await,
            Action::Start => self.run(order, Verb::Start).await,
            Action::Stop => self.run(order, Verb::Stop).await,
            Action::Command {
                command, timeout, ..
            } => command::carry_out(command, target, id, *timeout).await,
            Action::Webhook { url, timeout, .. } => match &self.http {
                Ok(client) => webhook::carry_out(client, order, url, *timeout).await,
                Err(why) => Answer::failed(why),
            },
            Action::HandOver { .. } => Answer::done("a person goes on from here"),
        }
    }

    async fn run(&self, order: &Order, verb: Verb) -> Answer {
        let (target, id) = (&order.target, &order.operation);
        if let Err(why) = can_run(verb, order.runner.as_ref()) {
            return Answer::failed(why);
        }
        match &order.runner {
            None => Answer::failed("nothing is known that runs it"),
            Some(Runner::Supervised) => self.supervisor.carry(&target.id, verb, id).await,
            Some(Runner::Unit { name, bus }) => unit::carry_out(name, bus.as_deref(), verb).await,
            Some(Runner::Container { name, socket }) => {
                container::carry_out(name, socket.as_deref(), verb).await
            }
            Some(runner @ Runner::Listener { .. }) => match self.listener(runner) {
                Some(listener) => listener.carry_out(verb, id).await,
                None => Answer::failed("not a listener"),
            },
            Some(Runner::Command {
                start,
                stop,
                restart,
            }) => match (verb, start, stop, restart) {
                (Verb::Start, Some(command), ..)
                | (Verb::Stop, _, Some(command), _)
                | (Verb::Restart, _, _, Some(command)) => {
                    command::carry_out(command, target, id, COMMAND_TIMEOUT).await
                }
                (Verb::Restart, Some(start), Some(stop), None) => {
                    restart_by_commands(stop, start, order).await
                }
                _ => Answer::failed("no command is configured for it"),
            },
        }
    }

    /// What the target itself shows of an order.
    async fn find_out(&self, order: &Order) -> Answer {
        let verb = match &order.action {
            Action::Restart => Verb::Restart,
            Action::Start => Verb::Start,
            Action::Stop => Verb::Stop,
            Action::Command { .. } | Action::Webhook { .. } => {
                return Answer::unknown("only its own effect can show whether it was carried out");
            }
            Action::HandOver { .. } => return Answer::done("a person goes on from here"),
        };
        let (id, given_at) = (&order.operation, order.given_at);
        let asking = async {
            match &order.runner {
                None => Answer::failed("nothing is known that runs it"),
                Some(Runner::Supervised) => {
                    self.supervisor.reconcile(&order.target.id, verb, id).await
                }
                Some(Runner::Unit { name, bus }) => {
                    unit::reconcile(name, bus.as_deref(), verb, given_at).await
                }
                Some(Runner::Container { name, socket }) => {
                    container::reconcile(name, socket.as_deref(), verb, given_at).await
                }
                Some(runner @ Runner::Listener { .. }) => match self.listener(runner) {
                    Some(listener) => listener.reconcile(verb, id, given_at).await,
                    None => Answer::failed("not a listener"),
                },
                Some(Runner::Command { .. }) => {
                    Answer::unknown("only its own effect can show whether it was carried out")
                }
            }
        };
        let asked = tokio::time::timeout(COMMAND_TIMEOUT, Box::pin(asking)).await;
        asked.unwrap_or_else(|_| Answer::unknown("the target's runner does not answer"))
    }

    fn listener(&self, runner: &Runner) -> Option<Listener> {
        let Runner::Listener {
            port,
            exe,
            command,
            user,
            directory,
            grace,
        } = runner
        else {
            return None;
        };
        Some(Listener {
            port: *port,
            exe: exe.clone(),
            command: command.clone(),
            user: user.clone(),
            directory: directory.clone(),
            grace: *grace,
            log: self.supervisor.log(&format!("listener-{port}")),
        })
    }

    /// How long the operation may take at the very most.
    fn limit(&self, order: &Order) -> Duration {
        let own = match (&order.action, &order.runner) {
            (Action::Command { timeout, .. } | Action::Webhook { timeout, .. }, _) => *timeout,
            (Action::HandOver { .. }, _) | (_, None) => Duration::ZERO,
            (_, Some(Runner::Supervised)) => {
                let grace = self.supervisor.grace(&order.target.id);
                grace.unwrap_or(GRACE_UNKNOWN)
            }
            (_, Some(Runner::Unit { .. })) => unit::LIMIT,
            (_, Some(Runner::Container { .. })) => container::LIMIT,
            (_, Some(runner @ Runner::Listener { .. })) => self
                .listener(runner)
                .map_or(Duration::ZERO, |listener| listener.limit()),
            (_, Some(Runner::Command { .. })) => COMMAND_TIMEOUT * 2,
        };
        own + MARGIN
    }

    fn known(&self, order: &Order) -> Known {
        let journal = self.supervisor.journal();
        journal.look_up(&order.operation, order.given_at)
    }

    fn write_end(&self, order: &Order, outcome: &Outcome) {
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

fn can_run(verb: Verb, runner: Option<&Runner>) -> Result<(), String> {
    match (runner, verb) {
        (None, _) => Err("nothing is known that runs it; name it with `runs_as`".to_owned()),
        (Some(Runner::Listener { command, .. }), Verb::Start | Verb::Restart)
            if command.is_empty() =>
        {
            Err("no command is configured that starts it".to_owned())
        }
        (
            Some(Runner::Command {
                start,
                stop,
                restart,
            }),
            verb,
        ) => {
            let (is_there, what) = match verb {
                Verb::Start => (start.is_some(), "start"),
                Verb::Stop => (stop.is_some(), "stop"),
                Verb::Restart => (
                    restart.is_some() || (start.is_some() && stop.is_some()),
                    "restart",
                ),
            };
            if is_there {
                Ok(())
            } else {
                Err(format!("no command is configured to {what} it"))
            }
        }
        (Some(_), _) => Ok(()),
    }
}

async fn restart_by_commands(stop: &[String], start: &[String], order: &Order) -> Answer {
    let (target, id) = (&order.target, &order.operation);
    let stopped = command::carry_out(stop, target, id, COMMAND_TIMEOUT).await;
    if stopped.kind != OutcomeKind::Done {
        return stopped;
    }
    let started = command::carry_out(start, target, id, COMMAND_TIMEOUT).await;
    if started.kind == OutcomeKind::Failed {
        return Answer::unknown(format!("stopped, but not started: {}", started.detail));
    }
    started
}
