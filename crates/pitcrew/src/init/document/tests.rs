//! What is written is read back: the configuration says what was found, whatever it is called.

use std::{net::Ipv4Addr, time::Duration};

use pitcrew_model::{HelloTest, Labels, Place, Proves, SourceKind, StoreProtocol, TestName};
use pitcrew_probe::Answer;
use proptest::prelude::*;

use super::*;
use crate::init::{
    hello::Speech,
    questions::{Hints, kinds},
    runner::Choice,
};

fn found(name: &str, words: &str, runner: Option<Runner>) -> Found {
    let test = Test {
        name: TestName::new("answers").unwrap(),
        kind: TestKind::Hello(HelloTest {
            port: None,
            protocol: StoreProtocol::Redis,
        }),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        failure_threshold: 3,
        success_threshold: 2,
        proves: Proves::Down,
        place: Place::Server,
    };
    Found {
        name: name.to_owned(),
        what: words.to_owned(),
        pid: None,
        address: (Ipv4Addr::LOCALHOST, 6_379).into(),
        tests: vec![Asked {
            test,
            answer: Answer::pass(words),
            notes: vec![words.to_owned()],
            is_repaired: true,
        }],
        choice: Choice {
            runner,
            notes: vec![words.to_owned()],
        },
        is_store: true,
        untested: vec![1],
    }
}

fn survey(found: Vec<Found>, words: &str) -> Survey {
    let seen = Seen {
        address: (Ipv4Addr::LOCALHOST, 22).into(),
        what: words.to_owned(),
        why: words.to_owned(),
    };
    Survey {
        found,
        seen: vec![seen],
        hidden: vec![words.to_owned()],
        absent: Vec::new(),
    }
}

fn parsed(text: &str) -> pitcrew_model::Production {
    let files = [("/etc/pitcrew/pitcrew.yaml".to_owned(), text.to_owned())];
    let loaded = pitcrew_config::parse(&files, &|_| None);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    assert!(loaded.warnings.is_empty(), "{:?}\n{text}", loaded.warnings);
    loaded.production
}

/// The runner of the only target, as an order would have it.
fn read_back(text: &str) -> Option<Runner> {
    let production = parsed(text);
    let [source] = &production.sources[..] else {
        panic!("{text}")
    };
    let labels: &Labels = &source.labels;
    assert!(
        matches!(&source.kind, SourceKind::Static { targets } if targets[..] == ["127.0.0.1:6379"])
    );
    let [service] = &production.services[..] else {
        panic!("{text}")
    };
    assert!(service.select.selects(labels));
    service
        .runs_as
        .as_ref()
        .map(|runner| runner.fill(labels).unwrap())
}

#[test]
fn nothing_found_is_a_skeleton_that_is_valid() {
    let text = document(&survey(Vec::new(), "x"), Path::new("production"));
    let production = parsed(&text);
    assert!(production.services.is_empty());
    // And the example in it is right, too.
    let example: String = text
        .lines()
        .skip_while(|line| *line != "# find:")
        .take_while(|line| line.starts_with("# "))
        .map(|line| format!("{}\n", &line[2..]))
        .collect();
    assert_eq!(parsed(&example).services.len(), 1);
}

#[test]
fn what_has_no_known_runner_is_handed_over() {
    let text = document(
        &survey(vec![found("redis", "x", None)], "x"),
        Path::new("production"),
    );
    let production = parsed(&text);
    let steps: Vec<&str> = production.services[0].repairs[0]
        .steps
        .iter()
        .map(|step| step.action.name())
        .collect();
    assert_eq!(steps, ["hand_over"]);
    assert_eq!(
        production.services[0].autonomy,
        pitcrew_model::Autonomy::Observe
    );
}

#[test]
fn statuses_are_single_or_whole_classes() {
    assert_eq!(statuses(&[200]), "[200]");
    assert_eq!(statuses(&(200..500).collect::<Vec<_>>()), "[2xx, 3xx, 4xx]");
}

#[test]
fn the_tests_that_were_asked_are_the_tests_that_are_written() {
    let hints = Hints {
        unix_sockets: vec![
            "/run/postgresql/.s.PGSQL.5432".to_owned(),
            "/run/my sql/x.sock".to_owned(),
        ],
        own_user: Some("no".to_owned()),
    };
    let speeches = [
        Speech::Http { status: Some(404) },
        Speech::Http { status: Some(503) },
        Speech::Http { status: None },
        Speech::Redis,
        Speech::Postgres,
        Speech::Mysql,
        Speech::Memcached,
        Speech::Amqp,
    ];
    for speech in speeches {
        for port in [None, Some(7)] {
            for kind in kinds(5_432, port, &speech, &hints) {
                let mut found = found("x", "y", None);
                let mut test = found.tests[0].test.clone();
                test.proves = kind.proves_by_default();
                test.kind = kind;
                found.tests[0].test = test.clone();
                let production = parsed(&document(
                    &survey(vec![found], "z"),
                    Path::new("production"),
                ));
                assert_eq!(*production.services[0].tests[0], test);
            }
        }
    }
}

/// Anything but NUL, which no argument can hold; often what configurations and YAML make much of.
fn argument() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^\0]{0,20}",
        "[{}$a-z_:#\"'\\\\ \n\t&*!|>%@`\u{85}\u{2028}\u{feff}\u{7f}-]{0,20}",
        "\\$\\{[A-Z]{1,5}\\}\\{[a-z]{1,5}\\}",
    ]
}

proptest! {
    #[test]
    fn whatever_a_process_is_called_its_command_is_read_back(
        rest in proptest::collection::vec(argument(), 0..5),
        program in "[^/\0.][^/\0]{0,12}",
        user in proptest::option::of("[^\0]{1,12}"),
        words in argument(),
        name in "[^\0]{1,12}",
    ) {
        let path = format!("/opt/{program}");
        let mut command = vec![path.clone()];
        command.extend(rest);
        let runner = Runner::Listener {
            port: 6_379,
            exe: path.clone(),
            command,
            user,
            directory: Some(path),
            grace: Duration::from_secs(30),
        };
        let name = crate::init::names::clean(&name);
        let all = survey(vec![found(&name, &words, Some(runner.clone()))], &words);
        let text = document(&all, Path::new("production"));
        prop_assert_eq!(read_back(&text), Some(runner), "{}", text);
    }

    #[test]
    fn units_and_containers_are_read_back(name in "[^\0]{1,20}", socket in proptest::option::of("/[^\0]{1,12}")) {
        let unit = Runner::Unit { name: name.clone(), bus: None };
        let container = Runner::Container { name, socket };
        for runner in [unit, container] {
            let text = document(&survey(vec![found("x", "y", Some(runner.clone()))], "z"), Path::new("production"));
            prop_assert_eq!(read_back(&text), Some(runner), "{}", text);
        }
    }
}
