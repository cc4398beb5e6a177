//! What is read from targets that tell of themselves, and how their labels are changed on the way.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Secret, Selector};

/// Targets whose metrics are read again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrape {
    /// The label `job`, unless a target has one.
    pub name: String,
    /// Nothing: every target that has an address.
    pub select: Option<Selector>,
    pub tls: bool,
    pub path: String,
    /// In the query of the page's address: names and their values, of which there is one at least.
    pub params: Vec<(String, Vec<String>)>,
    /// Instead of that of the target's address.
    pub port: Option<u16>,
    #[serde(with = "crate::duration_text")]
    pub interval: Duration,
    #[serde(with = "crate::duration_text")]
    pub timeout: Duration,
    pub headers: Vec<(String, Secret)>,
    /// PEM file of certificate authorities to trust instead of the system's.
    pub ca_file: Option<String>,
    /// Accept any certificate.
    pub insecure: bool,
    /// Targets are asked for protocol buffers, in which native histograms come.
    pub native_histograms: bool,
    /// A label that the target gives wins over one that it has.
    pub honor_labels: bool,
    /// Times that the target gives count.
    pub honor_timestamps: bool,
    pub relabel: Vec<RelabelRule>,
    pub metric_relabel: Vec<RelabelRule>,
    pub limits: ScrapeLimits,
}

/// A page beyond one of these is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrapeLimits {
    pub body_bytes_max: u64,
    /// After `metric_relabel`.
    pub samples_max: Option<u64>,
    /// Of each series, the target's own included.
    pub labels_max: Option<u64>,
    pub label_name_bytes_max: Option<u64>,
    pub label_value_bytes_max: Option<u64>,
}

/// One of Prometheus' relabelling rules, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelabelRule {
    pub source_labels: Vec<String>,
    pub separator: String,
    pub target_label: String,
    pub regex: String,
    pub modulus: u64,
    pub replacement: String,
    /// One of [`RelabelRule::ACTIONS`].
    pub action: String,
}

impl RelabelRule {
    pub const ACTIONS: [&'static str; 11] = [
        "replace",
        "keep",
        "drop",
        "keepequal",
        "dropequal",
        "hashmod",
        "labelmap",
        "labeldrop",
        "labelkeep",
        "lowercase",
        "uppercase",
    ];

    /// Whether it sets or compares `target_label`.
    #[must_use]
    pub fn needs_target(&self) -> bool {
        let others = ["keep", "drop", "labelmap", "labeldrop", "labelkeep"];
        !others.contains(&&*self.action)
    }
}
