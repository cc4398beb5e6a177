//! The ledger's own thread: what is decided becomes durable here, and only then do orders leave.
//!
//! Everything that waits is committed together, in one transaction. When a commit fails, the orders in it are
//! not given, now or later: the engine is told, and decides anew when the ledger is back. Their intents are
//! struck; all other records stay in memory and are tried again every second.
//!
//! A ledger that other servers could lead is written to every second, whether or not there is anything. When another one
//! has taken it, nothing is tried any more: from then on everything that comes here is refused.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use pitcrew_ledger::{Committed, LedgerError};
use pitcrew_model::{CaseId, Effect, Event, Fact, Order, OrderId, Record, Saved, TargetId};
use tokio::sync::oneshot;

use crate::{
    chronicle,
    clock::Clock,
    core::{Answer, Inbox},
    errands::Couriers,
    feed::Feed,
    leadership::Leadership,
    metrics::Metrics,
    standing::Standing,
    store::Store,
};

/// Effects of one pass of the engine, in their order, and who waits for them.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) effects: Vec<Effect>,
    pub(crate) replies: Vec<Reply>,
}

pub(crate) struct Reply {
    pub(crate) answer: oneshot::Sender<Answer>,
    pub(crate) record: Record,
    pub(crate) order: Option<OrderId>,
}

pub(crate) enum Work {
    Batch(Batch),
    /// Told when everything before it was tried.
    Barrier(oneshot::Sender<()>),
    Stop,
}

/// For facts of the shell's own: what it started, loaded, delivered.
#[derive(Clone)]
pub(crate) struct Records {
    pub(crate) work: mpsc::Sender<Work>,
    pub(crate) clock: Clock,
}

impl Records {
    pub(crate) fn write(&self, fact: Fact) {
        self.write_about(None, None, fact);
    }

    pub(crate) fn write_about(&self, case: Option<CaseId>, target: Option<TargetId>, fact: Fact) {
        let record = Record {
            at: self.clock.now(),
            case,
            order: None,
            target,
            service: None,
            fact,
        };
        let batch = Batch {
            effects: vec![Effect::Record(record)],
            replies: Vec::new(),
        };
        if self.work.send(Work::Batch(batch)).is_err() {
            tracing::warn!("a fact came after the ledger was closed");
        }
    }

    /// Waits until everything written before was tried.
    pub(crate) async fn barrier(&self) {
        let (done, waiting) = oneshot::channel();
        if self.work.send(Work::Barrier(done)).is_ok() {
            // An error means that the ledger's thread has ended, with everything before tried.
            waiting.await.ok();
        }
    }
}

const RETRY: Duration = Duration::from_secs(1);

/// Batches that one transaction takes, so that its size is bounded.
const BATCHES_MAX: usize = 1_024;

/// Records kept while the ledger can't be written, about 100 MB of them.
const WAITING_RECORDS_MAX: usize = 100_000;

/// What is not yet durable.
#[derive(Default)]
struct Waiting {
    records: Vec<Record>,
    /// By key: the last row is the state.
    saved: BTreeMap<String, Saved>,
    orders: Vec<Order>,
    replies: Vec<Reply>,
    barriers: Vec<oneshot::Sender<()>>,
    /// Records that found no room.
    lost: u64,
}

impl Waiting {
    /// Whether it was the last.
    fn take(&mut self, work: Work) -> bool {
        match work {
            Work::Batch(batch) => self.add(batch),
            Work::Barrier(done) => self.barriers.push(done),
            Work::Stop => return true,
        }
        false
    }

    fn add(&mut self, batch: Batch) {
        for effect in batch.effects {
            match effect {
                Effect::Record(record) if self.records.len() < WAITING_RECORDS_MAX => {
                    self.records.push(record);
                }
                Effect::Record(_) => self.lost += 1,
                Effect::Save(row) => {
                    self.saved.insert(row.key(), row);
                }
                Effect::Give(order) => self.orders.push(order),
                Effect::Watch { .. }
                | Effect::Unwatch { .. }
                | Effect::Probe { .. }
                | Effect::Notify(_) => {}
            }
        }
        self.replies.extend(batch.replies);
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.saved.is_empty() && self.orders.is_empty()
    }

    /// Takes the orders out, and their intents with them.
    fn strike_orders(&mut self) -> Vec<OrderId> {
        let struck: Vec<OrderId> = self.orders.drain(..).map(|order| order.id).collect();
        self.strike(struck)
    }

    /// Those that need the ledger; the others are to leave all the same, and their intents wait.
    fn strike_what_needs_ledger(&mut self) -> (Vec<OrderId>, Vec<Order>) {
        let orders = std::mem::take(&mut self.orders);
        let (struck, leave): (Vec<Order>, Vec<Order>) =
            orders.into_iter().partition(Order::needs_ledger);
        let struck = struck.iter().map(|order| order.id).collect();
        (self.strike(struck), leave)
    }

    fn strike(&mut self, struck: Vec<OrderId>) -> Vec<OrderId> {
        if !struck.is_empty() {
            self.records.retain(|record| match &record.fact {
                Fact::Intent { order } => !struck.contains(&order.id),
                _ => true,
            });
        }
        struck
    }
}

pub(crate) struct Recorder {
    pub(crate) store: Store,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) work: mpsc::Receiver<Work>,
    pub(crate) inbox: Inbox,
    pub(crate) couriers: Couriers,
    pub(crate) feed: Arc<Feed>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) is_deposed: bool,
}

impl Recorder {
    /// Until [`Work::Stop`]; everything before it is committed.
    pub(crate) fn run(mut self) {
        let mut waiting = Waiting::default();
        let mut failed = false;
        loop {
            let first = if failed || self.store.is_led() {
                self.work.recv_timeout(RETRY)
            } else {
                self.work.recv().map_err(mpsc::RecvTimeoutError::from)
            };
            let mut stop = matches!(first, Err(mpsc::RecvTimeoutError::Disconnected));
            let more = std::iter::from_fn(|| self.work.try_recv().ok());
            for work in first.into_iter().chain(more.take(BATCHES_MAX)) {
                stop |= waiting.take(work);
            }
            failed = self.commit(&mut waiting, failed);
            for done in waiting.barriers.drain(..) {
                done.send(()).ok();
            }
            if stop {
                if failed {
                    let records = waiting.records.len();
                    tracing::error!(
                        records,
                        "stopped with records that the ledger could not take"
                    );
                }
                if !failed {
                    self.store.let_go();
                }
                return;
            }
        }
    }

    /// Whether the ledger is failing now.
    fn commit(&mut self, waiting: &mut Waiting, failed_before: bool) -> bool {
        if waiting.is_empty() && !failed_before && !self.store.is_led() {
            answer_all(waiting, &Ok(()), &[]);
            return false;
        }
        if self.is_deposed {
            self.refuse(waiting);
            return true;
        }
        let rows: Vec<Saved> = waiting.saved.values().cloned().collect();
        let started = Instant::now();
        match self.store.commit(&waiting.records, &rows) {
            Ok(committed) => {
                self.leadership.confirmed(started);
                self.metrics
                    .ledger_commit_seconds
                    .observe(started.elapsed().as_secs_f64());
                self.committed(waiting, &committed, &rows);
                if failed_before {
                    self.recovered(waiting);
                }
                false
            }
            Err(error) => {
                if let LedgerError::Deposed { leader, .. } = &error {
                    self.is_deposed = true;
                    self.leadership.depose(leader);
                }
                self.failed(waiting, &error.to_string(), failed_before);
                true
            }
        }
    }

    /// What was decided here since another server leads is nobody's any more.
    fn refuse(&self, waiting: &mut Waiting) {
        let not_given = waiting.strike_orders();
        waiting.records.clear();
        waiting.saved.clear();
        answer_all(waiting, &Err("another server leads".to_owned()), &not_given);
    }

    fn committed(&self, waiting: &mut Waiting, committed: &Committed, rows: &[Saved]) {
        for order in waiting.orders.drain(..) {
            self.couriers.carry_out(order);
        }
        self.metrics.count_records(&waiting.records);
        waiting.records.iter().for_each(chronicle::log);
        self.feed
            .publish(|index| committed.seq_of(index), &waiting.records, rows);
        waiting.records.clear();
        waiting.saved.clear();
        answer_all(waiting, &Ok(()), &[]);
    }

    fn recovered(&self, waiting: &mut Waiting) {
        tracing::info!(lost = waiting.lost, "the ledger can be written again");
        if waiting.lost > 0 {
            tracing::error!(
                lost = waiting.lost,
                "records found no room while the ledger could not be written"
            );
            waiting.lost = 0;
        }
        self.standing.ledger_trouble(None);
        self.inbox.event(Event::LedgerRecovered);
    }

    fn failed(&self, waiting: &mut Waiting, error: &str, failed_before: bool) {
        let (not_given, leave) = waiting.strike_what_needs_ledger();
        // Who leads is proven at the courier's, not by this ledger.
        for order in leave.into_iter().filter(|_| !self.is_deposed) {
            self.couriers.carry_out(order);
        }
        if !failed_before {
            tracing::error!(
                error,
                "the ledger can't be written: no order is given until it can"
            );
        }
        self.standing.ledger_trouble(Some(error));
        answer_all(waiting, &Err(error.to_owned()), &not_given);
        if !failed_before || !not_given.is_empty() {
            self.inbox.event(Event::LedgerFailed {
                not_given,
                error: error.to_owned(),
            });
        }
    }
}

fn answer_all(waiting: &mut Waiting, recorded: &Result<(), String>, not_given: &[OrderId]) {
    for reply in waiting.replies.drain(..) {
        let answer = Answer {
            not_given: reply.order.is_some_and(|order| not_given.contains(&order)),
            record: reply.record,
            order: reply.order,
            recorded: recorded.clone(),
        };
        // The asker may have given up.
        reply.answer.send(answer).ok();
    }
}
