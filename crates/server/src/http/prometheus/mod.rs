//! The HTTP API of Prometheus over the metrics store: what Grafana, promtool and a Prometheus that reads from here ask.
//!
//! Paths, parameters, answers, statuses and errors are Prometheus' own, because programs depend on each of them; all
//! other paths of the API answer as Pitcrew does. Whatever reads the store runs on a thread of its own, within budgets
//! ([`budget`], [`queries`]): a query can be refused, but it can't hold up the loop.

mod answer;
mod arguments;
mod budget;
mod exposition;
mod federate;
mod labels;
mod metadata;
mod queries;
mod query;
mod read;
mod routes;
mod status;
mod syntax;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use pitcrew_tsdb::Store;

use answer::Error;
pub(crate) use budget::Budget;
use queries::Queries;
pub(crate) use routes::routes;

/// The store, or why there is none now.
type StoreNow = dyn Fn() -> Result<Arc<Store>, String> + Send + Sync;

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Prometheus {
    store: Arc<StoreNow>,
    now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
    queries: Arc<Queries>,
    budget: Budget,
    started: SystemTime,
}

impl Prometheus {
    pub(crate) fn new(
        store: impl Fn() -> Result<Arc<Store>, String> + Send + Sync + 'static,
        now_ms: impl Fn() -> i64 + Send + Sync + 'static,
        budget: Budget,
    ) -> Self {
        Self {
            store: Arc::new(store),
            now_ms: Arc::new(now_ms),
            queries: Arc::new(Queries::new(budget.concurrency)),
            budget,
            started: SystemTime::now(),
        }
    }

    fn store(&self) -> Result<Arc<Store>, Error> {
        (self.store)().map_err(Error::unavailable)
    }

    /// Milliseconds since the epoch.
    fn now_ms(&self) -> i64 {
        (self.now_ms)()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
