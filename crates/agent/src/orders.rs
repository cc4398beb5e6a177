//! From a signed order to its outcome: the checks that don't trust the server, then the host's own actuators.
//!
//! What is done is looked up here, in the host's own inventory and commands; of the order only the name of the target
//! and of the action is obeyed. A refusal is an outcome, certainly without effect, that says why.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use pitcrew_act::Actuators;
use pitcrew_model::{
    Action, HostCommand, OperationId, Order, Outcome, OutcomeKind, Runner, Target, Timestamp,
};
use pitcrew_wire::{Addressed, Forged, HostName, OrderKey, SignedOrder};

use crate::{
    caps::Caps,
    clock::{ServerTime, boot_ms},
    inventory::{Inventory, local_name},
};

pub(crate) struct Orders {
    pub(crate) installation: String,
    pub(crate) host: HostName,
    pub(crate) boot_id: String,
    pub(crate) key: OrderKey,
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) commands: Vec<HostCommand>,
    pub(crate) caps: Caps,
    pub(crate) actuators: Actuators,
    pub(crate) time: Arc<ServerTime>,
}

impl Orders {
    /// What became of it; an error when it is not the server's at all, and so nobody's.
    pub(crate) async fn carry_out(
        &self,
        signed: &SignedOrder,
    ) -> Result<(OperationId, Outcome), Forged> {
        let addressed = self.key.verify(signed)?;
        let operation = addressed.order.operation.clone();
        let outcome = match self.admit(&addressed) {
            Ok(order) => self.actuators.carry_out(&order).await,
            Err(why) => {
                tracing::warn!(%operation, target = %addressed.order.target.id, "order refused: {why}");
                self.outcome(&addressed.order, OutcomeKind::Failed, why)
            }
        };
        Ok((operation, outcome))
    }

    /// What became of it, without doing anything: also when it has expired, or was for an earlier boot.
    pub(crate) async fn reconcile(
        &self,
        signed: &SignedOrder,
    ) -> Result<(OperationId, Outcome), Forged> {
        let addressed = self.key.verify(signed)?;
        let operation = addressed.order.operation.clone();
        let order = self
            .for_this_host(&addressed)
            .and_then(|()| self.local(&addressed.order));
        let outcome = match order {
            Ok(order) => self.actuators.reconcile(&order).await,
            Err(why) => self.outcome(&addressed.order, OutcomeKind::Unknown, why),
        };
        Ok((operation, outcome))
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
        let order = self.local(order)?;
        if order.action.is_disruptive() {
            self.caps.take(&order.operation, wall_now())?;
        }
        Ok(order)
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
        let target = self
            .inventory
            .get(&order.target.id)
            .ok_or_else(|| format!("{} is no target of this host", order.target.id))?;
        let action = match &order.action {
            Action::Restart | Action::Start | Action::Stop => order.action.clone(),
            Action::Command { name, .. } => self.command(name)?,
            Action::Webhook { .. } | Action::HandOver { .. } => {
                return Err(format!("{} is nothing for a host", order.action));
            }
        };
        Ok(Order {
            runner: target.runner.clone(),
            target: match target.runner {
                Some(Runner::Supervised) => Arc::new(Target {
                    id: local_name(target),
                    ..(**target).clone()
                }),
                _ => Arc::clone(target),
            },
            action,
            ..order.clone()
        })
    }

    fn command(&self, name: &str) -> Result<Action, String> {
        let mut declared = self.commands.iter();
        let found = declared.find(|command| command.name == name);
        let found =
            found.ok_or_else(|| format!("the host's configuration has no command `{name}`"))?;
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

/// By this host's own clock.
pub(crate) fn wall_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    Timestamp::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
