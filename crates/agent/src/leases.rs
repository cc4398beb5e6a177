//! What this host took out of use, and until when: given back by itself when no renewal came.
//!
//! The server may be dead and the network cut; a drained target comes back all the same, also after a restart of the agent or
//! of the host. `leases.json` in the agent's data holds each lease from before its drain begins until an undrain is done.
//!
//! Ends are by boot time, which nobody sets. After a reboot only the wall clock is left, and it can prolong a lease by no
//! more than its whole length.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pitcrew_act::{Actuators, write_durably};
use pitcrew_model::{Action, OperationId, Order, Outcome, OutcomeKind, TargetId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, task::AbortHandle};

use crate::{
    AgentError,
    clock::{boot_ms, wall_now},
};

/// A failed undrain is tried again after a second, then two, four, and so on up to this.
const AGAIN_MAX: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    /// As this host understands it: with its own command for the way back.
    order: Order,
    boot_id: String,
    ends_boot_ms: u64,
    ends_wall: Timestamp,
    /// Undrains of its own that failed.
    #[serde(skip)]
    failures: u32,
}

pub(crate) struct Leases {
    file: PathBuf,
    boot_id: String,
    kept: Mutex<BTreeMap<TargetId, Kept>>,
    changed: Notify,
    /// One drain or undrain at a time, so that none overtakes another.
    turn: tokio::sync::Mutex<()>,
}

/// Ends what it watches with itself.
pub(crate) struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Leases {
    pub(crate) fn open(data: &Path, boot_id: &str) -> Result<Self, AgentError> {
        let file = data.join("leases.json");
        let mut kept: BTreeMap<TargetId, Kept> = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| AgentError::Content {
                path: file.clone(),
                why: format!("it is broken, so what is drained here is not known: {error}"),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => {
                return Err(AgentError::File {
                    doing: "read",
                    path: file,
                    source,
                });
            }
        };
        for lease in kept.values_mut() {
            lease.begin_boot(boot_id);
        }
        Ok(Self {
            file,
            boot_id: boot_id.to_owned(),
            kept: Mutex::new(kept),
            changed: Notify::new(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TargetId, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The drain that `target` is kept by.
    pub(crate) fn order_of(&self, target: &TargetId) -> Option<Order> {
        self.lock().get(target).map(|kept| kept.order.clone())
    }

    /// Why a renewal can't be: nothing is left to be renewed.
    pub(crate) fn may_renew(&self, order: &Order) -> Result<(), String> {
        let id = order.lease.as_ref().map(|term| term.id);
        let known = self.lock();
        let kept = known.get(&order.target.id);
        match kept.and_then(|kept| kept.order.lease.as_ref()) {
            Some(term) if Some(term.id) == id => Ok(()),
            Some(_) | None => Err("its lease has run out here".to_owned()),
        }
    }

    /// Carries a drain or an undrain out, with its lease on disk before the act and after it. `now` is the latest that
    /// the server's clock can show.
    pub(crate) async fn carry_out(
        &self,
        actuators: &Actuators,
        order: &Order,
        now: Timestamp,
    ) -> Result<Outcome, String> {
        let _turn = self.turn.lock().await;
        if order.is_upkeep() && matches!(order.action, Action::Drain(_)) {
            self.may_renew(order)?;
        }
        let target = &order.target.id;
        let before = self.lock().get(target).cloned();
        if let (Action::Drain(drain), Some(term)) = (&order.action, &order.lease) {
            let left = term.until.since(now).min(drain.lease);
            let kept = Kept::new(order, &self.boot_id, left);
            self.change(|all| {
                all.insert(target.clone(), kept);
            })?;
        }
        let outcome = actuators.carry_out(order).await;
        match (&order.action, outcome.kind) {
            (Action::Undrain(_), OutcomeKind::Done) => self.forget(target),
            // Certainly without effect: what was before still is.
            (Action::Drain(_), OutcomeKind::Failed) => {
                let put_back = self.change(|all| match before {
                    Some(before) => {
                        all.insert(target.clone(), before);
                    }
                    None => {
                        all.remove(target);
                    }
                });
                if let Err(why) = put_back {
                    tracing::warn!(%target, "a drain that failed will be undone all the same: {why}");
                }
            }
            _ => {}
        }
        Ok(outcome)
    }

    fn forget(&self, target: &TargetId) {
        let forgotten = self.change(|all| {
            all.remove(target);
        });
        if let Err(why) = forgotten {
            tracing::warn!(%target, "it will be given back once more: {why}");
        }
    }

    /// On disk first, then here.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<TargetId, Kept>)) -> Result<(), String> {
        let mut kept = self.lock();
        let mut new = kept.clone();
        change(&mut new);
        let bytes = serde_json::to_vec(&new).map_err(|error| error.to_string())?;
        write_durably(&self.file, &bytes)
            .map_err(|error| format!("{} can't be written: {error}", self.file.display()))?;
        *kept = new;
        drop(kept);
        self.changed.notify_one();
        Ok(())
    }

    /// Gives back whatever nobody renews, until the watch is dropped.
    pub(crate) fn watch(self: &Arc<Self>, actuators: &Actuators) -> Watch {
        let (leases, actuators) = (Arc::clone(self), actuators.clone());
        let watching = tokio::spawn(async move {
            loop {
                let next = leases.lock().values().map(|kept| kept.ends_boot_ms).min();
                let left = next.map(|next| next.saturating_sub(boot_ms()));
                match left {
                    Some(0) => leases.give_back_overdue(&actuators).await,
                    // Boot time goes on while the host sleeps, and timers may not: it is looked at again soon.
                    Some(left) => {
                        let left = Duration::from_millis(left.min(1_000));
                        tokio::time::timeout(left, leases.changed.notified())
                            .await
                            .ok();
                    }
                    None => leases.changed.notified().await,
                }
            }
        });
        Watch(watching.abort_handle())
    }

    async fn give_back_overdue(&self, actuators: &Actuators) {
        let _turn = self.turn.lock().await;
        let now = boot_ms();
        let overdue: Vec<Kept> = {
            let kept = self.lock();
            let overdue = kept.values().filter(|kept| kept.ends_boot_ms <= now);
            overdue.cloned().collect()
        };
        for kept in overdue {
            let Some(undrain) = kept.undrain() else {
                continue;
            };
            let target = &undrain.target.id;
            tracing::warn!(%target, "its lease ran out, and no renewal came: it is given back");
            let outcome = actuators.give_back(&undrain).await;
            if outcome.kind == OutcomeKind::Done {
                self.forget(target);
            } else {
                tracing::error!(%target, outcome = %outcome.kind, "it can't be given back: {}", outcome.detail);
                self.try_later(target);
            }
        }
    }

    fn try_later(&self, target: &TargetId) {
        if let Some(kept) = self.lock().get_mut(target) {
            let again = Duration::from_secs(1 << kept.failures.min(16)).min(AGAIN_MAX);
            kept.failures = kept.failures.saturating_add(1);
            kept.ends_boot_ms = boot_ms() + millis(again);
        }
    }
}

impl Kept {
    fn new(order: &Order, boot_id: &str, left: Duration) -> Self {
        Self {
            order: order.clone(),
            boot_id: boot_id.to_owned(),
            ends_boot_ms: boot_ms() + millis(left),
            ends_wall: wall_now() + left,
            failures: 0,
        }
    }

    fn begin_boot(&mut self, boot_id: &str) {
        if self.boot_id == boot_id {
            return;
        }
        let whole = match &self.order.action {
            Action::Drain(drain) => drain.lease,
            _ => Duration::ZERO,
        };
        let left = self.ends_wall.since(wall_now()).min(whole);
        self.ends_boot_ms = boot_ms() + millis(left);
        boot_id.clone_into(&mut self.boot_id);
    }

    fn undrain(&self) -> Option<Order> {
        let Action::Drain(drain) = &self.order.action else {
            return None;
        };
        let operation = format!("{}-lapsed", self.order.operation);
        Some(Order {
            operation: OperationId::new(operation).ok()?,
            action: Action::Undrain(drain.by.clone()),
            ..self.order.clone()
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
