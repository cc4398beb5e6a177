//! Sources to ask, and waiting for what finders tell.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use pitcrew_find::Finders;
use pitcrew_model::{Event, Labels, Source, SourceKind, SourceName, Target};

pub(crate) fn source(name: &str, kind: SourceKind) -> Source {
    Source {
        name: SourceName::new(name).unwrap(),
        kind,
        labels: Labels::new([("service", "web")]).unwrap(),
        runs_as: None,
    }
}

pub(crate) fn ids<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Vec<String> {
    let mut ids: Vec<String> = targets
        .into_iter()
        .map(|target| target.id.to_string())
        .collect();
    ids.sort_unstable();
    ids
}

/// What an engine would know from everything told so far.
pub(crate) struct Heard {
    events: mpsc::Receiver<Event>,
    pub(crate) targets: BTreeMap<String, Arc<Target>>,
    pub(crate) troubles: BTreeMap<String, String>,
}

impl Heard {
    pub(crate) fn start(sources: Vec<Source>, directory: &std::path::Path) -> (Finders, Self) {
        let (sender, events) = mpsc::channel();
        let finders = Finders::start(sources, directory.to_owned(), move |event| {
            sender.send(event).ok();
        });
        (
            finders,
            Self {
                events,
                targets: BTreeMap::new(),
                troubles: BTreeMap::new(),
            },
        )
    }

    pub(crate) fn wait(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        // For a million targets in an unoptimized build on a busy machine.
        let deadline = Instant::now() + Duration::from_secs(120);
        while !holds(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.hear(event),
                Err(_) => panic!(
                    "never {what}: {:?} {:?}",
                    self.targets.keys(),
                    self.troubles
                ),
            }
        }
    }

    pub(crate) fn wait_for_ids(&mut self, ids: &[&str]) {
        self.wait(&format!("{ids:?}"), |heard| heard.targets.keys().eq(ids));
    }

    /// What is told within `within`, as a count.
    pub(crate) fn told_within(&mut self, within: Duration) -> usize {
        let deadline = Instant::now() + within;
        let mut count = 0;
        while let Ok(event) = self
            .events
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.hear(event);
            count += 1;
        }
        count
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Targets { upserted, removed } => {
                for target in upserted {
                    self.targets.insert(target.id.to_string(), target);
                }
                for id in removed {
                    assert!(self.targets.remove(id.as_str()).is_some());
                }
            }
            Event::Source {
                source,
                trouble: Some(trouble),
            } => {
                self.troubles
                    .insert(source.to_string(), trouble.to_string());
            }
            Event::Source {
                source,
                trouble: None,
            } => {
                self.troubles.remove(source.as_str());
            }
            other => panic!("{other:?}"),
        }
    }
}
