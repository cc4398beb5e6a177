//! Orders that take a machine down, and the proof that they did: its agent comes back with another boot id.
//!
//! Neither systemd's word nor a controller's counts. Without an agent there is no proof, and the outcome is that it may
//! have taken effect; the target's tests decide.

use std::time::Duration;

use pitcrew_model::{Order, Outcome, OutcomeKind};
use pitcrew_wire::HostName;

use super::{Fleet, inventories::Boot};

/// Longer than any machine boots, shorter than what is overdue.
const BOOT_MAX: Duration = Duration::from_secs(12 * 60);

impl Fleet {
    /// A connected host has said which boot it runs.
    pub(super) fn has_booted(&self, host: &HostName) {
        let line = self.sessions().line(host);
        let now = self.clock.now();
        if line.is_some_and(|line| self.inventories().booted(host, line.boot_id, now)) {
            self.unsaved.notify_one();
        }
    }

    fn boot_of(&self, host: &HostName) -> Option<Boot> {
        self.inventories().boot(host).cloned()
    }

    /// What became of an order that was carried out by `acting`.
    pub(crate) async fn prove(
        &self,
        order: &Order,
        acting: impl Future<Output = Outcome>,
    ) -> Outcome {
        let host = HostName::new(order.acts_on().id.as_str()).ok();
        let before = host.as_ref().and_then(|host| self.boot_of(host));
        let said = acting.await;
        let (Some(host), Some(before)) = (host, before) else {
            return without_proof(said);
        };
        let is_new = |boot: &Boot| boot.id != before.id;
        self.until_booted(order, &host, said, is_new).await
    }

    /// The same for an order of a former run: only a boot that was first heard of since then is its doing.
    pub(crate) async fn prove_later(&self, order: &Order, said: Outcome) -> Outcome {
        let host = HostName::new(order.acts_on().id.as_str()).ok();
        let Some(host) = host.filter(|host| self.boot_of(host).is_some()) else {
            return without_proof(said);
        };
        let is_new = |boot: &Boot| boot.before.is_some() && boot.since >= order.given_at;
        self.until_booted(order, &host, said, is_new).await
    }

    async fn until_booted(
        &self,
        order: &Order,
        host: &HostName,
        said: Outcome,
        is_new: impl Fn(&Boot) -> bool,
    ) -> Outcome {
        if said.kind == OutcomeKind::Failed {
            return said;
        }
        let patience = order.settle.min(BOOT_MAX);
        let mut moved = self.moved.subscribe();
        let booting = async {
            loop {
                moved.borrow_and_update();
                if let Some(boot) = self.boot_of(host).filter(&is_new) {
                    return boot;
                }
                // The sender is ours: it can't be gone.
                moved.changed().await.ok();
            }
        };
        let (kind, detail) = match tokio::time::timeout(patience, booting).await {
            Ok(Boot { id, before, .. }) => {
                let before = before.unwrap_or_default();
                let proof = format!("{host} has booted: its boot id was {before} and is {id}");
                (OutcomeKind::Done, format!("{}; {proof}", said.detail))
            }
            Err(_elapsed) => {
                let seconds = patience.as_secs();
                let why = format!("{host} has not come back with a new boot id within {seconds} s");
                (OutcomeKind::Unknown, format!("{}; {why}", said.detail))
            }
        };
        Outcome {
            kind,
            detail,
            // What was asked before the host was back proves nothing.
            at: self.clock.now(),
            ..said
        }
    }
}

fn without_proof(said: Outcome) -> Outcome {
    if said.kind == OutcomeKind::Failed {
        return said;
    }
    Outcome {
        kind: OutcomeKind::Unknown,
        detail: format!(
            "{}; no agent is known there whose boot id could prove it",
            said.detail
        ),
        ..said
    }
}
