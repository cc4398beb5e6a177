//! A day of a large fleet: how long its simulation takes and how much memory.
//!
//! `cargo run --release -p pitcrew-sim --example day -- --targets 1000000 --services 1000 --hours 24 --seed 7`

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example prints what it measured"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "an example that measures reads the clock"
)]

use std::{error::Error, fmt::Write, time::Duration};

use pitcrew_sim::{Fleet, Options, plan, simulate};

/// Like the demonstration's: restart, then a person; two tests, three domains.
fn configuration(services: u32) -> String {
    let mut text = String::from("services:\n");
    for number in 1..=services {
        write!(
            text,
            "  - name: s{number}
    select: {{ service: s{number} }}
    domains: [zone, rack]
    runs_as: {{ unit: 's{number}@{{instance}}.service' }}
    autonomy: act
    tests:
      - name: answers
        http: {{ path: /healthz }}
        interval: 10s
        timeout: 2s
      - name: runs
        tcp: {{}}
        interval: 10s
        timeout: 2s
    repairs:
      - name: restart
        when: [answers, runs]
        steps: [{{ restart: {{}}, tries: 2, settle: 60s }}, {{ hand_over: {{}} }}]
    limits: {{ max_in_flight: 4, per_domain: {{ zone: 100, rack: 4 }}, rate: 20/h }}
"
        )
        .expect("a string takes everything");
    }
    text.push_str("limits: { fleet_rate: 5000/h }\n");
    text
}

/// Peak resident memory, where Linux tells it.
fn memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().ok()?;
    Some(kib / 1_024)
}

fn argument(name: &str, default: u64) -> Result<u64, Box<dyn Error>> {
    let mut arguments = std::env::args();
    match arguments.by_ref().find(|have| have == name) {
        None => Ok(default),
        Some(_) => Ok(arguments
            .next()
            .ok_or_else(|| format!("{name} needs a number"))?
            .parse()?),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let targets = u32::try_from(argument("--targets", 1_000_000)?)?;
    let services = u32::try_from(argument("--services", 1_000)?)?;
    let (hours, seed) = (argument("--hours", 24)?, argument("--seed", 7)?);
    let duration = Duration::from_secs(hours * 3_600);
    let files = [("day.yaml".to_owned(), configuration(services))];
    let loaded = pitcrew_config::parse(&files, &|_| None)?;
    let production = loaded.production;

    let began = std::time::Instant::now();
    let fleet = Fleet::generate(&production, targets, seed)?;
    let drawn = plan::draw(&production, &fleet, seed, duration, &plan::Rates::default());
    println!(
        "{} mishaps drawn in {:.1} s",
        drawn.len(),
        began.elapsed().as_secs_f64()
    );

    let began = std::time::Instant::now();
    let options = Options {
        fleet: Some(fleet.into()),
        ..Options::new(targets, duration, seed)
    };
    let report = simulate(&production, &options, &drawn, &mut |progress| {
        if progress.simulated.as_secs().is_multiple_of(3_600) {
            eprint!(
                "\r{:>3} h simulated, {} cases, {} orders, {:.0} s ",
                progress.simulated.as_secs() / 3_600,
                progress.cases,
                progress.orders,
                began.elapsed().as_secs_f64()
            );
        }
    })?;
    eprintln!();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{targets} targets and {} hosts, {hours} h, seed {seed}",
        report.hosts
    );
    println!("wall seconds          {seconds:.1}");
    println!(
        "memory MiB            {}",
        memory_mib().map_or_else(|| "?".to_owned(), |mib| mib.to_string())
    );
    println!("cases                 {} {:?}", report.cases, report.ended);
    println!("orders                {:?}", report.orders);
    println!(
        "unavailable minutes   {:?}",
        report.unavailable_target_minutes
    );
    println!(
        "false / missed / wrong {} / {} / {}",
        report.false_repairs, report.missed_repairs, report.wrong_targets
    );
    println!("held by               {:?}", report.held_by);
    println!(
        "broken invariants     {} {:?}",
        report.broken_invariants,
        report.broken.iter().take(5).collect::<Vec<_>>()
    );
    println!(
        "breaker trips {}, people called {}",
        report.breaker_trips, report.people_called
    );
    for (kind, tally) in &report.faults {
        println!("{kind:<21} {tally:?}");
    }
    Ok(())
}
