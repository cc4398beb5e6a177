//! How Pitcrew itself stands: its configuration, its ledger, its observer. Readers see it without the engine.

use std::sync::{Arc, PoisonError, RwLock};

use pitcrew_model::Timestamp;

use crate::{
    api::{ConfigurationStatus, RefusedConfiguration, Role, ServerStatus},
    leadership::Leadership,
};

#[derive(Debug)]
pub(crate) struct Standing {
    started_at: Timestamp,
    /// Of a server that leads.
    leadership: Option<Arc<Leadership>>,
    now: RwLock<Now>,
}

#[derive(Debug)]
struct Now {
    installation: String,
    /// URL of the server that leads, this one or another.
    leader: Option<String>,
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
        leadership: Option<Arc<Leadership>>,
        leader: Option<String>,
    ) -> Self {
        let now = Now {
            installation,
            leader,
            configuration,
            ledger_trouble: None,
            observer_trouble: None,
            stopping: false,
        };
        Self {
            started_at,
            leadership,
            now: RwLock::new(now),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn ledger_trouble(&self, error: Option<&str>) {
        self.change(|now| now.ledger_trouble = error.map(str::to_owned));
    }

    /// Of one that follows: it learns whose it is when it reaches the database.
    pub(crate) fn installation(&self, installation: &str) {
        self.change(|now| installation.clone_into(&mut now.installation));
    }

    /// Of one that follows: who leads, or why nobody knows.
    pub(crate) fn follows(&self, leader: Result<&str, &str>) {
        self.change(|now| {
            now.leader = leader.ok().map(str::to_owned);
            now.ledger_trouble = leader.err().map(str::to_owned);
        });
    }

    /// The server that leads, as far as is known.
    pub(crate) fn leader(&self) -> Option<String> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.leader.clone()
    }

    pub(crate) fn role(&self) -> Role {
        match self.leadership {
            Some(_) => Role::Leads,
            None => Role::Follows,
        }
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
        match (&self.leadership, &now.ledger_trouble) {
            (None, _) => troubles.push(following(&now)),
            (Some(_), Some(error)) => troubles.push(format!(
                "the ledger can't be written, so no order is given: {error}"
            )),
            (Some(leadership), None) if !leadership.is_sure() => troubles.push(
                "the ledger's database does not answer, and another server may lead by now: no order is given"
                    .to_owned(),
            ),
            (Some(_), None) => {}
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
            installation: now.installation.clone(),
            role: self.role(),
            leader: now.leader.clone(),
            started_at: self.started_at,
            ready: self
                .leadership
                .as_ref()
                .is_some_and(|leadership| leadership.is_sure())
                && now.ledger_trouble.is_none()
                && !now.stopping,
            troubles,
            configuration: now.configuration.clone(),
        }
    }
}

fn following(now: &Now) -> String {
    match (&now.leader, &now.ledger_trouble) {
        (Some(leader), _) => format!(
            "this server follows; {leader} leads and knows what is healthy: ask it with --server {leader}"
        ),
        (None, Some(trouble)) => format!("this server follows, and whom is not known: {trouble}"),
        (None, None) => "this server follows, and asks the database whom".to_owned(),
    }
}
