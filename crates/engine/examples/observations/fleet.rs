//! The production that is measured: services of a thousand targets with two tests each, restarted when they fail.

use std::{sync::Arc, time::Duration};

use pitcrew_engine::{Birth, Engine};
use pitcrew_interlock::Interlock;
use pitcrew_model::{
    Action, Autonomy, BreakerRule, Effect, Event, Evidence, FleetLimits, Labels, Limits,
    Observation, ObserverName, Place, Production, Proves, Rate, Release, Repair, Runner, Selector,
    Service, Step, Target, TargetId, Test, TestKind, TestName, Timestamp, Verdict,
};

use crate::Failure;

pub(crate) const PER_SERVICE: usize = 1_000;
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

pub(crate) struct Pair {
    pub(crate) engine: Engine,
    pub(crate) interlock: Interlock,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let birth = Birth {
            installation: "bench".to_owned(),
            fence: 1,
            last_case: 0,
            last_order: 0,
        };
        Self {
            engine: Engine::new(birth),
            interlock: Interlock::new(1),
        }
    }

    /// As the server does it: the interlock first.
    pub(crate) fn tell(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        self.interlock.note(now, &event);
        let interlock = &mut self.interlock;
        self.engine
            .handle(now, event, &mut |now, order| interlock.check(now, order))
    }
}

/// What all observations share.
pub(crate) struct Asked {
    pub(crate) tests: [TestName; 2],
    pub(crate) observer: ObserverName,
    fine: Evidence,
    broken: Evidence,
}

impl Asked {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            tests: ["answers".parse()?, "disk".parse()?],
            observer: "local".parse()?,
            fine: Evidence::new(""),
            broken: Evidence::new("connection refused"),
        })
    }

    pub(crate) fn answer(
        &self,
        at: Timestamp,
        target: &TargetId,
        test: usize,
        verdict: Verdict,
    ) -> Observation {
        Observation {
            target: target.clone(),
            test: self.tests[test].clone(),
            observer: self.observer.clone(),
            asked_at: at,
            answered_at: at,
            took: Duration::from_millis(1),
            verdict,
            evidence: match verdict {
                Verdict::Fail => self.broken.clone(),
                Verdict::Pass | Verdict::Warn | Verdict::Unknown => self.fine.clone(),
            },
        }
    }
}

/// `sizes`: how many targets each service has.
pub(crate) fn targets(sizes: &[usize]) -> Result<Vec<Arc<Target>>, Failure> {
    let mut targets = Vec::with_capacity(sizes.iter().sum());
    for (number, size) in sizes.iter().enumerate() {
        let service = format!("service-{number}");
        for at in 0..*size {
            let zone = ["a", "b", "c"][at % 3];
            targets.push(Arc::new(Target {
                id: TargetId::new(format!("{service}-{at}"))?,
                address: None,
                labels: Labels::new([("service", service.as_str()), ("zone", zone)])?,
                run_on: None,
                runner: Some(Runner::Supervised),
                source: "run".parse()?,
            }));
        }
    }
    Ok(targets)
}

fn test(name: &str, proves: Proves) -> Result<Arc<Test>, Failure> {
    Ok(Arc::new(Test {
        name: name.parse()?,
        kind: TestKind::Process,
        interval: INTERVAL,
        timeout: Duration::from_secs(2),
        failure_threshold: 3,
        success_threshold: 2,
        proves,
        place: Place::Server,
    }))
}

/// Limits that let orders be given by the thousand, so that giving them is what is measured.
fn limits() -> Limits {
    Limits {
        max_in_flight: 100_000,
        per_domain: vec![("zone".to_owned(), 100_000)],
        rate: Rate {
            count: 1_000_000,
            per: Duration::from_secs(3_600),
        },
        breaker: BreakerRule {
            count: 5,
            percent: 20,
            within: Duration::from_secs(600),
            release: Release::Auto,
        },
        ..Limits::default()
    }
}

pub(crate) fn production(services: usize) -> Result<Production, Failure> {
    let tests = vec![
        test("answers", Proves::Down)?,
        test("disk", Proves::Degraded)?,
    ];
    let repair = Repair {
        name: "restart".parse()?,
        when: vec!["answers".parse()?, "disk".parse()?],
        steps: vec![Step {
            action: Action::Restart,
            tries: 2,
            settle: Duration::from_secs(60),
        }],
    };
    let services = (0..services).map(|at| {
        let name = format!("service-{at}");
        Ok(Arc::new(Service {
            name: name.parse()?,
            select: Selector(Labels::new([("service", name.as_str())])?),
            domains: vec!["zone".to_owned()],
            autonomy: Autonomy::Act,
            tests: tests.clone(),
            repairs: vec![repair.clone()],
            limits: limits(),
            windows: Vec::new(),
            runs_as: None,
            drain: None,
        }))
    });
    Ok(Production {
        services: services.collect::<Result<_, Failure>>()?,
        limits: FleetLimits {
            fleet_rate: Rate {
                count: 1_000_000,
                per: Duration::from_secs(3_600),
            },
        },
        ..Production::default()
    })
}

/// All sizes the same; the last service has what is left.
pub(crate) fn even(size: usize) -> Vec<usize> {
    let full = std::iter::repeat_n(PER_SERVICE, size / PER_SERVICE);
    let rest = size % PER_SERVICE;
    full.chain((rest > 0).then_some(rest)).collect()
}

/// Numbers that look random and are the same in every run (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let sides = u64::try_from(sides).unwrap_or(u64::MAX);
        usize::try_from(mixed % sides).unwrap_or(0)
    }
}

/// Every test of every target once, in the order in which a scheduler comes to them: any but the fleet's own, and
/// the same in each round. Twice the target's position, plus the test's.
pub(crate) fn round(targets: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..u32::try_from(targets * 2).unwrap_or(u32::MAX)).collect();
    let mut dice = Dice(7);
    for last in (1..order.len()).rev() {
        order.swap(last, dice.below(last + 1));
    }
    order
}

pub(crate) fn split(asked: u32) -> (usize, usize) {
    let at = usize::try_from(asked).unwrap_or(usize::MAX);
    (at / 2, at % 2)
}
