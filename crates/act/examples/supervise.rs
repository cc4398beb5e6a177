//! A supervisor and nothing else: keeps what a file says, until it is killed.
//!
//! `supervise DIRECTORY RUNS.json keep|churn|stop`: `keep` starts what should run and waits; `churn` restarts
//! all of it over and over, so that it can be killed in the middle of anything; `stop` ends everything.

use std::{io::Write as _, path::PathBuf};

use pitcrew_act::{Change, Supervisor};
use pitcrew_model::{OperationId, Run};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, runs, what] = arguments.as_slice() else {
        return Err("usage: supervise DIRECTORY RUNS.json keep|churn|stop".into());
    };
    let runs: Vec<Run> = serde_json::from_slice(&std::fs::read(runs)?)?;
    let supervisor = Supervisor::new(PathBuf::from(directory), "example".to_owned())?;
    report(&supervisor.set(&runs).await)?;
    match what.as_str() {
        "keep" => std::future::pending().await,
        "churn" => churn(&supervisor, &runs).await,
        "stop" => supervisor.stop_all().await,
        other => return Err(format!("`{other}` is not keep, churn or stop").into()),
    }
    Ok(())
}

fn report(changes: &[Change]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for change in changes {
        writeln!(out, "{} {:?} {}", change.name, change.kind, change.detail)?;
    }
    writeln!(out, "settled")?;
    Ok(out.flush()?)
}

async fn churn(supervisor: &Supervisor, runs: &[Run]) {
    let targets = Supervisor::targets(runs);
    for round in 0_u64.. {
        let restarts = targets.iter().map(|target| async move {
            let id = format!("churn-{}-{round}-{}", std::process::id(), target.id);
            let id = OperationId::new(id).expect("a short name without control characters");
            supervisor.restart(&target.id, &id).await
        });
        futures_util::future::join_all(restarts).await;
    }
}
