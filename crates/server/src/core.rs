//! The one thread that owns the state: [`Engine`] and [`Interlock`], and nothing else.
//!
//! Everything that happens reaches it as a [`Message`]; everything it wants done leaves it as effects: records,
//! saved rows and orders to the ledger's thread, the rest at once. It never waits for a disk, a socket or a
//! reader. Readers ask bounded questions ([`Inbox::ask`]), so that none of them holds it up for long.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use pitcrew_engine::Engine;
use pitcrew_interlock::Interlock;
use pitcrew_model::{Effect, Event, Fact, OrderId, PersonAct, Record, Request, Timestamp};
use pitcrew_sim::stopping;
use tokio::sync::oneshot;

use crate::{
    clock::{Clock, PauseDetector},
    errands::Errands,
    metrics::Metrics,
    recorder::{Batch, Reply, Work},
    recording::{Decided, Recording},
    telemetry::scrape::Heard,
};

type Question = Box<dyn FnOnce(&Engine, Timestamp) + Send>;

pub(crate) enum Message {
    Event(Event),
    Ask(Question),
    /// Answered when the ledger has it, or has failed to take it.
    Person(Request, oneshot::Sender<Answer>),
    /// Told when all events before it are decided.
    Flush(oneshot::Sender<()>),
    /// From now on no order is given; outcomes of those in flight still count.
    Drain,
    Stop,
}

/// What became of a person's request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) record: Record,
    pub(crate) order: Option<OrderId>,
    /// `Err`: the ledger could not take it, and why.
    pub(crate) recorded: Result<(), String>,
    /// The order was not given for that reason.
    pub(crate) not_given: bool,
}

/// The way to the engine's thread.
#[derive(Clone)]
pub(crate) struct Inbox {
    messages: mpsc::Sender<Message>,
    depth: Arc<AtomicUsize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server is stopping")]
pub(crate) struct Stopping;

impl Inbox {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Message>) {
        let (messages, receiver) = mpsc::channel();
        let depth = Arc::new(AtomicUsize::new(0));
        (Self { messages, depth }, receiver)
    }

    pub(crate) fn send(&self, message: Message) -> Result<(), Stopping> {
        self.depth.fetch_add(1, Ordering::Relaxed);
        self.messages.send(message).map_err(|_closed| Stopping)
    }

    /// After the server has begun to stop, events no longer count and are dropped.
    pub(crate) fn event(&self, event: Event) {
        if self.send(Message::Event(event)).is_err() {
            tracing::debug!("an event came after the engine had stopped");
        }
    }

    /// One message less waits.
    pub(crate) fn taken(&self) {
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }

    /// Messages that wait.
    pub(crate) fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// Runs `question` on the engine's thread. It must be bounded: a page, never a whole fleet.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Engine, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Stopping> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Ask(Box::new(move |engine, now| {
            // The asker may have given up: nothing is lost.
            answer.send(question(engine, now)).ok();
        })))?;
        answered.await.map_err(|_closed| Stopping)
    }

    pub(crate) async fn person(&self, request: Request) -> Result<Answer, Stopping> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Person(request, answer))?;
        answered.await.map_err(|_closed| Stopping)
    }

    /// Waits until everything sent before is decided: back-pressure for whoever pushes.
    pub(crate) async fn flush(&self) -> Result<(), Stopping> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Flush(answer))?;
        answered.await.map_err(|_closed| Stopping)
    }
}

/// Events decided in one pass before their effects are passed on: the ledger then commits them together.
const PASS_EVENTS_MAX: usize = 256;

/// The longest the thread sleeps, so that a pause of the process is noticed.
const HEARTBEAT: Duration = Duration::from_secs(1);

pub(crate) struct Core {
    pub(crate) engine: Engine,
    pub(crate) interlock: Interlock,
    pub(crate) clock: Clock,
    pub(crate) messages: mpsc::Receiver<Message>,
    pub(crate) inbox: Inbox,
    pub(crate) ledger: mpsc::Sender<Work>,
    /// Where discovery and configuration are followed for metrics.
    pub(crate) scrapes: tokio::sync::mpsc::UnboundedSender<Heard>,
    pub(crate) errands: Errands,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) draining: bool,
    pub(crate) recording: Option<Recording>,
    /// For the record, until the end of this pass.
    pub(crate) decided: Vec<Decided>,
}

impl Core {
    /// Until [`Message::Stop`].
    pub(crate) fn run(mut self) {
        let mut pauses = PauseDetector::new(self.clock.clone());
        loop {
            let first = self.messages.recv_timeout(self.until_tick());
            let mut batch = Batch::default();
            if let Some(paused_for) = pauses.heartbeat() {
                self.decide(Event::Woke { paused_for }, &mut batch);
            }
            let mut next = match first {
                Ok(message) => Some(message),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let mut taken = 0;
            let mut stop = false;
            while let Some(message) = next.take() {
                self.inbox.taken();
                stop |= self.take(message, &mut batch);
                taken += 1;
                if taken < PASS_EVENTS_MAX && !stop {
                    next = self.messages.try_recv().ok();
                }
            }
            if self
                .engine
                .next_tick()
                .is_some_and(|due| due <= self.clock.now())
            {
                self.decide(Event::Tick, &mut batch);
            }
            self.pass_on(batch);
            if let Some(recording) = &mut self.recording
                && !self.decided.is_empty()
            {
                recording.hand_over(std::mem::take(&mut self.decided));
            }
            if stop {
                return;
            }
        }
    }

    fn until_tick(&self) -> Duration {
        let due = self.engine.next_tick();
        due.map_or(HEARTBEAT, |due| due.since(self.clock.now()))
            .min(HEARTBEAT)
    }

    /// Whether it was the last message.
    fn take(&mut self, message: Message, batch: &mut Batch) -> bool {
        match message {
            Message::Event(event) => {
                if !self.draining || matches!(event, Event::Outcome(_) | Event::LedgerFailed { .. })
                {
                    self.decide(event, batch);
                }
            }
            Message::Ask(question) => question(&self.engine, self.clock.now()),
            Message::Person(request, answer) => self.person(request, answer, batch),
            Message::Flush(done) => {
                done.send(()).ok();
            }
            Message::Drain => self.draining = true,
            Message::Stop => return true,
        }
        false
    }

    fn decide(&mut self, event: Event, batch: &mut Batch) {
        let started = Instant::now();
        let now = self.clock.now();
        let is_recording = self.recording.as_ref().is_some_and(Recording::is_on);
        let mut decided = is_recording.then(|| Decided::new(now, self.draining, event.clone()));
        let Self {
            engine,
            interlock,
            draining,
            scrapes,
            ..
        } = self;
        interlock.note(now, &event);
        if let Some(heard) = Heard::of(&event) {
            // They end before the engine does, and then nobody needs to know.
            scrapes.send(heard).ok();
        }
        let effects = engine.handle(now, event, &mut |now, order| {
            if *draining {
                return vec![stopping(order)];
            }
            interlock.check(now, order)
        });
        self.metrics
            .engine_event_seconds
            .observe(started.elapsed().as_secs_f64());
        if let Some(decided) = &mut decided {
            decided.made(&effects);
        }
        self.decided.extend(decided);
        batch.effects.extend(effects);
    }

    fn person(&mut self, request: Request, answer: oneshot::Sender<Answer>, batch: &mut Batch) {
        let before = batch.effects.len();
        self.decide(Event::Person(request.clone()), batch);
        let effects = &batch.effects[before..];
        let record = effects.iter().find_map(|effect| match effect {
            Effect::Record(record) if matches!(record.fact, Fact::Person { .. }) => {
                Some(record.clone())
            }
            _ => None,
        });
        let order = effects.iter().find_map(|effect| match effect {
            Effect::Give(order) => Some(order.id),
            _ => None,
        });
        let record = record.unwrap_or_else(|| unanswered(self.clock.now(), &request));
        batch.replies.push(Reply {
            answer,
            record,
            order,
        });
    }

    /// Orders, records and rows wait for the ledger; nothing else does.
    fn pass_on(&mut self, batch: Batch) {
        let (durable, rest): (Vec<_>, Vec<_>) = batch.effects.into_iter().partition(|effect| {
            matches!(
                effect,
                Effect::Record(_) | Effect::Save(_) | Effect::Give(_)
            )
        });
        for effect in rest {
            self.errands.run(effect);
        }
        if durable.is_empty() && batch.replies.is_empty() {
            return;
        }
        let batch = Batch {
            effects: durable,
            replies: batch.replies,
        };
        if self.ledger.send(Work::Batch(batch)).is_err() {
            tracing::error!("the ledger's thread is gone: nothing more is recorded or done");
            self.draining = true;
        }
    }
}

/// Every act of a person is answered with a record; one without is refused rather than guessed at.
fn unanswered(at: Timestamp, request: &Request) -> Record {
    tracing::error!(act = ?request.act, "the engine left a person's request without an answer: this is a bug");
    let target = match &request.act {
        PersonAct::Hold { target, .. }
        | PersonAct::Release { target }
        | PersonAct::Order { target, .. } => Some(target.clone()),
        PersonAct::Pause { .. }
        | PersonAct::Resume { .. }
        | PersonAct::Approve { .. }
        | PersonAct::Deny { .. }
        | PersonAct::Close { .. }
        | PersonAct::Accept { .. } => None,
    };
    Record {
        at,
        case: None,
        order: None,
        target,
        service: None,
        fact: Fact::Person {
            by: request.by.clone(),
            act: request.act.clone(),
            refused: Some("the engine gave no answer; this is a bug, please report it".to_owned()),
        },
    }
}
