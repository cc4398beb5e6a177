//! Debian's monitoring-plugins, and scripts that hang, fork, flood and lie.

use std::{net::TcpListener, path::Path, sync::Arc, time::Duration};

use pitcrew_model::{NagiosTest, TestKind, Verdict};
use pitcrew_probe::{Answer, Question, Tools, ask};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::support::{NoProcesses, PATIENCE, check, is_missing, target, test};

const PLUGINS: &str = "/usr/lib/nagios/plugins/check_dummy";

async fn run_within(command: &[&str], timeout: Duration) -> Answer {
    let kind = TestKind::Nagios(NagiosTest {
        command: command.iter().map(|&word| word.to_owned()).collect(),
    });
    let target = target(
        Some("127.0.0.1:4321"),
        &[("zone", "a b;$(touch /tmp/never)"), ("open", "{zone}")],
    );
    let tools = Tools::new(Arc::new(NoProcesses));
    let test = test(kind, timeout);
    ask(Question::new(&target, None, &test, &tools)).await
}

async fn run(command: &[&str]) -> Answer {
    run_within(command, Duration::from_secs(10)).await
}

async fn shell(script: &str) -> Answer {
    run(&["sh", "-c", script]).await
}

#[tokio::test]
async fn each_exit_code_of_a_real_plugin_is_its_verdict() {
    if is_missing(PLUGINS, "monitoring-plugins-basic") {
        return;
    }
    for (code, verdict, words) in [
        ("0", Verdict::Pass, "OK: said"),
        ("1", Verdict::Warn, "WARNING: said"),
        ("2", Verdict::Fail, "CRITICAL: said"),
        ("3", Verdict::Unknown, "UNKNOWN: said"),
    ] {
        check(&run(&["check_dummy", code, "said"]).await, verdict, words);
    }
}

#[tokio::test]
async fn figures_of_real_plugins_are_read() {
    if is_missing(PLUGINS, "monitoring-plugins-basic") {
        return;
    }
    let disk = run(&["check_disk", "-w", "0%", "-c", "0%", "-p", "/"]).await;
    check(&disk, Verdict::Pass, "DISK OK");
    assert_eq!(disk.perfdata[0].label, "/", "{disk:?}");
    assert!(
        disk.perfdata[0].max.is_some_and(|most| most > 0.0),
        "{disk:?}"
    );

    let load = run(&["check_load", "-w", "9999,9999,9999", "-c", "9999,9999,9999"]).await;
    let labels: Vec<_> = load
        .perfdata
        .iter()
        .map(|figure| figure.label.as_str())
        .collect();
    assert_eq!(labels, ["load1", "load5", "load15"]);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let tcp = run(&["check_tcp", "-H", "{host}", "-p", &port]).await;
    check(&tcp, Verdict::Pass, "TCP OK");
    assert_eq!(
        (
            tcp.perfdata[0].label.as_str(),
            tcp.perfdata[0].unit.as_str()
        ),
        ("time", "s")
    );
    drop(listener);
    check(
        &run(&["check_tcp", "-H", "{host}", "-p", &port]).await,
        Verdict::Fail,
        "refused",
    );
}

#[tokio::test]
async fn placeholders_are_replaced_once_in_arguments_and_never_seen_by_a_shell() {
    let answer = run(&[
        "printf",
        "%s ",
        "{address}",
        "{host}",
        "{port}",
        "{target}",
        "{zone}",
        "{open}",
        "{}",
        "{\"a\": 1}",
    ])
    .await;
    check(
        &answer,
        Verdict::Pass,
        "127.0.0.1:4321 127.0.0.1 4321 probed-1 a b;$(touch /tmp/never) {zone} {} {\"a\": 1}",
    );
    assert!(!Path::new("/tmp/never").exists());
    check(&run(&["echo", "{rack}"]).await, Verdict::Unknown, "{rack}");
    // Discovery must not choose the program.
    check(
        &run(&["{host}"]).await,
        Verdict::Unknown,
        "no program `{host}`",
    );
}

#[tokio::test]
async fn the_environment_is_clean() {
    let answer = shell("env | sort | cut -d= -f1 | tr '\\n' ' '; echo").await;
    // The shell itself adds PWD and such.
    let names: Vec<_> = answer.evidence.as_str().split(' ').collect();
    assert!(
        names.contains(&"PATH") && names.contains(&"LC_ALL"),
        "{names:?}"
    );
    assert!(
        !names.contains(&"HOME") && !names.contains(&"CARGO"),
        "{names:?}"
    );
    let path = shell("echo $PATH; exit 0").await;
    check(&path, Verdict::Pass, "/usr/lib/nagios/plugins");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_unknown_and_says_where_it_was_looked_for() {
    let answer = run(&["check_nothing_at_all"]).await;
    check(
        &answer,
        Verdict::Unknown,
        "no program `check_nothing_at_all`: looked in /",
    );
    check(&answer, Verdict::Unknown, "/usr/lib/monitoring-plugins");
    let absent = run(&["/nonexistent/check"]).await;
    check(
        &absent,
        Verdict::Unknown,
        "can't run /nonexistent/check: No such file",
    );
    let text = tempfile::NamedTempFile::new().unwrap();
    let no_program = run(&[text.path().to_str().unwrap()]).await;
    check(&no_program, Verdict::Unknown, "Permission denied");
}

#[tokio::test]
async fn an_end_that_is_no_plugins_is_unknown_with_the_reason() {
    check(
        &shell("echo on my way; exit 42").await,
        Verdict::Unknown,
        "sh exited with 42: on my way",
    );
    check(
        &shell("kill -SEGV $$").await,
        Verdict::Unknown,
        "sh was killed by signal 11",
    );
    check(
        &shell("echo broken >&2; exit 2").await,
        Verdict::Fail,
        "broken",
    );
    check(
        &shell("exit 1").await,
        Verdict::Warn,
        "sh exited with 1 and said nothing",
    );
}

#[tokio::test]
async fn output_beyond_64_kib_is_dropped_and_a_flood_is_killed() {
    let long = shell("echo 'fine | a=1'; yes | head -c 1000000; exit 1").await;
    check(&long, Verdict::Warn, "fine");
    assert_eq!(long.perfdata.len(), 1);
    let flood = shell("exec yes").await;
    check(
        &flood,
        Verdict::Unknown,
        "sh wrote more than 16 MiB and was killed: y",
    );
}

/// Whether a process still runs whose command line holds `mark`.
fn runs(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes.flatten().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark)
    })
}

async fn gone(mark: &str) {
    let deadline = Instant::now() + PATIENCE;
    while runs(mark) {
        assert!(Instant::now() < deadline, "{mark} still runs");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_at_the_deadline_with_its_children() {
    let directory = TempDir::new().unwrap();
    let started = directory.path().join("started");
    let script = format!("sleep 7001.5 & touch {}; sleep 7002.5", started.display());
    let answer = run_within(&["sh", "-c", &script], Duration::from_millis(500)).await;
    check(
        &answer,
        Verdict::Fail,
        "no answer within 500ms (the plugin has not ended)",
    );
    assert!(started.exists());
    gone("7001.5").await;
    gone("7002.5").await;
}

#[tokio::test]
async fn children_that_a_plugin_leaves_behind_are_killed_and_not_waited_for() {
    let started = Instant::now();
    check(
        &shell("echo fine; sleep 7003.5 & exit 0").await,
        Verdict::Pass,
        "fine",
    );
    gone("7003.5").await;
    // A child with a session of its own escapes the group, but can't hold up the answer.
    check(
        &shell("echo fine; setsid sleep 5.25 & exit 0").await,
        Verdict::Pass,
        "fine",
    );
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}
