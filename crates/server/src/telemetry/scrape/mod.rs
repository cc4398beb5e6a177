//! Scraping: the pages of the loop's own targets, each in its rhythm, spread over the interval.
//!
//! Targets and configuration come as the engine hears them. Each page has a task of its own, which ends when its
//! target or its scrape does, and then marks the end of its series. Nothing here decides or tests: a page that can't
//! be read is `up` 0, and no observation.

mod board;
mod fetch;
mod own;
mod page;
mod plan;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use pitcrew_model::{Event, Scrape, Target, TargetId};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::MissedTickBehavior,
};

pub(crate) use board::Board;
use fetch::Fetcher;
pub(crate) use own::OwnPages;
use page::{Pages, Scraped};
use plan::{Endpoint, Plan};

use super::Telemetry;

/// Pages parsed and stored at once: only one is stored at a time.
const PARSING_MAX: usize = 2;

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
    plan: Plan,
    fetcher: Fetcher,
}

/// A page that is read, and the way to end that.
struct Task {
    endpoint: Endpoint,
    /// Closed when the task is dropped.
    _gone: oneshot::Sender<()>,
}

pub(crate) struct Scrapes {
    telemetry: Arc<Telemetry>,
    board: Arc<Board>,
    targets: HashMap<TargetId, Arc<Target>>,
    scrapes: Vec<Arc<Running>>,
    /// Of each target, by the name of the scrape.
    tasks: HashMap<TargetId, HashMap<String, Task>>,
    running: JoinSet<()>,
    parsing: Arc<Semaphore>,
    /// Where in the interval each page comes; of this process, so that several servers differ.
    spread: RandomState,
}

impl Scrapes {
    pub(crate) fn new(telemetry: Arc<Telemetry>, board: Arc<Board>) -> Self {
        Self {
            telemetry,
            board,
            targets: HashMap::new(),
            scrapes: Vec::new(),
            tasks: HashMap::new(),
            running: JoinSet::new(),
            parsing: Arc::new(Semaphore::new(PARSING_MAX)),
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
                Some(ended) = self.running.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the scrape of a target broke off");
                    }
                }
            }
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Scrapes(scrapes) => self.configure(&scrapes),
            Heard::Targets { upserted, removed } => {
                for id in removed {
                    self.targets.remove(&id);
                    self.tasks.remove(&id);
                }
                for target in upserted {
                    self.place(&target);
                    self.targets.insert(target.id.clone(), target);
                }
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
        let same = |name: &str| {
            let named = |scrapes: &[Arc<Running>]| {
                let found = scrapes.iter().find(|it| it.plan.scrape.name == name);
                found.map(|it| Arc::clone(&it.plan.scrape))
            };
            named(&before) == named(&self.scrapes)
        };
        for tasks in self.tasks.values_mut() {
            tasks.retain(|name, _| same(name));
        }
        for target in self.targets.values().cloned().collect::<Vec<_>>() {
            self.place(&target);
        }
    }

    /// Begins and ends what a target's labels say. Dropping a task tells it that its target is gone.
    fn place(&mut self, target: &Arc<Target>) {
        let mut tasks = self.tasks.remove(&target.id).unwrap_or_default();
        for scrape in self.scrapes.clone() {
            let name = &scrape.plan.scrape.name;
            let endpoint = scrape.plan.endpoint(target).unwrap_or_else(|why| {
                tracing::warn!("scrape {name} leaves out {}: {why}", target.id);
                None
            });
            let is_same = |task: &Task| Some(&task.endpoint) == endpoint.as_ref();
            if tasks.get(name).is_some_and(is_same) {
                continue;
            }
            tasks.remove(name);
            if let Some(endpoint) = endpoint {
                tasks.insert(name.clone(), self.begin(&scrape, target, endpoint));
            }
        }
        if !tasks.is_empty() {
            self.tasks.insert(target.id.clone(), tasks);
        }
    }

    fn begin(&mut self, scrape: &Arc<Running>, target: &Target, endpoint: Endpoint) -> Task {
        let interval = scrape.plan.scrape.interval;
        let place = self
            .spread
            .hash_one((endpoint.url.as_str(), &scrape.plan.scrape.name));
        let millis = u64::try_from(interval.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let reader = PageReader {
            pages: Pages::new(&scrape.plan, &endpoint.labels),
            scrape: Arc::clone(scrape),
            telemetry: Arc::clone(&self.telemetry),
            parsing: Arc::clone(&self.parsing),
            endpoint: endpoint.clone(),
            entry: self
                .board
                .enter(&scrape.plan.scrape.name, target, &endpoint),
        };
        let (gone, is_gone) = oneshot::channel();
        let first = Duration::from_millis(place % millis);
        self.running.spawn(reader.run(first, is_gone));
        Task {
            endpoint,
            _gone: gone,
        }
    }
}

fn running(scrape: &Arc<Scrape>) -> Result<Running, String> {
    Ok(Running {
        plan: Plan::new(Arc::clone(scrape))?,
        fetcher: Fetcher::new(scrape)?,
    })
}

/// Reads one page again and again.
struct PageReader {
    scrape: Arc<Running>,
    telemetry: Arc<Telemetry>,
    parsing: Arc<Semaphore>,
    endpoint: Endpoint,
    pages: Pages,
    entry: board::Entry,
}

impl PageReader {
    async fn run(mut self, first: Duration, mut is_gone: oneshot::Receiver<()>) {
        let start = tokio::time::Instant::now() + first;
        let mut every = tokio::time::interval_at(start, self.scrape.plan.scrape.interval);
        every.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                _ = &mut is_gone => break,
            }
            self = match self.round().await {
                Some(this) => this,
                None => return,
            };
        }
        let ending = tokio::task::spawn_blocking(move || {
            let now_ms = self.telemetry.now_ms();
            self.pages.end(&self.scrape.plan, &self.telemetry, now_ms);
        });
        if let Err(error) = ending.await {
            tracing::error!(%error, "marking the end of a target's series broke off");
        }
    }

    /// Gives itself back unless the server stops or it broke.
    async fn round(mut self) -> Option<Self> {
        let (began, at_ms) = (Instant::now(), self.telemetry.now_ms());
        let fetched = self.scrape.fetcher.fetch(&self.endpoint.url).await;
        let scraped = Scraped {
            at_ms,
            took_seconds: began.elapsed().as_secs_f64(),
            ..Scraped::default()
        };
        let turn = Arc::clone(&self.parsing).acquire_owned().await.ok()?;
        let taking = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let page = fetched.as_ref().map_err(Clone::clone);
            let page = page.map(|fetched| (fetched.format, fetched.text.as_slice()));
            let taken = self
                .pages
                .take(&self.scrape.plan, &self.telemetry, page, scraped);
            self.entry.note(taken, at_ms);
            self
        });
        let taken = taking.await;
        let told = taken.inspect_err(|error| {
            // Otherwise the server stops.
            if error.is_panic() {
                tracing::error!(%error, "a page is not read any more: this is a bug, please report it");
            }
        });
        told.ok()
    }
}
