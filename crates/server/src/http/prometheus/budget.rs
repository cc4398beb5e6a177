//! What one query may take.

use std::{num::NonZeroUsize, thread, time::Duration};

/// Budgets of each query, and how many there are at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// From the request to the answer, waiting included. A request may ask for less.
    pub(crate) timeout: Duration,
    /// Samples held at a time.
    pub(crate) samples: usize,
    /// An estimate of what samples and answer take in memory, in bytes.
    pub(crate) memory: usize,
    /// Queries that run at once; further ones wait.
    pub(crate) concurrency: usize,
    /// How long a sample counts as current.
    pub(crate) lookback: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(120),
            samples: 50_000_000,
            memory: 1 << 30,
            // More would only take turns; a single one would let a long query hold up all dashboards.
            concurrency: thread::available_parallelism().map_or(2, NonZeroUsize::get).clamp(2, 20),
            lookback: Duration::from_secs(300),
        }
    }
}
