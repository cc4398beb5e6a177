//! One answer to one test.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{ObserverName, TargetId, TestName, Timestamp};

/// `Unknown` is a value: no answer about the target was obtained. It is neither healthy nor dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pass,
    Warn,
    Fail,
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        })
    }
}

/// A target's state as all its tests and its case together tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Healthy,
    /// A failure is believed, or suspected right now.
    Failing,
    /// Repaired, not yet proven.
    Repairing,
    Probation,
    /// No answer lately.
    Unknown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healthy => "healthy",
            Self::Failing => "failing",
            Self::Repairing => "repairing",
            Self::Probation => "probation",
            Self::Unknown => "unknown",
        })
    }
}

/// What was seen, in one line, at most [`Evidence::BYTES_MAX`] long: `HTTP 503, wanted 200`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Evidence(Arc<str>);

impl Evidence {
    pub const BYTES_MAX: usize = 512;

    /// Control characters become spaces and what is too long is cut, at a character's border.
    #[must_use]
    pub fn new(text: impl AsRef<str>) -> Self {
        let is_edge = |c: char| c.is_whitespace() || c.is_control();
        let text = text.as_ref().trim_matches(is_edge);
        let mut clean = String::with_capacity(text.len().min(Self::BYTES_MAX));
        for c in text.chars() {
            if clean.len() + c.len_utf8() > Self::BYTES_MAX - '…'.len_utf8() {
                clean.push('…');
                break;
            }
            clean.push(if c.is_control() { ' ' } else { c });
        }
        Self(clean.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    pub target: TargetId,
    pub test: TestName,
    pub observer: ObserverName,
    /// When the question was put; proof of a repair must have been asked for after the repair.
    pub asked_at: Timestamp,
    pub answered_at: Timestamp,
    pub took: Duration,
    pub verdict: Verdict,
    pub evidence: Evidence,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_one_bounded_line() {
        assert_eq!(Evidence::new(" a\nb\0c ").as_str(), "a b c");
        let long = Evidence::new("ä".repeat(2_000));
        assert!(long.as_str().len() <= Evidence::BYTES_MAX && long.as_str().ends_with('…'));
    }
}
