//! From a signed order to its outcome: the checks that don't trust the server, then the host's own actuators.
//!
//! What is done is looked up here, in the host's own inventory and commands; of the order only the name of the target
//! and of the action is obeyed. A refusal is an outcome, certainly without effect, that says why.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use pitcrew_act::{Actuators, Reboot, Supervisor};
use pitcrew_model::{
    Action, Drain, DrainBy, HostCommand, HostSettings, OperationId, Order, Outcome, OutcomeKind,
    Runner, Target,
};
use pitcrew_wire::{Addressed, Forged, HostName, OrderKey, SignedOrder};

use crate::{
    AgentError,
    caps::Caps,
    clock::{ServerTime, boot_ms, wall_now},
    hands::Principal,
    inventory::{Inventory, local_name},
    leases::{Leases, Watch},
    run::boot_id,
};

pub(crate) struct Orders {
    pub(crate) installation: String,
    pub(crate) host: HostName,
    pub(crate) boot_id: String,
    /// Another one when the host is enrolled again.
    pub(crate) key: Mutex<OrderKey>,
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) commands: Vec<HostCommand>,
    /// Nothing on the server's own host, where the limits of the configuration are the host's.
    pub(crate) caps: Option<Caps>,
    pub(crate) actuators: Actuators,
    /// Nothing on the server's own host, where the server keeps them.
    pub(crate) leases: Option<(Arc<Leases>, Watch)>,
    pub(crate) time: Arc<ServerTime>,
}

impl Orders {
    /// For a host and its server, with what it supervises already looked after.
    pub(crate) async fn open(
        data: &Path,
        settings: &HostSettings,
        principal: &Principal,
        time: Arc<ServerTime>,
    ) -> Result<(Self, Supervisor), AgentError> {
        let Principal {
            installation, host, ..
        } = principal;
        // Unique on this host, also beside a server's own supervisor.
        let supervisor = Supervisor::new(data.join("run"), format!("{installation}-{host}"))?;
        let changes = supervisor.set(&settings.runs).await;
        for change in &changes {
            tracing::info!("process {}: {}", change.name, change.detail);
        }
        let for_actuators = Arc::clone(&time);
        let clock = move || for_actuators.latest(boot_ms()).unwrap_or_else(wall_now);
        let boot_id = boot_id()?;
        let actuators = Actuators::of_host(
            supervisor.clone(),
            Arc::new(clock),
            Reboot {
                bus: settings.reboot_bus.clone(),
            },
        );
        let leases = Arc::new(Leases::open(data, &boot_id)?);
        let watch = leases.watch(&actuators);
        let orders = Self {
            installation: installation.clone(),
            host: host.clone(),
            boot_id,
            key: Mutex::new(principal.order_key()?),
            inventory: Arc::new(Inventory::of(host, settings)),
            commands: settings.commands.clone(),
            caps: Some(Caps::open(data, settings.limits.clone())?),
            actuators,
            leases: Some((leases, watch)),
            time,
        };
        Ok((orders, supervisor))
    }

    /// What became of it; an error when it is not the server's at all, and so nobody's.
    pub(crate) async fn carry_out(
        &self,
        signed: &SignedOrder,
    ) -> Result<(OperationId, Outcome), Forged> {
        let addressed = self.verify(signed)?;
        let operation = addressed.order.operation.clone();
        let _turn = match self.leases_for(&addressed.order) {
            Some(leases) => Some(leases.turn(&addressed.order.target.id).await),
            None => None,
        };
        let admitted = match self.admit(&addressed) {
            Ok(order) => self.act(order, &addressed.order).await,
            Err(why) => Err(why),
        };
        let outcome = match admitted {
            Ok(outcome) => outcome,
            Err(why) => {
                tracing::warn!(%operation, target = %addressed.order.target.id, "order refused: {why}");
                self.outcome(&addressed.order, OutcomeKind::Failed, why)
            }
        };
        Ok((operation, outcome))
    }

    /// `asked` is the same order as the server gave it.
    async fn act(&self, order: Order, asked: &Order) -> Result<Outcome, String> {
        let Some(leases) = self.leases_for(&order) else {
            return Ok(self.actuators.carry_out(&order).await);
        };
        let now = self.time.latest(boot_ms());
        let now = now.ok_or("the server's time is not known yet")?;
        leases.carry_out(&self.actuators, order, asked, now).await
    }

    /// That keep what the order drains or gives back; nothing for other orders, and where the server keeps them.
    fn leases_for(&self, order: &Order) -> Option<&Leases> {
        let (leases, _) = self.leases.as_ref()?;
        order.action.is_drain().then_some(leases)
    }

    /// What became of it, without doing anything: also when it has expired, or was for an earlier boot.
    pub(crate) async fn reconcile(
        &self,
        signed: &SignedOrder,
    ) -> Result<(OperationId, Outcome), Forged> {
        let addressed = self.verify(signed)?;
        let operation = addressed.order.operation.clone();
        let order = self
            .for_this_host(&addressed)
            .and_then(|()| self.local(&addressed.order));
        let given = self.time.here(addressed.order.given_at);
        let given = given.ok_or_else(|| "the server's time is not known yet".to_owned());
        let outcome = match order.and_then(|order| Ok((order, given?))) {
            Ok((order, given)) => self.actuators.reconcile(&order, given).await,
            Err(why) => self.outcome(&addressed.order, OutcomeKind::Unknown, why),
        };
        Ok((operation, outcome))
    }

    pub(crate) fn replace_key(&self, key: OrderKey) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = key;
    }

    pub(crate) fn verify(&self, signed: &SignedOrder) -> Result<Addressed, Forged> {
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        key.verify(signed)
    }

    /// The order as this host understands it. The error: it has certainly had no effect, and why.
    fn admit(&self, addressed: &Addressed) -> Result<Order, String> {
        self.for_this_host(addressed)?;
        if addressed.boot_id != self.boot_id {
            return Err("it is for an earlier boot of this host".to_owned());
        }
        let order = &addressed.order;
        let now = self.time.latest(boot_ms());
        let now = now.ok_or("the server's time is not known yet")?;
        if now >= order.expires_at {
            return Err(format!("the order expired at {}", order.expires_at));
        }
        self.actuators.admit(order.fence)?;
        let counts = self.counts(order)?;
        let order = self.local(order)?;
        if let Some(caps) = self.caps.as_ref().filter(|_| counts) {
            caps.take(&order.operation, &order.action, wall_now())?;
        }
        Ok(order)
    }

    /// Whether the host's limits do: not what keeps or ends what was drained here and counted then. Any other undrain is a
    /// command like all others. The error: it is no renewal.
    fn counts(&self, order: &Order) -> Result<bool, String> {
        match (&order.action, self.leases_for(order)) {
            (Action::Drain(_), Some(leases)) if order.is_upkeep() => {
                leases.may_renew(order).map(|()| false)
            }
            (Action::Undrain(_), Some(leases)) => Ok(leases.as_kept(order).is_none()),
            _ => Ok(order.action.is_disruptive()),
        }
    }

    fn for_this_host(&self, addressed: &Addressed) -> Result<(), String> {
        if addressed.installation != self.installation || addressed.host != self.host {
            return Err(format!(
                "it is for {} of installation {}",
                addressed.host, addressed.installation
            ));
        }
        Ok(())
    }

    /// With what the host itself says runs the target, and what it says the command is.
    fn local(&self, order: &Order) -> Result<Order, String> {
        if matches!(*self.inventory, Inventory::Servers) {
            return Ok(order.clone());
        }
        if let Some(kept) = self.leases_for(order).and_then(|it| it.as_kept(order)) {
            return Ok(kept);
        }
        let target = self
            .inventory
            .get(&order.target.id)
            .ok_or_else(|| format!("{} is no target of this host", order.target.id))?;
        let action = match &order.action {
            Action::Restart | Action::Start | Action::Stop => order.action.clone(),
            Action::Reboot if order.acts_on().id == self.host.target() => Action::Reboot,
            Action::Reboot => {
                let other = &order.acts_on().id;
                return Err(format!(
                    "the order is to reboot {other}, which is another host"
                ));
            }
            Action::Command { name, .. } => self.command(name)?,
            Action::Drain(drain) => Action::Drain(Drain {
                by: self.drain_by(&drain.by)?,
                lease: drain.lease,
            }),
            Action::Undrain(by) => Action::Undrain(self.drain_by(by)?),
            Action::PowerCycle | Action::Webhook { .. } | Action::HandOver { .. } => {
                return Err(format!("{} is nothing for a host", order.action));
            }
        };
        Ok(Order {
            runner: target.runner.clone(),
            target: match target.runner {
                Some(Runner::Supervised) if !order.action.is_drain() => Arc::new(Target {
                    id: local_name(target),
                    ..(**target).clone()
                }),
                _ => Arc::clone(target),
            },
            action,
            ..order.clone()
        })
    }

    fn declared(&self, name: &str) -> Result<&HostCommand, String> {
        let mut declared = self.commands.iter();
        let found = declared.find(|command| command.name == name);
        found.ok_or_else(|| format!("the host's configuration has no command `{name}`"))
    }

    /// The host's own two commands. One that can't be undone is not begun, and a hook that takes longer than any may is as
    /// good as away.
    fn drain_by(&self, by: &DrainBy) -> Result<DrainBy, String> {
        let DrainBy::HostCommand { drain, undrain } = by else {
            return Err("a hook of the server's is nothing for a host".to_owned());
        };
        let (drain, undrain) = (self.declared(drain)?, self.declared(undrain)?);
        Ok(DrainBy::Command {
            drain: drain.command.clone(),
            undrain: undrain.command.clone(),
            timeout: drain.timeout.max(undrain.timeout).min(Drain::TIMEOUT_MAX),
        })
    }

    fn command(&self, name: &str) -> Result<Action, String> {
        let found = self.declared(name)?;
        Ok(Action::Command {
            name: found.name.clone(),
            command: found.command.clone(),
            timeout: found.timeout,
        })
    }

    fn outcome(&self, order: &Order, kind: OutcomeKind, detail: String) -> Outcome {
        Outcome {
            order: order.id,
            kind,
            at: self.time.latest(boot_ms()).unwrap_or_else(wall_now),
            detail,
        }
    }
}

#[cfg(test)]
mod tests;
