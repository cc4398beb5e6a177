//! Reaction with 10,000 targets under test: from kill -9 to a confirmed finding, and from the decision to the
//! actuator, in a real `pitcrew serve`.
//!
//! The 10,000 are one nginx on 10,000 loopback addresses; those that are killed are small HTTP servers which
//! Pitcrew itself runs and restarts. Times of findings come from the ledger; the order's way through the
//! ledger to its actuator is the server's own metric.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{
    build, cpu_seconds,
    peers::{Running, free_port, get, start_nginx, wait_for},
};

const TARGETS: usize = 10_000;
const VICTIMS: usize = 30;
const THRESHOLD: u64 = 3;
const INTERVAL_MS: u64 = 1_000;

pub(super) fn run() -> anyhow::Result<()> {
    println!(
        "== reaction: {TARGETS} targets every 10 s, {VICTIMS} killed one after the other (tested every second)"
    );
    for (program, package) in [
        ("/usr/sbin/nginx", "nginx"),
        ("/bin/busybox", "busybox-static"),
    ] {
        ensure!(
            Path::new(program).exists(),
            "{program} is not installed: apt-get install -y {package}"
        );
    }
    let directory = std::env::temp_dir().join(format!("pitcrew-reaction-{}", std::process::id()));
    fs::create_dir_all(directory.join("production"))?;
    let measured = measure(&directory);
    end_supervised(&directory)?;
    fs::remove_dir_all(&directory)?;
    measured
}

fn measure(directory: &Path) -> anyhow::Result<()> {
    let program = build("release", &["--package", "pitcrew"])?;
    let (nginx_port, api) = (free_port()?, free_port()?);
    let _nginx = start_nginx(directory, nginx_port)?;
    let first = 21_000 + u16::try_from(std::process::id() % 5_000)?;
    write_production(directory, nginx_port, first)?;
    let log = File::create(directory.join("serve.log"))?;
    let server = Running(
        Command::new(&program)
            .args([
                "serve",
                "--log",
                "warn",
                "--listen",
                &format!("127.0.0.1:{api}"),
                "--config",
            ])
            .arg(directory.join("production"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("failed to start pitcrew serve")?,
    );
    wait_for(api)?;
    wait_until_healthy(api)?;
    let (cpu_before, began) = (cpu_seconds(server.0.id())?, Instant::now());
    let mut delays = Vec::new();
    for number in 1..=VICTIMS {
        delays.push(kill_and_wait(directory, api, &format!("victim-{number}"))?);
    }
    let cpu = (cpu_seconds(server.0.id())? - cpu_before) / began.elapsed().as_secs_f64();
    delays.sort_unstable();
    let worst = delays.last().copied().unwrap_or(0);
    println!(
        "   killed → confirmed  median {} ms, worst {worst} ms   goal ≤ {} ms",
        delays[delays.len() / 2],
        THRESHOLD * INTERVAL_MS + 100
    );
    report_order_delay(api)?;
    println!(
        "   the server's own CPU: {:.0} % of a core at {} checks a second\n",
        cpu * 100.0,
        TARGETS / 10 + VICTIMS
    );
    Ok(())
}

fn report_order_delay(api: u16) -> anyhow::Result<()> {
    let metrics = get(api, "/metrics")?;
    let value = |name: &str| {
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
    };
    let count = value("pitcrew_order_given_seconds_count")
        .context("no pitcrew_order_given_seconds in /metrics")?;
    let sum = value("pitcrew_order_given_seconds_sum").unwrap_or(0.0);
    let at_most: Vec<String> = ["0.001", "0.002", "0.005", "0.01", "0.02", "0.05"]
        .iter()
        .filter_map(|bound| {
            let within = value(&format!(
                "pitcrew_order_given_seconds_bucket{{le=\"{bound}\"}}"
            ))?;
            Some(format!("{within:.0} ≤ {bound} s"))
        })
        .collect();
    println!(
        "   confirmed → order   of {count:.0} orders {}; mean {:.1} ms   goal: 99 % ≤ 0.01 s",
        at_most.join(", "),
        sum / count * 1_000.0
    );
    Ok(())
}

/// Kills one, and waits for its confirmed case and then for its proven repair. Milliseconds from kill to confirmed.
fn kill_and_wait(directory: &Path, api: u16, name: &str) -> anyhow::Result<u64> {
    let pid = supervised(directory)?
        .into_iter()
        .find(|(found, _)| found == name)
        .map(|(_, pid)| pid);
    let pid = pid.with_context(|| format!("{name} does not run"))?;
    let killed_at = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let status = Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status()
        .context("failed to run kill")?;
    ensure!(status.success(), "kill -9 {pid} failed");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let records = records_of(api, name)?;
        let at = |kind: &str| {
            records
                .iter()
                .find(|record| record["fact"]["kind"] == kind)
                .and_then(|record| record["at"].as_u64())
        };
        if let (Some(confirmed_at), Some(_)) = (at("confirmed"), at("verified")) {
            return Ok(confirmed_at.saturating_sub(killed_at));
        }
        if Instant::now() > deadline {
            bail!("{name} was not repaired within a minute; see its records: {records:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn records_of(api: u16, name: &str) -> anyhow::Result<Vec<Value>> {
    let answer = get(api, &format!("/api/v1/explain/{name}"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let explanation: Value =
        serde_json::from_str(body).with_context(|| format!("not JSON: {answer}"))?;
    let entries = explanation["records"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    Ok(entries
        .into_iter()
        .map(|entry| entry["record"].clone())
        .collect())
}

fn wait_until_healthy(api: u16) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = get(api, "/api/v1/report")?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let report: Value = serde_json::from_str(body).unwrap_or_default();
        let healthy: u64 = report["services"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|service| service["healthy"].as_u64())
            .sum();
        if healthy == u64::try_from(TARGETS + VICTIMS)? {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "only {healthy} targets became healthy"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What Pitcrew runs from this directory: names and process ids, by the marker in each environment.
fn supervised(directory: &Path) -> anyhow::Result<Vec<(String, u32)>> {
    let place = format!("PITCREW_BENCH={}", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) = path
            .file_name()
            .and_then(|name| name.to_str()?.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(environment) = fs::read(path.join("environ")) else {
            continue;
        };
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let variables: Vec<&str> = environment.split('\0').collect();
        if !variables.contains(&place.as_str()) {
            continue;
        }
        let name = variables.iter().find_map(|variable| {
            variable
                .strip_prefix("PITCREW_SUPERVISED=")?
                .rsplit_once('/')
        });
        if let Some((_, name)) = name {
            found.push((name.to_owned(), pid));
        }
    }
    Ok(found)
}

fn end_supervised(directory: &Path) -> anyhow::Result<()> {
    for (_, pid) in supervised(directory)? {
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .context("failed to run kill")?;
    }
    Ok(())
}

fn write_production(directory: &Path, nginx_port: u16, first: u16) -> anyhow::Result<()> {
    let targets: Vec<String> = (0..TARGETS)
        .map(|at| format!("127.1.{}.{}:{nginx_port}", at / 250, at % 250 + 1))
        .collect();
    let groups = serde_json::json!([{ "targets": targets, "labels": { "service": "many" } }]);
    fs::write(directory.join("production/many.json"), groups.to_string())?;
    fs::write(
        directory.join("production/pitcrew.yaml"),
        format!(
            r#"server: {{ data: {data:?} }}
limits: {{ fleet_rate: 1000/h }}
find:
  - file: {{ paths: [many.json] }}
run:
  - name: victim
    instances: {VICTIMS}
    ports: {{ from: {first} }}
    command: [/bin/busybox, httpd, -f, -p, "127.0.0.1:{{port}}", -h, {place:?}]
    labels: {{ service: victims }}
    env: {{ PITCREW_BENCH: {place:?} }}
services:
  - name: many
    select: {{ service: many }}
    tests:
      - {{ name: answers, http: {{ path: / }}, interval: 10s }}
  - name: victims
    select: {{ service: victims }}
    autonomy: act
    tests:
      - {{ name: answers, http: {{ path: /, status: [404] }}, interval: {INTERVAL_MS}ms, timeout: {INTERVAL_MS}ms, failure_threshold: {THRESHOLD} }}
    repairs:
      - name: restart-then-call
        when: [answers]
        steps: [{{ restart: {{}}, settle: 20s }}, {{ hand_over: {{}} }}]
    limits: {{ rate: 1000/h }}
"#,
            data = directory.join("data"),
            place = directory.display().to_string(),
        ),
    )?;
    Ok(())
}
