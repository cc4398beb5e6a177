//! What is wrong with the metrics store now, and the log's line when that changes.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

/// What of it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Open,
    Append,
    Sync,
    Upkeep,
}

impl Part {
    fn says(self) -> &'static str {
        match self {
            Self::Open => "there is no metrics store, so nothing is measured",
            Self::Append => "metrics are refused until they can be written",
            Self::Sync => "metrics would not survive a power cut",
            Self::Upkeep => "metrics can't be put in order on the disk",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<BTreeMap<Part, String>>);

impl Troubles {
    /// Logged when it begins and when it ends.
    pub(super) fn set(&self, part: Part, trouble: Option<String>) {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(why) => {
                if !troubles.contains_key(&part) {
                    tracing::error!("{}: {why}", part.says());
                }
                troubles.insert(part, why);
            }
            None => {
                if troubles.remove(&part).is_some() {
                    tracing::info!("no longer: {}", part.says());
                }
            }
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = troubles.iter();
        lines
            .map(|(part, why)| format!("{}: {why}", part.says()))
            .collect()
    }
}

/// An error with all its causes, on one line.
pub(super) fn words(error: &pitcrew_tsdb::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").expect("a string takes everything");
        cause = error.source();
    }
    text
}
