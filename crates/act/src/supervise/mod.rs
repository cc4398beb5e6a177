//! The supervisor: processes that Pitcrew itself keeps, and that live on when it dies.
//!
//! ```text
//! DIRECTORY/lock               held while a Pitcrew runs here
//! DIRECTORY/NAME.json          what is known of one instance        (record)
//! DIRECTORY/logs/NAME.log[.N]  its output, appended by itself       (log_file)
//! DIRECTORY/operations.jsonl   every operation begun and ended      (journal)
//! DIRECTORY/fence              highest fence seen                   (fence)
//! ```
//!
//! It never restarts by itself what has exited: whether that is wise is the engine's to decide. `set` starts
//! what should run and doesn't, so it is for the start of Pitcrew and for a new configuration.
//!
//! What is not used, and why: cgroups, since their hierarchy is not everyone's to write; marker, process
//! group and a sweep until nothing remains do the same on every host. One thing is lost without a session of
//! its own for each process: when Pitcrew dies in a terminal while an instance is stopped (SIGSTOP), the
//! kernel sends that instance's group SIGHUP and SIGCONT.

mod found;
mod gate;
mod instance;
mod record;
mod rotation;
mod running;
mod settle;
mod spec;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use pitcrew_model::{OperationId, Run, Target, TargetId, Timestamp};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::{Answer, fence::Fence, journal::Journal, process};

use instance::{Instance, Place};
use spec::Spec;

pub(crate) use found::OPERATION;
pub(crate) use running::describe_exit;
pub use settle::{Change, ChangeKind};

/// How long the directory of a Pitcrew that has just died may still be locked: by a fork of it that hasn't
/// become its program yet.
const LOCK_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    #[error("the directory of supervised processes {} can't be used", path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another Pitcrew runs with {}", path.display())]
    Taken { path: PathBuf },
    #[error(
        "`{0}` can't be the name of an installation: it must have no `/` and no control character"
    )]
    Installation(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verb {
    Start,
    Stop,
    Restart,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessState {
    Running {
        pid: u32,
        since: Timestamp,
    },
    /// By itself.
    Exited {
        detail: String,
        at: Timestamp,
    },
    /// By an order.
    Stopped,
    Unknown {
        why: String,
    },
}

/// Cheap to clone; the clones are one.
#[derive(Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

struct Inner {
    place: Arc<Place>,
    instances: Mutex<BTreeMap<TargetId, Arc<Instance>>>,
    /// One configuration at a time.
    setting: tokio::sync::Mutex<()>,
    journal: Journal,
    fence: Fence,
}

impl Supervisor {
    /// Takes over what already runs for `installation` (a name unique on this host) under `directory`.
    /// To be called within a tokio runtime.
    pub fn new(directory: PathBuf, installation: String) -> Result<Self, SuperviseError> {
        if installation.is_empty()
            || installation.contains('/')
            || installation.contains(char::is_control)
        {
            return Err(SuperviseError::Installation(installation));
        }
        let usable = |result: io::Result<_>| {
            result.map_err(|source| SuperviseError::Directory {
                path: directory.clone(),
                source,
            })
        };
        usable(fs::create_dir_all(directory.join("logs")))?;
        // Programs run in directories of their own, and their logs must still be found.
        let directory_absolute =
            fs::canonicalize(&directory).map_err(|source| SuperviseError::Directory {
                path: directory.clone(),
                source,
            })?;
        let lock = lock(&directory_absolute)?;
        let named = |source| SuperviseError::Directory {
            path: directory.clone(),
            source,
        };
        let place = Arc::new(Place {
            installation,
            boot_id: process::boot_id().map_err(named)?,
            directory: directory_absolute,
            _lock: lock,
        });
        let inner = Arc::new(Inner {
            instances: Mutex::new(find_instances(&place).map_err(named)?),
            setting: tokio::sync::Mutex::new(()),
            journal: Journal::open(&place.directory, process::now()).map_err(named)?,
            fence: Fence::open(&place.directory).map_err(named)?,
            place,
        });
        tokio::spawn(rotation::rotate_logs(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// One target per instance of `runs`.
    #[must_use]
    pub fn targets(runs: &[Run]) -> Vec<Target> {
        spec::targets(runs)
    }

    /// Starts what should run and does not (unless an order stopped it), with one try each, and stops with
    /// grace what is no longer configured. What runs as configured before goes on until it is restarted.
    pub async fn set(&self, runs: &[Run]) -> Vec<Change> {
        let _setting = self.inner.setting.lock().await;
        let mut specs: BTreeMap<TargetId, Result<Spec, String>> =
            Spec::all(runs).into_iter().collect();
        let known: Vec<Arc<Instance>> = {
            let mut instances = self.instances();
            for name in specs.keys() {
                instances
                    .entry(name.clone())
                    .or_insert_with(|| Instance::take_over(&self.inner.place, name.clone(), &[]));
            }
            instances.values().cloned().collect()
        };
        let settling = known.iter().map(|instance| {
            let spec = specs.remove(&instance.name);
            let is_configured = spec.is_some();
            async move { (is_configured, instance, instance.settle(spec).await) }
        });
        let mut changes = Vec::new();
        for (is_configured, instance, changed) in futures_util::future::join_all(settling).await {
            let failed = changed.iter().any(|it| it.kind == ChangeKind::Failed);
            if !is_configured && !failed {
                self.instances().remove(&instance.name);
            }
            changes.extend(changed);
        }
        changes
    }

    #[must_use]
    pub fn state(&self, name: &TargetId) -> ProcessState {
        match self.instance(name) {
            Ok(instance) => instance.state(),
            Err(why) => ProcessState::Unknown { why },
        }
    }

    pub async fn start(&self, name: &TargetId, operation: &OperationId) -> Answer {
        self.carry(name, Verb::Start, operation).await
    }

    /// It stays stopped, also over restarts of Pitcrew, until an order starts it.
    pub async fn stop(&self, name: &TargetId, operation: &OperationId) -> Answer {
        self.carry(name, Verb::Stop, operation).await
    }

    pub async fn restart(&self, name: &TargetId, operation: &OperationId) -> Answer {
        self.carry(name, Verb::Restart, operation).await
    }

    /// Ends everything that runs; the next `set` starts it again.
    pub async fn stop_all(&self) {
        let all: Vec<Arc<Instance>> = self.instances().values().cloned().collect();
        futures_util::future::join_all(all.iter().map(|it| it.end_with_pitcrew())).await;
    }

    /// A task of its own: whoever asked may stop waiting, and what was begun is still ended.
    pub(crate) async fn carry(&self, name: &TargetId, verb: Verb, id: &OperationId) -> Answer {
        let instance = match self.instance(name) {
            Ok(instance) => instance,
            Err(why) => return Answer::failed(why),
        };
        let id = id.clone();
        let task = tokio::spawn(async move { instance.carry(verb, &id).await });
        task.await
            .unwrap_or_else(|error| Answer::unknown(format!("cut off: {error}")))
    }

    pub(crate) async fn reconcile(&self, name: &TargetId, verb: Verb, id: &OperationId) -> Answer {
        match self.instance(name) {
            Ok(instance) => instance.reconcile(verb, id).await,
            Err(why) => Answer::unknown(why),
        }
    }

    /// How long stopping `name` may take by its own policy; `None` when that can't be told now.
    pub(crate) fn grace(&self, name: &TargetId) -> Option<Duration> {
        self.instance(name).ok()?.grace()
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    pub(crate) fn fence(&self) -> &Fence {
        &self.inner.fence
    }

    /// Where a program's output goes that is not an instance's.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.inner.place.log(name)
    }

    fn instance(&self, name: &TargetId) -> Result<Arc<Instance>, String> {
        let found = self.instances().get(name).cloned();
        found.ok_or_else(|| format!("`{name}` is not one of the processes that Pitcrew runs"))
    }

    fn instances(&self) -> std::sync::MutexGuard<'_, BTreeMap<TargetId, Arc<Instance>>> {
        let instances = self.inner.instances.lock();
        instances.unwrap_or_else(PoisonError::into_inner)
    }
}

fn find_instances(place: &Arc<Place>) -> io::Result<BTreeMap<TargetId, Arc<Instance>>> {
    let marked = found::marked(&place.installation);
    let mut names = record::names(&place.directory)?;
    names.extend(marked.iter().map(|marked| marked.name.clone()));
    names.sort_unstable();
    names.dedup();
    Ok(names
        .into_iter()
        .map(|name| {
            let instance = Instance::take_over(place, name.clone(), &marked);
            (name, instance)
        })
        .collect())
}

fn lock(directory: &Path) -> Result<fs::File, SuperviseError> {
    let path = directory.join("lock");
    let open = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path);
    let file = open.map_err(|source| SuperviseError::Directory {
        path: path.clone(),
        source,
    })?;
    let deadline = Instant::now() + LOCK_WAIT;
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() >= deadline {
            return Err(SuperviseError::Taken {
                path: directory.to_owned(),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(file)
}
