//! The host and what runs there, as its own configuration says: the targets that the server is told of, and what
//! each of them is here.

use std::{collections::BTreeMap, sync::Arc};

use pitcrew_act::Supervisor;
use pitcrew_model::{Address, HostSettings, Labels, SourceName, Target, TargetId};
use pitcrew_wire::HostName;

/// By id; the host itself included.
pub(crate) struct Inventory(BTreeMap<TargetId, Arc<Target>>);

impl Inventory {
    pub(crate) fn of(host: &HostName, settings: &HostSettings) -> Self {
        let host_labels = with(&settings.labels, &[("host", host.as_str())]);
        let own = Target {
            id: host.target(),
            address: settings
                .address
                .as_deref()
                .map(|address| Address(address.into())),
            labels: host_labels.clone(),
            run_on: None,
            runner: None,
            source: source(),
        };
        let on_host = |name: &str, target: Target| {
            let Some(id) = host.target_of(name) else {
                tracing::error!(
                    "`{name}` is no target: with the host's name it is longer than 256 bytes"
                );
                return None;
            };
            let labels = over(&host_labels, &target.labels);
            let run_on = Some(host.target());
            Some(Target {
                id,
                labels,
                run_on,
                ..target
            })
        };
        let things = settings.things.iter().filter_map(|thing| {
            let target = Target {
                address: thing.address.clone(),
                labels: thing.labels.clone(),
                runner: Some(thing.runner.clone()),
                ..own.clone()
            };
            on_host(&thing.name, target)
        });
        let processes = Supervisor::targets(&settings.runs);
        let processes = processes.into_iter().filter_map(|target| {
            let address = reachable(settings.address.as_deref(), target.address.as_ref());
            on_host(target.id.clone().as_str(), Target { address, ..target })
        });
        let all = things.chain(processes).chain([own.clone()]);
        Self(
            all.map(|target| (target.id.clone(), Arc::new(target)))
                .collect(),
        )
    }

    pub(crate) fn get(&self, id: &TargetId) -> Option<&Arc<Target>> {
        self.0.get(id)
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        self.0.values().map(|target| (**target).clone()).collect()
    }
}

/// As the supervisor of the host names it: without the host.
pub(crate) fn local_name(target: &Target) -> TargetId {
    let host = target.run_on.as_ref().map(TargetId::as_str);
    let name = match target.id.as_str().rsplit_once('@') {
        Some((name, on)) if Some(on) == host => name,
        _ => return target.id.clone(),
    };
    TargetId::new(name).unwrap_or_else(|_invalid| target.id.clone())
}

fn source() -> SourceName {
    SourceName::new("agents").expect("a short word is a valid name")
}

/// A supervised process listens on a port of its host; without the host's address nobody else reaches it.
fn reachable(host: Option<&str>, address: Option<&Address>) -> Option<Address> {
    let (host, port) = (host?, address?.port()?);
    let text = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    Some(Address(text.into()))
}

fn with(labels: &Labels, more: &[(&str, &str)]) -> Labels {
    let more = Labels::new(more.iter().copied()).expect("fit names of labels that differ");
    over(labels, &more)
}

/// `upper` wins.
fn over(lower: &Labels, upper: &Labels) -> Labels {
    let kept = lower.iter().filter(|(name, _)| upper.get(name).is_none());
    let pairs = kept.chain(upper.iter());
    Labels::new(pairs.map(|(name, value)| (name.clone(), value.clone())))
        .expect("names of labels that differ")
}

#[cfg(test)]
mod tests {
    use pitcrew_model::{HostThing, LogPolicy, Ports, Run, Runner, StopPolicy};

    use super::*;

    fn settings() -> HostSettings {
        HostSettings {
            address: Some("10.0.0.7".into()),
            labels: Labels::new([("zone", "a"), ("host", "liar")]).unwrap(),
            things: vec![HostThing {
                name: "postgresql@15-main.service".into(),
                runner: Runner::Unit {
                    name: "postgresql@15-main.service".into(),
                    bus: None,
                },
                address: None,
                labels: Labels::new([("zone", "b")]).unwrap(),
            }],
            runs: vec![Run {
                name: "web".into(),
                instances: 1,
                command: vec!["web".into()],
                ports: Some(Ports { from: 8080 }),
                zones: Vec::new(),
                labels: Labels::default(),
                environment: Vec::new(),
                directory: None,
                user: None,
                stop: StopPolicy::default(),
                log: LogPolicy::default(),
            }],
            ..HostSettings::default()
        }
    }

    #[test]
    fn what_runs_on_the_host_is_named_after_it_and_runs_on_it() {
        let host = HostName::new("db-1").unwrap();
        let inventory = Inventory::of(&host, &settings());
        let named = |id: &str| Arc::clone(inventory.get(&id.parse().unwrap()).unwrap());
        let unit = named("postgresql@15-main.service@db-1");
        assert_eq!(unit.run_on, Some(host.target()));
        assert_eq!(unit.labels.to_string(), r#"{host="db-1", zone="b"}"#);
        let web = named("web-1@db-1");
        assert_eq!(web.address, Some(Address("10.0.0.7:8080".into())));
        assert_eq!(local_name(&web).as_str(), "web-1");
        let own = named("db-1");
        assert_eq!(
            (own.run_on.clone(), local_name(&own)),
            (None, host.target())
        );
        assert_eq!(own.labels.to_string(), r#"{host="db-1", zone="a"}"#);
        assert!(
            inventory
                .targets()
                .iter()
                .all(|target| host.may_have(&target.id))
        );
    }

    #[test]
    fn nobody_connects_to_a_process_of_a_host_without_an_address() {
        let settings = HostSettings {
            address: None,
            ..settings()
        };
        let inventory = Inventory::of(&HostName::new("db-1").unwrap(), &settings);
        assert_eq!(
            inventory
                .get(&"web-1@db-1".parse().unwrap())
                .unwrap()
                .address,
            None
        );
    }
}
