//! What the metrics store may take and how long it keeps. What it does with that is `tsdb`'s matter.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricsSettings {
    /// Samples older than this are deleted.
    #[serde(with = "crate::duration_text")]
    pub retention: Duration,
    /// For which series another time holds; the first that selects a series decides.
    pub keep: Vec<KeepRule>,
    /// What is left of old samples; of several for a series and an age that with the longest interval decides.
    pub downsample: Vec<DownsampleRule>,
    /// When all files of samples are larger than this, the oldest are deleted.
    pub disk_bytes_max: Option<u64>,
    /// How far in the past a sample may be when it comes.
    #[serde(with = "crate::duration_text")]
    pub out_of_order_window: Duration,
    /// For samples and series in memory, caches and queries; a quarter of what the process may have when absent.
    pub memory_bytes: Option<u64>,
    /// Series that report at a time.
    pub series_max: usize,
    /// The same of each source: a scrape, whoever writes, the loop itself.
    pub source_series_max: usize,
    pub query: QuerySettings,
}

/// How long some series are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepRule {
    /// A selector of PromQL.
    pub select: String,
    #[serde(with = "crate::duration_text")]
    pub time: Duration,
}

/// Of old samples the last one of each interval is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownsampleRule {
    /// A selector of PromQL; all series when absent.
    pub select: Option<String>,
    #[serde(with = "crate::duration_text")]
    pub after: Duration,
    #[serde(with = "crate::duration_text")]
    pub every: Duration,
}

/// What each query may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuerySettings {
    /// Waiting included.
    #[serde(with = "crate::duration_text")]
    pub timeout: Duration,
    /// Held at a time.
    pub samples: usize,
    /// By estimate; its share of what all may take when absent.
    pub memory_bytes: Option<u64>,
    /// Queries that run at once; as many as there are processors when absent.
    pub concurrency: Option<usize>,
    /// How long a sample counts as current.
    #[serde(with = "crate::duration_text")]
    pub lookback: Duration,
}

impl Default for QuerySettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(120),
            samples: 50_000_000,
            memory_bytes: None,
            concurrency: None,
            lookback: Duration::from_secs(300),
        }
    }
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(30 * 86_400),
            keep: Vec::new(),
            downsample: Vec::new(),
            disk_bytes_max: None,
            out_of_order_window: Duration::from_secs(2 * 3_600),
            memory_bytes: None,
            series_max: 5_000_000,
            source_series_max: 1_000_000,
            query: QuerySettings::default(),
        }
    }
}

impl MetricsSettings {
    /// Below this a store of a few thousand series would refuse samples.
    pub const MEMORY_BYTES_MIN: u64 = 16 << 20;
}
