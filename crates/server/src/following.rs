//! Following the configuration: taking it over at the start and whenever its files change.
//!
//! A new state with errors is refused as a whole: what runs goes on with the old one, and says so loudly.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use pitcrew_act::{Actuators, ChangeKind, Notifier, Supervisor};
use pitcrew_config::{LoadError, Loaded};
use pitcrew_find::{Finders, Roll};
use pitcrew_model::{
    Event, Fact, Production, ServerSettings, Source, SourceKind, SourceName, Target, TargetId,
};
use tokio::{
    signal::unix::Signal,
    sync::{mpsc, watch},
};

use crate::{
    api::{ConfigurationStatus, RefusedConfiguration},
    clock::Clock,
    core::Inbox,
    errands::Receivers,
    fleet::Fleet,
    recorder::Records,
    remembered::Remembered,
    standing::Standing,
    telemetry::Telemetry,
    warming::Warming,
};

pub(crate) struct Following {
    pub(crate) directory: PathBuf,
    pub(crate) settings: ServerSettings,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) clock: Clock,
    pub(crate) inbox: Inbox,
    pub(crate) records: Records,
    pub(crate) standing: Arc<Standing>,
    pub(crate) receivers: Receivers,
    pub(crate) supervisor: Supervisor,
    pub(crate) actuators: Actuators,
    pub(crate) fleet: Arc<Fleet>,
    /// What hosts said that the finders have not heard yet.
    pub(crate) said: watch::Receiver<u64>,
    /// From the first configuration on.
    pub(crate) finders: Option<Finders>,
    pub(crate) remembered: Remembered,
    /// What a former run knew of the sources, until they are first asked.
    pub(crate) roll: Option<Roll>,
    /// Targets of supervised processes that the engine knows.
    pub(crate) supervised: BTreeSet<TargetId>,
    pub(crate) warming: Warming,
    /// The sources that are the hosts with an agent.
    pub(crate) agents: Vec<Source>,
    /// Sources whose refused answer a person accepts.
    pub(crate) to_accept: mpsc::UnboundedReceiver<SourceName>,
}

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(1);

/// How often what was found is kept.
const KEEP: Duration = Duration::from_secs(5);

/// What tells one state of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

type Stamps = BTreeMap<PathBuf, Stamp>;

impl Following {
    /// Makes it so: the engine first, then who is told, what is found and what runs.
    pub(crate) async fn apply(&mut self, production: Arc<Production>) {
        self.receivers.replace(Notifier::new(&production.receivers));
        self.actuators.set_power(&production.power);
        self.inbox.event(Event::Production(Arc::clone(&production)));
        self.find(production.sources.clone());
        self.agents.clone_from(&production.sources);
        self.agents
            .retain(|source| source.kind == SourceKind::Agents);
        self.hear_hosts();
        self.run_processes(&production).await;
    }

    fn find(&mut self, sources: Vec<Source>) {
        if let Some(finders) = &mut self.finders {
            finders.set(sources);
            return;
        }
        let (inbox, roll) = (self.inbox.clone(), self.roll.take().unwrap_or_default());
        let directory = self.directory.clone();
        self.finders = Some(Finders::resume(roll, sources, directory, move |event| {
            inbox.event(event);
        }));
    }

    /// An installation whose first host is not enrolled yet has said nothing, rather than that there is nothing.
    fn hear_hosts(&mut self) {
        self.said.borrow_and_update();
        let targets = self.fleet.targets();
        if let Some(finders) = self.finders.as_ref().filter(|_| !targets.is_empty()) {
            for source in &self.agents {
                finders.hear(source, targets.iter().cloned());
            }
        }
    }

    /// What is no longer wanted is no longer tested before it is stopped; what is started is tested when it is warm.
    async fn run_processes(&mut self, production: &Production) {
        self.warming.end().await;
        let targets = Supervisor::targets(&production.runs);
        let wanted: BTreeSet<TargetId> = targets.iter().map(|target| target.id.clone()).collect();
        let removed: Vec<TargetId> = self.supervised.difference(&wanted).cloned().collect();
        if !removed.is_empty() {
            self.inbox.event(Event::Targets {
                upserted: Vec::new(),
                removed,
            });
        }
        let changes = self.supervisor.set(&production.runs).await;
        changes.iter().for_each(|change| self.record_change(change));
        self.supervised = wanted;
        let started: BTreeSet<&TargetId> = changes
            .iter()
            .filter(|change| change.kind == ChangeKind::Started)
            .map(|change| &change.name)
            .collect();
        let (cold, warm): (Vec<Target>, Vec<Target>) = targets
            .into_iter()
            .partition(|target| started.contains(&target.id));
        if !warm.is_empty() {
            self.inbox.event(Event::Targets {
                upserted: warm.into_iter().map(Arc::new).collect(),
                removed: Vec::new(),
            });
        }
        self.warming.announce(cold, &self.supervisor, &self.inbox);
    }

    fn record_change(&self, change: &pitcrew_act::Change) {
        let (name, detail) = (&change.name, &change.detail);
        if change.kind == ChangeKind::Failed {
            tracing::warn!("process {name}: {detail}");
        } else {
            tracing::info!("process {name}: {detail}");
        }
        self.records
            .write_about(None, Some(change.name.clone()), change.fact());
    }

    /// Reloads on SIGHUP and when the files change, until the task is ended.
    pub(crate) async fn follow(mut self, mut hangups: Signal) {
        let mut seen = stamps(&self.directory);
        let mut every = tokio::time::interval(POLL);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut keep = tokio::time::interval(KEEP);
        keep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut changing: Option<Stamps> = None;
        loop {
            tokio::select! {
                _ = keep.tick() => {
                    if let Some(finders) = &self.finders {
                        self.remembered.keep(finders.snapshot()).await;
                    }
                }
                Some(source) = self.to_accept.recv() => {
                    if let Some(finders) = &self.finders {
                        finders.accept(&source);
                    }
                }
                Ok(()) = self.said.changed() => self.hear_hosts(),
                _ = hangups.recv() => {
                    tracing::info!("told to reload the configuration");
                    seen = stamps(&self.directory);
                    changing = None;
                    self.reload().await;
                }
                _ = every.tick() => {
                    let now = stamps(&self.directory);
                    // Whoever writes several files needs a moment: two equal looks in a row.
                    if now != seen && changing.as_ref() == Some(&now) {
                        seen = now;
                        changing = None;
                        self.reload().await;
                    } else {
                        changing = (now != seen).then_some(now);
                    }
                }
            }
        }
    }

    async fn reload(&mut self) {
        let directory = self.directory.clone();
        let loading = tokio::task::spawn_blocking(move || pitcrew_config::load(&directory));
        match loading.await {
            Ok(Ok(loaded)) => self.take_over(loaded).await,
            Ok(Err(error)) => self.refuse(error_lines(&error)),
            Err(error) => self.refuse(vec![format!("reading it broke off: {error}")]),
        }
    }

    async fn take_over(&mut self, loaded: Loaded) {
        let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        warnings.extend(fixed_settings_changed(
            &self.settings,
            &loaded.production.server,
        ));
        if loaded.production.metrics != *self.telemetry.settings() {
            warnings.push("a change of `metrics` takes effect at the next start".to_owned());
        }
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let production = Arc::new(loaded.production);
        let is_new = self.standing.digest() != production.digest;
        tracing::info!(digest = production.digest, is_new, "configuration loaded");
        let status = configuration_status(&self.directory, &production, warnings, &self.clock);
        self.apply(production).await;
        self.standing.configuration_loaded(status);
    }

    fn refuse(&self, errors: Vec<String>) {
        for error in &errors {
            tracing::error!("configuration refused: {error}");
        }
        tracing::error!(
            "the configuration in {} has errors; the one from before stays in force",
            self.directory.display()
        );
        self.records.write(Fact::ConfigurationRefused {
            errors: errors.clone(),
        });
        let at = self.clock.now();
        self.standing
            .configuration_refused(RefusedConfiguration { at, errors });
    }
}

pub(crate) fn configuration_status(
    directory: &Path,
    production: &Production,
    warnings: Vec<String>,
    clock: &Clock,
) -> ConfigurationStatus {
    ConfigurationStatus {
        directory: whole_path(directory).display().to_string(),
        digest: production.digest.clone(),
        loaded_at: clock.now(),
        warnings,
        refused: None,
    }
}

/// Whoever reads it stands in another directory than the server.
fn whole_path(directory: &Path) -> PathBuf {
    std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned())
}

fn error_lines(error: &LoadError) -> Vec<String> {
    match error {
        LoadError::Problems(problems) => {
            problems.problems.iter().map(ToString::to_string).collect()
        }
        LoadError::Read { .. } | LoadError::NoFiles { .. } => {
            vec![error.render(false).trim_end().to_owned()]
        }
    }
}

/// What a running server can't change.
fn fixed_settings_changed(before: &ServerSettings, after: &ServerSettings) -> Vec<String> {
    let fixed = [
        ("server.listen", before.listen != after.listen),
        ("server.data", before.data != after.data),
        ("server.token_file", before.token_file != after.token_file),
        (
            "server.concurrency",
            before.concurrency != after.concurrency,
        ),
        ("server.agents", before.agents != after.agents),
        ("server.state", before.postgres != after.postgres),
        ("server.advertise", before.advertise != after.advertise),
    ];
    let changed = fixed.into_iter().filter(|(_, changed)| *changed);
    changed
        .map(|(name, _)| format!("a change of `{name}` takes effect at the next start"))
        .collect()
}

fn stamps(directory: &Path) -> Stamps {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return stamp(directory)
            .map(|stamp| (directory.to_owned(), stamp))
            .into_iter()
            .collect();
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let yaml = paths.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
    });
    yaml.filter_map(|path| stamp(&path).map(|stamp| (path, stamp)))
        .collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        modified: metadata.modified().ok(),
        bytes: metadata.len(),
    })
}
