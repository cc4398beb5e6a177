//! Which of the tests that a server assigns are run here.
//!
//! Of others' targets only what is asked over the network. Of the host's own also what looks into the host, but of
//! plugins only those that its configuration names: a plugin is a program, and programs don't come from a server.

use std::sync::Arc;

use pitcrew_model::{Place, Target, Test, TestKind, TestName};

use crate::inventory::Inventory;

pub(crate) struct Assigned {
    pub(crate) target: Arc<Target>,
    pub(crate) run: Vec<Arc<Test>>,
    pub(crate) refused: Vec<(TestName, String)>,
}

pub(crate) fn judge(
    inventory: &Inventory,
    plugins: &[String],
    target: Arc<Target>,
    tests: Vec<Arc<Test>>,
) -> Assigned {
    if matches!(inventory, Inventory::Servers) {
        return Assigned {
            target,
            run: tests,
            refused: Vec::new(),
        };
    }
    let own = inventory.get(&target.id).cloned();
    let is_own = own.is_some();
    let (mut run, mut refused) = (Vec::new(), Vec::new());
    for test in tests {
        match objection(&test, is_own, plugins) {
            Some(why) => refused.push((test.name.clone(), why)),
            // Which host a target is on is known here; nobody has to look for it.
            None if is_own && test.place == Place::Host => run.push(Arc::new(Test {
                place: Place::Server,
                ..(*test).clone()
            })),
            None => run.push(test),
        }
    }
    Assigned {
        target: own.unwrap_or(target),
        run,
        refused,
    }
}

fn objection(test: &Test, is_own: bool, plugins: &[String]) -> Option<String> {
    match &test.kind {
        _ if test.is_inside() && !is_own => Some("the target is not on this host".to_owned()),
        TestKind::Nagios(_) if !is_own => Some("plugins run on the target's own host".to_owned()),
        TestKind::Nagios(plugin) => {
            let program = plugin.command.first().map_or("", String::as_str);
            let is_named = plugins.iter().any(|named| named == program);
            (!is_named).then(|| {
                format!("the host's configuration does not name `{program}` under `plugins`")
            })
        }
        TestKind::Metric(_) => Some("metrics are asked by the server itself".to_owned()),
        TestKind::Push => Some("its results are pushed".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pitcrew_model::{HostSettings, NagiosTest, Proves, TcpTest};
    use pitcrew_wire::HostName;

    use super::*;

    fn test(kind: TestKind, place: Place) -> Arc<Test> {
        Arc::new(Test {
            name: TestName::new(kind.name()).unwrap(),
            kind,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            failure_threshold: 3,
            success_threshold: 2,
            proves: Proves::Down,
            place,
        })
    }

    fn plugin(program: &str) -> TestKind {
        TestKind::Nagios(NagiosTest {
            command: vec![program.to_owned()],
        })
    }

    /// Names of the tests that run, for this host's own target or another's.
    fn run(is_own: bool, kind: TestKind, place: Place) -> bool {
        let host = HostName::new("web-1").unwrap();
        let inventory = Inventory::of(&host, &HostSettings::default());
        let own = inventory.get(&host.target()).unwrap();
        let target = match is_own {
            true => Arc::clone(own),
            false => Arc::new(Target {
                id: "web-2".parse().unwrap(),
                ..(**own).clone()
            }),
        };
        let judged = judge(
            &inventory,
            &["check_disk".to_owned()],
            target,
            vec![test(kind, place)],
        );
        assert_ne!(judged.run.is_empty(), judged.refused.is_empty());
        !judged.run.is_empty()
    }

    #[test]
    fn a_host_looks_into_itself_and_at_others_over_the_network_only() {
        let tcp = || {
            TestKind::Tcp(TcpTest {
                port: Some(80),
                send: None,
                expect: None,
            })
        };
        assert!(run(true, TestKind::Process, Place::Server));
        assert!(run(true, tcp(), Place::Host));
        assert!(run(false, tcp(), Place::Server));
        assert!(!run(false, tcp(), Place::Host));
        assert!(!run(false, TestKind::Process, Place::Server));
    }

    #[test]
    fn only_programs_that_the_host_names_are_run() {
        assert!(run(true, plugin("check_disk"), Place::Host));
        assert!(!run(true, plugin("/bin/sh"), Place::Host));
        assert!(!run(false, plugin("check_disk"), Place::Server));
    }
}
