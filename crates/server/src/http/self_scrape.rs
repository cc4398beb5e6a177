//! What `/metrics` says, into the store, without a scrape over the network.

use std::sync::Arc;

use tokio::time::MissedTickBehavior;

use super::{desk::Desk, own};
use crate::telemetry::{OWN_INTERVAL, OwnPages};

/// Until the task is ended; `instance` is where the API listens.
pub(crate) async fn keep(desk: Desk, instance: String) {
    let mut pages = match OwnPages::new(&instance) {
        Ok(pages) => pages,
        Err(error) => {
            tracing::error!("the server's own metrics are not kept: {error}");
            return;
        }
    };
    let mut every = tokio::time::interval(OWN_INTERVAL);
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        every.tick().await;
        let began = tokio::time::Instant::now();
        let Ok(text) = own::metrics_text(&desk).await else {
            continue;
        };
        let telemetry = Arc::clone(&desk.telemetry);
        let took = began.elapsed();
        let storing = tokio::task::spawn_blocking(move || {
            pages.take(&telemetry, telemetry.now_ms(), &text, took);
            pages
        });
        pages = match storing.await {
            Ok(pages) => pages,
            Err(error) => {
                tracing::error!(%error, "keeping the server's own metrics broke off");
                return;
            }
        };
    }
}
