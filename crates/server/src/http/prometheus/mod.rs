//! The HTTP API of Prometheus over the metrics store: what Grafana, promtool and a Prometheus that reads from here ask.
//!
//! Paths, parameters, answers, statuses and errors are Prometheus' own, because programs depend on each of them; all
//! other paths of the API answer as Pitcrew does. Whatever reads the store runs on a thread of its own, within budgets
//! ([`budget`], [`queries`]): a query can be refused, but it can't hold up the loop.

mod answer;
mod arguments;
mod arriving;
mod backup;
mod budget;
mod export;
mod exposition;
mod federate;
mod format;
mod import;
mod labels;
mod lines;
mod measure;
mod metadata;
mod queries;
mod query;
mod read;
mod routes;
mod sending;
mod status;
mod syntax;
mod unread;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use pitcrew_tsdb::Store;
use tokio::sync::Semaphore;

use crate::telemetry::Telemetry;
use answer::Error;
use budget::Budget;
use queries::Queries;
pub(crate) use routes::routes;

/// Tests of metrics at once; each takes a part of a query's budget of memory, if it needs it.
const TESTS_MAX: usize = 2;

/// Exports and backups that work at once.
const EXPORTS_MAX: usize = 2;

/// Pieces of imports that are stored at once.
const IMPORTS_MAX: usize = 2;

/// Imports whose bodies are read at once: each holds a line, and a turn only while a piece of it is stored.
const IMPORT_PLACES: usize = 4;

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Prometheus {
    telemetry: Arc<Telemetry>,
    queries: Arc<Queries>,
    /// For `metric` tests.
    tests: Arc<Queries>,
    /// Each lasts as long as its client takes: nothing but its like waits for it.
    exports: Arc<Queries>,
    imports: Arc<Queries>,
    import_places: Arc<Semaphore>,
    budget: Budget,
    started: SystemTime,
}

impl Prometheus {
    pub(crate) fn new(telemetry: Arc<Telemetry>) -> Self {
        let budget = Budget::of(&telemetry);
        Self {
            queries: Arc::new(Queries::new(budget.concurrency, budget.memory)),
            // What a test answers is a line; what is exported is sent in pieces.
            tests: Arc::new(Queries::new(TESTS_MAX, 0)),
            exports: Arc::new(Queries::new(EXPORTS_MAX, 0)),
            imports: Arc::new(Queries::new(IMPORTS_MAX, 0)),
            import_places: Arc::new(Semaphore::new(IMPORT_PLACES)),
            telemetry,
            budget,
            started: SystemTime::now(),
        }
    }

    fn store(&self) -> Result<Arc<Store>, Error> {
        let store = self.telemetry.store();
        store.map_err(|none| Error::unavailable(none.to_string()))
    }

    /// Milliseconds since the epoch.
    fn now_ms(&self) -> i64 {
        self.telemetry.now_ms()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
