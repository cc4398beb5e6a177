//! `demo`: a small production on this machine, broken in eight ways before your eyes.
//!
//! Nothing is staged on Pitcrew's side: a `pitcrew serve` of its own runs from a configuration that is written
//! to a directory, and the demo only breaks things from outside and reads the ledger. It ends well only if
//! every case ended as it should.

mod act;
mod faults;
mod lease;
mod production;
pub(crate) mod service;
mod summary;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    arguments::{DemoOptions, General},
    demo::{act::Stage, faults::FAULTS, production::Production},
    failure::{Answer, Answered, Failure},
    output::{BOLD, FAINT, note, painted, print, print_json},
};

pub(crate) fn demo(options: &DemoOptions, general: &General) -> Answered {
    let interrupted = watch_for_interrupt()?;
    let say = |text: String| if general.json { Ok(()) } else { print(&text) };
    let production = Production::start()?;
    say(format!(
        "{}\n  configuration  {}\n  ledger         {}\n  look inside    pitcrew status --server {}\n",
        painted(
            BOLD,
            "A small production: 39 processes of 4 services in zones a, b and c."
        ),
        production.configuration().display(),
        production.data().display(),
        production.url(),
    ))?;
    let mut stage = Stage::new(&production, general, interrupted.clone())?;
    stage.wait_until_healthy()?;
    for fault in FAULTS {
        stage.play(fault)?;
    }
    stage.wait_for_endings()?;
    let lines = stage.endings();
    let chain = production.verify_ledger()?;
    let all_well = lines.iter().all(|line| line.as_it_should) && chain.is_ok();
    if general.json {
        print_json(&summary::report(&production, &lines, &chain, all_well))?;
    } else {
        print(&summary::table(&lines, &chain))?;
    }
    if options.keep && !interrupted.load(Ordering::Relaxed) {
        note(&format!(
            "\nIt stays up at {} until Ctrl-C. Try: pitcrew explain web-1 --server {}",
            production.url(),
            production.url()
        ));
        while !interrupted.load(Ordering::Relaxed) {
            production.renew_lease()?;
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    production.stop();
    if !general.json {
        print(&painted(
            FAINT,
            &format!(
                "Configuration, ledger and logs stay in {}",
                production.directory().display()
            ),
        ))?;
    }
    Ok(if all_well { Answer::Yes } else { Answer::No })
}

/// The first Ctrl-C or TERM ends the demo in order; everything it started ends with it.
fn watch_for_interrupt() -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Refused(format!("failed to start: {error}")))?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let terminate =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
            match terminate {
                Ok(mut terminate) => {
                    tokio::select! {
                        _ = tokio::signal::ctrl_c() => {}
                        _ = terminate.recv() => {}
                    }
                }
                Err(_) => {
                    tokio::signal::ctrl_c().await.ok();
                }
            }
            flag.store(true, Ordering::Relaxed);
        });
    });
    Ok(interrupted)
}

/// Polls until `done`, at most `limit`; `false` when time ran out.
fn wait_for(
    limit: Duration,
    mut done: impl FnMut() -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        if done()? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
