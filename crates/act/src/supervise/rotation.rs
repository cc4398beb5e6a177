//! Keeps all logs within their bounds, for as long as the supervisor is there.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{PoisonError, Weak},
    time::Duration,
};

use pitcrew_model::LogPolicy;

use crate::log_file;

use super::Inner;

const ROTATE_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn rotate_logs(inner: Weak<Inner>) {
    let mut every = tokio::time::interval(ROTATE_EVERY);
    loop {
        every.tick().await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let instances = inner.instances.lock();
        let policies: BTreeMap<PathBuf, LogPolicy> = instances
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .filter_map(|instance| Some((instance.log(), instance.log_policy()?)))
            .collect();
        let logs = inner.place.directory.join("logs");
        drop(inner);
        let rotated = tokio::task::spawn_blocking(move || rotate(&logs, &policies)).await;
        match rotated {
            Ok(Err(error)) => tracing::warn!("logs can't be rotated: {error}"),
            Ok(Ok(())) => {}
            Err(_) => return,
        }
    }
}

fn rotate(logs: &Path, policies: &BTreeMap<PathBuf, LogPolicy>) -> io::Result<()> {
    let usual = LogPolicy::default();
    for entry in fs::read_dir(logs)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            log_file::rotate(&path, policies.get(&path).unwrap_or(&usual))?;
        }
    }
    Ok(())
}
