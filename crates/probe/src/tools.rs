//! What tests share: TLS trust, the resolver, compiled patterns, systemd's buses, the
//! supervisor's word on processes.
//!
//! Everything here is a cache that may be dropped at any time; nothing of a peer's is kept.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use pitcrew_model::Timestamp;
use regex::bytes::Regex;

use crate::{
    Answer, MetricQueries, ProcessStates,
    local::{host::FileSystems, kernel_log::KernelLog, overload::Overload, unit::Buses},
    resolve::Resolver,
    trust::Trust,
};

/// The earliest and the latest that another clock can show now; `None` while that is not known.
pub type ReferenceClock = Arc<dyn Fn() -> Option<(Timestamp, Timestamp)> + Send + Sync>;

pub struct Tools {
    pub(crate) processes: Arc<dyn ProcessStates>,
    pub(crate) resolver: Resolver,
    pub(crate) trust: Trust,
    pub(crate) buses: Buses,
    pub(crate) file_systems: FileSystems,
    pub(crate) kernel_log: KernelLog,
    pub(crate) reference: Option<ReferenceClock>,
    pub(crate) overload: Option<Overload>,
    pub(crate) metrics: Option<Arc<dyn MetricQueries>>,
    patterns: Patterns,
}

impl Tools {
    #[must_use]
    pub fn new(processes: Arc<dyn ProcessStates>) -> Self {
        Self {
            processes,
            resolver: Resolver::default(),
            trust: Trust::default(),
            buses: Buses::default(),
            file_systems: FileSystems::default(),
            kernel_log: KernelLog::default(),
            reference: None,
            overload: None,
            metrics: None,
            patterns: Patterns::default(),
        }
    }

    /// With a clock to hold this host's against.
    #[must_use]
    pub fn beside(mut self, reference: ReferenceClock) -> Self {
        self.reference = Some(reference);
        self
    }

    /// With the server's own metrics.
    #[must_use]
    pub fn measuring(mut self, metrics: Arc<dyn MetricQueries>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Leaves out rounds while this host is overloaded.
    #[must_use]
    pub fn sparing(mut self) -> Self {
        self.overload = Some(Overload::default());
        self
    }

    /// The compiled pattern. A wrong one is the configuration's fault, so `Unknown`.
    pub(crate) fn pattern(&self, text: &str) -> Result<Arc<Regex>, Answer> {
        self.patterns.get(text)
    }
}

/// Compiling costs more than a whole test, and a service's targets share their patterns.
#[derive(Default)]
struct Patterns(RwLock<HashMap<Box<str>, Arc<Regex>>>);

impl Patterns {
    /// Far more than any configuration has; reloads that keep changing them must not fill memory.
    const COUNT_MAX: usize = 4_096;

    fn get(&self, text: &str) -> Result<Arc<Regex>, Answer> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(regex) = known.get(text) {
            return Ok(Arc::clone(regex));
        }
        drop(known);
        let regex = Arc::new(
            Regex::new(text)
                .map_err(|error| Answer::unknown(format!("/{text}/ is not a pattern: {error}")))?,
        );
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= Self::COUNT_MAX {
            known.clear();
        }
        known.insert(text.into(), Arc::clone(&regex));
        Ok(regex)
    }
}
