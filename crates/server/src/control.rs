//! The observer's own control test: can this process still reach what is certainly there, its own API, with the
//! machinery it tests production with? If not, what it says of production is suspect.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use pitcrew_model::{
    Address, Event, Labels, ObserverName, Place, Proves, SourceName, Target, TargetId, TcpTest,
    Test, TestKind, TestName, Verdict,
};
use pitcrew_probe::{Question, Scheduler, Tools, ask};

use crate::{core::Inbox, standing::Standing};

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);

/// Failures in a row until it is believed.
const FAILURES: u32 = 2;

pub(crate) fn local_observer() -> ObserverName {
    ObserverName::new("local").expect("a short word is a valid name")
}

/// Until the process ends.
pub(crate) async fn keep_testing(
    own: SocketAddr,
    tools: Arc<Tools>,
    inbox: Inbox,
    standing: Arc<Standing>,
    scheduler: Scheduler,
) {
    let (target, test) = (own_target(own), own_test());
    let mut failures = 0;
    let mut told = false;
    let mut every = tokio::time::interval(INTERVAL);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let answer = ask(Question::new(&target, None, &test, &tools)).await;
        if answer.verdict == Verdict::Pass {
            failures = 0;
        } else {
            failures += 1;
        }
        let broken = scheduler.statistics().broken;
        let suspect = failures >= FAILURES || broken.is_some();
        if suspect == told {
            continue;
        }
        told = suspect;
        let trouble = suspect.then(|| match &broken {
            Some(why) => format!("it has stopped testing, restart it: {why}"),
            None => format!("it can't reach its own API at {own}: {}", answer.evidence),
        });
        match &trouble {
            Some(trouble) => tracing::error!(trouble, "the observer is suspect"),
            None => tracing::info!("the observer passes its control test again"),
        }
        standing.observer_trouble(trouble.as_deref());
        inbox.event(Event::Observer {
            observer: local_observer(),
            trouble,
        });
    }
}

fn own_target(own: SocketAddr) -> Target {
    let ip = match own.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let address = SocketAddr::new(ip, own.port()).to_string();
    Target {
        id: TargetId::new("pitcrew").expect("a short word is a valid name"),
        address: Some(Address(address.into())),
        labels: Labels::default(),
        run_on: None,
        runner: None,
        source: SourceName::new("control").expect("a short word is a valid name"),
    }
}

fn own_test() -> Test {
    Test {
        name: TestName::new("reaches-itself").expect("a short word is a valid name"),
        kind: TestKind::Tcp(TcpTest {
            port: None,
            send: None,
            expect: None,
        }),
        interval: INTERVAL,
        timeout: TIMEOUT,
        failure_threshold: 1,
        success_threshold: 1,
        proves: Proves::Degraded,
        place: Place::Server,
    }
}
