//! The task that reads one page again and again, from when its target is found until it is gone.
//!
//! It goes on when its scrape changes: so series that go on have no end in between. Only one task at a time has the labels
//! of a target: the next one waits until this one has marked the end of its series.

use std::{sync::Arc, time::Instant};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant as Tick, Interval, MissedTickBehavior},
};

use super::{
    Running, board,
    fetch::{Fetched, within},
    page::{Pages, Scraped},
    plan::Endpoint,
    room::Room,
};
use crate::telemetry::Telemetry;

/// What all readers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) telemetry: Arc<Telemetry>,
    /// For pages that come.
    pub(super) room: Arc<Room>,
    /// For pages that are read.
    pub(super) turns: Arc<Semaphore>,
}

/// What a task is to read.
pub(super) struct Assignment {
    pub(super) running: Arc<Running>,
    pub(super) endpoint: Endpoint,
    pub(super) entry: board::Entry,
    /// Where in the interval it is read, as a share of 2^64.
    pub(super) place: u64,
}

impl Assignment {
    fn rhythm(&self) -> Interval {
        let interval = self.running.plan.scrape.interval;
        let share = self.place as f64 / 2f64.powi(64);
        let mut rhythm = tokio::time::interval_at(Tick::now() + interval.mul_f64(share), interval);
        rhythm.set_missed_tick_behavior(MissedTickBehavior::Skip);
        rhythm
    }
}

pub(super) struct PageReader {
    shared: Shared,
    /// Closed when the target is gone.
    assigned: watch::Receiver<Arc<Assignment>>,
    assignment: Arc<Assignment>,
    pages: Pages,
    /// How many bytes the last page had.
    expected: usize,
}

/// One page, and what is known of it before it is read.
type Round = (Result<Fetched, String>, Scraped);

impl PageReader {
    pub(super) fn new(
        shared: Shared,
        mut assigned: watch::Receiver<Arc<Assignment>>,
        page_bytes_max: usize,
    ) -> Self {
        let assignment = Arc::clone(&assigned.borrow_and_update());
        let plan = Arc::clone(&assignment.running.plan);
        Self {
            pages: Pages::new(plan, &assignment.endpoint.labels, page_bytes_max),
            shared,
            assigned,
            assignment,
            expected: 0,
        }
    }

    /// `before`: closed when nobody else has the target's labels. `_ending` is closed when this one has them no more.
    pub(super) async fn run(
        mut self,
        before: Option<watch::Receiver<()>>,
        _ending: watch::Sender<()>,
    ) {
        if let Some(before) = before {
            gone(before).await;
        }
        let mut rhythm = self.assignment.rhythm();
        loop {
            tokio::select! {
                _ = rhythm.tick() => {}
                changed = self.assigned.changed() => match changed {
                    Ok(()) => {
                        self.change(&mut rhythm);
                        continue;
                    }
                    Err(_) => break,
                },
            }
            let round = tokio::select! {
                round = self.fetch() => round,
                () = gone(self.assigned.clone()) => break,
            };
            self = match self.take(round).await {
                Some(this) => this,
                None => return,
            };
        }
        // When many targets go at once others still find threads.
        let Ok(turn) = Arc::clone(&self.shared.turns).acquire_owned().await else {
            return;
        };
        let ending = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let now_ms = self.shared.telemetry.now_ms();
            self.pages.end(&self.shared.telemetry, now_ms);
        });
        if let Err(error) = ending.await {
            tracing::error!(%error, "marking the end of a target's series broke off");
        }
    }

    fn change(&mut self, rhythm: &mut Interval) {
        let next = Arc::clone(&self.assigned.borrow_and_update());
        let before = std::mem::replace(&mut self.assignment, next);
        let (before, now) = (&before.running.plan, &self.assignment.running.plan);
        if !Arc::ptr_eq(before, now) {
            self.pages.change(Arc::clone(now));
        }
        if before.scrape.interval != now.scrape.interval {
            *rhythm = self.assignment.rhythm();
        }
    }

    async fn fetch(&self) -> Round {
        let Assignment {
            running, endpoint, ..
        } = &*self.assignment;
        let deadline = Tick::now() + running.plan.scrape.timeout;
        let place = async { Ok(self.shared.room.place(self.expected).await) };
        let place = within(deadline, place).await;
        let (began, at_ms) = (Instant::now(), self.shared.telemetry.now_ms());
        let fetched = match place {
            Ok(place) => running.fetcher.fetch(&endpoint.url, place, deadline).await,
            Err(error) => Err(error),
        };
        let scraped = Scraped {
            at_ms,
            took_seconds: began.elapsed().as_secs_f64(),
            ..Scraped::default()
        };
        (fetched, scraped)
    }

    /// Gives itself back unless the server stops or it broke.
    async fn take(mut self, (fetched, scraped): Round) -> Option<Self> {
        let turn = Arc::clone(&self.shared.turns).acquire_owned().await.ok()?;
        let taking = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let at_ms = scraped.at_ms;
            self.expected = fetched.as_ref().map_or(0, Fetched::len);
            let page = fetched.as_ref().map_err(Clone::clone);
            let page = page.and_then(Fetched::unpacked);
            let page = page.as_ref().map_err(Clone::clone);
            let page = page.map(|(format, page)| (*format, &**page));
            let taken = self.pages.take(&self.shared.telemetry, page, scraped);
            self.assignment.entry.note(taken, at_ms);
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

/// Waits until nobody can tell anything more, a target's assignment for instance.
async fn gone<T>(mut told: watch::Receiver<T>) {
    while told.changed().await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use pitcrew_ingest::text;

    use super::*;
    use crate::telemetry::{
        scrape::{fetch::Format, plan::tests::*, running},
        tests::{samples, start},
    };

    /// One thread may block, so that whatever has begun has ended when another can begin.
    #[test]
    fn marking_the_end_of_series_waits_for_its_turn() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build();
        runtime.unwrap().block_on(async {
            let data = tempfile::tempdir().unwrap();
            let telemetry = start(data.path());
            let turns = Arc::new(Semaphore::new(1));
            let shared = Shared {
                telemetry: Arc::clone(&telemetry),
                room: Arc::new(Room::new(1 << 20)),
                turns: Arc::clone(&turns),
            };
            let target = target("127.0.0.1:1");
            let running = Arc::new(running(&Arc::new(scrape())).unwrap());
            let endpoint = running.plan.endpoint(&target).unwrap().unwrap();
            let (assign, assigned) = watch::channel(Arc::new(Assignment {
                entry: board::Board::default().enter("nodes", &target, &endpoint),
                running,
                endpoint,
                place: u64::MAX / 2,
            }));
            let mut reader = PageReader::new(shared, assigned, 1 << 20);
            let page = Ok((Format::Text(text::Format::Prometheus), &b"a 1\n"[..]));
            let scraped = Scraped {
                at_ms: telemetry.now_ms() - 1_000,
                ..Scraped::default()
            };
            reader.pages.take(&telemetry, page, scraped).unwrap();
            let others = turns.acquire().await.unwrap();
            drop(assign);
            let (ending, _ended) = watch::channel(());
            let ended = tokio::spawn(reader.run(None, ending));
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            assert!(samples(&telemetry, "a")[0].ends_with("} 1"));
            drop(others);
            ended.await.unwrap();
            assert!(samples(&telemetry, "a")[0].ends_with("} 1 end"));
            telemetry.stop();
        });
    }
}
