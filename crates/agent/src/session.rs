//! One connection as this host, from hello to its end.
//!
//! Everything of it is of it alone: assignments come anew with the next one, and while there is none nothing is
//! tested, because nobody would hear of it. Orders under way go on; what became of them is asked for later.

use std::{sync::Arc, time::Duration};

use pitcrew_model::{
    Evidence, Observation, OperationId, Outcome, Runner, Target, Test, TestName, Timestamp, Verdict,
};
use pitcrew_probe::{Scheduler, Tools};
use pitcrew_wire::{
    FRAME_BYTES_MAX, Outgoing, SignedOrder, ToAgent, ToServer, ToWrite, Welcome, WireError,
    outgoing,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, split},
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};

use crate::{
    AgentError, assigned,
    clock::boot_ms,
    identity::{self, Requested},
    membership::Membership,
    run::Agent,
    servers::leads_instead,
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("the server refused this host: {0}")]
    Refused(String),
    #[error("it follows{}", .0.as_ref().map_or_else(String::new, |leader| format!(": {leader} leads")))]
    NotLeading(Option<String>),
    #[error("it may not lead any more, and {0} does")]
    LeadsInstead(String),
    #[error("it leads no more: its fence is {own}, and {newest} was seen")]
    Older { own: u64, newest: u64 },
    #[error("the server has said nothing for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the server said something else than was its turn")]
    OutOfTurn,
    #[error("the server can't be told anything any more")]
    Stuck,
    #[error(transparent)]
    Identity(#[from] AgentError),
}

/// For all that comes before the first assignment.
const GREETING: Duration = Duration::from_secs(10);
/// Messages that wait to be written. Observations that find no room are dropped.
const FIRST_MAX: usize = 64;
const REST_MAX: usize = 256;
/// The longest make half a frame.
const OBSERVATIONS_AT_ONCE: usize = 300;
/// Another server leads within three of these, or not for long; and each look costs it a handshake for every host.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
const LOOKS_AT_FIRST: u32 = 3;
/// Tests under way at once.
const CONCURRENCY: usize = 64;

type Incoming = mpsc::Receiver<Result<ToAgent, WireError>>;

/// `welcomed` is called when the server has taken this host in, with the time within which to come back. It always ends
/// with an error: of whom it was.
pub(crate) async fn run(
    agent: &Arc<Agent>,
    server: &str,
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    welcomed: impl FnOnce(Duration),
) -> SessionError {
    let (mut reader, writer) = split(stream);
    let (said, mut incoming) = mpsc::channel(16);
    let (outgoing, to_write) = outgoing(FIRST_MAX, REST_MAX);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let message = pitcrew_wire::read::<ToAgent>(&mut reader, FRAME_BYTES_MAX).await;
            let is_last = message.is_err();
            if said.send(message).await.is_err() || is_last {
                return;
            }
        }
    });
    tasks.spawn(write_all(to_write, writer));
    let greeted = timeout(GREETING, greet(agent, &mut incoming, &outgoing)).await;
    let (welcome, beat_ms) = match greeted {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(error)) => return error,
        Err(_elapsed) => return SessionError::Silent(GREETING),
    };
    welcomed(welcome.return_within);
    let scheduler = start_scheduler(agent, &outgoing);
    let session = Session {
        agent,
        outgoing,
        scheduler: scheduler.clone(),
        server,
        fence: welcome.fence,
        looking: JoinSet::new(),
        looks: 0,
        look_next: Instant::now(),
        beat_ms,
        unadmitted: Vec::new(),
        requested: None,
        asked_at: Instant::now(),
    };
    let ended = session.last(incoming, &welcome).await;
    scheduler.stop().await;
    ended
}

async fn hear(incoming: &mut Incoming) -> Result<ToAgent, SessionError> {
    match incoming.recv().await {
        Some(Ok(ToAgent::Refused { reason })) => Err(SessionError::Refused(reason)),
        Some(Ok(ToAgent::NotLeading { leader })) => Err(SessionError::NotLeading(leader)),
        Some(message) => Ok(message?),
        None => Err(WireError::Closed.into()),
    }
}

async fn write_all(mut to_write: ToWrite<ToServer>, mut writer: impl AsyncWrite + Unpin) {
    while let Some(message) = to_write.next().await {
        if let Err(error) = pitcrew_wire::write(&mut writer, &message).await {
            tracing::debug!("failed to tell the server: {error}");
            return;
        }
    }
}

async fn say(outgoing: &Outgoing<ToServer>, message: ToServer) -> Result<(), SessionError> {
    let said = outgoing.first.send(message).await;
    said.map_err(|_closed| SessionError::Stuck)
}

/// Who we are, what time it is, and what is here: in this order. Gives the beat that was sent, too.
async fn greet(
    agent: &Agent,
    incoming: &mut Incoming,
    outgoing: &Outgoing<ToServer>,
) -> Result<(Welcome, u64), SessionError> {
    say(outgoing, ToServer::Hello(agent.hello())).await?;
    let ToAgent::Welcome(welcome) = hear(incoming).await? else {
        return Err(SessionError::OutOfTurn);
    };
    if let Some(membership) = &agent.membership {
        membership.admit(welcome.fence)?;
    }
    say(outgoing, ToServer::Beat { sent_ms: boot_ms() }).await?;
    let ToAgent::Beat { sent_ms, now, .. } = hear(incoming).await? else {
        return Err(SessionError::OutOfTurn);
    };
    agent.time.begin_anew();
    agent.time.learn(sent_ms, boot_ms(), now);
    let targets = agent.inventory.targets();
    say(outgoing, ToServer::Inventory { targets }).await?;
    Ok((welcome, sent_ms))
}

fn start_scheduler(agent: &Arc<Agent>, outgoing: &Outgoing<ToServer>) -> Scheduler {
    let time = Arc::clone(&agent.time);
    let clock = move || time.earliest(boot_ms()).unwrap_or(Timestamp::ZERO);
    let time = Arc::clone(&agent.time);
    let reference = Arc::new(move || time.now());
    let tools = Tools::new(agent.processes.clone()).beside(reference);
    // Within the server the server's own tests go on, too, however busy its host is.
    let tools = match agent.membership {
        Some(_) => tools.sparing(),
        None => tools,
    };
    let outgoing = outgoing.rest.clone();
    Scheduler::start(
        agent.host.observer(),
        tools,
        CONCURRENCY,
        Arc::new(clock),
        move |observations| report(&outgoing, observations),
    )
}

/// What finds no room is dropped: the next round asks again.
fn report(outgoing: &mpsc::Sender<ToServer>, mut observations: Vec<Observation>) {
    while !observations.is_empty() {
        let rest = observations.split_off(observations.len().min(OBSERVATIONS_AT_ONCE));
        let message = ToServer::Observations { observations };
        if outgoing.try_send(message).is_err() {
            tracing::debug!("observations were dropped: the server does not take them in");
        }
        observations = rest;
    }
}

struct Session<'a> {
    agent: &'a Arc<Agent>,
    server: &'a str,
    /// Of the server; 0 where it is too old to say.
    fence: u64,
    /// While the server is unsure: whether another one leads.
    looking: JoinSet<Option<String>>,
    looks: u32,
    look_next: Instant,
    outgoing: Outgoing<ToServer>,
    scheduler: Scheduler,
    /// Of the last beat that was sent. No two are alike.
    beat_ms: u64,
    unadmitted: Vec<Unadmitted>,
    /// The key of a certificate that was asked for.
    requested: Option<Requested>,
    asked_at: Instant,
}

/// An order that has come and waits to know how late it is.
///
/// A host that was paused as a whole, its clocks with it, knows of no pause, and finds orders in its connection that have long
/// expired. So none is judged by a time that was learnt before it came: the answer to a beat that was sent after it
/// says what time it is.
struct Unadmitted {
    signed: SignedOrder,
    /// The answer must be to a later one.
    beat_ms: u64,
}

/// More is no server's doing.
const UNADMITTED_MAX: usize = 256;

impl Session<'_> {
    async fn last(mut self, mut incoming: Incoming, welcome: &Welcome) -> SessionError {
        // A server that says zero must not make us spin.
        let beat = welcome.beat.max(Duration::from_millis(100));
        let mut beats = interval(beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent_at = Instant::now() + welcome.lease;
        loop {
            tokio::select! {
                _ = beats.tick() => {
                    if let Err(error) = self.beat() {
                        return error;
                    }
                }
                Some(Ok(Some(server))) = self.looking.join_next() => {
                    return SessionError::LeadsInstead(server);
                }
                heard = timeout_at(silent_at, hear(&mut incoming)) => {
                    let heard = match heard {
                        Ok(heard) => heard,
                        Err(_elapsed) => return SessionError::Silent(welcome.lease),
                    };
                    silent_at = Instant::now() + welcome.lease;
                    if let Err(error) = heard.and_then(|message| self.take(message)) {
                        return error;
                    }
                }
            }
        }
    }

    fn beat(&mut self) -> Result<(), SessionError> {
        if let Some(membership) = &self.agent.membership {
            membership.save_identity();
            self.renew_when_due(membership)?;
        }
        self.say_beat()
    }

    /// One that finds no room is no loss: the next does, or silence ends the connection.
    fn say_beat(&mut self) -> Result<(), SessionError> {
        let sent_ms = boot_ms().max(self.beat_ms + 1);
        match self.outgoing.first.try_send(ToServer::Beat { sent_ms }) {
            Ok(()) => self.beat_ms = sent_ms,
            Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Closed(_)) => return Err(SessionError::Stuck),
        }
        Ok(())
    }

    fn hear_beat(&mut self, sent_ms: u64, now: Timestamp) {
        if sent_ms > self.beat_ms {
            return;
        }
        let answered_ms = boot_ms();
        let time = &self.agent.time;
        // Of several beats in one millisecond all but the first are numbered ahead of the clock.
        time.learn(sent_ms.min(answered_ms), answered_ms, now);
        let late = self
            .unadmitted
            .extract_if(.., |order| order.beat_ms < sent_ms);
        for Unadmitted { signed, .. } in late.collect::<Vec<_>>() {
            let hands = Arc::clone(&self.agent.hands);
            let claimed = signed.claimed();
            self.answer(claimed, async move { hands.carry_out(signed).await });
        }
    }

    fn order(&mut self, signed: SignedOrder) -> Result<(), SessionError> {
        if self.unadmitted.len() >= UNADMITTED_MAX {
            tracing::error!("an order was dropped: {UNADMITTED_MAX} others wait");
            return Ok(());
        }
        let beat_ms = self.beat_ms;
        self.unadmitted.push(Unadmitted { signed, beat_ms });
        self.say_beat()
    }

    fn take(&mut self, message: ToAgent) -> Result<(), SessionError> {
        match message {
            ToAgent::Watch {
                target,
                runner,
                tests,
            } => self.watch(target, runner, tests),
            ToAgent::Unwatch { target } => self.scheduler.unwatch(&target),
            ToAgent::Probe { target, test } => self.scheduler.probe_now(&target, &test),
            ToAgent::Beat {
                sent_ms,
                now,
                unsure,
            } => {
                self.hear_beat(sent_ms, now);
                match unsure {
                    true => self.look_elsewhere(),
                    false => self.looks = 0,
                }
            }
            ToAgent::Order(signed) => self.order(signed)?,
            ToAgent::Reconcile(signed) => {
                let hands = Arc::clone(&self.agent.hands);
                let claimed = signed.claimed();
                self.answer(claimed, async move { hands.reconcile(signed).await });
            }
            ToAgent::Certificate { certificate } => self.renewed(certificate)?,
            ToAgent::Unknown => {
                tracing::debug!("a kind of message that this version does not know")
            }
            ToAgent::Welcome(_)
            | ToAgent::Enrolled(_)
            | ToAgent::Refused { .. }
            | ToAgent::NotLeading { .. } => {
                return Err(SessionError::OutOfTurn);
            }
        }
        Ok(())
    }

    /// Nothing is given up before another server is found that leads.
    fn look_elsewhere(&mut self) {
        let Some(membership) = &self.agent.membership else {
            return;
        };
        let is_due = self.looks == 0 || Instant::now() >= self.look_next;
        if self.looking.is_empty() && is_due && membership.servers.len() > 1 {
            let pause =
                LOOK_AGAIN.saturating_mul(1 << self.looks.saturating_sub(LOOKS_AT_FIRST).min(4));
            self.look_next = Instant::now() + pause;
            self.looks += 1;
            let (agent, membership) = (Arc::clone(self.agent), Arc::clone(membership));
            let here = self.server.to_owned();
            self.looking
                .spawn(leads_instead(agent, membership, here, self.fence));
        }
    }

    fn watch(&self, target: Arc<Target>, runner: Option<Runner>, tests: Vec<Arc<Test>>) {
        let plugins = &self.agent.plugins;
        let assigned = assigned::judge(&self.agent.inventory, plugins, target, tests);
        let own = assigned.target.runner.clone();
        let refused = assigned.refused.into_iter();
        let unanswered: Vec<Observation> = refused
            .filter_map(|(test, why)| self.unanswered(&assigned.target, test, &why))
            .collect();
        report(&self.outgoing.rest, unanswered);
        self.scheduler
            .watch(assigned.target, own.or(runner), assigned.run);
    }

    /// A test that is not run here is unknown, and a person can see why.
    fn unanswered(&self, target: &Target, test: TestName, why: &str) -> Option<Observation> {
        let now = self.agent.time.earliest(boot_ms())?;
        Some(Observation {
            target: target.id.clone(),
            test,
            observer: self.agent.host.observer(),
            asked_at: now,
            answered_at: now,
            took: Duration::ZERO,
            verdict: Verdict::Unknown,
            evidence: Evidence::new(why),
        })
    }

    /// In a task of its own, which outlives this connection; what became of it is then asked for over the next.
    fn answer(
        &self,
        claimed: Option<OperationId>,
        acting: impl Future<Output = Result<(OperationId, Outcome), String>> + Send + 'static,
    ) {
        let outgoing = self.outgoing.first.clone();
        tokio::spawn(async move {
            let answer = match Box::pin(acting).await {
                Ok((operation, outcome)) => {
                    tracing::info!(%operation, outcome = %outcome.kind, detail = outcome.detail, "order ended");
                    ToServer::Outcome { operation, outcome }
                }
                Err(reason) => {
                    tracing::error!("an order was refused: {reason}");
                    ToServer::Forged {
                        operation: claimed,
                        reason,
                    }
                }
            };
            if outgoing.send(answer).await.is_err() {
                tracing::info!("the server has gone meanwhile; it will ask");
            }
        });
    }

    fn renew_when_due(&mut self, membership: &Membership) -> Result<(), SessionError> {
        let Some(now) = self.agent.time.earliest(boot_ms()) else {
            return Ok(());
        };
        let renewal = membership.identity().renewal();
        let waits = self.requested.is_some() && self.asked_at.elapsed() < renewal.patience;
        if waits || now < renewal.at {
            return Ok(());
        }
        match identity::request() {
            Ok(requested) => {
                let renew = ToServer::Renew {
                    request: requested.request.clone(),
                };
                if self.outgoing.first.try_send(renew).is_ok() {
                    self.requested = Some(requested);
                    self.asked_at = Instant::now();
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!("failed to make a new key: {error}");
                Ok(())
            }
        }
    }

    fn renewed(&mut self, certificate: String) -> Result<(), SessionError> {
        let requested = self.requested.take();
        let (Some(requested), Some(membership)) = (requested, &self.agent.membership) else {
            return Err(SessionError::OutOfTurn);
        };
        let renewed = identity::Identity {
            certificate,
            key: requested.key,
            ..membership.identity()
        };
        membership.replace_identity(renewed, &self.agent.hands)?;
        tracing::info!("the certificate is renewed");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
