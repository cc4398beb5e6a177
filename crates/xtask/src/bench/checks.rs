//! HTTP checks per CPU-second against a local nginx, a new connection each: Pitcrew's scheduler beside `wrk`
//! (the limit: it keeps no account of anything) and Prometheus' blackbox exporter.
//!
//! Only the client's own CPU time counts, so that nginx and the other core's load don't.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use super::{
    build, cpu_seconds,
    peers::{Running, free_port, get, start_nginx, wait_for},
};

pub(super) fn run(seconds: u64) -> anyhow::Result<()> {
    println!("== tests: HTTP checks per CPU-second against local nginx, new connection each");
    for (program, package) in [
        ("/usr/sbin/nginx", "nginx"),
        ("/usr/bin/wrk", "wrk"),
        (
            "/usr/bin/prometheus-blackbox-exporter",
            "prometheus-blackbox-exporter",
        ),
    ] {
        ensure!(
            Path::new(program).exists(),
            "{program} is not installed: apt-get install -y {package}"
        );
    }
    let directory = std::env::temp_dir().join(format!("pitcrew-bench-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let measured = measure(&directory, seconds);
    fs::remove_dir_all(&directory)?;
    measured
}

fn measure(directory: &Path, seconds: u64) -> anyhow::Result<()> {
    let (nginx_port, exporter_port) = (free_port()?, free_port()?);
    let _nginx = start_nginx(directory, nginx_port)?;
    let url = format!("http://127.0.0.1:{nginx_port}/");
    let pitcrew = pitcrew(&url, seconds)?;
    let wrk = wrk(&url, seconds)?;
    let exporter = exporter(directory, exporter_port, &url, seconds)?;
    println!("   pitcrew            {pitcrew:>9.0} checks per CPU-second");
    println!("   wrk                {wrk:>9.0} requests per CPU-second");
    println!("   blackbox exporter  {exporter:>9.0} probes per CPU-second");
    println!(
        "   pitcrew ÷ exporter {:>9.1}   goal ≥ 5",
        pitcrew / exporter
    );
    println!(
        "   pitcrew ÷ wrk      {:>9.2}   goal ≥ 0.50\n",
        pitcrew / wrk
    );
    Ok(())
}

/// 4,000 targets each second; the example prints its figures as one line.
fn pitcrew(url: &str, seconds: u64) -> anyhow::Result<f64> {
    let program = build(
        "release",
        &["--package", "pitcrew-probe", "--example", "http_checks"],
    )?;
    let arguments = [url, "4000", "1s", &seconds.to_string()];
    println!(
        "   $ cargo run --release -p pitcrew-probe --example http_checks -- {}",
        arguments.join(" ")
    );
    let output = Command::new(program)
        .args(arguments)
        .output()
        .context("failed to run http_checks")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "http_checks failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("   {}", text.trim());
    text.split_once("checks/cpu s ")
        .and_then(|(_, after)| after.split_ascii_whitespace().next())
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("no checks/cpu s in: {text}"))
}

fn wrk(url: &str, seconds: u64) -> anyhow::Result<f64> {
    let arguments = [
        "-t1",
        "-c64",
        &format!("-d{seconds}"),
        "-H",
        "Connection: close",
        url,
    ];
    println!("   $ wrk {}", arguments.join(" "));
    let mut child = Running(
        Command::new("wrk")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to run wrk")?,
    );
    let pid = child.0.id();
    let started = Instant::now();
    // Its times are read just before it ends: afterwards they are gone.
    std::thread::sleep(Duration::from_millis(seconds * 1_000 - 100));
    let (cpu, elapsed) = (cpu_seconds(pid)?, started.elapsed().as_secs_f64());
    let mut text = String::new();
    child
        .0
        .stdout
        .take()
        .context("wrk has no output")?
        .read_to_string(&mut text)?;
    let rate: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))
        .and_then(|rate| rate.trim().parse().ok())
        .with_context(|| format!("wrk printed no rate: {text}"))?;
    println!(
        "   {rate:.0} requests a second, {:.2} CPU-seconds a second",
        cpu / elapsed
    );
    Ok(rate * elapsed / cpu)
}

/// Probes through the exporter's own HTTP interface, as Prometheus asks it.
fn exporter(directory: &Path, port: u16, url: &str, seconds: u64) -> anyhow::Result<f64> {
    let modules = directory.join("blackbox.yml");
    fs::write(
        &modules,
        "modules:\n  http_2xx:\n    prober: http\n    timeout: 2s\n",
    )?;
    let child = Running(
        Command::new("prometheus-blackbox-exporter")
            .arg(format!("--config.file={}", modules.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start the blackbox exporter")?,
    );
    wait_for(port)?;
    println!("   $ GET http://127.0.0.1:{port}/probe?module=http_2xx&target={url}  (8 at a time)");
    let (before, started) = (cpu_seconds(child.0.id())?, Instant::now());
    let deadline = started + Duration::from_secs(seconds);
    let probers: Vec<_> = (0..8)
        .map(|_| {
            let url = url.to_owned();
            std::thread::spawn(move || -> anyhow::Result<u32> {
                let mut probes = 0;
                while Instant::now() < deadline {
                    let answer = get(port, &format!("/probe?module=http_2xx&target={url}"))?;
                    ensure!(
                        answer.contains("probe_success 1"),
                        "the exporter's probe failed: {answer}"
                    );
                    probes += 1;
                }
                Ok(probes)
            })
        })
        .collect();
    let mut probes = 0;
    for prober in probers {
        probes += prober
            .join()
            .map_err(|_| anyhow::anyhow!("a prober panicked"))??;
    }
    let cpu = cpu_seconds(child.0.id())? - before;
    println!(
        "   {:.0} probes a second, {cpu:.2} CPU-seconds",
        f64::from(probes) / started.elapsed().as_secs_f64()
    );
    Ok(f64::from(probes) / cpu)
}
