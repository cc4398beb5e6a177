//! How Pitcrew itself stands: its configuration, its ledger, its observer. Readers see it without the engine.

use std::sync::{PoisonError, RwLock};

use pitcrew_model::Timestamp;

use crate::api::{ConfigurationStatus, RefusedConfiguration, ServerStatus};

#[derive(Debug)]
pub(crate) struct Standing {
    installation: String,
    started_at: Timestamp,
    now: RwLock<Now>,
}

#[derive(Debug)]
struct Now {
    configuration: ConfigurationStatus,
    ledger_trouble: Option<String>,
    observer_trouble: Option<String>,
    stopping: bool,
}

impl Standing {
    pub(crate) fn new(
        installation: String,
        started_at: Timestamp,
        configuration: ConfigurationStatus,
    ) -> Self {
        let now = Now {
            configuration,
            ledger_trouble: None,
            observer_trouble: None,
            stopping: false,
        };
        Self {
            installation,
            started_at,
            now: RwLock::new(now),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn ledger_trouble(&self, error: Option<&str>) {
        self.change(|now| now.ledger_trouble = error.map(str::to_owned));
    }

    pub(crate) fn observer_trouble(&self, trouble: Option<&str>) {
        self.change(|now| now.observer_trouble = trouble.map(str::to_owned));
    }

    pub(crate) fn configuration_loaded(&self, configuration: ConfigurationStatus) {
        self.change(|now| now.configuration = configuration);
    }

    pub(crate) fn configuration_refused(&self, refused: RefusedConfiguration) {
        self.change(|now| now.configuration.refused = Some(refused));
    }

    pub(crate) fn stopping(&self) {
        self.change(|now| now.stopping = true);
    }

    pub(crate) fn digest(&self) -> String {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.configuration.digest.clone()
    }

    pub(crate) fn status(&self) -> ServerStatus {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let mut troubles = Vec::new();
        if let Some(error) = &now.ledger_trouble {
            troubles.push(format!(
                "the ledger can't be written, so no order is given: {error}"
            ));
        }
        if let Some(trouble) = &now.observer_trouble {
            troubles.push(format!(
                "the observer is suspect, so nothing is disrupted on its word: {trouble}"
            ));
        }
        if let Some(refused) = &now.configuration.refused {
            troubles.push(format!(
                "the configuration on disk has {} and is not used: `pitcrew check {}`",
                match refused.errors.len() {
                    1 => "an error".to_owned(),
                    count => format!("{count} errors"),
                },
                now.configuration.directory
            ));
        }
        if now.stopping {
            troubles.push("the server is stopping".to_owned());
        }
        ServerStatus {
            version: crate::VERSION.to_owned(),
            installation: self.installation.clone(),
            started_at: self.started_at,
            ready: now.ledger_trouble.is_none() && !now.stopping,
            troubles,
            configuration: now.configuration.clone(),
        }
    }
}
