//! Supervised processes through their life, with one Pitcrew.

use std::time::Duration;

use pitcrew_act::{ChangeKind, ProcessState, Supervisor};
use pitcrew_model::{LogPolicy, OutcomeKind, Ports, TargetId};

use crate::support::{Home, id, is_alive, kill, name, run, wait_for};

fn pid(supervisor: &Supervisor, name: &TargetId) -> u32 {
    match supervisor.state(name) {
        ProcessState::Running { pid, .. } => pid,
        other => panic!("{name} does not run: {other:?}"),
    }
}

fn kinds(changes: &[pitcrew_act::Change]) -> Vec<ChangeKind> {
    changes.iter().map(|change| change.kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_configured_runs_and_rerun_with_unchanged_input_changes_nothing() {
    let home = Home::new();
    let supervisor = home.supervisor();
    let mut web = run("web", &["sh", "-c", "echo up {port} $WHO; exec sleep 600"]);
    web.instances = 3;
    web.ports = Some(Ports { from: 18_081 });
    web.environment = vec![("WHO".into(), "zone {instance}".into())];
    let runs = [web];
    assert_eq!(
        kinds(&supervisor.set(&runs).await),
        [ChangeKind::Started; 3]
    );
    assert_eq!(supervisor.set(&runs).await, []);
    assert_eq!(home.marked("").len(), 3);
    wait_for("its words in its log", || {
        (home.log("web-2") == "up 18082 zone 2\n").then_some(())
    });

    let fewer = [pitcrew_model::Run {
        instances: 1,
        ..runs[0].clone()
    }];
    assert_eq!(
        kinds(&supervisor.set(&fewer).await),
        [ChangeKind::Stopped; 2]
    );
    assert_eq!(home.marked("").len(), 1);
    assert_eq!(supervisor.set(&fewer).await, []);
    assert_eq!(kinds(&supervisor.set(&[]).await), [ChangeKind::Stopped]);
    assert_eq!(home.marked(""), [0_u32; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_is_seen_with_its_evidence_and_not_undone_by_itself() {
    let home = Home::new();
    let supervisor = home.supervisor();
    let web = name("web-1");
    supervisor.set(&[run("web", &["sleep", "600"])]).await;
    kill("KILL", pid(&supervisor, &web));
    let detail = wait_for("the exit is seen", || match supervisor.state(&web) {
        ProcessState::Exited { detail, .. } if detail.contains("signal") => Some(detail),
        _ => None,
    });
    assert!(
        detail.starts_with("killed by signal 9 (KILL) after "),
        "{detail}"
    );
    assert_eq!(home.marked(""), [0_u32; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_exits_at_once_was_started_and_its_last_words_are_told() {
    let home = Home::new();
    let supervisor = home.supervisor();
    let changes = supervisor
        .set(&[run(
            "web",
            &["sh", "-c", "echo bind: address in use >&2; exit 3"],
        )])
        .await;
    assert_eq!(kinds(&changes), [ChangeKind::Started]);
    assert!(
        changes[0].detail.contains("which exited with 3 after "),
        "{changes:?}"
    );
    assert!(
        changes[0].detail.ends_with(": bind: address in use"),
        "{changes:?}"
    );
    let answer = supervisor.restart(&name("web-1"), &id("op-1")).await;
    assert_eq!(answer.kind, OutcomeKind::Done);
    assert!(answer.detail.contains("exited with 3"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_started_fails_before_the_running_one_is_touched() {
    let home = Home::new();
    let supervisor = home.supervisor();
    let web = name("web-1");
    supervisor.set(&[run("web", &["sleep", "600"])]).await;
    let before = pid(&supervisor, &web);
    let changes = supervisor.set(&[run("web", &["/no/such/program"])]).await;
    assert_eq!(kinds(&changes), [ChangeKind::Outdated]);
    let answer = supervisor.restart(&web, &id("op-1")).await;
    assert_eq!(answer.kind, OutcomeKind::Failed, "{answer:?}");
    assert_eq!(answer.detail, "program `/no/such/program` not found");
    assert_eq!(pid(&supervisor, &web), before);
    let stranger = supervisor.restart(&name("other-1"), &id("op-2")).await;
    assert_eq!(stranger.kind, OutcomeKind::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_replaces_the_process_once_per_operation() {
    let home = Home::new();
    let supervisor = home.supervisor();
    let web = name("web-1");
    supervisor.set(&[run("web", &["sleep", "600"])]).await;
    let before = pid(&supervisor, &web);
    let first = supervisor.restart(&web, &id("op-1")).await;
    let after = pid(&supervisor, &web);
    assert_eq!(first.kind, OutcomeKind::Done, "{first:?}");
    assert!(before != after && !is_alive(before));
    assert_eq!(supervisor.restart(&web, &id("op-1")).await, first);
    assert_eq!(pid(&supervisor, &web), after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_is_continued_and_heeds_its_signal() {
    let home = Home::new();
    let supervisor = home.supervisor();
    let web = name("web-1");
    let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    supervisor.set(&[run("web", &["sh", "-c", script])]).await;
    wait_for("it is up", || (home.log("web-1") == "up\n").then_some(()));
    kill("STOP", pid(&supervisor, &web));
    let answer = supervisor.restart(&web, &id("op-1")).await;
    assert_eq!(answer.kind, OutcomeKind::Done);
    assert!(answer.detail.starts_with("stopped after"), "{answer:?}");
    // The shell may also say that the sleep it waited for was terminated.
    wait_for("it said goodbye and came again", || {
        let log = home.log("web-1");
        (log.matches("up\n").count() == 2 && log.contains("bye\n")).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ignores_its_signal_is_killed_after_its_grace() {
    let home = Home::new();
    let supervisor = home.supervisor();
    let mut stubborn = run(
        "web",
        &["sh", "-c", "trap '' TERM; echo up; exec sleep 600"],
    );
    stubborn.stop.grace = Duration::from_millis(100);
    supervisor.set(&[stubborn]).await;
    wait_for("it is up", || (home.log("web-1") == "up\n").then_some(()));
    let answer = supervisor.stop(&name("web-1"), &id("op-1")).await;
    assert_eq!(answer.detail, "killed after its grace");
    assert_eq!(supervisor.state(&name("web-1")), ProcessState::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn children_that_left_their_group_do_not_escape() {
    let home = Home::new();
    let supervisor = home.supervisor();
    // A daemon of a session of its own whose parent is gone, and one more that ignores TERM.
    let script =
        "(setsid sh -c 'sleep 601' &) ; setsid sh -c \"trap '' TERM; sleep 602\" & exec sleep 600";
    let mut web = run("web", &["sh", "-c", script]);
    web.stop.grace = Duration::from_millis(300);
    supervisor.set(&[web]).await;
    wait_for("all have started", || {
        (home.marked("web-1").len() >= 5).then_some(())
    });
    let answer = supervisor.stop(&name("web-1"), &id("op-1")).await;
    assert_eq!(answer.kind, OutcomeKind::Done, "{answer:?}");
    assert_eq!(home.marked("web-1"), [0_u32; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crashed_leader_left_behind_is_gone_before_the_next_begins() {
    let home = Home::new();
    let supervisor = home.supervisor();
    let web = name("web-1");
    supervisor
        .set(&[run("web", &["sh", "-c", "sleep 601 & sleep 600"])])
        .await;
    wait_for("both children run", || {
        (home.marked("web-1").len() == 3).then_some(())
    });
    let before = home.marked("web-1");
    kill("KILL", pid(&supervisor, &web));
    wait_for("the exit is seen", || {
        matches!(supervisor.state(&web), ProcessState::Exited { .. }).then_some(())
    });
    let answer = supervisor.start(&web, &id("op-1")).await;
    assert_eq!(answer.kind, OutcomeKind::Done, "{answer:?}");
    assert!(before.iter().all(|pid| !is_alive(*pid)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_a_clean_environment() {
    let home = Home::new();
    let supervisor = home.supervisor();
    let mut web = run(
        "web",
        &["sh", "-c", "env | cut -d= -f1 | sort | tr '\\n' ' '"],
    );
    web.environment = vec![("OWN".into(), "1".into())];
    supervisor.set(&[web]).await;
    wait_for("its names are printed", || {
        (!home.log("web-1").is_empty()).then_some(())
    });
    assert_eq!(
        home.log("web-1"),
        "HOME LANG OWN PATH PITCREW_OPERATION PITCREW_PID PITCREW_SUPERVISED PWD USER "
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_become_with_no_groups_left() {
    if std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) != 0)
    {
        return crate::support::skipped("becoming another user needs root: run as root");
    }
    let home = Home::new();
    let supervisor = home.supervisor();
    let mut web = run("web", &["sh", "-c", "id -un; id -G; echo $USER"]);
    web.user = Some("nobody".into());
    web.directory = Some("/".into());
    supervisor.set(&[web]).await;
    wait_for("it tells who it is", || {
        (home.log("web-1").lines().count() == 3).then_some(())
    });
    assert_eq!(home.log("web-1"), "nobody\n65534\nnobody\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_rotated_while_the_program_goes_on_writing() {
    let home = Home::new();
    let supervisor = home.supervisor();
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exec sleep 600";
    let mut web = run("web", &["sh", "-c", script]);
    web.log = LogPolicy {
        bytes_max: 40_000,
        keep: 9,
    };
    supervisor.set(&[web]).await;
    let read = || {
        let older = (1..=9).rev().map(|number| format!("web-1.log.{number}"));
        older
            .chain(["web-1.log".to_owned()])
            .map(|file| std::fs::read_to_string(home.run_directory().join("logs").join(file)))
            .map(Result::unwrap_or_default)
            .collect::<String>()
    };
    wait_for("the tail is there and the file is small", || {
        let is_small = home.log("web-1").len() < 45_000;
        (is_small && read().ends_with("line 19999\n")).then_some(())
    });
    let numbers: Vec<u32> = read()
        .lines()
        .filter_map(|line| line.strip_prefix("line ")?.parse().ok())
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_directory_has_one_pitcrew() {
    let home = Home::new();
    let first = home.supervisor();
    let error = match Supervisor::new(home.run_directory(), home.installation.clone()) {
        Ok(_) => panic!("two of them"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("another Pitcrew runs"), "{error}");
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_never_begins_before_its_record_is_on_the_disk() {
    let home = Home::new();
    let supervisor = home.supervisor();
    // Where the record would be written there is a directory in the way.
    let in_the_way = home.run_directory().join("web-1.json.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let began = home.path("began");
    let runs = [run(
        "web",
        &["sh", "-c", &format!("echo x > {began}; exec sleep 600")],
    )];
    let changes = supervisor.set(&runs).await;
    assert_eq!(kinds(&changes), [ChangeKind::Failed]);
    assert!(
        changes[0].detail.contains("can't be written"),
        "{changes:?}"
    );
    wait_for("the gate leaves", || {
        home.marked("").is_empty().then_some(())
    });
    assert!(!std::fs::exists(&began).unwrap());
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(kinds(&supervisor.set(&runs).await), [ChangeKind::Started]);
    wait_for("it begins", || {
        std::fs::exists(&began).unwrap().then_some(())
    });
}
