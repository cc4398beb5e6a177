//! One instance of a `run` as it should be started: templates filled, everything decided. Pure.

use std::{path::PathBuf, sync::Arc};

use pitcrew_model::{
    Address, Labels, LogPolicy, Run, Runner, SourceName, StopPolicy, Target, TargetId,
};

use crate::{
    signal,
    template::{self, Meaning},
};

/// The source that supervised targets name.
const SOURCE: &str = "run";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) command: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) stop: StopPolicy,
    pub(crate) log: LogPolicy,
}

impl Spec {
    /// Every instance of every run, or why it can't be started.
    pub(crate) fn all(runs: &[Run]) -> Vec<(TargetId, Result<Self, String>)> {
        instances(runs)
            .map(|instance| (instance.id.clone(), Self::of(&instance)))
            .collect()
    }

    fn of(instance: &Instance<'_>) -> Result<Self, String> {
        let run = instance.run;
        let fill = |text: &String| {
            template::fill(text, |name| instance.meaning(name))
                .map_err(|name| format!("`{text}`: it has no {name}"))
        };
        if signal::by_name(&run.stop.signal).is_none() {
            return Err(format!("`{}` is not a signal to stop by", run.stop.signal));
        }
        if run.ports.is_some() && instance.port.is_none() {
            return Err("its port would be above 65535".to_owned());
        }
        Ok(Self {
            command: run.command.iter().map(fill).collect::<Result<_, _>>()?,
            environment: run
                .environment
                .iter()
                .map(|(name, value)| Ok((name.clone(), fill(value)?)))
                .collect::<Result<_, String>>()?,
            directory: run.directory.clone(),
            user: run.user.clone(),
            stop: run.stop.clone(),
            log: run.log.clone(),
        })
    }

    /// Says whether a process was started from the same words: FNV-1a of them, 16 hex digits. What only
    /// concerns stopping and logs takes effect without a restart and is left out.
    pub(crate) fn digest(&self) -> String {
        let text = format!(
            "{:?} {:?} {:?} {:?}",
            self.command, self.environment, self.directory, self.user
        );
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

/// One target per instance. A label that can't be filled stays as it is written: starting that instance is
/// refused with the reason.
pub(crate) fn targets(runs: &[Run]) -> Vec<Target> {
    instances(runs)
        .map(|instance| Target {
            address: instance
                .port
                .map(|port| Address(format!("127.0.0.1:{port}").into())),
            labels: instance.labels(),
            run_on: None,
            runner: Some(Runner::Supervised),
            source: SourceName::new(SOURCE).expect("`run` is a fit name"),
            id: instance.id,
        })
        .collect()
}

struct Instance<'a> {
    run: &'a Run,
    id: TargetId,
    port: Option<u16>,
    /// `port`, `instance`, `zone`, as far as the run has them.
    variables: Labels,
}

impl Instance<'_> {
    fn meaning(&self, name: &str) -> Meaning {
        match (name, self.variables.get(name)) {
            (_, Some(value)) => Meaning::Value(value.to_string()),
            ("port" | "zone", None) => Meaning::Absent,
            (_, None) => Meaning::Nothing,
        }
    }

    fn labels(&self) -> Labels {
        let configured = &self.run.labels;
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = configured
            .iter()
            .map(|(name, value)| {
                let filled = self.variables.fill(value);
                let value = filled.map_or_else(|_| value.clone(), Arc::from);
                (name.clone(), value)
            })
            .collect();
        for name in ["instance", "zone"] {
            if let (None, Some(value)) = (configured.get(name), self.variables.get(name)) {
                pairs.push((name.into(), value.clone()));
            }
        }
        Labels::new(pairs).unwrap_or_else(|_| configured.clone())
    }
}

fn instances(runs: &[Run]) -> impl Iterator<Item = Instance<'_>> {
    runs.iter().flat_map(|run| {
        (1..=run.instances).filter_map(move |number| {
            let port = run
                .ports
                .and_then(|ports| ports.from.checked_add(number - 1));
            let zones = run.zones.len().max(1);
            let zone = run.zones.get((usize::from(number) - 1) % zones);
            let variables = [
                Some(("instance", number.to_string())),
                port.map(|port| ("port", port.to_string())),
                zone.map(|zone| ("zone", zone.clone())),
            ];
            Some(Instance {
                run,
                // A name that the configuration's check refuses has no instances.
                id: TargetId::new(format!("{}-{number}", run.name)).ok()?,
                port,
                variables: Labels::new(variables.into_iter().flatten()).ok()?,
            })
        })
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use pitcrew_model::Ports;

    pub(crate) fn run(name: &str, command: &[&str]) -> Run {
        Run {
            name: name.to_owned(),
            instances: 1,
            command: command.iter().map(ToString::to_string).collect(),
            ports: None,
            zones: Vec::new(),
            labels: Labels::default(),
            environment: Vec::new(),
            directory: None,
            user: None,
            stop: StopPolicy::default(),
            log: LogPolicy::default(),
        }
    }

    #[test]
    fn every_instance_is_a_target_with_its_port_zone_and_labels() {
        let run = Run {
            instances: 3,
            ports: Some(Ports { from: 8_081 }),
            zones: vec!["a".into(), "b".into()],
            labels: Labels::new([("service", "web"), ("rack", "{zone}{instance}")]).unwrap(),
            ..run("web", &["./web", "--port", "{port}"])
        };
        let targets = targets(std::slice::from_ref(&run));
        let texts: Vec<String> = targets
            .iter()
            .map(|target| {
                let address = target.address.as_ref().unwrap();
                format!("{} {address} {}", target.id, target.labels)
            })
            .collect();
        assert_eq!(
            texts,
            [
                r#"web-1 127.0.0.1:8081 {instance="1", rack="a1", service="web", zone="a"}"#,
                r#"web-2 127.0.0.1:8082 {instance="2", rack="b2", service="web", zone="b"}"#,
                r#"web-3 127.0.0.1:8083 {instance="3", rack="a3", service="web", zone="a"}"#,
            ]
        );
        let specs = Spec::all(&[run]);
        let spec = specs[2].1.as_ref().unwrap();
        assert_eq!(spec.command, ["./web", "--port", "8083"]);
    }

    #[test]
    fn an_instance_that_can_t_be_is_refused_with_the_reason() {
        let no_port = run("a", &["x", "{port}"]);
        let high = Run {
            instances: 2,
            ports: Some(Ports { from: 65_535 }),
            ..run("b", &["x"])
        };
        let mut bad_signal = run("c", &["x"]);
        bad_signal.stop.signal = "NICE".into();
        let reasons: Vec<String> = Spec::all(&[no_port, high, bad_signal])
            .into_iter()
            .filter_map(|(_, spec)| spec.err())
            .collect();
        assert_eq!(
            reasons,
            [
                "`{port}`: it has no port",
                "its port would be above 65535",
                "`NICE` is not a signal to stop by",
            ]
        );
    }

    #[test]
    fn the_digest_is_of_what_needs_a_restart() {
        let spec = |run: Run| Spec::all(&[run]).remove(0).1.unwrap().digest();
        let plain = run("a", &["x"]);
        let mut longer = plain.clone();
        longer.stop.grace *= 2;
        let mut other = plain.clone();
        other.command.push("y".into());
        assert_eq!(spec(plain.clone()), spec(longer));
        assert_ne!(spec(plain), spec(other));
    }
}
