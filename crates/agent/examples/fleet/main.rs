//! A fleet of simulated hosts around one real server, and one real agent: what they cost.
//!
//! `cargo run --release -p pitcrew-agent --example fleet -- PROGRAM [--hosts N]`, where PROGRAM is `pitcrew` built in release.
//!
//! Each simulated host has an address of its own (127.1.0.0 and up), enrols with a token of its own, and keeps one TLS
//! connection, over which it says what the agent says: beats, an inventory, each answer in a message of its own, outcomes.
//! Only its key is the others', because making keys is not what is measured. The server is another process on the
//! same machine. Prints one figure a line, as JSON; what it does meanwhile goes to standard error.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is its purpose"
)]

mod counted;
mod host;
mod server;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    host::{Enrolled, Watched},
    server::Server,
};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

const ORDERS: usize = 300;
/// Enrolments at once.
const ENROLLING: usize = 16;
const STEADY: Duration = Duration::from_secs(60);

/// Descriptors that a process needs beside one for each host.
const DESCRIPTORS: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (program, hosts) = arguments()?;
    raise_descriptors(hosts + DESCRIPTORS)?;
    let directory = std::env::temp_dir().join(format!("pitcrew-fleet-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let server = Server::new(program, directory.clone())?;
    let measured = measure(server, hosts).await;
    std::fs::remove_dir_all(&directory)?;
    measured
}

fn arguments() -> Result<(PathBuf, usize), Failure> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().ok_or("which `pitcrew`?")?;
    let hosts = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--hosts"), Some(count)) => count.parse()?,
        (None, _) => 10_000,
        _ => return Err("after the program only `--hosts N` can follow".into()),
    };
    Ok((program.into(), hosts))
}

/// Also of the server, which inherits it.
fn raise_descriptors(wanted: usize) -> Result<(), Failure> {
    let wanted = u64::try_from(wanted)?;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        return Err(format!("{wanted} descriptors are needed: ulimit -Hn {wanted}").into());
    }
    let current = Some(limit.current.map_or(wanted, |current| current.max(wanted)));
    setrlimit(Resource::Nofile, Rlimit { current, ..limit })?;
    Ok(())
}

fn figure(name: &str, measured: f64, unit: &str, goal: &str) {
    println!(
        "{}",
        json!({ "figure": name, "measured": measured, "unit": unit, "goal": goal })
    );
}

#[expect(clippy::cast_precision_loss, reason = "figures are rounded for people")]
fn float(count: impl TryInto<u64>) -> f64 {
    count.try_into().map_or(f64::NAN, |count: u64| count as f64)
}

async fn measure(mut server: Server, count: usize) -> Result<(), Failure> {
    server.start().await?;
    let began = Instant::now();
    let enrolled = enrol(&server, count).await?;
    figure(
        "enrolments",
        float(count) / began.elapsed().as_secs_f64(),
        "a second",
        "",
    );
    let watched = Arc::new(Watched::default());
    let mut fleet = JoinSet::new();
    for host in enrolled {
        fleet.spawn(host::live(host, server.agents, Arc::clone(&watched)));
    }
    let began = Instant::now();
    server.wait_for_agents(count).await?;
    eprintln!("all connected after {:.1?}", began.elapsed());
    server.wait_for_healthy(count * 2).await?;
    steady(&server, &watched, count).await?;
    orders(&server, &watched, count).await?;
    restart(&mut server, &watched, count).await?;
    fleet.shutdown().await;
    server.wait_for_agents(0).await?;
    agent(&server).await
}

async fn enrol(server: &Server, count: usize) -> Result<Vec<Enrolled>, Failure> {
    let next = Arc::new(AtomicUsize::new(0));
    let key = Arc::new(host::Key::new()?);
    let mut enrolling = JoinSet::new();
    for _ in 0..ENROLLING {
        let (next, key, api, agents) = (
            Arc::clone(&next),
            Arc::clone(&key),
            server.api,
            server.agents,
        );
        enrolling.spawn(async move {
            let mut all = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, Failure>(all);
                }
                let token = server::token(api, &format!("host-{number}")).await?;
                all.push(Enrolled::new(number, agents, &token, &key).await?);
            }
        });
    }
    let mut all = Vec::new();
    while let Some(enrolled) = enrolling.join_next().await {
        all.extend(enrolled??);
    }
    Ok(all)
}

/// Nothing happens but tests that pass.
async fn steady(server: &Server, watched: &Watched, count: usize) -> Result<(), Failure> {
    // The waves of the beginning pass.
    tokio::time::sleep(STEADY / 4).await;
    let (cpu, bytes, answers) = (server.cpu()?, watched.bytes(), watched.answers());
    let began = Instant::now();
    tokio::time::sleep(STEADY).await;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = (server.cpu()? - cpu) / seconds;
    let answers = float(watched.answers() - answers) / seconds;
    let bytes = float(watched.bytes() - bytes) / seconds * 60.0 / float(count);
    figure("hosts connected", float(count), "", "");
    figure("answers of tests", answers, "a second", "");
    figure("the server's CPU", cpu * 100.0, "% of a core", "");
    figure(
        "the server's CPU for each answer",
        cpu / answers * 1e6,
        "µs",
        "",
    );
    figure("the server's memory", server.resident_mib()?, "MiB", "");
    figure(
        "bytes of a host, both ways, TLS included",
        bytes,
        "a minute",
        "",
    );
    Ok(())
}

/// From before the request to the moment at which a real agent begins: the order is there, and so is the answer to the
/// beat that was sent after it.
async fn orders(server: &Server, watched: &Watched, count: usize) -> Result<(), Failure> {
    let mut taken = Vec::new();
    let orders = count.min(ORDERS);
    for number in 0..orders {
        let host = number * count / orders;
        let began = Instant::now();
        let ordered = watched.expect_order(host);
        let target = format!("web-1@host-{host}");
        server::order(server.api, &target).await?;
        let begun: Instant = tokio::time::timeout(Duration::from_secs(30), ordered).await??;
        taken.push((begun - began).as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    taken.sort_by(f64::total_cmp);
    figure("order to its start, median", taken[orders / 2], "ms", "");
    figure(
        "order to its start, 99 % of them",
        taken[orders * 99 / 100],
        "ms",
        "≤ 165",
    );
    Ok(())
}

/// Killed and started again, once no order of before settles any more.
async fn restart(server: &mut Server, watched: &Watched, count: usize) -> Result<(), Failure> {
    server.wait_for_healthy(count * 2).await?;
    server.kill().await?;
    let attempts = watched.begin_attempts();
    server.start().await?;
    let began = Instant::now();
    server.wait_for_agents(count).await?;
    let back = began.elapsed().as_secs_f64();
    server.wait_for_healthy(count * 2).await?;
    let healthy = began.elapsed().as_secs_f64();
    figure("restart: all hosts are back after", back, "s", "≤ 60");
    figure(
        "restart: everything is known to be healthy after",
        healthy,
        "s",
        "",
    );
    let attempts = attempts.busiest_second();
    figure(
        "restart: connections tried in the busiest second",
        float(attempts),
        "",
        "≤ 1000",
    );
    figure(
        "restart: the server's memory then",
        server.resident_mib()?,
        "MiB",
        "",
    );
    Ok(())
}

/// The real one, with 20 tests every 10 s.
async fn agent(server: &Server) -> Result<(), Failure> {
    let agent = server.agent().await?;
    server.wait_for_agents(1).await?;
    tokio::time::sleep(STEADY / 4).await;
    let (cpu, began) = (agent.cpu()?, Instant::now());
    tokio::time::sleep(STEADY).await;
    let cpu = (agent.cpu()? - cpu) / began.elapsed().as_secs_f64();
    figure(
        "an agent's CPU at 20 tests in 10 s",
        cpu * 100.0,
        "% of a core",
        "≤ 0.5",
    );
    figure("an agent's memory", agent.resident_mib()?, "MiB", "≤ 20");
    Ok(())
}
