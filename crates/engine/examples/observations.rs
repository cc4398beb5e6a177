//! How many observations a second engine and interlock take on one core, and what a target costs in memory.
//!
//! `cargo run --release -p pitcrew-engine --example observations -- [TARGETS…]` (default 1000 10000 100000).
//! Each fleet is in services of 1,000 targets with two tests; one target in a thousand fails in each round, so
//! that cases open and close. Prints one line of JSON for each size.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock; the engine does not"
)]
#![expect(clippy::print_stdout, reason = "its figures are its output")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pitcrew_engine::{Birth, Engine};
use pitcrew_interlock::Interlock;
use pitcrew_model::{
    Autonomy, Effect, Event, Evidence, InvalidLabel, InvalidName, Labels, Limits, Observation,
    Place, Production, Proves, Runner, Selector, Service, Target, TargetId, Test, TestKind,
    Timestamp, Verdict,
};

const PER_SERVICE: usize = 1_000;
const INTERVAL: Duration = Duration::from_secs(10);
const BATCH: usize = 256;
const OBSERVATIONS: usize = 4_000_000;

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error(transparent)]
    Label(#[from] InvalidLabel),
    #[error("failed to read /proc/self/statm: {0}")]
    Memory(#[from] std::io::Error),
}

fn main() -> Result<(), Failure> {
    let mut sizes: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|size| size.parse().ok())
        .collect();
    if sizes.is_empty() {
        sizes = vec![1_000, 10_000, 100_000];
    }
    for size in sizes {
        measure(size)?;
    }
    Ok(())
}

struct Pair {
    engine: Engine,
    interlock: Interlock,
    orders: u64,
}

impl Pair {
    fn tell(&mut self, now: Timestamp, event: Event) {
        self.interlock.note(now, &event);
        let interlock = &mut self.interlock;
        let effects = self
            .engine
            .handle(now, event, &mut |now, order| interlock.check(now, order));
        self.orders += u64::try_from(
            effects
                .iter()
                .filter(|effect| matches!(effect, Effect::Give(_)))
                .count(),
        )
        .unwrap_or(u64::MAX);
    }
}

fn measure(size: usize) -> Result<(), Failure> {
    let targets = targets(size)?;
    let services = size.div_ceil(PER_SERVICE);
    let before = resident_bytes()?;
    let birth = Birth {
        installation: "bench".to_owned(),
        fence: 1,
        last_case: 0,
        last_order: 0,
    };
    let mut pair = Pair {
        engine: Engine::new(birth),
        interlock: Interlock::new(1),
        orders: 0,
    };
    let mut now = Timestamp::from_millis(1_795_000_000_000);
    let production = production(services)?;
    pair.tell(now, Event::Production(Arc::new(production)));
    pair.tell(
        now,
        Event::Targets {
            upserted: targets.clone(),
            removed: Vec::new(),
        },
    );
    let tests = [name_of("answers")?, name_of("disk")?];
    let observer = "local".parse()?;
    let (fine, broken) = (Evidence::new(""), Evidence::new("connection refused"));
    let mut batches = Vec::new();
    let mut seen = 0;
    let mut spent = Duration::ZERO;
    let mut round = 0;
    while seen < OBSERVATIONS.max(size * 6) {
        round += 1;
        for chunk in targets.chunks(BATCH / 2) {
            now = now + INTERVAL / u32::try_from(size.div_ceil(BATCH / 2)).unwrap_or(1);
            let batch: Vec<Observation> = chunk
                .iter()
                .enumerate()
                .flat_map(|(at, target)| {
                    let fails = (at + round) % 1_000 == 7;
                    let (observer, fine, broken) = (&observer, &fine, &broken);
                    tests.iter().map(move |test| Observation {
                        target: target.id.clone(),
                        test: pitcrew_model::TestName::clone(test),
                        observer: pitcrew_model::ObserverName::clone(observer),
                        asked_at: now,
                        answered_at: now,
                        took: Duration::from_millis(1),
                        verdict: if fails { Verdict::Fail } else { Verdict::Pass },
                        evidence: if fails { broken.clone() } else { fine.clone() },
                    })
                })
                .collect();
            seen += batch.len();
            batches.push((now, batch));
        }
        for (now, batch) in batches.drain(..) {
            let started = Instant::now();
            pair.tell(now, Event::Observations(batch));
            spent += started.elapsed();
        }
    }
    let bytes = resident_bytes()?.saturating_sub(before) / u64::try_from(size).unwrap_or(1);
    println!(
        "{{\"targets\": {size}, \"observations_per_second\": {:.0}, \"bytes_per_target\": {bytes}, \"observations\": {seen}, \"cases\": {}, \"orders\": {}}}",
        f64::from(u32::try_from(seen).unwrap_or(u32::MAX)) / spent.as_secs_f64(),
        pair.engine.cases().count(),
        pair.orders,
    );
    Ok(())
}

fn name_of(text: &str) -> Result<pitcrew_model::TestName, InvalidName> {
    text.parse()
}

fn targets(size: usize) -> Result<Vec<Arc<Target>>, Failure> {
    (0..size)
        .map(|at| {
            let zone = ["a", "b", "c"][at % 3];
            let service = format!("service-{}", at / PER_SERVICE);
            Ok(Arc::new(Target {
                id: TargetId::new(format!("{service}-{}", at % PER_SERVICE))?,
                address: None,
                labels: Labels::new([("service", service.as_str()), ("zone", zone)])?,
                run_on: None,
                runner: Some(Runner::Supervised),
                source: "run".parse()?,
            }))
        })
        .collect()
}

fn production(services: usize) -> Result<Production, Failure> {
    let test = |name: &str, proves| -> Result<Arc<Test>, Failure> {
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
    };
    let tests = vec![
        test("answers", Proves::Down)?,
        test("disk", Proves::Degraded)?,
    ];
    let services = (0..services).map(|at| {
        let name = format!("service-{at}");
        Ok(Arc::new(Service {
            name: name.parse()?,
            select: Selector(Labels::new([("service", name.as_str())])?),
            domains: vec!["zone".to_owned()],
            autonomy: Autonomy::Act,
            tests: tests.clone(),
            repairs: Vec::new(),
            limits: Limits::default(),
            windows: Vec::new(),
            runs_as: None,
        }))
    });
    Ok(Production {
        services: services.collect::<Result<_, Failure>>()?,
        ..Production::default()
    })
}

/// Pages are 4 KiB on the machines this is measured on.
fn resident_bytes() -> Result<u64, std::io::Error> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    Ok(pages * 4096)
}
