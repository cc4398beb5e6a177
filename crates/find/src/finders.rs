//! Every source asked at its pace, each in a task of its own, so that none waits for another.
//!
//! Answers go through one [`Roll`], in whatever order they come; what it tells goes to the sink in that order.
//! Files are looked at every second and read when they changed and then were left alone for a second: whoever
//! rewrites one in place needs a moment. Whatever that look misses, the refresh does not.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pitcrew_model::{Event, Labels, Source, SourceKind, SourceName, Target};
use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::{
    Answer, Asker, Change, FindError, Roll, Snapshot,
    files::{self, Stamps},
};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// No source is asked more often than this, whatever the configuration says.
const REFRESH_MIN: Duration = Duration::from_secs(1);

/// How long reading may take before that itself is reported; a disk that hangs gives no error.
const PATIENCE: Duration = Duration::from_secs(60);

type Sink = dyn Fn(Event) + Send + Sync;

/// Dropped, it stops asking.
pub struct Finders {
    runtime: Handle,
    directory: PathBuf,
    shared: Arc<Shared>,
    running: HashMap<SourceName, Running>,
}

struct Running {
    source: Source,
    task: AbortHandle,
}

struct Shared {
    roll: Mutex<Roll>,
    sink: Box<Sink>,
}

impl Finders {
    /// Asks `sources`, whose files' relative paths begin at `directory`, and gives every [`Event::Targets`] and
    /// [`Event::Source`] to `sink`, which must return at once. To be called within a tokio runtime.
    pub fn start(
        sources: Vec<Source>,
        directory: PathBuf,
        sink: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        Self::resume(Roll::new(), sources, directory, sink)
    }

    /// As [`Finders::start`], with what a former run knew.
    pub fn resume(
        roll: Roll,
        sources: Vec<Source>,
        directory: PathBuf,
        sink: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        let mut finders = Self {
            runtime: Handle::current(),
            directory,
            shared: Arc::new(Shared {
                roll: Mutex::new(roll),
                sink: Box::new(sink),
            }),
            running: HashMap::new(),
        };
        finders.set(sources);
        finders
    }

    /// Other sources from now on. One that did not change is not disturbed.
    pub fn set(&mut self, sources: Vec<Source>) {
        self.running.retain(|_, running| {
            let stays = sources.contains(&running.source);
            if !stays {
                running.task.abort();
            }
            stays
        });
        self.shared.tell(|roll| roll.set(&sources));
        for source in sources {
            let is_asked = source.kind != SourceKind::Agents;
            if is_asked && !self.running.contains_key(&source.name) {
                let task = self
                    .runtime
                    .spawn(run(
                        source.clone(),
                        self.directory.clone(),
                        Arc::clone(&self.shared),
                    ))
                    .abort_handle();
                self.running
                    .insert(source.name.clone(), Running { source, task });
            }
        }
    }

    /// What a source answers that is not asked, because it speaks by itself. Labels of the source are added where
    /// a target has none of that name.
    pub fn hear(&self, source: &Source, targets: impl IntoIterator<Item = Target>) {
        let targets = targets.into_iter().map(|target| of_source(source, target));
        let answer = Answer {
            targets: targets.collect(),
            ..Answer::default()
        };
        self.shared.answer(source, Ok(answer));
    }

    /// A person says that a shrunken or empty answer is right.
    pub fn accept(&self, source: &SourceName) {
        self.shared.tell(|roll| roll.accept(source));
    }

    /// What a next run should know.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.roll().snapshot()
    }

    /// Asks nothing any more; what is known stays.
    pub fn stop(&mut self) {
        for running in self.running.values() {
            running.task.abort();
        }
        self.running.clear();
    }
}

impl Drop for Finders {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn roll(&self) -> MutexGuard<'_, Roll> {
        // Only the sink could have panicked under the lock, and then the roll was already whole again.
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock is held until all is told, so that the sink hears it in the order in which it became true.
    fn tell(&self, act: impl FnOnce(&mut Roll) -> Change) {
        let mut roll = self.roll();
        for event in act(&mut roll).events {
            (self.sink)(event);
        }
    }

    /// An answer to what the source was before the configuration changed is not heard.
    fn answer(&self, source: &Source, answer: Result<Answer, FindError>) {
        if let Err(error) = &answer {
            tracing::debug!(source = %source.name, %error, "discovery failed");
        }
        self.tell(|roll| {
            if roll.has(source) {
                roll.answer(&source.name, answer.map_err(|error| error.to_string()))
            } else {
                Change::default()
            }
        });
    }
}

async fn run(source: Source, directory: PathBuf, shared: Arc<Shared>) {
    let source = Arc::new(source);
    let mut asker = Asker::new((*source).clone(), &directory);
    loop {
        // Looked at before reading, so that a change while reading is one after it.
        let seen = look(&source, &directory).await;
        let answer = ask_patiently(&mut asker, &source, &shared).await;
        deliver(&source, &shared, answer).await;
        let Some(refresh) = refresh(&source.kind) else {
            return;
        };
        let next = Instant::now() + jittered(refresh.max(REFRESH_MIN));
        wait(next, seen, &source, &directory).await;
    }
}

async fn ask_patiently(
    asker: &mut Asker,
    source: &Arc<Source>,
    shared: &Arc<Shared>,
) -> Result<Answer, FindError> {
    let mut asking = std::pin::pin!(asker.ask());
    loop {
        match tokio::time::timeout(PATIENCE, &mut asking).await {
            Ok(answer) => return answer,
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                deliver(source, shared, Err(FindError::Deadline { seconds })).await;
            }
        }
    }
}

/// Comparing a million targets takes a second, which the runtime's own threads must not lose.
async fn deliver(source: &Arc<Source>, shared: &Arc<Shared>, answer: Result<Answer, FindError>) {
    let (for_thread, shared) = (Arc::clone(source), Arc::clone(shared));
    let told = tokio::task::spawn_blocking(move || shared.answer(&for_thread, answer)).await;
    if let Err(error) = told {
        tracing::error!(source = %source.name, %error, "an answer could not be told");
    }
}

fn of_source(source: &Source, target: Target) -> Target {
    let own = target.labels.iter();
    let added = source.labels.iter();
    let added = added.filter(|(name, _)| target.labels.get(name).is_none());
    let pairs = own
        .chain(added)
        .map(|(name, value)| (name.clone(), value.clone()));
    let labels = Labels::new(pairs).expect("names of labels that differ");
    Target {
        labels,
        source: source.name.clone(),
        ..target
    }
}

/// `None`: asking once is enough.
fn refresh(kind: &SourceKind) -> Option<Duration> {
    match kind {
        SourceKind::Static { .. } | SourceKind::Agents => None,
        SourceKind::File { refresh, .. }
        | SourceKind::Http { refresh, .. }
        | SourceKind::Dns { refresh, .. } => Some(*refresh),
    }
}

/// From 90 % to 110 %, so that many servers that started together don't ask together for ever.
fn jittered(refresh: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(()) % 1_000).unwrap_or(0);
    refresh.mul_f64(0.9 + f64::from(random) / 5_000.0)
}

/// Until `next`, or until files changed and then stayed the same for one look.
async fn wait(next: Instant, seen: Stamps, source: &Arc<Source>, directory: &Path) {
    if !matches!(source.kind, SourceKind::File { .. }) {
        return sleep_until(next).await;
    }
    let mut changing: Option<Stamps> = None;
    while Instant::now() < next {
        sleep_until(next.min(Instant::now() + LOOK)).await;
        let now = look(source, directory).await;
        if now != seen && changing.as_ref() == Some(&now) {
            return;
        }
        changing = (now != seen).then_some(now);
    }
}

async fn look(source: &Arc<Source>, directory: &Path) -> Stamps {
    let (source, directory) = (Arc::clone(source), directory.to_owned());
    let looking = tokio::task::spawn_blocking(move || match &source.kind {
        SourceKind::File { paths, .. } => files::stamps(&directory, paths),
        SourceKind::Static { .. }
        | SourceKind::Http { .. }
        | SourceKind::Dns { .. }
        | SourceKind::Agents => Stamps::new(),
    });
    // It breaks off only when the runtime ends.
    looking.await.unwrap_or_default()
}
