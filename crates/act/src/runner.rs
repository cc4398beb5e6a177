//! Which actuator an order means, by what runs its target; and how long that one may take.

use std::time::Duration;

use pitcrew_model::{Action, Drain, DrainBy, Order, OutcomeKind, Runner};

use crate::{
    Answer, Given, actuators::Inner, command, container, listener::Listener, power, reboot,
    supervise::Verb, unit,
};

/// For commands that run a target: their configuration names no time.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Beyond what an actuator waits for by itself.
const MARGIN: Duration = Duration::from_secs(15);
/// When a process's own grace can't be told.
const GRACE_UNKNOWN: Duration = Duration::from_secs(60);

impl Inner {
    pub(crate) async fn run(&self, order: &Order, verb: Verb) -> Answer {
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
    pub(crate) async fn find_out(&self, order: &Order, given: Given) -> Answer {
        let verb = match &order.action {
            Action::Restart => Verb::Restart,
            Action::Start => Verb::Start,
            Action::Stop => Verb::Stop,
            Action::Reboot => {
                let before = self.supervisor.journal().boot_before(&order.operation);
                return reboot::reconcile(before.as_deref(), reboot::boot_id());
            }
            Action::PowerCycle
            | Action::Drain(_)
            | Action::Undrain(_)
            | Action::Command { .. }
            | Action::Webhook { .. } => {
                return Answer::unknown("only its own effect can show whether it was carried out");
            }
            Action::HandOver { .. } => return Answer::done("a person goes on from here"),
        };
        let id = &order.operation;
        let asking = async {
            match &order.runner {
                None => Answer::failed("nothing is known that runs it"),
                Some(Runner::Supervised) => {
                    self.supervisor.reconcile(&order.target.id, verb, id).await
                }
                Some(Runner::Unit { name, bus }) => {
                    unit::reconcile(name, bus.as_deref(), verb, given).await
                }
                Some(Runner::Container { name, socket }) => {
                    container::reconcile(name, socket.as_deref(), verb, given).await
                }
                Some(runner @ Runner::Listener { .. }) => match self.listener(runner) {
                    Some(listener) => listener.reconcile(verb, id, given).await,
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
    pub(crate) fn limit(&self, order: &Order) -> Duration {
        let own = match (&order.action, &order.runner) {
            (Action::Command { timeout, .. } | Action::Webhook { timeout, .. }, _) => *timeout,
            (Action::Drain(Drain { by, .. }) | Action::Undrain(by), _) => match by {
                DrainBy::Webhook { timeout, .. } | DrainBy::Command { timeout, .. } => *timeout,
                DrainBy::HostCommand { .. } => Duration::ZERO,
            },
            (Action::Reboot, _) => reboot::LIMIT,
            (Action::PowerCycle, _) => power::LIMIT,
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
}

/// Whether what runs a target can do this; the error says what is missing.
pub(crate) fn can_run(verb: Verb, runner: Option<&Runner>) -> Result<(), String> {
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
