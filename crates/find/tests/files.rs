//! Real files: replaced, rewritten in place, half-written, gone, huge.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, io::Write, path::Path, time::Duration};

use pitcrew_find::{Asker, FindError};
use pitcrew_model::{Source, SourceKind};
use support::{Heard, ids, source};

mod support;

fn files(paths: &[&str]) -> Source {
    source(
        "file-1",
        SourceKind::File {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            refresh: Duration::from_secs(3_600),
        },
    )
}

fn write(directory: &Path, name: &str, text: &str) {
    fs::write(directory.join(name), text).unwrap();
}

fn replace(directory: &Path, name: &str, text: &str) {
    write(directory, "new.tmp", text);
    fs::rename(directory.join("new.tmp"), directory.join(name)).unwrap();
}

/// `a1` to `aN`, each a target.
fn list(prefix: &str, count: usize) -> String {
    let addresses: Vec<String> = (1..=count)
        .map(|number| format!("\"{prefix}{number}:80\""))
        .collect();
    format!("[{{\"targets\":[{}]}}]", addresses.join(","))
}

#[tokio::test]
async fn several_files_of_one_source_are_merged() {
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        "web.yaml",
        "- targets: ['a:80']\n  labels: {zone: x}\n",
    );
    write(directory.path(), "api.yml", "- targets: ['b:80']\n");
    write(directory.path(), "db.json", &list("c", 1));
    write(directory.path(), "readme.txt", "not read");
    write(directory.path(), ".web.yaml.swp", "not read");
    let mut asker = Asker::new(files(&["*.y*ml", "db.json", "web.yaml"]), directory.path());
    let answer = asker.ask().await.unwrap();
    assert_eq!(ids(&answer.targets), ["a:80", "b:80", "c1:80"]);
    assert!(answer.problems.is_empty(), "{}", answer.problems);
    let web = answer
        .targets
        .iter()
        .find(|target| target.id.as_str() == "a:80");
    assert_eq!(
        web.unwrap().labels.to_string(),
        r#"{service="web", zone="x"}"#
    );
}

#[tokio::test]
async fn a_bad_file_fails_only_itself_and_keeps_what_it_had() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.json", &list("a", 2));
    write(directory.path(), "b.json", &list("b", 1));
    let mut asker = Asker::new(files(&["*.json"]), directory.path());
    asker.ask().await.unwrap();

    write(directory.path(), "a.json", &list("a", 3)[..20]);
    write(directory.path(), "b.json", &list("b", 2));
    let answer = asker.ask().await.unwrap();
    assert_eq!(ids(&answer.targets), ["a1:80", "a2:80", "b1:80", "b2:80"]);
    let problems = answer.problems.to_string();
    assert!(problems.contains("a.json: EOF while parsing"), "{problems}");
    assert!(
        problems.contains("its last 2 targets are kept"),
        "{problems}"
    );

    write(directory.path(), "a.json", &list("a", 3));
    assert_eq!(asker.ask().await.unwrap().targets.len(), 5);
}

#[tokio::test]
async fn a_file_that_was_bad_from_the_start_is_reported_and_the_others_count() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.yaml", "targets: [");
    write(
        directory.path(),
        "b.yaml",
        "- targets: ['b:80', 'not an address']",
    );
    let answer = Asker::new(files(&["*.yaml"]), directory.path())
        .ask()
        .await
        .unwrap();
    assert_eq!(ids(&answer.targets), ["b:80"]);
    let problems = answer.problems.to_string();
    assert!(
        problems.contains("b.yaml: entry 1: `not an address`"),
        "{problems}"
    );
    assert!(problems.contains("a.yaml: "), "{problems}");
}

#[tokio::test]
async fn a_named_file_that_is_gone_keeps_what_it_had() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.json", &list("a", 2));
    let mut asker = Asker::new(files(&["a.json"]), directory.path());
    asker.ask().await.unwrap();
    fs::remove_file(directory.path().join("a.json")).unwrap();
    for _ in 0..3 {
        let answer = asker.ask().await.unwrap();
        assert_eq!(answer.targets.len(), 2);
        assert!(answer.problems.to_string().contains("No such file"));
    }
}

#[tokio::test]
async fn a_matched_file_that_is_gone_goes_when_it_is_missed_twice() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.json", &list("a", 2));
    write(directory.path(), "b.json", &list("b", 2));
    let mut asker = Asker::new(files(&["*.json"]), directory.path());
    asker.ask().await.unwrap();
    fs::remove_file(directory.path().join("a.json")).unwrap();
    assert_eq!(asker.ask().await.unwrap().targets.len(), 4);
    assert_eq!(asker.ask().await.unwrap().targets.len(), 2);
}

#[tokio::test]
async fn without_any_file_there_is_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    for paths in [["a.json"], ["*.json"], ["no/such/folder/*.json"]] {
        let error = Asker::new(files(&paths), directory.path())
            .ask()
            .await
            .unwrap_err();
        assert!(matches!(error, FindError::Nothing(_)), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_file_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("folder.json")).unwrap();
    let pipe = directory.path().join("pipe.json");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    let error = Asker::new(files(&["*.json"]), directory.path())
        .ask()
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string().matches("it is not a file").count(),
        2,
        "{error}"
    );
}

#[tokio::test]
async fn a_file_without_end_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let file = fs::File::create(directory.path().join("a.json")).unwrap();
    file.set_len(300 << 20).unwrap();
    let error = Asker::new(files(&["a.json"]), directory.path())
        .ask()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("256 MiB"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_noticed_whether_the_file_is_replaced_or_rewritten() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.json", &list("a", 1));
    let (_finders, mut heard) = Heard::start(vec![files(&["*.json"])], directory.path());
    heard.wait_for_ids(&["a1:80"]);
    replace(directory.path(), "a.json", &list("a", 2));
    heard.wait_for_ids(&["a1:80", "a2:80"]);
    write(directory.path(), "a.json", &list("a", 1));
    heard.wait_for_ids(&["a1:80"]);
    write(directory.path(), "b.json", &list("b", 1));
    heard.wait_for_ids(&["a1:80", "b1:80"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_written_slowly_never_loses_a_target() {
    let directory = tempfile::tempdir().unwrap();
    let text = "- targets: ['a:80']\n- targets: ['b:80']\n- targets: ['c:80']\n";
    write(directory.path(), "a.yaml", text);
    let (_finders, mut heard) = Heard::start(vec![files(&["a.yaml"])], directory.path());
    heard.wait_for_ids(&["a:80", "b:80", "c:80"]);
    // Each beginning of it is a valid file with fewer targets.
    let mut file = fs::File::create(directory.path().join("a.yaml")).unwrap();
    for line in text.lines().chain(["- targets: ['d:80']"]) {
        writeln!(file, "{line}").unwrap();
        file.flush().unwrap();
        std::thread::sleep(Duration::from_millis(600));
    }
    heard.wait("d", |heard| {
        assert!(heard.targets.len() >= 3, "{:?}", heard.targets.keys());
        heard.targets.len() == 4
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shrunken_or_empty_file_is_not_believed_until_it_grows_or_a_person_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    write(path, "a.json", &list("a", 8));
    let (finders, mut heard) = Heard::start(vec![files(&["a.json"])], path);
    heard.wait("eight", |heard| heard.targets.len() == 8);
    replace(path, "a.json", &list("a", 4));
    heard.wait("half", |heard| heard.targets.len() == 4);
    replace(path, "a.json", "half written [");
    heard.wait("bad", |heard| {
        heard
            .troubles
            .values()
            .any(|trouble| trouble.contains("line 1"))
    });
    replace(path, "a.json", &list("a", 1));
    heard.wait("shrunken", |heard| {
        heard
            .troubles
            .values()
            .any(|trouble| trouble.contains("shrank from 4 to 1"))
    });
    replace(path, "a.json", "[]");
    heard.wait("empty", |heard| {
        heard
            .troubles
            .values()
            .any(|trouble| trouble.contains("no target"))
    });
    assert_eq!(heard.targets.len(), 4);
    replace(path, "a.json", &list("a", 5));
    heard.wait("grown", |heard| {
        heard.targets.len() == 5 && heard.troubles.is_empty()
    });

    replace(path, "a.json", &list("a", 2));
    heard.wait("shrunken again", |heard| !heard.troubles.is_empty());
    finders.accept(&files(&[]).name);
    heard.wait("accepted", |heard| {
        heard.targets.len() == 2 && heard.troubles.is_empty()
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sources_leave_those_that_did_not_change_alone() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.json", &list("a", 1));
    write(directory.path(), "b.json", &list("b", 1));
    let mut second = files(&["b.json"]);
    second.name = pitcrew_model::SourceName::new("file-2").unwrap();
    let (mut finders, mut heard) =
        Heard::start(vec![files(&["a.json"]), second.clone()], directory.path());
    heard.wait_for_ids(&["a1:80", "b1:80"]);
    finders.set(vec![files(&["a.json"])]);
    heard.wait_for_ids(&["a1:80"]);
    finders.set(vec![files(&["a.json"]), second]);
    heard.wait_for_ids(&["a1:80", "b1:80"]);
    finders.set(vec![files(&["b.json"])]);
    heard.wait_for_ids(&["b1:80"]);
    finders.stop();
    write(directory.path(), "b.json", &list("b", 2));
    assert_eq!(heard.told_within(Duration::from_secs(3)), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_targets_are_read_and_half_of_them_gone_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let million = |count: u32| {
        let mut text = String::from("[");
        for number in 0..count {
            let [_, a, b, c] = number.to_be_bytes();
            let comma = if number == 0 { "" } else { "," };
            text += &format!(
                "{comma}{{\"targets\":[\"10.{a}.{b}.{c}:80\"],\"labels\":{{\"zone\":\"{}\"}}}}",
                number % 3
            );
        }
        text + "]"
    };
    write(directory.path(), "a.json", &million(1_000_000));
    let (_finders, mut heard) = Heard::start(vec![files(&["a.json"])], directory.path());
    heard.wait("a million", |heard| heard.targets.len() == 1_000_000);
    replace(directory.path(), "a.json", &million(499_999));
    heard.wait("refused", |heard| {
        heard
            .troubles
            .values()
            .any(|trouble| trouble.contains("shrank from 1000000 to 499999"))
    });
    assert_eq!(heard.targets.len(), 1_000_000);
}
