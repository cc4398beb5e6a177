//! The metrics store within the server: opened beside the loop, kept up by threads of its own, closed at the end.
//!
//! Nothing here may hold up or end the loop. A store that can't be opened is tried again every few seconds; until
//! then whoever asks for it is told why. One that can't write refuses what comes and goes on answering; when the
//! disk has room again, so has it.

mod counts;
mod gathered;
mod keep;
mod memory;
mod own;
pub(crate) mod scrape;
mod troubles;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError, RwLock, mpsc},
    thread,
    time::Duration,
};

use pitcrew_model::MetricsSettings;
use pitcrew_tsdb::{Accepted, Batch, Error, Limits, Options, Store};

pub(crate) use counts::Counts;
pub(crate) use gathered::{BYTES_MAX as GATHERED_BYTES_MAX, Form, Gathered, Keys, LABELS_MAX};
pub(crate) use own::{INTERVAL as OWN_INTERVAL, Told};
pub(crate) use scrape::OwnPages;

use crate::{
    clock::{self, Clock},
    serve::ServeError,
};
use troubles::{Part, Troubles, words};

/// What is acknowledged is on the disk by then, also when the power fails.
const SYNC: Duration = Duration::from_millis(200);

/// Between looks whether something is to be sealed, merged or deleted.
const UPKEEP: Duration = Duration::from_secs(1);

/// Between attempts to open a store.
const REOPEN: Duration = Duration::from_secs(5);

/// How long the start waits for a store that has much to replay.
const OPENING: Duration = Duration::from_secs(2);

/// The metrics store, or why there is none now.
pub(crate) struct Telemetry {
    /// As configured.
    settings: MetricsSettings,
    options: Options,
    memory_bytes: u64,
    clock: Clock,
    store: RwLock<Result<Arc<Store>, NoStore>>,
    troubles: Troubles,
    counts: Counts,
    stopping: Mutex<bool>,
    stopped: Condvar,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

/// Why nothing can be asked or stored now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoStore {
    #[error("the metrics store is being opened; try again")]
    Opening,
    #[error("there is no metrics store, it is tried again every 5 s: {why}")]
    Closed { why: String },
    #[error("the server is stopping")]
    Stopping,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    #[error(transparent)]
    NoStore(#[from] NoStore),
    #[error("{}", words(.0))]
    Store(#[from] Error),
}

impl Telemetry {
    /// Opens the store in a directory. `memory_bytes` wins over what is configured.
    pub(crate) fn start(
        directory: &Path,
        settings: &MetricsSettings,
        memory_bytes: Option<u64>,
        clock: Clock,
    ) -> Result<Arc<Self>, ServeError> {
        let memory_bytes = memory_bytes.or(settings.memory_bytes);
        let memory_bytes = memory_bytes.unwrap_or_else(memory::a_quarter);
        let telemetry = Arc::new(Self {
            settings: settings.clone(),
            options: options(directory, settings, memory_bytes),
            memory_bytes,
            clock,
            store: RwLock::new(Err(NoStore::Opening)),
            troubles: Troubles::default(),
            counts: Counts::default(),
            stopping: Mutex::new(false),
            stopped: Condvar::new(),
            threads: Mutex::default(),
        });
        let (opened, tried) = mpsc::channel();
        telemetry.spawn("metrics-upkeep", move |this| this.keep_up(opened))?;
        telemetry.spawn("metrics-sync", Self::keep_synced)?;
        // A store with much to replay is opened while the loop runs already.
        tried.recv_timeout(OPENING).ok();
        Ok(telemetry)
    }

    fn spawn(
        self: &Arc<Self>,
        name: &str,
        run: impl FnOnce(&Self) + Send + 'static,
    ) -> Result<(), ServeError> {
        let this = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&this));
        let thread = spawned.map_err(|source| ServeError::System {
            doing: "start a thread",
            source,
        })?;
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push(thread);
        Ok(())
    }

    /// Where backups go: beside the store, so that they share its files.
    pub(crate) fn backups(&self) -> PathBuf {
        self.options.directory.with_file_name("metrics-backups")
    }

    /// What all queries together may take of the budget of memory.
    pub(crate) fn query_bytes(&self) -> u64 {
        self.memory_bytes / 4
    }

    /// What one message may take once it is decoded: two that are pushed and two that are imported at once share an
    /// eighth of the budget, unless that is less than common messages need.
    pub(crate) fn message_bytes(&self) -> usize {
        let share = usize::try_from(self.memory_bytes / 32).unwrap_or(usize::MAX);
        share.clamp(16 << 20, GATHERED_BYTES_MAX)
    }

    /// What the pages of targets may take on their way of the budget of memory.
    fn page_bytes(&self) -> usize {
        usize::try_from(self.memory_bytes / 16).unwrap_or(usize::MAX)
    }

    /// For readers.
    pub(crate) fn store(&self) -> Result<Arc<Store>, NoStore> {
        self.store
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Stores a batch. What it says was taken survives the end of this process.
    pub(crate) fn append(&self, batch: &Batch<'_>) -> Result<Accepted, NotTaken> {
        self.store_with(batch, Store::append)
    }

    /// The same with samples of any age that is kept.
    pub(crate) fn backfill(&self, batch: &Batch<'_>) -> Result<Accepted, NotTaken> {
        self.store_with(batch, Store::backfill)
    }

    fn store_with(
        &self,
        batch: &Batch<'_>,
        store_batch: impl FnOnce(&Store, &Batch<'_>, i64) -> Result<Accepted, Error>,
    ) -> Result<Accepted, NotTaken> {
        let store = self.store().inspect_err(|_| {
            self.counts.refuse("no_store", batch.samples.len());
        })?;
        let appended = store_batch(&store, batch, self.now_ms());
        // Too much at once passes by itself and is told to whoever sent it.
        let trouble = appended.as_ref().err();
        let trouble = trouble.filter(|error| !matches!(error, Error::Overloaded { .. }));
        self.troubles.set(Part::Append, trouble.map(words));
        match &appended {
            Ok(accepted) => self.counts.add(accepted),
            Err(Error::Overloaded { .. }) => self.counts.refuse("overload", batch.samples.len()),
            Err(_) => self.counts.refuse("write", batch.samples.len()),
        }
        Ok(appended?)
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Reads what is a state from the store, which may wait for whoever writes into it.
    pub(crate) fn refresh_counts(&self) {
        self.counts
            .set(self.store().ok().map(|store| store.statistics()));
    }

    pub(crate) fn settings(&self) -> &MetricsSettings {
        &self.settings
    }

    /// What the wall clock says, in milliseconds since the epoch: those who send samples and ask for them go by it.
    pub(crate) fn now_ms(&self) -> i64 {
        i64::try_from(clock::wall().as_millis()).unwrap_or(i64::MAX)
    }

    /// By how much the loop's clock is ahead of [`Self::now_ms`].
    fn loop_ahead_ms(&self) -> i64 {
        millis(self.clock.ahead())
    }

    /// What is wrong with it, one line each.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let mut troubles = self.troubles.lines();
        if let Ok(store) = self.store() {
            let damage = store.damage().into_iter();
            troubles.extend(damage.map(|what| format!("some metrics can't be read: {what}")));
        }
        troubles
    }

    /// Nothing is taken any more; what was taken is on the disk when this returns.
    pub(crate) fn stop(&self) {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.notify_all();
        let threads = {
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *threads)
        };
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the metrics store ended badly");
            }
        }
        let before = self.replace(Err(NoStore::Stopping));
        if let Ok(store) = before
            && let Err(error) = store.sync()
        {
            tracing::error!("failed to flush metrics at the end: {}", words(&error));
        }
    }

    fn replace(&self, store: Result<Arc<Store>, NoStore>) -> Result<Arc<Store>, NoStore> {
        let mut place = self.store.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut place, store)
    }

    /// Whether the server stops, waiting for it that long at most.
    fn stops_within(&self, pause: Duration) -> bool {
        let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .stopped
            .wait_timeout_while(stopping, pause, |stopping| !*stopping);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn keep_synced(&self) {
        while !self.stops_within(SYNC) {
            if let Ok(store) = self.store() {
                let synced = store.sync();
                self.troubles
                    .set(Part::Sync, synced.as_ref().err().map(words));
            }
        }
    }

    /// `opened` hears of the first attempt.
    fn keep_up(&self, opened: mpsc::Sender<()>) {
        let mut opened = Some(opened);
        loop {
            let pause = match self.store() {
                Ok(store) => self.maintain(&store),
                Err(_) => self.open(),
            };
            opened.take();
            if self.stops_within(pause) {
                return;
            }
        }
    }

    /// How long to wait until the next step.
    fn open(&self) -> Duration {
        let opened = Store::open(self.options.clone(), self.now_ms());
        self.troubles
            .set(Part::Open, opened.as_ref().err().map(words));
        match opened {
            Ok(store) => {
                for notice in store.notices() {
                    tracing::warn!("metrics: {notice}");
                }
                drop(self.replace(Ok(Arc::new(store))));
                Duration::ZERO
            }
            Err(error) => {
                let why = words(&error);
                drop(self.replace(Err(NoStore::Closed { why })));
                REOPEN
            }
        }
    }

    fn maintain(&self, store: &Store) -> Duration {
        let maintained = store.maintain(self.now_ms());
        self.troubles
            .set(Part::Upkeep, maintained.as_ref().err().map(words));
        match maintained {
            Ok(done) if done.more => Duration::ZERO,
            Ok(_) | Err(_) => UPKEEP,
        }
    }
}

/// Half of the budget is for the head, an eighth for decoded blocks; a quarter for queries; the rest is left to decoders.
fn options(directory: &Path, settings: &MetricsSettings, memory_bytes: u64) -> Options {
    let bytes = |share: u64| usize::try_from(share).unwrap_or(usize::MAX);
    let defaults = Options::new(directory);
    Options {
        retention_ms: millis(settings.retention),
        keep: keep::keep(settings),
        downsample: keep::downsample(settings),
        retention_bytes: settings.disk_bytes_max.unwrap_or(u64::MAX),
        past_ms: millis(settings.out_of_order_window),
        limits: Limits {
            series: settings.series_max,
            source_series: settings.source_series_max,
            head_bytes: bytes(memory_bytes / 2),
            cache_bytes: bytes(memory_bytes / 8).min(defaults.limits.cache_bytes),
            ..defaults.limits
        },
        ..defaults
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
