//! Asks every target in its rhythm, within bounded concurrency, and hands the answers on in batches.
//!
//! The rhythm and the queue are [`roster`]'s, which is pure; here is the thin shell around it: one task
//! that sleeps until the roster says so, one short-lived task per round. A test that panics is an
//! unknown answer, and a sink that panics has lost its batch; neither ends the scheduler. A roster that
//! panics does, because it can't be trusted with what is left, and says so.

mod permits;
mod roster;
mod statistics;

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use pitcrew_model::{
    Observation, ObserverName, Runner, Target, TargetId, Test, TestName, Timestamp,
};
use tokio::sync::{Notify, mpsc};

use self::roster::{Job, Roster, Round};
pub use self::statistics::{Lateness, Statistics};
use crate::{Answer, Question, Tools, ask};

/// A handle to the running scheduler; cheap to clone. It runs until [`Scheduler::stop`].
#[derive(Clone)]
pub struct Scheduler(Arc<Shared>);

struct Shared {
    observer: ObserverName,
    tools: Tools,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    state: Mutex<State>,
    /// Something changed that the loop must look at.
    changed: Notify,
    ended: Notify,
}

struct State {
    roster: Roster,
    /// Observations not yet handed on, oldest first.
    outbox: Vec<Observation>,
    lost_observations: u64,
    broken: Option<String>,
    has_ended: bool,
}

impl Scheduler {
    /// Spawns onto the current tokio runtime. `clock` must not go back. `sink` gets every observation,
    /// in batches and in the order of answers, on a runtime thread: it must not block. A batch at which
    /// it panics is lost, logged and counted.
    ///
    /// Rounds are short and many: on a runtime of its own with one worker a check costs about a fifth
    /// less CPU than on one whose workers wake each other (`examples/http_checks.rs` measures it).
    pub fn start(
        observer: ObserverName,
        tools: Tools,
        concurrency: usize,
        clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
        sink: impl Fn(Vec<Observation>) + Send + Sync + 'static,
    ) -> Self {
        let roster = Roster::new(clock().as_millis(), concurrency);
        let shared = Arc::new(Shared {
            observer,
            tools,
            clock,
            state: Mutex::new(State {
                roster,
                outbox: Vec::new(),
                lost_observations: 0,
                broken: None,
                has_ended: false,
            }),
            changed: Notify::new(),
            ended: Notify::new(),
        });
        let end = End(Arc::clone(&shared));
        tokio::spawn(async move {
            let looping = AssertUnwindSafe(run(&end.0, sink)).catch_unwind();
            if let Err(panic) = looping.await {
                let words = words_of(&*panic);
                tracing::error!(
                    panic = words,
                    "the scheduler broke: nothing is tested any more"
                );
                end.0.lock().broken = Some(words.to_owned());
            }
        });
        Self(shared)
    }

    /// Replaces that target's jobs. Unchanged tests keep their rhythm; new ones have their first round
    /// within a second or so. Tests whose results are pushed are left out.
    pub fn watch(&self, target: Arc<Target>, runner: Option<Runner>, tests: Vec<Arc<Test>>) {
        let now_ms = self.0.now_ms();
        let runner = runner.map(Arc::new);
        self.0.lock().roster.watch(now_ms, &target, runner, tests);
        self.0.changed.notify_one();
    }

    /// Forgets that target; a round under way is ended without an answer.
    pub fn unwatch(&self, target: &TargetId) {
        self.0.lock().roster.unwatch(target);
        self.0.changed.notify_one();
    }

    /// An extra round in front of the queue, asked after this call even when one is under way.
    pub fn probe_now(&self, target: &TargetId, test: &TestName) {
        let now_ms = self.0.now_ms();
        self.0.lock().roster.want(now_ms, target, Some(test), None);
        self.0.changed.notify_one();
    }

    /// An extra round of one test or all of a target, and its answers; they reach the sink as well.
    /// Empty when nothing of that name is watched.
    pub async fn run_once(&self, target: &TargetId, test: Option<&TestName>) -> Vec<Observation> {
        let (waiter, mut answers) = mpsc::unbounded_channel();
        let now_ms = self.0.now_ms();
        self.0
            .lock()
            .roster
            .want(now_ms, target, test, Some(&waiter));
        drop(waiter);
        self.0.changed.notify_one();
        let mut observations = Vec::new();
        while let Some(observation) = answers.recv().await {
            observations.push(observation);
        }
        observations
    }

    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let state = self.0.lock();
        let (roster, counters) = (&state.roster, &state.roster.counters);
        Statistics {
            rounds: counters.rounds.clone(),
            missed_rounds: counters.missed_rounds,
            jobs: roster.jobs(),
            in_flight: roster.in_flight(),
            queued: roster.queued(),
            lateness: counters.lateness.clone(),
            lost_observations: state.lost_observations,
            broken: state.broken.clone(),
        }
    }

    /// Ends every round under way without an answer and returns once the sink has all answers given,
    /// or the scheduler has ended otherwise: by a bug of its own, or with its runtime.
    pub async fn stop(self) {
        self.0.lock().roster.stop();
        self.0.changed.notify_one();
        loop {
            let ended = self.0.ended.notified();
            if self.0.lock().has_ended {
                return;
            }
            ended.await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        (self.clock)().as_millis()
    }
}

/// Dropped with the loop, however that ends: nobody must wait any longer for it, or for an answer.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.roster.stop();
        state.has_ended = true;
        drop(state);
        self.0.ended.notify_waiters();
    }
}

/// The loop: hands on what was answered, starts what is due, sleeps until there is more.
async fn run(shared: &Arc<Shared>, sink: impl Fn(Vec<Observation>)) {
    loop {
        hand_on(shared, &sink);
        let Some(pause) = turn(shared) else { break };
        tokio::select! {
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    hand_on(shared, &sink);
}

fn hand_on(shared: &Shared, sink: &impl Fn(Vec<Observation>)) {
    let batch = std::mem::take(&mut shared.lock().outbox);
    if batch.is_empty() {
        return;
    }
    let count = batch.len();
    if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| sink(batch))) {
        let words = words_of(&*panic);
        tracing::error!(
            panic = words,
            count,
            "observations are lost: their sink broke"
        );
        shared.lock().lost_observations += u64::try_from(count).unwrap_or(u64::MAX);
    }
}

/// Starts what can be started; how long there is nothing more to do, or `None` when it is stopped.
fn turn(shared: &Arc<Shared>) -> Option<Duration> {
    let now_ms = shared.now_ms();
    let mut state = shared.lock();
    if state.roster.is_stopped() {
        return None;
    }
    state.roster.advance(now_ms);
    while let Some(round) = state.roster.start(now_ms) {
        let ticket = round.ticket;
        let task = tokio::spawn(conduct(Arc::clone(shared), round));
        state.roster.started(ticket, task.abort_handle());
    }
    Some(match state.roster.wake_at() {
        Some(wake_ms) => Duration::from_millis(wake_ms.saturating_sub(now_ms)),
        None => Duration::from_secs(3_600),
    })
}

/// One round, from the question to the outbox.
async fn conduct(shared: Arc<Shared>, round: Round) {
    let Round {
        ticket,
        job,
        number,
    } = round;
    let (asked_at, began) = ((shared.clock)(), Instant::now());
    let spared = shared
        .tools
        .overload
        .as_ref()
        .and_then(|overload| overload.spared(number?));
    let answer = match spared {
        Some(answer) => answer,
        None => AssertUnwindSafe(ask_job(&shared, &job))
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| {
                Answer::unknown(format!("the test itself broke: {}", words_of(&*panic)))
            }),
    };
    let observation = Observation {
        target: job.target.id.clone(),
        test: job.test.name.clone(),
        observer: shared.observer.clone(),
        asked_at,
        answered_at: (shared.clock)(),
        took: began.elapsed(),
        verdict: answer.verdict,
        evidence: answer.evidence,
    };
    let mut state = shared.lock();
    if let Some(observation) = state.roster.finish(ticket, observation) {
        state.outbox.push(observation);
    }
    drop(state);
    shared.changed.notify_one();
}

async fn ask_job(shared: &Shared, job: &Job) -> Answer {
    let runner = job.runner.as_deref();
    ask(Question::new(&job.target, runner, &job.test, &shared.tools)).await
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without words")
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Once,
        atomic::{AtomicU64, Ordering},
    };

    use pitcrew_model::{Labels, Place, Proves, SourceName, TcpTest, TestKind};

    use super::*;
    use crate::{ProcessState, ProcessStates};

    const PATIENCE: Duration = Duration::from_secs(60);

    struct NoProcesses;

    impl ProcessStates for NoProcesses {
        fn state(&self, _target: &Target, _runner: &Runner) -> ProcessState {
            ProcessState::Unknown {
                why: "nothing is supervised here".to_owned(),
            }
        }
    }

    fn start(
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        sink: impl Fn(Vec<Observation>) + Send + Sync + 'static,
    ) -> Scheduler {
        let observer = ObserverName::new("local").unwrap();
        let tools = Tools::new(Arc::new(NoProcesses));
        Scheduler::start(observer, tools, 4, Arc::new(now), sink)
    }

    /// A target without an address: asked, and answered at once with an unknown.
    fn watch(scheduler: &Scheduler) -> TargetId {
        let id = TargetId::new("web").unwrap();
        let target = Target {
            id: id.clone(),
            address: None,
            labels: Labels::default(),
            run_on: None,
            runner: None,
            source: SourceName::new("tests").unwrap(),
        };
        let test = Test {
            name: TestName::new("answers").unwrap(),
            kind: TestKind::Tcp(TcpTest {
                port: None,
                send: None,
                expect: None,
            }),
            interval: Duration::from_secs(3_600),
            timeout: Duration::from_secs(1),
            failure_threshold: 3,
            success_threshold: 2,
            proves: Proves::Down,
            place: Place::Server,
        };
        scheduler.watch(Arc::new(target), None, vec![Arc::new(test)]);
        id
    }

    /// A clock that moves on by a millisecond whenever it is read.
    fn ticking() -> impl Fn() -> Timestamp + Send + Sync + 'static {
        let reads = AtomicU64::new(1_000);
        move || Timestamp::from_millis(reads.fetch_add(1, Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_sink_that_panics_loses_its_batch_and_testing_goes_on() {
        let (sender, mut observations) = mpsc::unbounded_channel();
        let first = Once::new();
        let scheduler = start(ticking(), move |batch| {
            let mut breaks = false;
            first.call_once(|| breaks = true);
            assert!(!breaks, "the sink is a bug");
            sender.send(batch).ok();
        });
        let web = watch(&scheduler);
        let lost = scheduler.run_once(&web, None).await;
        let given = scheduler.run_once(&web, None).await;
        assert_eq!((lost.len(), given.len()), (1, 1));
        let reached = tokio::time::timeout(PATIENCE, observations.recv()).await;
        assert!(reached.unwrap().unwrap().contains(&given[0]));
        let statistics = scheduler.statistics();
        assert!(statistics.lost_observations >= 1, "{statistics:?}");
        assert_eq!(statistics.broken, None);
        tokio::time::timeout(PATIENCE, scheduler.stop())
            .await
            .expect("it stops");
    }

    #[tokio::test]
    async fn a_loop_that_panics_says_so_and_nobody_waits_for_it() {
        let reads_left = Arc::new(AtomicU64::new(u64::MAX));
        let (tick, left) = (ticking(), Arc::clone(&reads_left));
        let breaking = move || {
            let before = left.fetch_sub(1, Ordering::Relaxed);
            assert!(before > 0, "the clock is a bug");
            tick()
        };
        let scheduler = start(breaking, |_batch| {});
        let web = watch(&scheduler);
        assert_eq!(scheduler.run_once(&web, None).await.len(), 1);
        // One for the call itself; the loop's next one breaks.
        reads_left.store(1, Ordering::Relaxed);
        let answers = tokio::time::timeout(PATIENCE, scheduler.run_once(&web, None)).await;
        assert!(answers.expect("its end is noticed").is_empty());
        let broken = scheduler.statistics().broken;
        assert_eq!(broken.as_deref(), Some("the clock is a bug"));
        tokio::time::timeout(PATIENCE, scheduler.stop())
            .await
            .expect("it stops");
    }

    #[test]
    fn a_scheduler_whose_runtime_is_gone_can_still_be_stopped() {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
        };
        let first = runtime();
        let scheduler = first.block_on(async { start(ticking(), |_batch| {}) });
        drop(first);
        let stopped = async { tokio::time::timeout(PATIENCE, scheduler.stop()).await };
        runtime().block_on(stopped).expect("it stops");
    }
}
