//! How much disruption the host bears, whoever orders it: counted here, on disk before the act, so that neither a
//! captured server nor a restart of the agent gets more.
//!
//! `disruptions.json` in the agent's data: operation and time of each in the last window. Times are by the host's own
//! clock; what lies in the future, because that clock was set back, still counts.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use pitcrew_model::{Action, HostLimits, OperationId, Rate, Timestamp};
use serde::{Deserialize, Serialize};

use pitcrew_act::write_durably;

use crate::AgentError;

pub(crate) struct Caps {
    file: PathBuf,
    limits: HostLimits,
    taken: Mutex<Vec<Taken>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Taken {
    operation: OperationId,
    at: Timestamp,
    #[serde(default)]
    reboot: bool,
}

impl Caps {
    pub(crate) fn open(data: &Path, limits: HostLimits) -> Result<Self, AgentError> {
        let file = data.join("disruptions.json");
        let taken = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| AgentError::Content {
                path: file.clone(),
                why: format!(
                    "it is broken, so how much was disrupted lately is not known: {error}"
                ),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => {
                return Err(AgentError::File {
                    doing: "read",
                    path: file,
                    source,
                });
            }
        };
        Ok(Self {
            file,
            limits,
            taken: Mutex::new(taken),
        })
    }

    /// The same operation again takes nothing more. The error says which limit is reached.
    pub(crate) fn take(
        &self,
        operation: &OperationId,
        action: &Action,
        now: Timestamp,
    ) -> Result<(), String> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.iter().any(|taken| taken.operation == *operation) {
            return Ok(());
        }
        let HostLimits {
            disruptive,
            reboots,
        } = self.limits;
        let reboot = *action == Action::Reboot;
        if is_reached(disruptive, now, taken.iter()) {
            return Err(format!(
                "the host's own limit of {disruptive} disruptive orders is reached"
            ));
        }
        if reboot && is_reached(reboots, now, taken.iter().filter(|taken| taken.reboot)) {
            return Err(format!(
                "the host's own limit of {reboots} reboots is reached"
            ));
        }
        let mut lately = taken.clone();
        lately.retain(|taken| now.since(taken.at) < disruptive.per.max(reboots.per));
        lately.push(Taken {
            operation: operation.clone(),
            at: now,
            reboot,
        });
        let bytes = serde_json::to_vec(&lately).map_err(|error| error.to_string())?;
        write_durably(&self.file, &bytes)
            .map_err(|error| format!("{} can't be written: {error}", self.file.display()))?;
        *taken = lately;
        Ok(())
    }
}

fn is_reached<'a>(rate: Rate, now: Timestamp, taken: impl Iterator<Item = &'a Taken>) -> bool {
    let lately = taken.filter(|taken| now.since(taken.at) < rate.per).count();
    lately >= usize::try_from(rate.count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn two_an_hour() -> HostLimits {
        let per = Duration::from_secs(3_600);
        HostLimits {
            disruptive: Rate { count: 2, per },
            ..HostLimits::default()
        }
    }

    fn operation(number: u32) -> OperationId {
        OperationId::new(format!("operation-{number}")).unwrap()
    }

    #[test]
    fn the_limit_holds_over_a_restart_and_a_clock_that_is_set_back() {
        let data = tempfile::tempdir().unwrap();
        let start = Timestamp::from_millis(10_000_000_000);
        let caps = Caps::open(data.path(), two_an_hour()).unwrap();
        assert_eq!(caps.take(&operation(1), &Action::Restart, start), Ok(()));
        assert_eq!(caps.take(&operation(2), &Action::Restart, start), Ok(()));
        assert_eq!(
            caps.take(&operation(1), &Action::Restart, start),
            Ok(()),
            "the same again"
        );
        assert!(caps.take(&operation(3), &Action::Restart, start).is_err());
        let caps = Caps::open(data.path(), two_an_hour()).unwrap();
        let refused = caps.take(
            &operation(3),
            &Action::Restart,
            start + Duration::from_secs(3_599),
        );
        assert!(refused.unwrap_err().contains("2/h"));
        assert!(
            caps.take(
                &operation(3),
                &Action::Restart,
                start - Duration::from_secs(86_400)
            )
            .is_err()
        );
        assert_eq!(
            caps.take(
                &operation(3),
                &Action::Restart,
                start + Duration::from_secs(3_600)
            ),
            Ok(())
        );
    }

    #[test]
    fn reboots_have_a_limit_of_their_own_that_outlives_them() {
        let data = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3_600);
        let start = Timestamp::from_millis(10_000_000_000);
        let reboot = |number, after| {
            let caps = Caps::open(data.path(), HostLimits::default()).unwrap();
            caps.take(&operation(number), &Action::Reboot, start + after)
        };
        assert_eq!(reboot(1, Duration::ZERO), Ok(()));
        assert_eq!(reboot(2, hour * 2), Ok(()));
        assert!(reboot(3, hour * 4).unwrap_err().contains("2/d reboots"));
        let caps = Caps::open(data.path(), HostLimits::default()).unwrap();
        assert_eq!(
            caps.take(&operation(4), &Action::Restart, start + hour * 4),
            Ok(())
        );
        assert_eq!(reboot(3, hour * 24), Ok(()));
    }

    #[test]
    fn a_broken_count_is_an_error_and_not_a_zero() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("disruptions.json"), "[").unwrap();
        assert!(Caps::open(data.path(), two_an_hour()).is_err());
    }
}
