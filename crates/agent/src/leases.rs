//! What this host took out of use, and until when: given back by itself when no renewal came.
//!
//! The server may be dead and the network cut; a drained target comes back all the same, also after a restart of the agent or
//! of the host. `leases.json` in the agent's data holds each lease from before its drain begins until an undrain that the
//! server ordered is done, so that its undrain of what was given back here is known for one and costs nothing.
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
use pitcrew_model::{Action, Drain, Order, Outcome, OutcomeKind, TargetId, Timestamp};
use tokio::{
    sync::{Notify, OwnedMutexGuard},
    task::{AbortHandle, JoinSet},
};

use crate::{AgentError, clock::boot_ms};
use kept::{Kept, bound};

mod kept;

/// A failed undrain is tried again after a second, then two, four, and so on up to this.
const AGAIN_MAX: Duration = Duration::from_secs(300);

pub(crate) struct Leases {
    file: PathBuf,
    boot_id: String,
    kept: Mutex<BTreeMap<TargetId, Kept>>,
    changed: Notify,
    turns: Mutex<BTreeMap<TargetId, Arc<tokio::sync::Mutex<()>>>>,
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
        let mut is_new_boot = false;
        for lease in kept.values_mut() {
            is_new_boot |= lease.begin_boot(boot_id);
        }
        let leases = Self {
            file,
            boot_id: boot_id.to_owned(),
            kept: Mutex::new(kept),
            changed: Notify::new(),
            turns: Mutex::default(),
        };
        // Or each restart of the agent would grant as much again. A full disk keeps nobody from being given back.
        if is_new_boot && let Err(why) = leases.change(|_| ()) {
            tracing::warn!("what is drained may be given back late: {why}");
        }
        Ok(leases)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TargetId, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held while one drain or undrain of `target` is judged and done, so that none overtakes another.
    pub(crate) async fn turn(&self, target: &TargetId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(target.clone()).or_default())
        };
        turn.lock_owned().await
    }

    /// A renewal or an undrain as its target was taken out of use, whatever the configuration says by now. Nothing
    /// when nothing is kept.
    pub(crate) fn as_kept(&self, order: &Order) -> Option<Order> {
        let known = self.lock();
        let kept = known.get(&order.target.id)?;
        let Action::Drain(Drain { by, .. }) = &kept.order.action else {
            return None;
        };
        let by = by.clone();
        let action = match &order.action {
            Action::Undrain(_) => Action::Undrain(by),
            Action::Drain(Drain { lease, .. }) if order.is_upkeep() => {
                Action::Drain(Drain { by, lease: *lease })
            }
            _ => return None,
        };
        Some(Order {
            target: Arc::clone(&kept.order.target),
            action,
            ..order.clone()
        })
    }

    /// Why a renewal can't be: nothing is left to be renewed, or it is no renewal of that. `order` is as the server gave it.
    pub(crate) fn may_renew(&self, order: &Order) -> Result<(), String> {
        let id = order.lease.as_ref().map(|term| term.id);
        let known = self.lock();
        let kept = known.get(&order.target.id).filter(|kept| {
            kept.order.lease.as_ref().map(|term| term.id) == id && boot_ms() < kept.ends_boot_ms
        });
        let kept = kept.ok_or("its lease has run out here")?;
        match &order.action {
            Action::Drain(drain) if drain.by != kept.asked => {
                Err("it names other commands than the drain that it renews".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Carries a drain or an undrain out, with its lease on disk before the act and after it, in its target's turn. `asked` is
    /// the order as the server gave it, `now` the latest that the server's clock can show.
    pub(crate) async fn carry_out(
        &self,
        actuators: &Actuators,
        mut order: Order,
        asked: &Order,
        now: Timestamp,
    ) -> Result<Outcome, String> {
        let target = order.target.id.clone();
        let before = self.lock().get(&target).cloned();
        if let Action::Drain(Drain { by: asked, .. }) = &asked.action {
            let left = bound(&mut order, now)?;
            let kept = Kept::new(&order, asked, &self.boot_id, left)?;
            self.change(|all| {
                all.insert(target.clone(), kept);
            })?;
        }
        let outcome = actuators.carry_out(&order).await;
        match (&order.action, outcome.kind) {
            (Action::Undrain(_), OutcomeKind::Done) => {
                let forgotten = self.change(|all| {
                    all.remove(&target);
                });
                if let Err(why) = forgotten {
                    tracing::warn!(%target, "it will be given back once more: {why}");
                }
            }
            // Certainly without effect: what was before still is.
            (Action::Drain(_), OutcomeKind::Failed) => {
                let put_back = self.change(|all| match before {
                    Some(before) => {
                        all.insert(target.clone(), before);
                    }
                    None => {
                        all.remove(&target);
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

    /// Gives back whatever nobody renews, until the watch is dropped. A hook that hangs holds up its own target alone.
    pub(crate) fn watch(self: &Arc<Self>, actuators: &Actuators) -> Watch {
        let (leases, actuators) = (Arc::clone(self), actuators.clone());
        let watching = tokio::spawn(async move {
            let mut giving = JoinSet::new();
            loop {
                while giving.try_join_next().is_some() {}
                for target in leases.claim_overdue() {
                    let (leases, actuators) = (Arc::clone(&leases), actuators.clone());
                    giving.spawn(async move { leases.give_back(&actuators, &target).await });
                }
                let next = leases.lock().values().filter_map(Kept::due_boot_ms).min();
                let Some(next) = next else {
                    leases.changed.notified().await;
                    continue;
                };
                // Boot time goes on while the host sleeps, and timers may not: it is looked at again soon.
                let left = Duration::from_millis(next.saturating_sub(boot_ms()).min(1_000));
                tokio::time::timeout(left, leases.changed.notified())
                    .await
                    .ok();
            }
        });
        Watch(watching.abort_handle())
    }

    /// What is to be given back now. It is due again later, so that nothing is begun twice.
    fn claim_overdue(&self) -> Vec<TargetId> {
        let now = boot_ms();
        let mut claimed = Vec::new();
        for (target, kept) in &mut *self.lock() {
            if kept.due_boot_ms().is_some_and(|due| due <= now) {
                kept.again_boot_ms = Some(now + millis(AGAIN_MAX));
                claimed.push(target.clone());
            }
        }
        claimed
    }

    async fn give_back(&self, actuators: &Actuators, target: &TargetId) {
        let _turn = self.turn(target).await;
        // The order before may have ended it or begun another one.
        let kept = self.lock().get(target).cloned();
        let Some(kept) = kept.filter(Kept::is_over) else {
            return;
        };
        tracing::warn!(%target, "its lease ran out, and no renewal came: it is given back");
        if let Err(why) = self.try_to_give_back(actuators, &kept).await {
            tracing::error!(%target, "it can't be given back: {why}");
            self.try_later(target);
        }
    }

    async fn try_to_give_back(&self, actuators: &Actuators, kept: &Kept) -> Result<(), String> {
        let undrain = kept.undrain()?;
        let Outcome { kind, detail, .. } = actuators.give_back(&undrain).await;
        if kind != OutcomeKind::Done {
            return Err(format!("{kind}: {detail}"));
        }
        self.change(|all| {
            if let Some(kept) = all.get_mut(&undrain.target.id) {
                kept.given_back = true;
            }
        })
    }

    fn try_later(&self, target: &TargetId) {
        if let Some(kept) = self.lock().get_mut(target) {
            let again = Duration::from_secs(1 << kept.failures.min(16)).min(AGAIN_MAX);
            kept.failures = kept.failures.saturating_add(1);
            kept.again_boot_ms = Some(boot_ms() + millis(again));
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
