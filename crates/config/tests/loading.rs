//! Directories and files as they are on disk, and the examples.

#![expect(clippy::unwrap_used, reason = "a test ends where it panics")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use pitcrew_config::{LoadError, Loaded, load};
use pitcrew_model::{Action, Autonomy, Destination, SourceKind, TestKind};

fn example(name: &str) -> (PathBuf, Loaded) {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let directory = examples.join(name);
    let loaded = load(&directory).unwrap_or_else(|error| panic!("{}", error.render(false)));
    assert_eq!(loaded.warnings, [], "{}", loaded.render_warnings(false));
    (std::path::absolute(directory).unwrap(), loaded)
}

/// Examples end with a person.
fn ends_with_a_hand_over(loaded: &Loaded) -> bool {
    let services = loaded.production.services.iter();
    let mut ladders = services.flat_map(|service| &service.repairs);
    ladders.all(|repair| matches!(repair.steps.last().unwrap().action, Action::HandOver { .. }))
}

#[test]
fn the_example_of_one_machine_is_as_its_comments_say() {
    let (directory, loaded) = example("one-machine");
    let production = &loaded.production;
    let run = &production.runs[0];
    assert_eq!((run.name.as_str(), run.instances), ("app", 3));
    assert_eq!(run.directory.as_deref(), Some(&*directory));
    assert!(directory.join("site/index.html").is_file());
    let Destination::Command { command } = &production.receivers[0].destination else {
        panic!("a command");
    };
    assert!(Path::new(&command[0]).is_file(), "{command:?}");
    assert_eq!(production.server.data, directory.join("data"));
    assert_eq!(production.services[0].autonomy, Autonomy::Act);
    assert!(ends_with_a_hand_over(&loaded));
}

#[test]
fn the_example_of_an_estate_observes_what_prometheus_lists() {
    let (directory, loaded) = example("prometheus-estate");
    let production = &loaded.production;
    let SourceKind::File { paths, .. } = &production.sources[0].kind else {
        panic!("a file source");
    };
    let expected = ["targets/*.json", "targets/*.yaml"].map(|path| directory.join(path));
    assert_eq!(
        paths.iter().map(PathBuf::from).collect::<Vec<_>>(),
        expected
    );
    let text = fs::read_to_string(directory.join("targets/shop.json")).unwrap();
    let groups: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(groups[0]["labels"]["job"], "shop");
    let services = production.services.iter();
    assert!(
        services
            .clone()
            .all(|s| s.autonomy == Autonomy::Observe && s.repairs.is_empty())
    );
}

#[test]
fn the_example_of_databases_asks_before_it_restarts_them() {
    let (_, loaded) = example("databases-and-queues");
    let production = &loaded.production;
    let autonomy = |name: &str| {
        let service = production.services.iter().find(|s| s.name.as_str() == name);
        service.unwrap().autonomy
    };
    assert_eq!(autonomy("postgres"), Autonomy::Approve);
    assert_eq!(autonomy("redis"), Autonomy::Act);
    let kinds = production
        .services
        .iter()
        .flat_map(|service| &service.tests);
    let kinds: Vec<_> = kinds.map(|test| test.kind.name()).collect();
    assert_eq!(
        kinds,
        [
            "postgres",
            "unit",
            "mysql",
            "redis",
            "memcached",
            "amqp",
            "amqp"
        ]
    );
    let TestKind::Redis(redis) = &production.services[2].tests[0].kind else {
        panic!("a test of Redis");
    };
    assert_eq!(redis.password.as_ref().unwrap().expose(), "change-me");
    assert!(ends_with_a_hand_over(&loaded));
}

#[test]
fn a_directory_is_every_yaml_file_in_it_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("b.yml", "find: [{ static: [{ targets: [b] }] }]");
    write(
        "a.yaml",
        "find: [{ static: [{ targets: [a] }] }]\nserver: { data: records }",
    );
    write(".hidden.yaml", "nonsense");
    write("notes.txt", "nonsense");
    write("sub/c.yaml", "nonsense");
    write("folder.yaml/d.yaml", "nonsense");
    let loaded = load(directory.path()).unwrap();
    let files = ["a.yaml", "b.yml"].map(|name| directory.path().join(name));
    assert_eq!(loaded.files, files);
    let names: Vec<_> = loaded
        .production
        .sources
        .iter()
        .map(|s| format!("{:?}", s.kind))
        .collect();
    assert!(
        names[0].contains("\"a\"") && names[1].contains("\"b\""),
        "{names:?}"
    );
    assert_eq!(
        loaded.production.server.data,
        directory.path().join("records")
    );

    let digest = loaded.production.digest;
    assert_eq!(load(directory.path()).unwrap().production.digest, digest);
    write("a.yaml", "find: [{ static: [{ targets: [c] }] }]");
    assert_ne!(load(directory.path()).unwrap().production.digest, digest);
}

#[test]
fn a_single_file_may_have_any_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("production.conf");
    fs::write(&file, "find: []").unwrap();
    assert_eq!(load(&file).unwrap().files, [file]);
}

#[test]
fn what_is_not_there_is_said() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(
        load(directory.path()),
        Err(LoadError::NoFiles { .. })
    ));
    let error = load(&directory.path().join("nowhere")).unwrap_err();
    assert!(matches!(error, LoadError::Read { .. }));
    assert!(
        error.render(false).contains("nowhere"),
        "{}",
        error.render(false)
    );
}

#[test]
fn every_file_that_is_not_utf_8_is_pointed_at() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.yaml"), b"find: []\n# ab\xff").unwrap();
    fs::write(directory.path().join("b.yaml"), b"\xff").unwrap();
    let Err(LoadError::Problems(problems)) = load(directory.path()) else {
        panic!("problems");
    };
    let places: Vec<_> = problems
        .problems
        .iter()
        .map(|p| (p.line, p.column))
        .collect();
    assert_eq!(places, [(2, 5), (1, 1)]);
}

#[test]
fn a_pipe_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("a.yaml");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    assert!(matches!(
        load(directory.path()),
        Err(LoadError::Read { .. })
    ));
}
