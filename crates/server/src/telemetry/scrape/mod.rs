//! Scraping: the pages of the loop's own targets, each in its rhythm, spread over the interval.
//!
//! Targets and configuration come as the engine hears them. Each page has a task of its own, which ends when its
//! target or its scrape does, or when the target's labels change, and then marks the end of its series. Nothing here
//! decides or tests: a page that can't be read is `up` 0, and no observation.

mod board;
mod fetch;
mod naming;
mod own;
mod page;
mod plan;
mod reader;
mod reading;
mod room;
mod seen;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use pitcrew_model::{Event, Scrape, Target, TargetId};
use pitcrew_promql::labels::Labels;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{AbortHandle, Id, JoinSet},
};

pub(crate) use board::Board;
use fetch::Fetcher;
pub(crate) use own::OwnPages;
use plan::{Endpoint, Plan};
use reader::{Assignment, PageReader, Shared};
use room::Room;

use super::{GATHERED_BYTES_MAX, Telemetry};

/// Pages unpacked, read and stored at once, each on a thread of its own: only one is stored at a time.
const TURNS: usize = 2;

/// What a page may take when it is read, however little memory there is.
const PAGE_BYTES_MIN: usize = 16 << 20;

/// What the engine hears that scrapes follow.
#[derive(Debug)]
pub(crate) enum Heard {
    Scrapes(Vec<Arc<Scrape>>),
    Targets {
        upserted: Vec<Arc<Target>>,
        removed: Vec<TargetId>,
    },
}

impl Heard {
    /// What of an event is news for scrapes.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Production(production) => Some(Self::Scrapes(production.scrapes.clone())),
            Event::Targets { upserted, removed } => Some(Self::Targets {
                upserted: upserted.clone(),
                removed: removed.clone(),
            }),
            _ => None,
        }
    }
}

/// A scrape with all that its targets share.
struct Running {
    plan: Arc<Plan>,
    fetcher: Fetcher,
}

/// A page that is read.
struct Task {
    handle: AbortHandle,
    running: Arc<Running>,
    endpoint: Endpoint,
    /// Closed when the task is dropped.
    assign: watch::Sender<Arc<Assignment>>,
    /// Closed when it has ended.
    ended: watch::Receiver<()>,
}

/// What a target is to be read by.
struct Wanted {
    target: Arc<Target>,
    running: Arc<Running>,
    endpoint: Endpoint,
}

pub(crate) struct Scrapes {
    shared: Shared,
    page_bytes_max: usize,
    board: Arc<Board>,
    targets: HashMap<TargetId, Arc<Target>>,
    scrapes: Vec<Arc<Running>>,
    /// Of each target, by the name of the scrape.
    tasks: HashMap<TargetId, HashMap<String, Task>>,
    running: JoinSet<()>,
    /// How many tasks were not told to end, by their labels: one page may be found under two ids.
    sharing: HashMap<Labels, usize>,
    /// Tasks that were told to end, by the labels that they may still write about.
    ending: HashMap<Labels, (Id, watch::Receiver<()>)>,
    labels_of_ending: HashMap<Id, Labels>,
    /// Where in the interval each page comes; of this process, so that several servers differ.
    spread: RandomState,
}

impl Scrapes {
    pub(crate) fn new(telemetry: Arc<Telemetry>, board: Arc<Board>) -> Self {
        let page_bytes = telemetry.page_bytes();
        Self {
            page_bytes_max: page_bytes.clamp(PAGE_BYTES_MIN, GATHERED_BYTES_MAX),
            shared: Shared {
                telemetry,
                room: Arc::new(Room::new(page_bytes)),
                turns: Arc::new(Semaphore::new(TURNS)),
            },
            board,
            targets: HashMap::new(),
            scrapes: Vec::new(),
            tasks: HashMap::new(),
            running: JoinSet::new(),
            sharing: HashMap::new(),
            ending: HashMap::new(),
            labels_of_ending: HashMap::new(),
            spread: RandomState::new(),
        }
    }

    /// Until nobody can tell anything any more, or the task is ended: then every page is left as it is.
    pub(crate) async fn follow(mut self, mut news: mpsc::UnboundedReceiver<Heard>) {
        loop {
            tokio::select! {
                heard = news.recv() => match heard {
                    Some(heard) => self.hear(heard),
                    None => return,
                },
                Some(ended) = self.running.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) if error.is_cancelled() => error.id(),
                        Err(error) => {
                            tracing::error!(%error, "the scrape of a target broke off");
                            error.id()
                        }
                    };
                    self.forget(id);
                }
            }
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Scrapes(scrapes) => {
                self.configure(&scrapes);
                self.place(self.targets.values().cloned().collect());
            }
            Heard::Targets { upserted, removed } => {
                for id in removed {
                    self.targets.remove(&id);
                    for (_, task) in self.tasks.remove(&id).unwrap_or_default() {
                        self.retire(task);
                    }
                }
                let known = upserted.iter().cloned();
                self.targets
                    .extend(known.map(|target| (target.id.clone(), target)));
                self.place(upserted);
            }
        }
    }

    /// What is unchanged goes on as it is.
    fn configure(&mut self, scrapes: &[Arc<Scrape>]) {
        let before = std::mem::take(&mut self.scrapes);
        for scrape in scrapes {
            let same = before.iter().find(|known| known.plan.scrape == *scrape);
            let running = match same {
                Some(known) => Ok(Arc::clone(known)),
                None => running(scrape).map(Arc::new),
            };
            match running {
                Ok(running) => self.scrapes.push(running),
                Err(error) => tracing::error!("scrape {} can't begin: {error}", scrape.name),
            }
        }
    }

    /// Begins, changes and ends what the labels of these targets say. What ends is told first, so that whoever gets the
    /// same labels waits for it.
    fn place(&mut self, targets: Vec<Arc<Target>>) {
        let mut wanted = Vec::new();
        for target in targets {
            let wants = self.wanted(&target);
            let mut tasks = self.tasks.remove(&target.id).unwrap_or_default();
            let ends =
                tasks.extract_if(|name, task| !wants.iter().any(|it| it.goes_on(name, task)));
            for (_, task) in ends.collect::<Vec<_>>() {
                self.retire(task);
            }
            if !tasks.is_empty() {
                self.tasks.insert(target.id.clone(), tasks);
            }
            wanted.extend(wants);
        }
        for wanted in wanted {
            self.assign(wanted);
        }
    }

    fn wanted(&self, target: &Arc<Target>) -> Vec<Wanted> {
        let mut wants = Vec::new();
        for running in &self.scrapes {
            match running.plan.endpoint(target) {
                Ok(Some(endpoint)) => wants.push(Wanted {
                    target: Arc::clone(target),
                    running: Arc::clone(running),
                    endpoint,
                }),
                Ok(None) => {}
                Err(why) => {
                    let name = &running.plan.scrape.name;
                    tracing::warn!("scrape {name} leaves out {}: {why}", target.id);
                }
            }
        }
        wants
    }

    /// Begins a task, or tells the one that there is what changed.
    fn assign(&mut self, wanted: Wanted) {
        let Wanted {
            target,
            running,
            endpoint,
        } = wanted;
        let name = &running.plan.scrape.name;
        let known = self.tasks.get_mut(&target.id);
        let known = known.and_then(|tasks| tasks.get_mut(name));
        let is_same =
            |task: &&mut Task| Arc::ptr_eq(&task.running, &running) && task.endpoint == endpoint;
        if known.as_ref().is_some_and(is_same) {
            return;
        }
        let assignment = Arc::new(Assignment {
            entry: self.board.enter(name, &target, &endpoint),
            place: self.spread.hash_one((endpoint.url.as_str(), name)),
            running: Arc::clone(&running),
            endpoint: endpoint.clone(),
        });
        if let Some(task) = known {
            // A reader that broke hears nothing more.
            task.assign.send(assignment).ok();
            (task.running, task.endpoint) = (running, endpoint);
            return;
        }
        let task = self.begin(assignment);
        let tasks = self.tasks.entry(target.id.clone()).or_default();
        tasks.insert(running.plan.scrape.name.clone(), task);
    }

    fn begin(&mut self, assignment: Arc<Assignment>) -> Task {
        let (running, endpoint) = (&assignment.running, &assignment.endpoint);
        let (running, endpoint) = (Arc::clone(running), endpoint.clone());
        *self.sharing.entry(endpoint.labels.clone()).or_default() += 1;
        let before = self.ending.get(&endpoint.labels);
        let before = before.map(|(_, ended)| ended.clone());
        let (assign, assigned) = watch::channel(assignment);
        let (ending, ended) = watch::channel(());
        let reader = PageReader::new(self.shared.clone(), assigned, self.page_bytes_max);
        let handle = self.running.spawn(reader.run(before, ending));
        Task {
            handle,
            running,
            endpoint,
            assign,
            ended,
        }
    }

    /// Tells a task that its target is gone, which it hears when it is dropped. Where another one reads the same series they
    /// don't end, and the task just stops.
    fn retire(&mut self, task: Task) {
        let Task {
            handle,
            endpoint,
            ended,
            ..
        } = task;
        let others = self.sharing.get_mut(&endpoint.labels);
        let others = others.expect("each task was counted when it began");
        *others -= 1;
        if *others > 0 {
            handle.abort();
            return;
        }
        self.sharing.remove(&endpoint.labels);
        let id = handle.id();
        self.labels_of_ending.insert(id, endpoint.labels.clone());
        self.ending.insert(endpoint.labels, (id, ended));
    }

    /// A task has ended.
    fn forget(&mut self, id: Id) {
        if let Some(labels) = self.labels_of_ending.remove(&id)
            && self.ending.get(&labels).is_some_and(|(of, _)| *of == id)
        {
            self.ending.remove(&labels);
        }
    }
}

impl Wanted {
    /// A task that has these labels goes on, whatever else changed.
    fn goes_on(&self, name: &str, task: &Task) -> bool {
        self.running.plan.scrape.name == name && self.endpoint.labels == task.endpoint.labels
    }
}

fn running(scrape: &Arc<Scrape>) -> Result<Running, String> {
    Ok(Running {
        plan: Arc::new(Plan::new(Arc::clone(scrape))?),
        fetcher: Fetcher::new(scrape)?,
    })
}

#[cfg(test)]
mod tests;
