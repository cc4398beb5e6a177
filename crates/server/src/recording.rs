//! `serve --record`: everything that enters the engine goes into a file, by a thread of its own.
//!
//! The engine's thread hands over what it decided and never waits: not for the disk, and not for a queue that is
//! full. When either fails, recording stops until the next start and says so once; deciding goes on. Nothing is synced
//! to the disk: a record is for learning from, the ledger is what must not be lost.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufReader, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use pitcrew_model::{Effect, Event, Notice, Record, Timestamp};
use pitcrew_sim::record::{RecordError, Start, Unwritable, Writer, scan};

use crate::metrics::Metrics;

/// Answers and other events that may wait for the disk: some 150 MB of them.
const WAITING_MAX: usize = 1 << 20;

/// A frame is closed when it has grown so large.
const FRAME_BYTES: usize = 64 << 10;

/// The longest that anything waits to be written.
const FLUSH: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    #[error("failed to open the record {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file, so nothing is recorded into it", path.display())]
    NotAFile { path: PathBuf },
    #[error("another server is recording into {}", path.display())]
    Taken { path: PathBuf },
    #[error(
        "refused to append to {}: {source}. Name another file or move this one away", path.display()
    )]
    NotARecord { path: PathBuf, source: RecordError },
}

/// A record that may be appended to, and that nobody else appends to meanwhile.
pub(crate) struct RecordFile {
    file: File,
    path: PathBuf,
    frames: u64,
    /// Up to the end of its last whole frame.
    bytes: u64,
}

impl RecordFile {
    /// Makes the file, or looks through the one that is there: one that is not a record is left as it is.
    pub(crate) fn open(path: &Path) -> Result<Self, RecordingError> {
        use std::os::unix::fs::OpenOptionsExt;
        let failed = |source| RecordingError::Open {
            path: path.to_owned(),
            source,
        };
        // Opening a pipe would wait for its other end.
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(RecordingError::NotAFile {
                path: path.to_owned(),
            });
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RecordingError::Taken {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut record = Self {
            file,
            path: path.to_owned(),
            frames: 0,
            bytes: 0,
        };
        if record.file.metadata().map_err(failed)?.len() == 0 {
            record.append(&Writer::preamble()).map_err(failed)?;
            return Ok(record);
        }
        record.find_end()?;
        warn_when_others_read(path);
        Ok(record)
    }

    fn find_end(&mut self) -> Result<(), RecordingError> {
        let end =
            scan(BufReader::new(&self.file)).map_err(|source| RecordingError::NotARecord {
                path: self.path.clone(),
                source,
            })?;
        (self.frames, self.bytes) = (end.frames, end.bytes);
        if end.torn_bytes > 0 {
            tracing::warn!(
                bytes = end.torn_bytes,
                "the record {} ends within a frame, as a crash leaves it: that part is cut off",
                self.path.display()
            );
            let cut = self.file.set_len(end.bytes);
            cut.map_err(|source| RecordingError::Open {
                path: self.path.clone(),
                source,
            })?;
        }
        Ok(())
    }

    /// Whole frames, or nothing.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // Half a frame would hide what can still be written behind it.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

fn warn_when_others_read(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!(
            "{} can be read by others, and holds what production answered: chmod 600",
            path.display()
        );
    }
}

/// What one call of the engine was told and made.
pub(crate) struct Decided {
    pub(crate) now: Timestamp,
    pub(crate) draining: bool,
    pub(crate) event: Event,
    pub(crate) records: Vec<Record>,
    pub(crate) notices: Vec<Notice>,
}

impl Decided {
    pub(crate) fn new(now: Timestamp, draining: bool, event: Event) -> Self {
        Self {
            now,
            draining,
            event,
            records: Vec::new(),
            notices: Vec::new(),
        }
    }

    pub(crate) fn made(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Record(record) => self.records.push(record.clone()),
                Effect::Notify(notice) => self.notices.push(notice.clone()),
                Effect::Save(_)
                | Effect::Give(_)
                | Effect::Watch { .. }
                | Effect::Unwatch { .. }
                | Effect::Probe { .. } => {}
            }
        }
    }

    fn weight(&self) -> usize {
        match &self.event {
            Event::Observations(seen) => seen.len() + 1,
            // They are shared, not copied: a fleet that is found at once must not stop its record.
            Event::Targets { upserted, removed } => (upserted.len() + removed.len()) / 16 + 1,
            _ => 1,
        }
    }
}

enum Heard {
    Decided(Vec<Decided>),
    /// From here on something is missing.
    Overrun,
}

/// The engine's side.
pub(crate) struct Recording {
    /// `None`: it has stopped.
    heard: Option<mpsc::Sender<Heard>>,
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
}

impl Recording {
    pub(crate) fn is_on(&self) -> bool {
        self.heard.is_some()
    }

    /// Never waits.
    pub(crate) fn hand_over(&mut self, decided: Vec<Decided>) {
        let Some(heard) = &self.heard else { return };
        let weight: usize = decided.iter().map(Decided::weight).sum();
        let waiting = self.waiting.fetch_add(weight, Ordering::Relaxed) + weight;
        let is_overrun = waiting > self.waiting_max;
        let told = if is_overrun {
            heard.send(Heard::Overrun)
        } else {
            heard.send(Heard::Decided(decided))
        };
        if is_overrun || told.is_err() {
            self.heard = None;
        }
    }
}

/// The thread's side.
pub(crate) struct Recorded {
    file: RecordFile,
    writer: Writer,
    heard: mpsc::Receiver<Heard>,
    waiting: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
    /// The start of this run is written.
    has_begun: bool,
}

/// Begins a run in the record. What can't be written now is treated as later: the server goes on without.
pub(crate) fn begin(
    file: RecordFile,
    start: &Start,
    metrics: Arc<Metrics>,
) -> Result<(Recording, Recorded), Unwritable> {
    let (sender, heard) = mpsc::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let recording = Recording {
        heard: Some(sender),
        waiting: Arc::clone(&waiting),
        waiting_max: WAITING_MAX,
    };
    let recorded = Recorded {
        writer: Writer::start(file.frames, start)?,
        file,
        heard,
        waiting,
        metrics,
        has_begun: false,
    };
    Ok((recording, recorded))
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the disk can't keep up: {0} answers wait")]
    Overrun(usize),
    #[error("failed to write {path}: {source}", path = .path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("failed to encode what happened: {0}")]
    Unwritable(#[from] Unwritable),
}

impl Recorded {
    /// Until the engine's side is gone, or something fails.
    pub(crate) fn run(mut self) {
        tracing::info!("recording into {}", self.file.path.display());
        if let Err(broken) = self.keep() {
            self.give_up(&broken);
        }
    }

    fn keep(&mut self) -> Result<(), Broken> {
        self.write()?;
        let mut due = Instant::now() + FLUSH;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left) {
                Ok(Heard::Decided(decided)) => {
                    let mut is_urgent = false;
                    for one in &decided {
                        is_urgent |= self.encode(one)?;
                    }
                    let weight: usize = decided.iter().map(Decided::weight).sum();
                    self.waiting.fetch_sub(weight, Ordering::Relaxed);
                    if !is_urgent && self.writer.waiting() < FRAME_BYTES {
                        continue;
                    }
                }
                Ok(Heard::Overrun) => return Err(Broken::Overrun(WAITING_MAX)),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    self.writer.end();
                    return self.write();
                }
            }
            self.write()?;
            due = Instant::now() + FLUSH;
        }
    }

    /// Whether it made something that is worth writing at once.
    fn encode(&mut self, decided: &Decided) -> Result<bool, Broken> {
        self.writer
            .event(decided.now, decided.draining, &decided.event)?;
        if !decided.records.is_empty() {
            self.writer.records(&decided.records)?;
        }
        if !decided.notices.is_empty() {
            self.writer.notices(&decided.notices)?;
        }
        Ok(!decided.records.is_empty())
    }

    fn write(&mut self) -> Result<(), Broken> {
        let bytes = self.writer.take();
        self.file.append(&bytes).map_err(|source| Broken::Disk {
            path: self.file.path.clone(),
            source,
        })?;
        self.file.frames = self.writer.frames();
        self.has_begun = true;
        self.metrics
            .record_bytes
            .inc_by(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    fn give_up(&mut self, broken: &Broken) {
        self.metrics.record_stopped.set(1);
        tracing::error!("recording has stopped until the next start: {broken}");
        // What was heard before an overrun is whole and still in memory; its own failure ends as this one.
        let is_kept = match broken {
            Broken::Overrun(_) => self.write().is_ok(),
            Broken::Disk { .. } | Broken::Unwritable(_) => self.has_begun,
        };
        if !is_kept {
            return;
        }
        let gap = Writer::gap_after(self.file.frames, &broken.to_string());
        if let Err(error) = self.file.append(&gap) {
            tracing::warn!("the record does not say that it has a gap: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use pitcrew_model::Evidence;
    use pitcrew_sim::record::{Entry, Reader, Tail};

    use super::*;

    fn start() -> Start {
        Start {
            pitcrew: crate::VERSION.to_owned(),
            at: Timestamp::from_millis(1_000),
            installation: "00".to_owned(),
            fence: 1,
            last_case: 0,
            last_order: 0,
            rows: Vec::new(),
        }
    }

    fn tick(at: u64) -> Decided {
        Decided::new(Timestamp::from_millis(at), false, Event::Tick)
    }

    fn run(path: &Path, tell: impl FnOnce(&mut Recording)) -> Arc<Metrics> {
        let metrics = Arc::new(Metrics::new());
        let file = RecordFile::open(path).unwrap();
        let (mut recording, recorded) = begin(file, &start(), Arc::clone(&metrics)).unwrap();
        tell(&mut recording);
        drop(recording);
        recorded.run();
        metrics
    }

    fn entries(path: &Path) -> Vec<Entry> {
        let mut reader = Reader::new(File::open(path).unwrap()).unwrap();
        let entries = reader
            .by_ref()
            .map(|placed| placed.unwrap().entry)
            .collect();
        assert_eq!(reader.tail(), Tail::Whole);
        entries
    }

    #[test]
    fn each_start_appends_its_run_and_cuts_off_what_a_crash_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        run(&path, |recording| {
            recording.hand_over(vec![tick(1_001), tick(1_002)])
        });
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(entries(&path).len(), 4);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"half a frame").unwrap();
        run(&path, |recording| recording.hand_over(vec![tick(2_001)]));
        let entries = entries(&path);
        assert_eq!(entries.len(), 7);
        let starts = entries
            .iter()
            .filter(|entry| matches!(entry, Entry::Start(_)));
        assert_eq!(starts.count(), 2);
        assert_eq!(entries.last(), Some(&Entry::End));
    }

    #[test]
    fn a_file_that_is_no_record_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.txt");
        std::fs::write(&path, "what I must not forget").unwrap();
        let error = RecordFile::open(&path).map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains("notes.txt") && error.contains("not a record"),
            "{error}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"what I must not forget");
        let folder = RecordFile::open(directory.path()).map(|_| ());
        assert!(matches!(folder, Err(RecordingError::NotAFile { .. })));
    }

    #[test]
    fn two_servers_can_not_record_into_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let _first = RecordFile::open(&path).unwrap();
        let second = RecordFile::open(&path).map(|_| ());
        assert!(matches!(second, Err(RecordingError::Taken { .. })));
    }

    #[test]
    fn when_too_much_waits_recording_stops_and_the_gap_is_in_the_record() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let metrics = run(&path, |recording| {
            recording.waiting_max = 2;
            recording.hand_over(vec![tick(1_001), tick(1_002)]);
            recording.hand_over(vec![tick(1_003)]);
            assert!(!recording.is_on(), "nothing more is handed over");
            recording.hand_over(vec![tick(1_004)]);
        });
        let entries = entries(&path);
        assert_eq!(entries.len(), 4, "{entries:?}");
        assert!(matches!(entries.last(), Some(Entry::Gap(why)) if why.contains("can't keep up")));
        assert_eq!(metrics.record_stopped.get(), 1);
    }

    #[test]
    fn what_a_disk_refuses_stops_the_recording_and_nothing_else() {
        // Writing to it fails with "no space left on device".
        let full = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/full")
            .unwrap();
        let file = RecordFile {
            file: full,
            path: PathBuf::from("/dev/full"),
            frames: 0,
            bytes: 0,
        };
        let metrics = Arc::new(Metrics::new());
        let (mut recording, recorded) = begin(file, &start(), Arc::clone(&metrics)).unwrap();
        recorded.run();
        assert_eq!(metrics.record_stopped.get(), 1);
        recording.hand_over(vec![tick(1_001)]);
        assert!(!recording.is_on());
    }

    #[test]
    fn answers_weigh_as_many_as_they_are() {
        let seen = pitcrew_model::Observation {
            target: "web-1".parse().unwrap(),
            test: "answers".parse().unwrap(),
            observer: "local".parse().unwrap(),
            asked_at: Timestamp::ZERO,
            answered_at: Timestamp::ZERO,
            took: Duration::ZERO,
            verdict: pitcrew_model::Verdict::Pass,
            evidence: Evidence::new("ok"),
        };
        let batch = Event::Observations(vec![seen; 5]);
        assert_eq!(Decided::new(Timestamp::ZERO, false, batch).weight(), 6);
    }
}
