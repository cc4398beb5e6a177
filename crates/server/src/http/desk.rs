//! What the routes share.

use std::sync::Arc;

use axum::extract::FromRef;
use pitcrew_model::SourceName;
use pitcrew_probe::{Scheduler, Tools};
use tokio::sync::Semaphore;

use super::{prometheus::Prometheus, push_metrics::Decoding, readers::Readers, sparing::Overview};
use crate::{
    api::ServerStatus,
    clock::Clock,
    core::Inbox,
    feed::Feed,
    fleet::Fleet,
    metrics::Metrics,
    roster::Roster,
    standing::Standing,
    telemetry::{Telemetry, scrape::Board},
};

/// Tests run at once on people's requests, beside the scheduled ones.
pub(crate) const REQUESTED_TESTS_MAX: usize = 16;

#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) inbox: Inbox,
    pub(crate) clock: Clock,
    pub(crate) standing: Arc<Standing>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) prometheus: Prometheus,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) decoding: Decoding,
    pub(crate) board: Arc<Board>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) readers: Readers,
    /// For what takes long: verifying and exporting must not keep `explain` waiting.
    pub(crate) long_readers: Readers,
    pub(crate) tools: Arc<Tools>,
    pub(crate) scheduler: Scheduler,
    pub(crate) overview: Arc<Overview>,
    pub(crate) requested_tests: Arc<Semaphore>,
    /// Sources whose refused answer a person accepts, to whoever asks them.
    pub(crate) accepted: tokio::sync::mpsc::UnboundedSender<SourceName>,
    /// Closed when the server stops: streams end then.
    pub(crate) stopping: tokio::sync::watch::Receiver<bool>,
}

impl Desk {
    /// How Pitcrew itself stands. What ails its metrics is told, and keeps it from nothing.
    pub(crate) fn status(&self) -> ServerStatus {
        let mut status = self.standing.status();
        status.troubles.extend(self.telemetry.troubles());
        status
    }
}

impl FromRef<Desk> for Prometheus {
    fn from_ref(desk: &Desk) -> Self {
        desk.prometheus.clone()
    }
}
