//! What one query may take.

use std::{num::NonZeroUsize, thread, time::Duration};

use crate::telemetry::Telemetry;

/// Budgets of each query, and how many there are at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// From the request to the answer, waiting included. A request may ask for less.
    pub(super) timeout: Duration,
    /// Samples held at a time.
    pub(super) samples: usize,
    /// An estimate of what samples and answer take in memory, in bytes.
    pub(super) memory: usize,
    /// Queries that run at once; further ones wait.
    pub(super) concurrency: usize,
    /// How long a sample counts as current.
    pub(super) lookback: Duration,
}

impl Budget {
    pub(super) fn of(telemetry: &Telemetry) -> Self {
        let settings = &telemetry.settings().query;
        let concurrency = settings.concurrency.unwrap_or_else(concurrency);
        let memory = settings
            .memory_bytes
            // One share more than turns: answers that are being read.
            .unwrap_or_else(|| telemetry.query_bytes() / (concurrency as u64 + 1));
        Self {
            timeout: settings.timeout,
            samples: settings.samples,
            memory: usize::try_from(memory).unwrap_or(usize::MAX),
            concurrency,
            lookback: settings.lookback,
        }
    }
}

/// More would only take turns; a single one would let a long query hold up all dashboards.
fn concurrency() -> usize {
    let processors = thread::available_parallelism();
    processors.map_or(2, NonZeroUsize::get).clamp(2, 20)
}

#[cfg(test)]
pub(super) mod tests {
    use std::{cell::Cell, ops::ControlFlow};

    use pitcrew_promql::storage::{Found, Selection, Storage, StorageError};

    /// A storage that finds nothing, and holds a KiB more each time it says so.
    #[derive(Default)]
    pub(in crate::http::prometheus) struct Looking {
        pub(in crate::http::prometheus) said: Cell<usize>,
    }

    impl Storage for Looking {
        fn select(
            &self,
            _selection: &Selection<'_>,
            take: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
        ) -> Result<(), StorageError> {
            for said in 1..=1_000 {
                self.said.set(said);
                if take(Found::Holding(said << 10)).is_break() {
                    break;
                }
            }
            Ok(())
        }
    }
}
