//! The configuration of a host: what it says is what is read, and what is wrong is said with its place.

use std::{fs, time::Duration};

use pitcrew_config::{LoadError, load_host};
use pitcrew_model::{HostSettings, Rate, Runner};

fn read(text: &str) -> Result<HostSettings, LoadError> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("host.yaml");
    fs::write(&file, text).expect("it is written");
    load_host(&file)
}

#[test]
fn a_host_says_what_runs_on_it_and_what_it_bears() {
    let settings = read(
        r#"
address: 10.0.0.7
labels: { zone: a }
units:
  - { unit: nginx.service, name: nginx, address: "10.0.0.7:80", labels: { service: web } }
  - unit: postgresql@15-main.service
containers:
  - { container: redis, socket: /run/other.sock }
run:
  - { name: web, command: [./web] }
commands:
  - { name: drain, command: [/usr/bin/drain, "{target}"], timeout: 5s }
plugins: [check_disk]
limits: { disruptive: 2/d }
"#,
    );
    let settings = settings.unwrap();
    let names: Vec<&str> = settings.things.iter().map(|thing| &*thing.name).collect();
    assert_eq!(names, ["nginx", "postgresql@15-main.service", "redis"]);
    let container = &settings.things[2].runner;
    let socket = Some("/run/other.sock".to_owned());
    assert_eq!(
        *container,
        Runner::Container {
            name: "redis".into(),
            socket
        }
    );
    assert_eq!(settings.commands[0].command, ["/usr/bin/drain", "{target}"]);
    assert_eq!(settings.plugins, ["check_disk"]);
    let per = Duration::from_secs(86_400);
    assert_eq!(settings.limits.disruptive, Rate { count: 2, per });
}

#[test]
fn a_host_that_says_nothing_is_only_itself() {
    assert_eq!(read("").unwrap(), HostSettings::default());
    assert_eq!(read("units:\n").unwrap(), HostSettings::default());
}

#[test]
fn mistakes_are_reported_together_with_their_places() {
    let error = read(
        "address: 10.0.0.7:80\nunits: [{ unit: a, name: web-1 }]\nrun: [{ name: web, command: [web] }]\nreboots: 2/d\n",
    );
    let Err(LoadError::Problems(problems)) = error else {
        panic!("it is refused: {error:?}");
    };
    let all: Vec<String> = problems.problems.iter().map(ToString::to_string).collect();
    let all = all.join("\n");
    for part in [
        "1:10",
        "has a port",
        "two targets are named `web-1`",
        "unknown key `reboots`",
    ] {
        assert!(all.contains(part), "{part} in\n{all}");
    }
}
