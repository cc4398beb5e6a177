//! How many HTTP checks one CPU-second of the scheduler is worth.
//!
//! `cargo run --release -p pitcrew-probe --example http_checks -- http://127.0.0.1:8080/ TARGETS INTERVAL SECONDS [CONCURRENCY]`
//! watches TARGETS targets at that one address, each checked once per INTERVAL (`1s`), for SECONDS, and
//! prints one line of figures. CPU time is this process's own, user and system, from `/proc/self/stat`.
#![expect(clippy::print_stdout, reason = "it prints its result")]

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pitcrew_model::{
    Address, HttpTest, HttpVersion, Labels, ObserverName, Place, Proves, Runner, SourceName,
    Target, TargetId, Test, TestKind, TestName, Timestamp, TlsOptions, Verdict, parse_duration,
};
use pitcrew_probe::{ProcessState, ProcessStates, Scheduler, Statistics, Tools};

type Failure = Box<dyn std::error::Error>;

struct NoProcesses;

impl ProcessStates for NoProcesses {
    fn state(&self, _target: &Target, _runner: &Runner) -> ProcessState {
        ProcessState::Unknown {
            why: "nothing is supervised here".to_owned(),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, targets, interval, seconds, concurrency @ ..] = &arguments[..] else {
        return Err("usage: http_checks URL TARGETS INTERVAL SECONDS [CONCURRENCY]".into());
    };
    let (targets, seconds): (u32, u64) = (targets.parse()?, seconds.parse()?);
    let concurrency = concurrency.first().map_or(Ok(512), |text| text.parse())?;
    let (address, test) = test_of(url, parse_duration(interval)?)?;
    let observer = ObserverName::new("bench")?;
    let scheduler = Scheduler::start(
        observer,
        Tools::new(Arc::new(NoProcesses)),
        concurrency,
        clock(),
        |_observations| {},
    );
    for number in 0..targets {
        let target = target(&format!("target-{number}"), &address)?;
        scheduler.watch(target, None, vec![Arc::clone(&test)]);
    }
    // The first rounds are spread over their own time; what counts is the rhythm after them.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (before, cpu_before, began) = (scheduler.statistics(), cpu_seconds()?, Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (after, cpu_after, elapsed) = (scheduler.statistics(), cpu_seconds()?, began.elapsed());
    scheduler.stop().await;
    let passed = passed(&after) - passed(&before);
    let rounds = rounds(&after) - rounds(&before);
    let cpu = cpu_after - cpu_before;
    println!(
        "checks {rounds}  passed {passed}  missed {}  checks/s {:.0}  cpu s {cpu:.2}  checks/cpu s {:.0}  late ms mean {:.2} max {}",
        after.missed_rounds - before.missed_rounds,
        f64::from(rounds) / elapsed.as_secs_f64(),
        f64::from(rounds) / cpu,
        after.lateness.sum_ms as f64 / f64::from(rounds),
        after.lateness.max_ms,
    );
    if passed < u64::from(rounds) {
        println!("not passed, since the start: {:?}", after.rounds);
    }
    Ok(())
}

fn clock() -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    let began = Instant::now();
    let wall_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis);
    Arc::new(move || Timestamp::from_millis(wall_ms + millis(began.elapsed())))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn test_of(url: &str, interval: Duration) -> Result<(String, Arc<Test>), Failure> {
    let (tls, rest) = match url.strip_prefix("https://") {
        Some(rest) => (true, rest),
        None => (false, url.strip_prefix("http://").ok_or("not an http URL")?),
    };
    let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let http = HttpTest {
        tls,
        port: None,
        method: "GET".to_owned(),
        path: if path.is_empty() { "/" } else { path }.to_owned(),
        headers: vec![],
        body: None,
        status: vec![200],
        body_matches: None,
        body_lacks: None,
        header_matches: vec![],
        redirects_max: 0,
        version: HttpVersion::Any,
        tls_options: TlsOptions {
            insecure: true,
            ..TlsOptions::default()
        },
    };
    let test = Test {
        name: TestName::new("answers")?,
        kind: TestKind::Http(http),
        interval,
        timeout: Duration::from_secs(2),
        failure_threshold: 3,
        success_threshold: 2,
        proves: Proves::Down,
        place: Place::Server,
    };
    Ok((address.to_owned(), Arc::new(test)))
}

fn target(id: &str, address: &str) -> Result<Arc<Target>, Failure> {
    Ok(Arc::new(Target {
        id: TargetId::new(id)?,
        address: Some(Address(address.into())),
        labels: Labels::default(),
        run_on: None,
        runner: None,
        source: SourceName::new("bench")?,
    }))
}

fn rounds(statistics: &Statistics) -> u32 {
    let total: u64 = statistics.rounds.values().sum();
    u32::try_from(total).unwrap_or(u32::MAX)
}

fn passed(statistics: &Statistics) -> u64 {
    let passed = statistics.rounds.get(&("http", Verdict::Pass));
    passed.copied().unwrap_or(0)
}

/// User and system time in ticks of 10 ms: fields 14 and 15 of proc(5)'s stat.
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u32 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u32>)
        .sum::<Result<u32, _>>()?;
    Ok(f64::from(ticks) / 100.0)
}
