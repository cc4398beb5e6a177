//! What must hold after an order takes effect. Defaults and their sources are in the design's safety page;
//! each constant repeats its reason.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A number of targets, absolute or as a share of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    Targets(u32),
    Percent(u8),
}

impl Count {
    /// The share of `total`, rounded down.
    #[must_use]
    pub fn of(self, total: u32) -> u32 {
        match self {
            Self::Targets(count) => count,
            Self::Percent(percent) => {
                u32::try_from(u64::from(total) * u64::from(percent) / 100).unwrap_or(u32::MAX)
            }
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Targets(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// At most `count` in any window of `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub count: u32,
    #[serde(with = "crate::duration_text")]
    pub per: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = crate::format_duration(self.per);
        let unit = per
            .strip_prefix('1')
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()));
        write!(f, "{}/{}", self.count, unit.unwrap_or(&per))
    }
}

/// Stops new disruption in a scope when `count` targets and `percent` of the scope newly fail within `within`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerRule {
    pub count: u32,
    pub percent: u8,
    #[serde(with = "crate::duration_text")]
    pub within: Duration,
    pub release: Release,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// After `within` below half the threshold.
    Auto,
    Manual,
}

/// This many cases on one target within a time are a person's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lemon {
    pub cases: u32,
    #[serde(with = "crate::duration_text")]
    pub within: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub max_unavailable: Count,
    pub max_in_flight: u32,
    /// Orders in flight per value of a domain label; labels in `domains` that are absent here have 1.
    pub per_domain: Vec<(String, u32)>,
    pub rate: Rate,
    pub breaker: BreakerRule,
    /// After a case on the same target; doubles with each further one up to [`Limits::COOLDOWN_MAX`].
    #[serde(with = "crate::duration_text")]
    pub cooldown: Duration,
    /// Quiet time before a repaired case is closed as cured.
    #[serde(with = "crate::duration_text")]
    pub probation: Duration,
    pub lemon: Lemon,
}

const HOUR: Duration = Duration::from_secs(3_600);

impl Limits {
    /// Envoy's ejection time grows with the times ejected in the same way.
    pub const COOLDOWN_MAX: Duration = Duration::from_secs(6 * 3_600);

    /// How many of `total` targets may be unavailable: the limit rounded down, but at least one of two or more.
    #[must_use]
    pub fn unavailable_max(&self, total: u32) -> u32 {
        let allowed = self.max_unavailable.of(total);
        match self.max_unavailable {
            Count::Percent(percent) if percent > 0 && total >= 2 => allowed.max(1),
            Count::Percent(_) | Count::Targets(_) => allowed,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_unavailable: Count::Percent(25),
            max_in_flight: 1,
            per_domain: Vec::new(),
            rate: Rate {
                count: 6,
                per: HOUR,
            },
            // BOSH's meltdown guard.
            breaker: BreakerRule {
                count: 5,
                percent: 20,
                within: Duration::from_secs(600),
                release: Release::Auto,
            },
            cooldown: Duration::from_secs(600),
            probation: Duration::from_secs(1_800),
            lemon: Lemon {
                cases: 3,
                within: 7 * 24 * HOUR,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_a_small_service_is_at_least_one_but_never_the_only_one() {
        let limits = Limits::default();
        let allowed = [1, 2, 3, 4, 8, 12].map(|total| limits.unavailable_max(total));
        assert_eq!(allowed, [0, 1, 1, 1, 2, 3]);
    }

    #[test]
    fn a_rate_prints_as_it_is_written() {
        assert_eq!(
            Rate {
                count: 6,
                per: HOUR
            }
            .to_string(),
            "6/h"
        );
        assert_eq!(
            Rate {
                count: 6,
                per: HOUR * 10
            }
            .to_string(),
            "6/10h"
        );
    }
}
