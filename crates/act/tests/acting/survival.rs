//! Pitcrew dies; production does not. The next Pitcrew takes everything over again.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use pitcrew_act::{ChangeKind, ProcessState};
use pitcrew_model::{Action, OutcomeKind, Ports, Run, Runner};

use crate::support::{
    Home, Peer, free_port, given, id, is_alive, kill, marked, name, order, run, skipped, wait_for,
};

/// The installation that the example uses.
const EXAMPLE: &str = "example";

fn example() -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap();
    let path = test.parent()?.parent()?.join("examples/supervise");
    if path.exists() {
        return Some(path);
    }
    skipped("the example `supervise` is not built: cargo build -p pitcrew-act --examples");
    None
}

struct Scene {
    home: Home,
}

impl Scene {
    fn new(runs: &[Run]) -> Self {
        let home = Home::new();
        std::fs::write(home.path("runs.json"), serde_json::to_vec(runs).unwrap()).unwrap();
        Self { home }
    }

    fn pitcrew(&self, what: &str) -> Option<Peer> {
        let child = Command::new(example()?)
            .args([&self.home.path("run"), &self.home.path("runs.json"), what])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Some(Peer(child))
    }

    /// Lines up to `settled`.
    fn settle(pitcrew: &mut Peer) -> Vec<String> {
        let out = BufReader::new(pitcrew.0.stdout.take().unwrap());
        out.lines()
            .map(Result::unwrap)
            .take_while(|line| line != "settled")
            .collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(mut last) = self.pitcrew("stop") {
            last.0.wait().ok();
        }
    }
}

/// Holds a lock for as long as it runs, and tells when somebody else has it.
fn single(scene_lock: &str, doubles: &str) -> Run {
    let script = format!(
        "exec 9>{scene_lock}-$0; flock -n 9 || {{ echo $0 >> {doubles}; exit 1; }}; exec sleep 600"
    );
    let mut single = run("web", &["sh", "-c", &script, "{instance}"]);
    single.instances = 3;
    single
}

/// Numbers that differ with every run, printed so that a failure can be looked into.
fn seed() -> u64 {
    let seed = std::env::var("PITCREW_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    seed.unwrap_or_else(|| u64::from(std::process::id()))
}

fn next(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn however_often_pitcrew_is_killed_there_is_one_of_each_and_no_orphan() {
    let place = tempfile::tempdir().unwrap();
    let (lock, doubles) = (place.path().join("lock"), place.path().join("doubles"));
    let mut runs = vec![single(lock.to_str().unwrap(), doubles.to_str().unwrap())];
    let port = free_port();
    let redis = std::path::Path::new("/usr/bin/redis-server").exists();
    if redis {
        // It writes its title over its environment: only its record and its group tell that it is ours.
        let mut redis = run("redis", &["redis-server", "--port", "{port}", "--save", ""]);
        redis.ports = Some(Ports { from: port });
        redis.directory = Some(place.path().to_owned());
        runs.push(redis);
    }
    let names: Vec<String> = pitcrew_act::Supervisor::targets(&runs)
        .iter()
        .map(|target| target.id.to_string())
        .collect();
    let scene = Scene::new(&runs);
    let seed = seed();
    let mut random = seed;
    for round in 0..40 {
        let Some(pitcrew) = scene.pitcrew("churn") else {
            return;
        };
        // At any moment: half of the time within the first restarts.
        let longest = if round % 2 == 0 { 80 } else { 400 };
        std::thread::sleep(Duration::from_millis(next(&mut random) % longest));
        drop(pitcrew);
        // Sometimes one has gone when the next Pitcrew comes, so that it is started anew.
        let web = format!("web-{}", next(&mut random) % 4);
        marked(EXAMPLE, &web)
            .iter()
            .for_each(|pid| kill("KILL", *pid));
        let words = std::fs::read_to_string(&doubles).unwrap_or_default();
        assert_eq!(words, "", "two at once; round {round}, PITCREW_SEED={seed}");
    }
    let mut pitcrew = scene.pitcrew("keep").unwrap();
    let settled = Scene::settle(&mut pitcrew);
    for name in names.iter().filter(|name| name.starts_with("web")) {
        let ours = marked(EXAMPLE, name);
        assert_eq!(ours.len(), 1, "{name}, PITCREW_SEED={seed}: {settled:?}");
    }
    if redis {
        let listening = wait_for("redis", || redis_servers(port).first().copied());
        assert_eq!(redis_servers(port), [listening], "PITCREW_SEED={seed}");
        let log = scene.home.run_directory().join("logs/redis-1.log");
        let log = std::fs::read_to_string(log).unwrap();
        assert!(
            !log.contains("already in use"),
            "PITCREW_SEED={seed}: {log}"
        );
    }
    drop(pitcrew);
    drop(scene);
    assert_eq!(redis_servers(port), [0_u32; 0]);
    for name in &names {
        assert_eq!(marked(EXAMPLE, name), [0_u32; 0]);
    }
    assert!(!doubles.exists());
}

fn redis_servers(port: u16) -> Vec<u32> {
    let wanted = format!(":{port}");
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            title.contains("redis-server") && title.trim_end_matches('\0').trim().ends_with(&wanted)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_pitcrew_takes_over_watches_and_repairs() {
    let home = Home::new();
    let runs = [run("web", &["sleep", "600"])];
    let web = name("web-1");
    let first = home.supervisor();
    first.set(&runs).await;
    let ProcessState::Running { pid, since } = first.state(&web) else {
        panic!("it does not run");
    };
    drop(first);
    let second = home.supervisor();
    let changes = second.set(&runs).await;
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].kind, ChangeKind::TakenOver);
    assert_eq!(second.set(&runs).await, []);
    match second.state(&web) {
        ProcessState::Running {
            pid: now,
            since: again,
        } => {
            assert_eq!(now, pid);
            assert!(again.since(since) < Duration::from_secs(1));
        }
        other => panic!("{other:?}"),
    }
    kill("KILL", pid);
    wait_for("its exit is seen", || {
        matches!(second.state(&web), ProcessState::Exited { .. }).then_some(())
    });
    let answer = second.restart(&web, &id("op-1")).await;
    assert_eq!(answer.kind, OutcomeKind::Done, "{answer:?}");
    assert_eq!(home.marked("web-1").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_stopped_stays_stopped_until_an_order_starts_it() {
    let home = Home::new();
    let runs = [run("web", &["sleep", "600"])];
    let web = name("web-1");
    let first = home.supervisor();
    first.set(&runs).await;
    assert_eq!(first.stop(&web, &id("op-1")).await.kind, OutcomeKind::Done);
    assert_eq!(first.set(&runs).await, []);
    drop(first);
    let second = home.supervisor();
    assert_eq!(second.state(&web), ProcessState::Stopped);
    assert_eq!(second.set(&runs).await, []);
    assert_eq!(home.marked(""), [0_u32; 0]);
    second.start(&web, &id("op-2")).await;
    drop(second);
    let third = home.supervisor();
    assert_eq!(third.set(&runs).await[0].kind, ChangeKind::TakenOver);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_record_was_lost_is_found_by_its_marker() {
    let home = Home::new();
    let runs = [run("web", &["sh", "-c", "sleep 601 & exec sleep 600"])];
    let first = home.supervisor();
    first.set(&runs).await;
    let before = first.state(&name("web-1"));
    drop(first);
    std::fs::remove_file(home.run_directory().join("web-1.json")).unwrap();
    let second = home.supervisor();
    assert_eq!(second.set(&runs).await[0].kind, ChangeKind::TakenOver);
    match (before, second.state(&name("web-1"))) {
        (ProcessState::Running { pid: a, .. }, ProcessState::Running { pid: b, .. }) => {
            assert_eq!(a, b);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_record_starts_nothing_until_a_person_says_so() {
    let home = Home::new();
    let runs = [run("web", &["sleep", "600"])];
    let file = home.run_directory().join("web-1.json");
    std::fs::create_dir_all(home.run_directory()).unwrap();
    std::fs::write(&file, "{\"desired\":").unwrap();
    let supervisor = home.supervisor();
    let changes = supervisor.set(&runs).await;
    assert_eq!(changes[0].kind, ChangeKind::Failed);
    assert!(
        changes[0].detail.contains("web-1.json is broken"),
        "{changes:?}"
    );
    assert!(matches!(
        supervisor.state(&name("web-1")),
        ProcessState::Unknown { .. }
    ));
    assert_eq!(
        supervisor.start(&name("web-1"), &id("op-1")).await.kind,
        OutcomeKind::Done
    );
    assert_eq!(home.marked("").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_of_one_name_the_recorded_one_stays_and_the_other_is_ended() {
    let home = Home::new();
    let runs = [run("web", &["sleep", "600"])];
    let first = home.supervisor();
    first.set(&runs).await;
    let recorded = home.marked("web-1");
    drop(first);
    // The other's number is its own leader's, as the gate would have set it.
    let marker = format!("{}/web-1", home.installation);
    let double = Command::new("sh")
        .args(["-c", "PITCREW_PID=$$ exec sleep 600"])
        .env("PITCREW_SUPERVISED", marker)
        .spawn()
        .unwrap();
    let mut double = Peer(double);
    wait_for("the other runs", || {
        (home.marked("web-1").len() == 2).then_some(())
    });
    let second = home.supervisor();
    let kinds: Vec<ChangeKind> = second.set(&runs).await.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [ChangeKind::DoubleEnded, ChangeKind::TakenOver]);
    double.0.wait().unwrap();
    assert_eq!(home.marked("web-1"), recorded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_given_to_another_process_is_never_touched() {
    let home = Home::new();
    let runs = [run("web", &["sleep", "600"])];
    let first = home.supervisor();
    first.set(&runs).await;
    let ours = home.marked("web-1")[0];
    drop(first);
    kill("KILL", ours);
    wait_for("it is gone", || (!is_alive(ours)).then_some(()));
    // The record as it would be if the innocent had been given the dead one's number.
    let innocent = Peer(Command::new("sleep").arg("600").spawn().unwrap());
    let file = home.run_directory().join("web-1.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace(
        &format!("\"pid\":{ours}"),
        &format!("\"pid\":{}", innocent.0.id()),
    );
    std::fs::write(&file, text).unwrap();
    let second = home.supervisor();
    assert_eq!(second.set(&runs).await[0].kind, ChangeKind::Started);
    second.stop(&name("web-1"), &id("op-1")).await;
    second.set(&[]).await;
    assert!(is_alive(innocent.0.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_an_order_is_known_after_a_crash() {
    let home = Home::new();
    let runs = [run("web", &["sleep", "600"])];
    let first = home.actuators();
    let never = order("op-never", "web-1", Action::Restart, Runner::Supervised);
    assert_eq!(
        first.reconcile(&never, given(&never)).await.kind,
        OutcomeKind::Failed
    );
    drop(first);

    let supervisor = home.supervisor();
    supervisor.set(&runs).await;
    supervisor.restart(&name("web-1"), &id("op-cut")).await;
    drop(supervisor);
    // As Pitcrew's death leaves it between the start of the new process and its word on it.
    let file = home.run_directory().join("web-1.json");
    let mut record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    record["operations"][0]["answer"] = serde_json::Value::Null;
    std::fs::write(&file, record.to_string()).unwrap();
    let journal = home.run_directory().join("operations.jsonl");
    let mut text = std::fs::read_to_string(&journal).unwrap();
    text.push_str("{\"begun\":\"op-cut\",\"at\":1}\n{\"begun\":\"op-early\",\"at\":1}\n");
    std::fs::write(&journal, text).unwrap();

    let second = home.actuators();
    let cut = order("op-cut", "web-1", Action::Restart, Runner::Supervised);
    let outcome = second.reconcile(&cut, given(&cut)).await;
    assert_eq!(outcome.kind, OutcomeKind::Done, "{outcome:?}");
    assert!(
        outcome.detail.starts_with("started as process"),
        "{outcome:?}"
    );
    assert_eq!(second.carry_out(&cut).await, outcome);
    // Begun by the journal, and nothing touched: the record was never written.
    let early = order("op-early", "web-1", Action::Restart, Runner::Supervised);
    let outcome = second.reconcile(&early, given(&early)).await;
    assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
}
