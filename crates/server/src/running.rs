//! All parts of the running server, how they are joined, and how they end.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use pitcrew_act::{Actuators, Notifier, Supervisor};
use pitcrew_agent::Processes;
use pitcrew_model::{Event, Fact, Order, Production, ServerSettings, Timestamp};
use pitcrew_probe::{Scheduler, Tools};
use pitcrew_sim::{Brain, record::Start};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    signal::unix::Signal,
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    VERSION,
    api::ConfigurationStatus,
    clock::Clock,
    control,
    core::{Core, Inbox, Message},
    errands::{Couriers, Errands, Hands, Receivers, deliver},
    feed::Feed,
    fleet::{self, Fleet, Surroundings},
    following::Following,
    http::{
        Decoding, Desk, Guard, Listening, Place, Prometheus, REQUESTED_TESTS_MAX, Readers,
        keep_own_metrics, listen,
    },
    kept::Kept,
    leadership::Leadership,
    metrics::Metrics,
    recorder::{Recorder, Records, Work},
    recording::{self, RecordFile, Recording},
    remembered::Remembered,
    roster::Roster,
    serve::ServeError,
    standing::Standing,
    store::Store,
    telemetry::{
        Telemetry, Told,
        scrape::{Board, Scrapes},
    },
};

pub(crate) struct Parts {
    pub(crate) directory: PathBuf,
    pub(crate) settings: ServerSettings,
    pub(crate) configuration: ConfigurationStatus,
    pub(crate) clock: Clock,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) record: Option<RecordFile>,
    pub(crate) store: Store,
    pub(crate) kept: Kept,
    pub(crate) place: Arc<Place>,
    /// URL of this server, where others share its ledger.
    pub(crate) advertised: Option<String>,
    /// Of an earlier time that this process led: it is for one at a time.
    pub(crate) supervisor: Option<Supervisor>,
    /// Fences under which this process led before; nothing where the ledger is its alone.
    pub(crate) own_fences: Option<BTreeSet<u64>>,
}

pub(crate) struct Running {
    pub(crate) leadership: Arc<Leadership>,
    supervisor: Supervisor,
    desk: Desk,
    records: Records,
    couriers: Couriers,
    /// Until it follows the files in a task of its own.
    following: Option<Following>,
    /// Of a former run, to be reconciled once processes are taken over.
    unfinished: Vec<Order>,
    stopping: watch::Sender<bool>,
    engine_thread: thread::JoinHandle<()>,
    ledger_thread: thread::JoinHandle<()>,
    /// Ends by itself once the engine's thread has ended.
    record_thread: Option<thread::JoinHandle<()>>,
    /// Ends by itself once the engine's thread has ended.
    delivering: JoinHandle<()>,
    /// Ended when the server stops.
    tasks: Vec<JoinHandle<()>>,
    /// Ended when no order is under way any more.
    own_agent: JoinHandle<()>,
    listening: Option<Listening>,
}

/// How long orders under way may take to come back when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// And how long notices may then take to be delivered.
const NOTICE_GRACE: Duration = Duration::from_secs(5);

/// Begins to record this run, when that is wanted. A run that can't be encoded is not recorded, and goes on.
fn begin_record(
    file: Option<RecordFile>,
    start: &Start,
    metrics: &Arc<Metrics>,
) -> Result<(Option<Recording>, Option<thread::JoinHandle<()>>), ServeError> {
    let Some(file) = file else {
        return Ok((None, None));
    };
    match recording::begin(file, start, Arc::clone(metrics)) {
        Ok((recording, recorded)) => {
            let thread = thread_named("record", move || recorded.run())?;
            Ok((Some(recording), Some(thread)))
        }
        Err(error) => {
            metrics.record_stopped.set(1);
            tracing::error!("this run is not recorded: {error}");
            Ok((None, None))
        }
    }
}

impl Running {
    pub(crate) fn start(parts: Parts) -> Result<Self, ServeError> {
        let Parts {
            directory,
            settings,
            configuration,
            clock,
            telemetry,
            record,
            mut store,
            kept,
            place,
            advertised,
            supervisor,
            own_fences,
        } = parts;
        let began = Instant::now();
        let start = tokio::task::block_in_place(|| store.remembered(clock.now()))?;
        let (installation, fence) = (start.installation.clone(), start.fence);
        let leadership = Arc::new(Leadership::new(fence, store.is_led().then_some(began)));
        let roster = Arc::new(Roster::default());
        let counts = telemetry.counts();
        let told = Told::start(
            Arc::clone(&telemetry),
            Arc::clone(&roster),
            counts.dropped.clone(),
        );
        let metrics = Arc::new(Metrics::beside(counts, Some(told)));
        let (recording, record_thread) = begin_record(record, &start, &metrics)?;
        let Brain { engine, interlock } = Brain::start(start.at, start.birth(), start.rows);
        let supervisor = match supervisor {
            Some(supervisor) => supervisor,
            None => Supervisor::new(settings.data.join("run"), installation.clone())?,
        };
        let unfinished = engine.orders_in_flight();

        let (inbox, messages) = Inbox::new();
        let (work, works) = mpsc::channel();
        let (stopping, is_stopping) = watch::channel(false);
        let (notices, noticed) = tokio::sync::mpsc::unbounded_channel();
        let feed = Arc::new(Feed::new());
        let standing = Arc::new(Standing::new(
            installation.clone(),
            clock.now(),
            configuration,
            Some(Arc::clone(&leadership)),
            advertised,
        ));
        let records = Records {
            work: work.clone(),
            clock: clock.clone(),
        };
        let receivers = Receivers::new(Notifier::new(&[]));
        let clock_reading = clock.clone();
        let read_clock: Arc<dyn Fn() -> Timestamp + Send + Sync> =
            Arc::new(move || clock_reading.now());

        let processes = Arc::new(Processes(supervisor.clone()));
        let prometheus = Prometheus::new(Arc::clone(&telemetry));
        let scheduler = start_scheduler(
            &settings,
            tools(&processes, &prometheus),
            &read_clock,
            &inbox,
            &metrics,
        );
        let around = Surroundings {
            clock: clock.clone(),
            inbox: inbox.clone(),
            metrics: Arc::clone(&metrics),
            notices: notices.clone(),
            leadership: Arc::clone(&leadership),
            scheduler: scheduler.clone(),
        };
        let agents = settings.agents.as_ref();
        let fleet = Arc::new(Fleet::open(agents, &kept, &installation, around)?);
        let actuators = Actuators::new(supervisor.clone(), read_clock);
        if let Err(why) = actuators.admit(fence) {
            // Each order is checked again and refused for the same reason.
            tracing::error!("{why}");
        }
        let settling = tokio::spawn(Arc::clone(&fleet).keep_settled());
        let own_agent = tokio::spawn(
            Arc::clone(&fleet).keep_own_agent(actuators.clone(), Arc::clone(&processes)),
        );
        let hands = Hands {
            actuators: actuators.clone(),
            clock: clock.clone(),
            fleet: Arc::clone(&fleet),
            own_fences: own_fences.map(|mut own| {
                own.insert(fence);
                Arc::new(own)
            }),
        };
        let couriers = Couriers::new(
            hands,
            inbox.clone(),
            Arc::clone(&metrics),
            clock.clone(),
            Arc::clone(&leadership),
            is_stopping.clone(),
        );
        let (remembered, roll) = Remembered::open(kept);
        let board = Arc::new(Board::default());
        let (scrapes, heard) = tokio::sync::mpsc::unbounded_channel();
        let scraping = Scrapes::new(Arc::clone(&telemetry), Arc::clone(&board)).follow(heard);
        let scraping = tokio::spawn(scraping);

        let core = Core {
            engine,
            interlock,
            clock: clock.clone(),
            messages,
            inbox: inbox.clone(),
            ledger: work,
            scrapes,
            errands: Errands {
                scheduler: scheduler.clone(),
                roster: Arc::clone(&roster),
                fleet: Arc::clone(&fleet),
                notices,
            },
            metrics: Arc::clone(&metrics),
            draining: false,
            recording,
            decided: Vec::new(),
        };
        let recorder = Recorder {
            store,
            leadership: Arc::clone(&leadership),
            is_deposed: false,
            work: works,
            inbox: inbox.clone(),
            couriers: couriers.clone(),
            feed: Arc::clone(&feed),
            standing: Arc::clone(&standing),
            metrics: Arc::clone(&metrics),
        };
        records.write(Fact::ServerStarted {
            version: VERSION.to_owned(),
            fence,
            installation,
        });
        let engine_thread = thread_named("engine", move || core.run())?;
        let ledger_thread = thread_named("ledger", move || recorder.run())?;
        let delivering = tokio::spawn(deliver(noticed, receivers.clone(), records.clone()));
        let (accepted, to_accept) = tokio::sync::mpsc::unbounded_channel();
        let following = Following {
            to_accept,
            directory,
            settings: settings.clone(),
            telemetry: Arc::clone(&telemetry),
            clock: clock.clone(),
            inbox: inbox.clone(),
            records: records.clone(),
            standing: Arc::clone(&standing),
            receivers,
            supervisor: supervisor.clone(),
            actuators,
            said: fleet.changes(),
            fleet: Arc::clone(&fleet),
            agents: Vec::new(),
            finders: None,
            remembered,
            roll: Some(roll),
            supervised: BTreeSet::new(),
            warming: crate::warming::Warming::default(),
        };
        let desk = Desk {
            inbox,
            clock,
            standing,
            roster,
            fleet,
            metrics,
            tools: Arc::new(tools(&processes, &prometheus)),
            prometheus,
            telemetry,
            decoding: Decoding::default(),
            board,
            feed,
            readers: Readers::new(Arc::clone(&place)),
            long_readers: Readers::new(place),
            scheduler,
            overview: Arc::default(),
            requested_tests: Arc::new(Semaphore::new(REQUESTED_TESTS_MAX)),
            accepted,
            stopping: is_stopping,
        };
        Ok(Self {
            leadership,
            supervisor,
            desk,
            records,
            couriers,
            following: Some(following),
            unfinished,
            stopping,
            engine_thread,
            ledger_thread,
            record_thread,
            delivering,
            tasks: vec![settling, scraping],
            own_agent,
            listening: None,
        })
    }

    /// The first configuration, and then what former runs left unfinished.
    pub(crate) async fn apply(&mut self, production: Arc<Production>) {
        if let Some(following) = &mut self.following {
            following.apply(production).await;
        }
        for order in std::mem::take(&mut self.unfinished) {
            self.couriers.reconcile(order);
        }
    }

    pub(crate) fn answer(
        &mut self,
        listener: Arc<TcpListener>,
        listen_on: SocketAddr,
        token: Option<&str>,
    ) {
        let guard = Guard::new(listen_on, token);
        let desk = self.desk.clone();
        let keeping = keep_own_metrics(desk.clone(), listen_on.to_string());
        self.tasks.push(tokio::spawn(keeping));
        let (tools, scheduler) = (Arc::clone(&desk.tools), desk.scheduler.clone());
        let (inbox, standing) = (desk.inbox.clone(), Arc::clone(&desk.standing));
        self.listening = Some(listen(listener, guard, desk, self.stopping.subscribe()));
        self.tasks.push(tokio::spawn(control::keep_testing(
            listen_on, tools, inbox, standing, scheduler,
        )));
    }

    /// Takes agents in. A server without a listener for them has none.
    pub(crate) fn take_agents_in(&mut self, listener: Arc<TcpListener>) -> Result<(), ServeError> {
        let fleet = Arc::clone(&self.desk.fleet);
        let acceptor = TlsAcceptor::from(Arc::new(fleet.server_config()?));
        self.tasks
            .push(tokio::spawn(Arc::clone(&fleet).keep_saved()));
        self.tasks
            .push(tokio::spawn(fleet::listen(listener, acceptor, fleet)));
        Ok(())
    }

    pub(crate) fn follow(&mut self, hangups: Signal) {
        if let Some(following) = self.following.take() {
            self.tasks.push(tokio::spawn(following.follow(hangups)));
        }
    }

    /// No order leaves any more; those under way may come back; then everything decided is committed. When another
    /// server leads, nothing is waited for: it asks what became of them.
    pub(crate) async fn stop(mut self) -> Supervisor {
        self.desk.standing.stopping();
        self.stopping.send_replace(true);
        let leads = self.leadership.is_sure();
        if !leads {
            self.desk.fleet.close();
        }
        for task in &self.tasks {
            task.abort();
        }
        self.desk.scheduler.clone().stop().await;
        self.send(Message::Drain);
        self.settle().await;
        let grace = if leads { STOP_GRACE } else { Duration::ZERO };
        if tokio::time::timeout(grace, self.couriers.all_back())
            .await
            .is_err()
        {
            tracing::warn!(
                "orders are still under way; the next start finds out what became of them"
            );
        }
        self.own_agent.abort();
        self.settle().await;
        self.desk.fleet.close();
        if let Some(listening) = self.listening.take() {
            listening.ended().await;
        }
        self.send(Message::Stop);
        join(self.engine_thread, "engine").await;
        if tokio::time::timeout(NOTICE_GRACE, self.delivering)
            .await
            .is_err()
        {
            tracing::warn!("notices that were still on their way are given up");
        }
        if leads {
            Arc::clone(&self.desk.fleet).save().await;
        }
        if self.records.work.send(Work::Stop).is_err() {
            tracing::error!("the ledger's thread had ended before its time");
        }
        join(self.ledger_thread, "ledger").await;
        if let Some(thread) = self.record_thread {
            join(thread, "record").await;
        }
        self.supervisor
    }

    fn send(&self, message: Message) {
        if self.desk.inbox.send(message).is_err() {
            tracing::error!("the engine's thread had ended before its time");
        }
    }

    /// Everything heard so far is decided, and what was decided is committed.
    async fn settle(&self) {
        if self.desk.inbox.flush().await.is_ok() {
            self.records.barrier().await;
        }
    }
}

/// What the server's own tests share.
fn tools(processes: &Arc<Processes>, prometheus: &Prometheus) -> Tools {
    let processes = Arc::clone(processes) as Arc<dyn pitcrew_probe::ProcessStates>;
    Tools::new(processes).measuring(Arc::new(prometheus.clone()))
}

fn start_scheduler(
    settings: &ServerSettings,
    tools: Tools,
    clock: &Arc<dyn Fn() -> Timestamp + Send + Sync>,
    inbox: &Inbox,
    metrics: &Arc<Metrics>,
) -> Scheduler {
    let (inbox, metrics) = (inbox.clone(), Arc::clone(metrics));
    let observer = control::local_observer();
    Scheduler::start(
        observer,
        tools,
        settings.concurrency,
        Arc::clone(clock),
        move |observations| {
            metrics.count_observations(&observations);
            inbox.event(Event::Observations(observations));
        },
    )
}

/// Within the runtime, so that what it calls may spawn tasks.
fn thread_named(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, ServeError> {
    let runtime = Handle::current();
    let named = thread::Builder::new().name(name.to_owned());
    let spawned = named.spawn(move || {
        let _runtime = runtime.enter();
        run();
    });
    spawned.map_err(|source: io::Error| ServeError::System {
        doing: "start a thread",
        source,
    })
}

async fn join(thread: thread::JoinHandle<()>, name: &str) {
    let joining = Handle::current().spawn_blocking(move || thread.join().is_ok());
    if !matches!(joining.await, Ok(true)) {
        tracing::error!(name, "a thread ended badly");
    }
}
