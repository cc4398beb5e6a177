//! What holds for a store: where it is, how long it keeps, how much it may take.

use std::path::PathBuf;

use pitcrew_promql::labels::Matcher;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Settings of a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// The store's own directory; made when absent.
    pub directory: PathBuf,
    /// The head is sealed into a part when it is this old.
    pub seal_after_ms: i64,
    /// Spans to whose multiples parts are merged, ascending.
    pub merge_spans_ms: Vec<i64>,
    /// Samples older than this before now are refused.
    pub past_ms: i64,
    /// Samples further than this after now are refused.
    pub future_ms: i64,
    /// Samples are deleted when all of their part are older.
    pub retention_ms: i64,
    /// Series for which another time than `retention_ms` holds; the first whose matchers fit decides.
    pub keep: Vec<Keep>,
    /// What is left of old samples. Of several for a series and an age that with the longest interval decides; each interval
    /// should be a multiple of the shorter ones, or what is left depends on when it was done.
    pub downsample: Vec<Downsample>,
    /// When parts take more bytes than this, the oldest go.
    pub retention_bytes: u64,
    /// What may not be exceeded.
    pub limits: Limits,
}

/// How long some series are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Keep {
    /// Which: those that fulfil all.
    pub select: Vec<Matcher>,
    /// How long.
    pub for_ms: i64,
}

/// What is left of old samples: of each interval (k · every, (k + 1) · every] since the epoch the last one that a series
/// has in a part, as it is, whatever it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Downsample {
    /// Of which series: those that fulfil all; none for all series.
    pub select: Vec<Matcher>,
    /// When all samples of a part are older than this.
    pub after_ms: i64,
    /// The interval.
    pub every_ms: i64,
}

/// Budgets of a store.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Series in the head.
    pub series: usize,
    /// Series in the head for each source.
    pub source_series: usize,
    /// Estimated bytes of series and samples in the head. At half of it the head is sealed; beyond it first new
    /// series are refused, and from a quarter more on all samples.
    pub head_bytes: usize,
    /// Decoded blocks of parts kept for further queries, in bytes.
    pub cache_bytes: usize,
    /// Labels of one series.
    pub labels: usize,
    /// Bytes of a label's name.
    pub label_name_bytes: usize,
    /// Bytes of a label's value.
    pub label_value_bytes: usize,
    /// Exemplars kept, over all series.
    pub exemplars: usize,
    /// Metric families whose metadata is kept.
    pub families: usize,
}

impl Limits {
    /// Bytes of a key whose labels can be stored, in any form: text may have each byte escaped.
    pub fn key_bytes(&self) -> usize {
        const SIGNS: usize = 8;
        let label = self
            .label_name_bytes
            .saturating_add(self.label_value_bytes)
            .saturating_add(SIGNS);
        self.labels.saturating_mul(label).saturating_mul(2)
    }
}

impl Options {
    /// The defaults, in a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Options {
            directory: directory.into(),
            seal_after_ms: 5 * MINUTE_MS,
            merge_spans_ms: vec![30 * MINUTE_MS, 2 * HOUR_MS, DAY_MS],
            past_ms: 2 * HOUR_MS,
            future_ms: HOUR_MS,
            retention_ms: 30 * DAY_MS,
            keep: Vec::new(),
            downsample: Vec::new(),
            retention_bytes: u64::MAX,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            series: 5_000_000,
            source_series: 1_000_000,
            head_bytes: 4 << 30,
            cache_bytes: 128 << 20,
            labels: 128,
            label_name_bytes: 1024,
            label_value_bytes: 16 << 10,
            exemplars: 100_000,
            families: 100_000,
        }
    }
}
