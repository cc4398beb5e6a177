//! A process from its start to its exit: begun behind the gate, watched, and its end kept as evidence.

use std::{sync::Arc, time::Duration};

use pitcrew_model::OperationId;
use tokio::process::Child;

use crate::{
    log_file,
    process::{Identity, now},
    signal::{self, Held},
};

use super::{
    found,
    gate::Gated,
    instance::{Instance, Prepared, Seen, Slot},
    record::{Exit, Leader},
};

/// A program that exits within this time of its start is reported with the start.
const EXIT_AT_ONCE: Duration = Duration::from_millis(200);

impl Instance {
    pub(super) async fn launch(
        self: &Arc<Self>,
        slot: &mut Slot,
        prepared: Prepared,
        id: &OperationId,
    ) -> Result<Identity, String> {
        let Prepared {
            mut launch,
            spec_digest,
        } = prepared;
        let marker = format!("{}/{}", self.place.installation, self.name);
        launch.set(found::SUPERVISED, &marker);
        launch.set(found::OPERATION, id.as_str());
        let path = self.log();
        let log = log_file::open(&path)
            .map_err(|error| format!("{} can't be written: {error}", path.display()))?;
        let log_from = log_file::size(&path);
        let gated = Gated::fork(&launch, &log)
            .map_err(|error| format!("`{}` can't be started: {error}", launch.program()))?;
        let leader = Leader {
            identity: gated.stat.identity,
            session: gated.stat.session,
            boot_id: self.place.boot_id.clone(),
            operation: id.clone(),
            spec_digest,
            log_from,
        };
        let before = slot.record.clone();
        slot.record.leader = Some(leader.clone());
        slot.record.exit = None;
        if let Err(why) = self.save(&slot.record).await {
            slot.record = before;
            return Err(why);
        }
        let child = gated
            .open()
            .await
            .map_err(|error| format!("`{}` can't be started: {error}", launch.program()))?;
        self.seen.send_replace(Seen::Running(leader.identity));
        slot.is_taken_over = false;
        let identity = leader.identity;
        self.watch_child(child, leader);
        Ok(identity)
    }

    pub(super) async fn exit_at_once(&self, identity: Identity) -> Option<Exit> {
        let mut seen = self.seen.subscribe();
        let exited = seen.wait_for(|seen| *seen != Seen::Running(identity));
        match tokio::time::timeout(EXIT_AT_ONCE, exited).await {
            Ok(Ok(seen)) => match &*seen {
                Seen::Exited(exit) => Some(exit.clone()),
                Seen::Running(_) | Seen::Stopped | Seen::Unknown(_) => None,
            },
            Ok(Err(_)) | Err(_) => None,
        }
    }

    fn watch_child(self: &Arc<Self>, mut child: Child, leader: Leader) {
        let instance = Arc::downgrade(self);
        let began = std::time::Instant::now();
        tokio::spawn(async move {
            let how = match child.wait().await {
                Ok(status) => describe_exit(status),
                Err(error) => format!("exited (its status can't be had: {error})"),
            };
            let detail = format!("{how} after {}", describe_age(began.elapsed()));
            if let Some(instance) = instance.upgrade() {
                instance.exited(&leader, detail).await;
            }
        });
    }

    /// The exit status of a process goes to its parent alone, and that was an earlier Pitcrew.
    pub(super) fn watch_adopted(self: &Arc<Self>, leader: &Leader) {
        let (instance, leader) = (Arc::downgrade(self), leader.clone());
        let held = Held::hold(leader.identity);
        tokio::spawn(async move {
            let watched = match held {
                Some(held) => held.exited().await,
                None => Ok(()),
            };
            let Some(instance) = instance.upgrade() else {
                return;
            };
            if let Err(error) = watched {
                tracing::error!(name = %instance.name, "its exit can't be watched: {error}");
                return;
            }
            let how = "exited (an earlier run of Pitcrew had started it, so how is not known)";
            instance.exited(&leader, how.to_owned()).await;
        });
    }

    async fn exited(&self, leader: &Leader, detail: String) {
        let words = log_file::last_line(&self.log(), leader.log_from);
        let exit = Exit {
            detail: words.map_or_else(|| detail.clone(), |words| format!("{detail}: {words}")),
            at: now(),
        };
        self.seen.send_if_modified(|seen| {
            let is_it = *seen == Seen::Running(leader.identity);
            if is_it {
                *seen = Seen::Exited(exit.clone());
            }
            is_it
        });
        // Waits for an operation under way; by then another process may be the instance.
        let mut slot = self.slot.lock().await;
        let recorded = slot.record.leader.as_ref().map(|leader| leader.identity);
        if recorded == Some(leader.identity) {
            slot.record.exit = Some(exit);
            if let Err(why) = self.save(&slot.record).await {
                tracing::error!(name = %self.name, "{why}");
            }
        }
    }
}

/// `exited with 1`, `killed by signal 9 (KILL)`
pub(crate) fn describe_exit(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("killed by signal {}", signal::name(signal)),
        (None, None) => "exited".to_owned(),
    }
}

fn describe_age(age: Duration) -> String {
    if age < Duration::from_secs(1) {
        format!("{} ms", age.as_millis())
    } else {
        let whole = Duration::from_secs(age.as_secs());
        pitcrew_model::format_duration(whole)
    }
}
