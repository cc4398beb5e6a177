//! A server that follows: it tells what the ledger has, sends agents and people to the one that leads, and bids.
//!
//! It never tests, decides, acts or notifies. What is healthy it does not know.

mod bidding;
mod copy;

use std::{net::SocketAddr, sync::Arc, thread};

use pitcrew_ledger::{Leader, LedgerError, Postgres};
use pitcrew_model::{Production, Runner, ServerSettings, Target};
use pitcrew_probe::{ProcessState, ProcessStates, Scheduler, Tools};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};

use self::{bidding::Bidding, copy::Copy};
use crate::{
    api::ConfigurationStatus,
    clock::Clock,
    control,
    core::{Inbox, Message},
    feed::Feed,
    fleet::{self, Fleet, Surroundings},
    http::{
        Decoding, Desk, Guard, Listening, Place, Prometheus, REQUESTED_TESTS_MAX, Readers, listen,
    },
    kept::Kept,
    leadership::Leadership,
    metrics::Metrics,
    roster::Roster,
    serve::ServeError,
    standing::Standing,
    telemetry::Telemetry,
};

pub(crate) struct Parts {
    pub(crate) database: Postgres,
    pub(crate) settings: ServerSettings,
    pub(crate) production: Arc<Production>,
    pub(crate) configuration: ConfigurationStatus,
    pub(crate) clock: Clock,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) listener: Arc<TcpListener>,
    pub(crate) listen: SocketAddr,
    pub(crate) agents: Option<Arc<TcpListener>>,
    pub(crate) token: Option<String>,
    /// URL of this server, for the others when it leads.
    pub(crate) advertised: String,
}

pub(crate) struct Follower {
    bidding: Bidding,
    inbox: Inbox,
    /// With nothing to test.
    scheduler: Scheduler,
    stopping: watch::Sender<bool>,
    listening: Listening,
    turning_away: Option<JoinHandle<()>>,
}

/// Nothing runs here.
struct NoProcesses;

impl ProcessStates for NoProcesses {
    fn state(&self, _: &Target, _: &Runner) -> ProcessState {
        ProcessState::Unknown {
            why: "this server follows and looks at no process".to_owned(),
        }
    }
}

impl Follower {
    pub(crate) fn start(parts: Parts) -> Result<Self, ServeError> {
        let kept = Kept::shared(&parts.database, None);
        let standing = Arc::new(Standing::new(
            String::new(),
            parts.clock.now(),
            parts.configuration,
            None,
            None,
        ));
        let (inbox, messages) = Inbox::new();
        let copy = Copy {
            database: parts.database.clone(),
            kept: kept.clone(),
            production: parts.production,
            clock: parts.clock.clone(),
            inbox: inbox.clone(),
            messages,
            standing: Arc::clone(&standing),
        };
        let thread = |source| ServeError::System {
            doing: "start a thread",
            source,
        };
        let copying = thread::Builder::new().name("copy".to_owned());
        copying.spawn(move || copy.run()).map_err(thread)?;
        let (stopping, is_stopping) = watch::channel(false);
        let place = Place::Database(Box::new(parts.database.clone()));
        let desk = desk(
            inbox.clone(),
            parts.clock.clone(),
            parts.telemetry,
            Arc::clone(&standing),
            place,
            is_stopping.clone(),
        )?;
        let scheduler = desk.scheduler.clone();
        let guard = Guard::new(parts.listen, parts.token.as_deref());
        let listening = listen(parts.listener, guard, desk, is_stopping);
        let turning_away = parts.agents.zip(parts.settings.agents);
        let turning_away = turning_away.map(|(listener, settings)| {
            let standing = Arc::clone(&standing);
            let turning = fleet::turn_away(listener, settings, kept, parts.clock, standing);
            tokio::spawn(turning)
        });
        Ok(Self {
            bidding: Bidding::start(parts.database, parts.advertised, standing).map_err(thread)?,
            inbox,
            scheduler,
            stopping,
            listening,
            turning_away,
        })
    }

    /// Returns when this server leads. May be dropped and called again.
    pub(crate) async fn leads(&mut self) -> Result<Box<Leader>, LedgerError> {
        let won = (&mut self.bidding.leads).await;
        won.expect("the thread says how its bidding ended")
    }

    pub(crate) async fn stop(self) {
        drop(self.bidding);
        self.stopping.send_replace(true);
        if let Some(task) = self.turning_away {
            task.abort();
        }
        self.scheduler.stop().await;
        self.listening.ended().await;
        // Nobody waits for its thread, which may wait for the database: whoever is to lead has no time.
        if self.inbox.send(Message::Stop).is_err() {
            tracing::error!("the thread that copies the ledger had ended before its time");
        }
    }
}

/// That of any server, with nothing behind it but the copy.
fn desk(
    inbox: Inbox,
    clock: Clock,
    telemetry: Arc<Telemetry>,
    standing: Arc<Standing>,
    place: Place,
    stopping: watch::Receiver<bool>,
) -> Result<Desk, ServeError> {
    let metrics = Arc::new(Metrics::beside(telemetry.counts(), None));
    let (notices, _) = tokio::sync::mpsc::unbounded_channel();
    let (accepted, _) = tokio::sync::mpsc::unbounded_channel();
    let reading = clock.clone();
    let scheduler = Scheduler::start(
        control::local_observer(),
        Tools::new(Arc::new(NoProcesses)),
        1,
        Arc::new(move || reading.now()),
        |_observations| {},
    );
    let around = Surroundings {
        clock: clock.clone(),
        inbox: inbox.clone(),
        metrics: Arc::clone(&metrics),
        notices,
        leadership: Arc::new(Leadership::new(0, None)),
        scheduler: scheduler.clone(),
    };
    let place = Arc::new(place);
    Ok(Desk {
        inbox,
        clock,
        standing,
        roster: Arc::new(Roster::default()),
        fleet: Arc::new(Fleet::open(None, &Kept::Nowhere, "", around)?),
        metrics,
        prometheus: Prometheus::new(Arc::clone(&telemetry)),
        telemetry,
        decoding: Decoding::default(),
        board: Arc::default(),
        feed: Arc::new(Feed::new()),
        readers: Readers::new(Arc::clone(&place)),
        long_readers: Readers::new(place),
        tools: Arc::new(Tools::new(Arc::new(NoProcesses))),
        scheduler,
        overview: Arc::default(),
        requested_tests: Arc::new(Semaphore::new(REQUESTED_TESTS_MAX)),
        accepted,
        stopping,
    })
}
