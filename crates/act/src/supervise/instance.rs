//! One supervised process through its life: taken over, started, watched, stopped, restarted.
//!
//! One operation at a time (`slot`), and what is seen from outside (`seen`) never waits for it. The record is
//! written before each act, so that whoever comes after a crash knows what was meant and what was done.

use std::{path::PathBuf, sync::Arc, time::Duration};

use pitcrew_model::{OperationId, StopPolicy, TargetId};
use tokio::sync::{Mutex, watch};

use crate::{
    Answer,
    launch::Launch,
    process::{Identity, now},
    signal::{self, Ended, Members},
};

use super::{
    ProcessState, Verb,
    found::{self, Marked},
    record::{Desired, Exit, Leader, Record, escape},
    spec::Spec,
};

/// What all instances share.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) installation: String,
    pub(crate) boot_id: String,
    /// Until the last operation has ended, whoever dropped the supervisor.
    pub(super) _lock: std::fs::File,
}

impl Place {
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.directory
            .join("logs")
            .join(format!("{}.log", escape(name)))
    }
}

pub(crate) struct Instance {
    pub(crate) name: TargetId,
    pub(super) place: Arc<Place>,
    pub(super) slot: Mutex<Slot>,
    pub(super) seen: watch::Sender<Seen>,
}

pub(super) struct Slot {
    /// `None` until it is configured.
    pub(super) spec: Option<Spec>,
    pub(super) record: Record,
    /// Why the record can't be believed.
    pub(super) broken: Option<String>,
    /// Found running by this Pitcrew and not yet reported.
    pub(super) is_taken_over: bool,
    /// Leaders of the same name that must not be.
    pub(super) doubles: Vec<Identity>,
    /// Digest of a specification that was reported as not yet running.
    pub(super) outdated: Option<String>,
}

impl Slot {
    fn stop_policy(&self) -> StopPolicy {
        let spec = self.spec.as_ref();
        spec.map(|spec| spec.stop.clone()).unwrap_or_default()
    }

    pub(super) fn alive(&self) -> Option<&Leader> {
        self.record
            .leader
            .as_ref()
            .filter(|leader| leader.is_alive())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Running(Identity),
    Exited(Exit),
    Stopped,
    Unknown(String),
}

/// Everything about a start that can be checked before anything is touched.
pub(super) struct Prepared {
    pub(super) launch: Launch,
    pub(super) spec_digest: String,
}

impl Instance {
    /// Finds what is known of `name`, and what of it runs.
    pub(crate) fn take_over(place: &Arc<Place>, name: TargetId, marked: &[Marked]) -> Arc<Self> {
        let read = Record::read(&place.directory, &name, &place.boot_id);
        let (mut record, broken) = match read {
            Ok(record) => (record.unwrap_or_default(), None),
            Err(why) => (Record::default(), Some(why)),
        };
        let mut leaders: Vec<&Marked> = marked
            .iter()
            .filter(|marked| marked.name == name && marked.is_leader())
            .collect();
        leaders.sort_by_key(|marked| marked.stat.identity);
        if !record.leader.as_ref().is_some_and(Leader::is_alive)
            && let Some(oldest) = leaders.first()
        {
            record.leader = Some(unrecorded(oldest, &place.boot_id));
        }
        let leader = record.leader.clone().filter(Leader::is_alive);
        let kept = leader.as_ref().map(|leader| leader.identity);
        let (seen, _) = watch::channel(first_sight(&record, broken.as_deref()));
        let instance = Arc::new(Self {
            name,
            place: Arc::clone(place),
            seen,
            slot: Mutex::new(Slot {
                spec: None,
                record,
                broken,
                is_taken_over: leader.is_some(),
                doubles: leaders
                    .iter()
                    .map(|marked| marked.stat.identity)
                    .filter(|identity| Some(*identity) != kept)
                    .collect(),
                outdated: None,
            }),
        });
        if let Some(leader) = leader {
            instance.watch_adopted(&leader);
        }
        instance
    }

    pub(crate) fn state(&self) -> ProcessState {
        match &*self.seen.borrow() {
            Seen::Running(identity) if identity.is_alive() => ProcessState::Running {
                pid: identity.pid,
                since: identity.started_at(),
            },
            Seen::Running(identity) => ProcessState::Exited {
                detail: format!("process {} has just exited", identity.pid),
                at: now(),
            },
            Seen::Exited(exit) => ProcessState::Exited {
                detail: exit.detail.clone(),
                at: exit.at,
            },
            Seen::Stopped => ProcessState::Stopped,
            Seen::Unknown(why) => ProcessState::Unknown { why: why.clone() },
        }
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.place.log(self.name.as_str())
    }

    /// `None`: it isn't configured, or an operation is under way.
    pub(crate) fn log_policy(&self) -> Option<pitcrew_model::LogPolicy> {
        let slot = self.slot.try_lock().ok()?;
        slot.spec.as_ref().map(|spec| spec.log.clone())
    }

    /// How long stopping it may take by its own policy; `None` while an operation is under way.
    pub(crate) fn grace(&self) -> Option<Duration> {
        Some(self.slot.try_lock().ok()?.stop_policy().grace)
    }

    /// An order's operation; `Failed` only while nothing was touched.
    pub(crate) async fn carry(self: &Arc<Self>, verb: Verb, id: &OperationId) -> Answer {
        let mut slot = self.slot.lock().await;
        if let Some(known) = slot.record.operation(id) {
            return known.answer.clone().unwrap_or_else(|| {
                Answer::unknown("it was begun before Pitcrew's last start and not ended")
            });
        }
        let prepared = match (verb, &slot.spec) {
            (Verb::Stop, _) => None,
            (_, None) => return Answer::failed(format!("`{}` is not configured", self.name)),
            (_, Some(spec)) => match self.prepare(spec) {
                Ok(prepared) => Some(prepared),
                Err(why) => return Answer::failed(why),
            },
        };
        let before = slot.record.clone();
        slot.record.begin(id.clone(), verb);
        slot.record.desired = match verb {
            Verb::Stop => Desired::Stopped,
            Verb::Start | Verb::Restart => Desired::Running,
        };
        if let Err(why) = self.save(&slot.record).await {
            slot.record = before;
            return Answer::failed(why);
        }
        slot.broken = None;
        let answer = match prepared {
            None => self.stop(&mut slot).await,
            Some(prepared) if verb == Verb::Start => self.start(&mut slot, prepared, id).await,
            Some(prepared) => self.restart(&mut slot, prepared, id).await,
        };
        slot.record.end(id, &answer);
        if let Err(why) = self.save(&slot.record).await {
            tracing::error!(name = %self.name, "{why}");
        }
        answer
    }

    pub(super) fn prepare(&self, spec: &Spec) -> Result<Prepared, String> {
        let launch = Launch::prepare(
            &spec.command,
            spec.user.as_deref(),
            spec.directory.as_deref(),
            spec.environment.iter().cloned(),
        )?;
        Ok(Prepared {
            launch,
            spec_digest: spec.digest(),
        })
    }

    pub(super) async fn start(
        self: &Arc<Self>,
        slot: &mut Slot,
        prepared: Prepared,
        id: &OperationId,
    ) -> Answer {
        if let Some(leader) = slot.alive() {
            return Answer::done(format!("process {} already runs", leader.identity.pid));
        }
        self.restart(slot, prepared, id).await
    }

    async fn restart(
        self: &Arc<Self>,
        slot: &mut Slot,
        prepared: Prepared,
        id: &OperationId,
    ) -> Answer {
        let ended = self.end(slot).await;
        if let Ended::Remain { why } = ended {
            return Answer::unknown(format!("not started again: {why}"));
        }
        let identity = match self.launch(slot, prepared, id).await {
            Ok(identity) => identity,
            Err(why) if ended == Ended::Nothing => return Answer::failed(why),
            Err(why) => {
                return Answer::unknown(format!("{}, but not started: {why}", ended.describe()));
            }
        };
        let before = match &ended {
            Ended::Nothing => String::new(),
            ended => format!("{}, ", ended.describe()),
        };
        let pid = identity.pid;
        match self.exit_at_once(identity).await {
            None => Answer::done(format!("{before}started as process {pid}")),
            Some(exit) => Answer::done(format!(
                "{before}started as process {pid}, which {}",
                exit.detail
            )),
        }
    }

    pub(super) async fn stop(&self, slot: &mut Slot) -> Answer {
        match self.end(slot).await {
            Ended::Remain { why } => Answer::unknown(why),
            ended => {
                self.seen.send_replace(Seen::Stopped);
                Answer::done(ended.describe())
            }
        }
    }

    /// Ends the process, its group and all that carry its marker.
    pub(super) async fn end(&self, slot: &mut Slot) -> Ended {
        let policy = slot.stop_policy();
        let leader = slot.record.leader.clone();
        let (place, name) = (Arc::clone(&self.place), self.name.clone());
        let family: Members =
            Arc::new(move || found::family(&place.installation, &name, leader.as_ref()));
        let signal = signal::by_name(&policy.signal).unwrap_or(rustix::process::Signal::TERM);
        signal::end(&family, None, signal, policy.grace).await
    }

    pub(super) fn see_stopped(&self) {
        self.seen.send_replace(Seen::Stopped);
    }

    pub(super) async fn save(&self, record: &Record) -> Result<(), String> {
        let (record, name) = (record.clone(), self.name.clone());
        let place = Arc::clone(&self.place);
        tokio::task::spawn_blocking(move || record.write(&place.directory, &name))
            .await
            .expect("writing a record does not panic")
            .map_err(|error| {
                let directory = self.place.directory.display();
                format!("its state can't be written in {directory}: {error}")
            })
    }
}

/// A process that the record doesn't know: its record was lost, or is older.
fn unrecorded(marked: &Marked, boot_id: &str) -> Leader {
    let unknown = || OperationId::new("unknown").expect("`unknown` is a fit name");
    Leader {
        identity: marked.stat.identity,
        session: marked.stat.session,
        boot_id: boot_id.to_owned(),
        operation: marked.operation.clone().unwrap_or_else(unknown),
        spec_digest: String::new(),
        log_from: 0,
    }
}

fn first_sight(record: &Record, broken: Option<&str>) -> Seen {
    match (&record.leader, broken) {
        (Some(leader), _) if leader.is_alive() => Seen::Running(leader.identity),
        (_, Some(why)) => Seen::Unknown(why.to_owned()),
        (_, None) if record.desired == Desired::Stopped => Seen::Stopped,
        (_, None) => Seen::Exited(record.exit.clone().unwrap_or_else(|| Exit {
            detail: "exited while Pitcrew was not running".to_owned(),
            at: now(),
        })),
    }
}
