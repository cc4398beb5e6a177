//! The scheduler on a real runtime, with real sockets.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pitcrew_model::{
    Address, Observation, ObserverName, Runner, Target, TargetId, TcpTest, Test, TestKind,
    TestName, Timestamp, Verdict,
};
use pitcrew_probe::{ProcessState, ProcessStates, Scheduler, Statistics, Tools};
use tokio::sync::mpsc;

use crate::{
    liar::{Lie, lie},
    support::{NoProcesses, PATIENCE, target, test},
};

struct Watcher {
    scheduler: Scheduler,
    observations: mpsc::UnboundedReceiver<Observation>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Watcher {
    fn start(concurrency: usize) -> Self {
        Self::start_with(concurrency, Tools::new(Arc::new(NoProcesses)))
    }

    fn start_with(concurrency: usize, tools: Tools) -> Self {
        let (sender, observations) = mpsc::unbounded_channel();
        let (began, wall) = (
            Instant::now(),
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap(),
        );
        let clock: Arc<dyn Fn() -> Timestamp + Send + Sync> = Arc::new(move || {
            let millis = (wall + began.elapsed()).as_millis();
            Timestamp::from_millis(u64::try_from(millis).unwrap())
        });
        let observer = ObserverName::new("local").unwrap();
        let scheduler = Scheduler::start(
            observer,
            tools,
            concurrency,
            Arc::clone(&clock),
            move |batch| {
                for observation in batch {
                    sender.send(observation).ok();
                }
            },
        );
        Self {
            scheduler,
            observations,
            clock,
        }
    }

    async fn next(&mut self) -> Observation {
        let next = tokio::time::timeout(PATIENCE, self.observations.recv());
        next.await
            .expect("an observation comes")
            .expect("the scheduler runs")
    }

    async fn until(&self, is_so: impl Fn(&Statistics) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let statistics = self.scheduler.statistics();
            if is_so(&statistics) {
                return;
            }
            assert!(Instant::now() < deadline, "{statistics:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The next observation of that target; others are passed over.
    async fn next_of(&mut self, target: &Arc<Target>) -> Observation {
        loop {
            let observation = self.next().await;
            if observation.target == target.id {
                return observation;
            }
        }
    }
}

fn instance(id: &str, port: u16) -> Arc<Target> {
    let mut target = target(None, &[]);
    target.id = TargetId::new(id).unwrap();
    target.address = Some(Address(format!("127.0.0.1:{port}").into()));
    Arc::new(target)
}

/// Connects and waits for `ok`.
fn speaks(interval: Duration, timeout: Duration) -> Arc<Test> {
    let kind = TestKind::Tcp(TcpTest {
        port: None,
        send: Some("?".to_owned()),
        expect: Some("ok".to_owned()),
    });
    Arc::new(Test {
        interval,
        ..test(kind, timeout)
    })
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_hung_target_delays_no_other_even_with_few_permits() {
    let (well_port, hung_port) = (lie(Lie::Answers("ok")).await, lie(Lie::Silence).await);
    let mut watcher = Watcher::start(4);
    let hung: Vec<_> = (0..3)
        .map(|at| instance(&format!("hung-{at}"), hung_port))
        .collect();
    let well = instance("well", well_port);
    for target in &hung {
        watcher.scheduler.watch(
            Arc::clone(target),
            None,
            vec![speaks(SECOND / 10, 20 * SECOND)],
        );
    }
    watcher
        .scheduler
        .watch(Arc::clone(&well), None, vec![speaks(SECOND / 10, SECOND)]);
    for _ in 0..15 {
        let observation = watcher.next().await;
        assert_eq!(
            (observation.target, observation.verdict),
            (well.id.clone(), Verdict::Pass)
        );
    }
    let statistics = watcher.scheduler.statistics();
    assert_eq!((statistics.jobs, statistics.in_flight >= 3), (4, true));
    assert!(statistics.missed_rounds >= 3, "{statistics:?}");
    assert!(statistics.rounds[&("tcp", Verdict::Pass)] >= 15);
    watcher.scheduler.stop().await;
}

#[tokio::test]
async fn probe_now_is_answered_with_a_question_put_after_the_call() {
    let port = lie(Lie::Answers("ok")).await;
    let mut watcher = Watcher::start(4);
    let web = instance("web", port);
    watcher
        .scheduler
        .watch(Arc::clone(&web), None, vec![speaks(3_600 * SECOND, SECOND)]);
    watcher.next_of(&web).await;
    for _ in 0..20 {
        let called_at = (watcher.clock)();
        watcher
            .scheduler
            .probe_now(&web.id, &TestName::new("asked").unwrap());
        let observation = watcher.next_of(&web).await;
        assert!(observation.asked_at > called_at && observation.verdict == Verdict::Pass);
    }
    let missing = TargetId::new("missing").unwrap();
    watcher
        .scheduler
        .probe_now(&missing, &TestName::new("asked").unwrap());
    watcher.scheduler.stop().await;
}

#[tokio::test]
async fn run_once_gives_the_answers_and_the_sink_gets_them_too() {
    let port = lie(Lie::Answers("ok")).await;
    let mut watcher = Watcher::start(4);
    let web = instance("web", port);
    let second = Test {
        name: TestName::new("second").unwrap(),
        ..(*speaks(3_600 * SECOND, SECOND)).clone()
    };
    let tests = vec![speaks(3_600 * SECOND, SECOND), Arc::new(second)];
    watcher.scheduler.watch(Arc::clone(&web), None, tests);
    let both = watcher.scheduler.run_once(&web.id, None).await;
    assert_eq!(both.len(), 2, "{both:?}");
    let name = TestName::new("second").unwrap();
    let one = watcher.scheduler.run_once(&web.id, Some(&name)).await;
    assert_eq!((one.len(), &one[0].test), (1, &name));
    let missing = TargetId::new("missing").unwrap();
    assert!(watcher.scheduler.run_once(&missing, None).await.is_empty());
    watcher.scheduler.clone().stop().await;
    let mut reached = Vec::new();
    while let Ok(observation) = watcher.observations.try_recv() {
        reached.push(observation);
    }
    assert!(
        both.iter()
            .chain(&one)
            .all(|answer| reached.contains(answer))
    );
    assert!(
        watcher.scheduler.run_once(&web.id, None).await.is_empty(),
        "stopped"
    );
}

struct Breaks;

impl ProcessStates for Breaks {
    fn state(&self, _target: &Target, _runner: &Runner) -> ProcessState {
        panic!("the supervisor is a bug");
    }
}

#[tokio::test]
async fn a_test_that_panics_is_an_unknown_answer_and_the_scheduler_goes_on() {
    let mut watcher = Watcher::start_with(1, Tools::new(Arc::new(Breaks)));
    let web = instance("web", lie(Lie::Answers("ok")).await);
    let broken = Test {
        name: TestName::new("broken").unwrap(),
        interval: SECOND / 10,
        ..test(TestKind::Process, SECOND)
    };
    let tests = vec![Arc::new(broken), speaks(SECOND / 10, SECOND)];
    watcher
        .scheduler
        .watch(Arc::clone(&web), Some(Runner::Supervised), tests);
    let (mut unknown, mut passed) = (0, 0);
    while unknown < 3 || passed < 3 {
        let observation = watcher.next().await;
        match observation.test.as_str() {
            "broken" => {
                let words = "the test itself broke: the supervisor is a bug";
                assert_eq!(observation.evidence.as_str(), words);
                assert_eq!(observation.verdict, Verdict::Unknown);
                unknown += 1;
            }
            _ => passed += usize::from(observation.verdict == Verdict::Pass),
        }
    }
    watcher.scheduler.stop().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_hung_targets() {
    let port = lie(Lie::Silence).await;
    let watcher = Watcher::start(4);
    watcher.scheduler.watch(
        instance("hung", port),
        None,
        vec![speaks(3_600 * SECOND, 3_600 * SECOND)],
    );
    watcher.until(|statistics| statistics.in_flight == 1).await;
    tokio::time::timeout(PATIENCE, watcher.scheduler.stop())
        .await
        .expect("it stops");
}

#[tokio::test]
async fn a_hung_target_that_is_no_longer_watched_gives_its_permit_to_the_next() {
    let (hung_port, well_port) = (lie(Lie::Silence).await, lie(Lie::Answers("ok")).await);
    let mut watcher = Watcher::start(1);
    let (hung, well) = (instance("hung", hung_port), instance("well", well_port));
    watcher.scheduler.watch(
        Arc::clone(&hung),
        None,
        vec![speaks(3_600 * SECOND, 3_600 * SECOND)],
    );
    watcher.until(|statistics| statistics.in_flight == 1).await;
    watcher
        .scheduler
        .watch(Arc::clone(&well), None, vec![speaks(SECOND / 10, SECOND)]);
    watcher.until(|statistics| statistics.queued == 1).await;
    watcher.scheduler.unwatch(&hung.id);
    let observation = watcher.next().await;
    assert_eq!(
        (observation.target, observation.verdict),
        (well.id.clone(), Verdict::Pass)
    );
    watcher.scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_jobs_each_have_their_rounds() {
    let port = lie(Lie::Answers("ok")).await;
    let mut seen = HashSet::new();
    let mut watcher = Watcher::start(256);
    let test = speaks(10 * SECOND, 5 * SECOND);
    for at in 0..10_000 {
        watcher.scheduler.watch(
            instance(&format!("web-{at}"), port),
            None,
            vec![Arc::clone(&test)],
        );
    }
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < 10_000 {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            watcher.scheduler.statistics()
        );
        let observation = watcher.next().await;
        seen.insert(observation.target);
    }
    watcher.scheduler.stop().await;
}
