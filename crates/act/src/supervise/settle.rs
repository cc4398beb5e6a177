//! Brings one instance to what the configuration says: level-triggered, so that running it twice changes
//! nothing, and running it after a crash finishes what was begun.

use std::{sync::Arc, time::Duration};

use pitcrew_model::{Fact, OperationId, TargetId};

use crate::{
    Answer,
    process::now,
    signal::{self, Ended, Members},
};

use super::{
    Verb, found,
    instance::{Instance, Slot},
    record::{Desired, Operation, Record},
    spec::Spec,
};

/// How long a gate left by a dead Pitcrew may take to leave or to become the program.
const GATE_WAIT: Duration = Duration::from_secs(2);

/// What `Supervisor::set` did, for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub name: TargetId,
    pub kind: ChangeKind,
    /// One line.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Started,
    /// It was already running: an earlier Pitcrew had started it.
    TakenOver,
    /// It runs as configured before; a restart will take the new configuration.
    Outdated,
    /// It is no longer configured, or an order to stop it was finished.
    Stopped,
    /// A second process of the same name was ended.
    DoubleEnded,
    /// It should run and doesn't.
    Failed,
}

impl Change {
    /// As the ledger has it.
    #[must_use]
    pub fn fact(&self) -> Fact {
        let (name, detail) = (self.name.to_string(), self.detail.clone());
        match self.kind {
            ChangeKind::Started | ChangeKind::TakenOver | ChangeKind::Outdated => {
                Fact::ProcessStarted { name, detail }
            }
            ChangeKind::Stopped | ChangeKind::DoubleEnded | ChangeKind::Failed => {
                Fact::ProcessStopped { name, detail }
            }
        }
    }
}

impl Instance {
    /// `None`: it is no longer configured.
    pub(super) async fn settle(
        self: &Arc<Self>,
        spec: Option<Result<Spec, String>>,
    ) -> Vec<Change> {
        let mut slot = self.slot.lock().await;
        wait_for_gate(&slot).await;
        let mut changes = self.end_doubles(&mut slot).await;
        match spec {
            None => changes.extend(self.withdraw(&mut slot).await),
            Some(Err(why)) => changes.push(self.change(ChangeKind::Failed, why)),
            Some(Ok(spec)) => {
                slot.spec = Some(spec.clone());
                changes.extend(self.keep(&mut slot, &spec).await);
            }
        }
        changes
    }

    async fn keep(self: &Arc<Self>, slot: &mut Slot, spec: &Spec) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(why) = slot.broken.clone().filter(|_| slot.alive().is_none()) {
            let why = format!("not started, since a person may have stopped it: {why}");
            return vec![self.change(ChangeKind::Failed, why)];
        }
        changes.extend(self.finish(slot, spec).await);
        if slot.record.desired == Desired::Stopped {
            return changes;
        }
        let Some(leader) = slot.alive().cloned() else {
            changes.push(self.start_configured(slot, spec).await);
            return changes;
        };
        let pid = leader.identity.pid;
        if std::mem::take(&mut slot.is_taken_over) {
            changes.push(self.change(
                ChangeKind::TakenOver,
                format!("process {pid} was running and is taken over"),
            ));
            if let Err(why) = self.save(&slot.record).await {
                changes.push(self.change(ChangeKind::Failed, why));
            }
        }
        let digest = spec.digest();
        let is_new = !leader.spec_digest.is_empty() && leader.spec_digest != digest;
        if is_new && slot.outdated.as_ref() != Some(&digest) {
            slot.outdated = Some(digest);
            changes.push(self.change(
                ChangeKind::Outdated,
                format!("process {pid} runs as configured before, until it is restarted"),
            ));
        }
        changes
    }

    async fn start_configured(self: &Arc<Self>, slot: &mut Slot, spec: &Spec) -> Change {
        let id = OperationId::new("configuration").expect("`configuration` is a fit name");
        self.start_as(slot, spec, &id).await.1
    }

    async fn start_as(
        self: &Arc<Self>,
        slot: &mut Slot,
        spec: &Spec,
        id: &OperationId,
    ) -> (Answer, Change) {
        let answer = match self.prepare(spec) {
            Ok(prepared) => self.start(slot, prepared, id).await,
            Err(why) => Answer::failed(why),
        };
        let kind = match answer.kind {
            pitcrew_model::OutcomeKind::Done => ChangeKind::Started,
            pitcrew_model::OutcomeKind::Failed | pitcrew_model::OutcomeKind::Unknown => {
                ChangeKind::Failed
            }
        };
        let change = self.change(kind, answer.detail.clone());
        (answer, change)
    }

    /// Ends in its own name what an order began before Pitcrew died, as far as that is certain.
    async fn finish(self: &Arc<Self>, slot: &mut Slot, spec: &Spec) -> Option<Change> {
        let unfinished = slot.record.unfinished()?.clone();
        if unfinished.verb == Verb::Restart {
            wait_until_gone(slot, &unfinished, spec.stop.grace).await;
        }
        let alive = slot.alive().cloned();
        let (answer, change) = match (unfinished.verb, alive) {
            (Verb::Stop, _) => {
                let answer = self.stop(slot).await;
                let change = self.change(ChangeKind::Stopped, answer.detail.clone());
                (answer, Some(change))
            }
            (_, Some(leader)) if leader.operation == unfinished.id => {
                let detail = format!("started as process {}", leader.identity.pid);
                (Answer::done(detail), None)
            }
            (Verb::Start, Some(leader)) => {
                let detail = format!("process {} already ran", leader.identity.pid);
                (Answer::done(detail), None)
            }
            (Verb::Restart, Some(leader)) => {
                let pid = leader.identity.pid;
                let detail = format!("process {pid} from before still runs, also after its grace");
                (Answer::unknown(detail), None)
            }
            (Verb::Start | Verb::Restart, None) => {
                let (answer, change) = self.start_as(slot, spec, &unfinished.id).await;
                (answer, Some(change))
            }
        };
        slot.record.end(&unfinished.id, &answer);
        if let Err(why) = self.save(&slot.record).await {
            return Some(self.change(ChangeKind::Failed, why));
        }
        change
    }

    async fn withdraw(&self, slot: &mut Slot) -> Option<Change> {
        let answer = match self.end(slot).await {
            Ended::Remain { why } => return Some(self.change(ChangeKind::Failed, why)),
            ended => ended,
        };
        self.see_stopped();
        slot.spec = None;
        slot.record = Record::default();
        if let Err(error) = Record::remove(&self.place.directory, &self.name) {
            let why = format!("its state can't be removed: {error}");
            return Some(self.change(ChangeKind::Failed, why));
        }
        (answer != Ended::Nothing).then(|| {
            let detail = format!("no longer configured: {}", answer.describe());
            self.change(ChangeKind::Stopped, detail)
        })
    }

    async fn end_doubles(&self, slot: &mut Slot) -> Vec<Change> {
        let mut changes = Vec::new();
        for double in std::mem::take(&mut slot.doubles) {
            let (place, name) = (Arc::clone(&self.place), self.name.clone());
            let family: Members =
                Arc::new(move || found::family_of_double(&place.installation, &name, double.pid));
            let (kill, no_grace) = (rustix::process::Signal::KILL, Duration::ZERO);
            let ended = signal::end(&family, None, kill, no_grace).await;
            changes.push(self.change(
                ChangeKind::DoubleEnded,
                format!(
                    "second process {} of this name: {}",
                    double.pid,
                    ended.describe()
                ),
            ));
        }
        changes
    }

    /// Ends it as Pitcrew itself ends, without a word about whether it should run.
    pub(super) async fn end_with_pitcrew(&self) {
        let mut slot = self.slot.lock().await;
        if let Ended::Remain { why } = self.end(&mut slot).await {
            tracing::error!(name = %self.name, "{why}");
            return;
        }
        self.see_stopped();
        slot.record.leader = None;
        if let Err(why) = self.save(&slot.record).await {
            tracing::error!(name = %self.name, "{why}");
        }
    }

    /// What became of an order's operation that may have been cut off by Pitcrew's death. The record is
    /// written before anything is touched, so an operation that it doesn't know had no effect.
    pub(super) async fn reconcile(&self, verb: Verb, id: &OperationId) -> Answer {
        let slot = self.slot.lock().await;
        let alive = slot.alive();
        if let Some(why) = &slot.broken {
            return Answer::unknown(why);
        }
        match (slot.record.operation(id), alive) {
            (Some(known), _) if known.answer.is_some() => {
                known.answer.clone().unwrap_or_else(|| Answer::unknown(""))
            }
            (_, Some(leader)) if leader.operation == *id => {
                Answer::done(format!("started as process {}", leader.identity.pid))
            }
            (Some(_), None) if verb == Verb::Stop => Answer::done("nothing runs"),
            (Some(_), _) => Answer::unknown("Pitcrew's death cut it off in the middle"),
            (None, _) if slot.record.remembers_all() => {
                Answer::failed("it was never begun: its record doesn't know it")
            }
            (None, _) => Answer::unknown("its record no longer reaches back to it"),
        }
    }

    fn change(&self, kind: ChangeKind, detail: String) -> Change {
        Change {
            name: self.name.clone(),
            kind,
            detail,
        }
    }
}

/// A process that a dead Pitcrew may have told to stop is given the rest of its grace to leave. It isn't told
/// again: the order may be old by now, and then to go on with it would be a disruption nobody decided.
async fn wait_until_gone(slot: &Slot, unfinished: &Operation, grace: Duration) {
    let Some(leader) = slot.alive().filter(|it| it.operation != unfinished.id) else {
        return;
    };
    let most = grace + Duration::from_millis(100);
    // The clock may have been set back since.
    let rest = (unfinished.at + most).since(now()).min(most);
    let gone = tokio::time::timeout(rest, async {
        while leader.is_alive() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    if gone.await.is_err() {
        tracing::warn!(
            pid = leader.identity.pid,
            "still runs after a restart that was cut off"
        );
    }
}

/// A gate whose Pitcrew died leaves by itself, or becomes the program if it had been told to.
async fn wait_for_gate(slot: &Slot) {
    let Some(leader) = slot.record.leader.as_ref() else {
        return;
    };
    let identity = leader.identity;
    let waited = tokio::time::timeout(GATE_WAIT, async {
        while found::is_at_gate(identity) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    if waited.await.is_err()
        && let Some(held) = signal::Held::hold(identity)
        && let Err(error) = held.signal(rustix::process::Signal::KILL)
    {
        tracing::error!(pid = identity.pid, "a gate can't be ended: {error}");
    }
}
