//! Pitcrew's own metrics, in Prometheus' text format. What is a state rather than a count is read when scraped.

use pitcrew_engine::ServiceStatus;
use pitcrew_model::{Fact, Observation, Record};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::telemetry::{Counts, Told};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabel {
    verdict: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OrderLabels {
    action: String,
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabels {
    service: String,
    health: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReceiverLabels {
    receiver: String,
    delivered: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndingLabel {
    ending: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScrapeLabel {
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabel {
    service: String,
}

pub(crate) struct Metrics {
    registry: Registry,
    /// Where each answer is kept; nowhere in a server that follows.
    told: Option<Told>,
    cases_closed: Family<EndingLabel, Counter>,
    holds: Family<ReasonLabel, Counter>,
    breakers: Family<ServiceLabel, Gauge>,
    held: Family<ServiceLabel, Gauge>,
    on_hold: Family<ServiceLabel, Gauge>,
    scrapes: Family<ScrapeLabel, Gauge>,
    observations: Family<VerdictLabel, Counter>,
    orders: Family<OrderLabels, Counter>,
    cases: Family<PhaseLabel, Gauge>,
    targets: Family<TargetLabels, Gauge>,
    notices: Family<ReceiverLabels, Counter>,
    missed_rounds: Counter,
    agents: Gauge,
    agents_refused: Family<ReasonLabel, Counter>,
    pub(crate) record_bytes: Counter,
    pub(crate) record_stopped: Gauge,
    events_waiting: Gauge,
    ready: Gauge,
    pub(crate) ledger_commit_seconds: Histogram,
    pub(crate) engine_event_seconds: Histogram,
    /// From the decision to the actuator: the ledger's commit lies between.
    pub(crate) order_given_seconds: Histogram,
}

/// States read at the moment of a scrape.
pub(crate) struct Scraped {
    pub(crate) services: Vec<ServiceStatus>,
    /// Open cases by the name of their phase.
    pub(crate) cases: Vec<(&'static str, u64)>,
    /// Pages that were read the last time, and all.
    pub(crate) scrapes: (usize, usize),
    pub(crate) missed_rounds: u64,
    pub(crate) events_waiting: usize,
    pub(crate) ready: bool,
}

impl Metrics {
    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self::beside(&Counts::default(), None)
    }

    /// With what the metrics store counts of itself.
    pub(crate) fn beside(counts: &Counts, told: Option<Told>) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("pitcrew"),
            told,
            cases_closed: Family::default(),
            holds: Family::default(),
            breakers: Family::default(),
            held: Family::default(),
            on_hold: Family::default(),
            scrapes: Family::default(),
            observations: Family::default(),
            orders: Family::default(),
            cases: Family::default(),
            targets: Family::default(),
            notices: Family::default(),
            missed_rounds: Counter::default(),
            agents: Gauge::default(),
            agents_refused: Family::default(),
            record_bytes: Counter::default(),
            record_stopped: Gauge::default(),
            events_waiting: Gauge::default(),
            ready: Gauge::default(),
            // From 0.1 ms, an fsync on good flash, to 3 s.
            ledger_commit_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            // From 1 µs to 1 s.
            engine_event_seconds: Histogram::new(exponential_buckets(0.000_001, 4.0, 11)),
            order_given_seconds: Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 1.0]),
        };
        metrics.register();
        counts.register(&mut metrics.registry);
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "observations",
            "Answers to tests",
            self.observations.clone(),
        );
        registry.register(
            "orders",
            "Orders given, by what became of them",
            self.orders.clone(),
        );
        registry.register("cases_open", "Open cases", self.cases.clone());
        registry.register(
            "cases_closed",
            "Closed cases, by how they ended",
            self.cases_closed.clone(),
        );
        registry.register(
            "holds",
            "Orders that were wanted and held back, by the limit that held them",
            self.holds.clone(),
        );
        registry.register(
            "breakers_tripped",
            "Scopes of a service whose breaker has tripped",
            self.breakers.clone(),
        );
        registry.register(
            "cases_held",
            "Open cases of a service that something holds back",
            self.held.clone(),
        );
        registry.register(
            "targets_on_hold",
            "Targets of a service under a person's hand",
            self.on_hold.clone(),
        );
        registry.register(
            "scrape_targets",
            "Pages that are scraped, by the last result",
            self.scrapes.clone(),
        );
        registry.register("targets", "Targets of a service", self.targets.clone());
        registry.register("notices", "Notices to people", self.notices.clone());
        registry.register(
            "probe_missed_rounds",
            "Rounds of tests that could not begin in time",
            self.missed_rounds.clone(),
        );
        registry.register("agents_connected", "Hosts there are", self.agents.clone());
        registry.register(
            "agents_refused",
            "Connections and messages of agents that were refused",
            self.agents_refused.clone(),
        );
        registry.register(
            "record_bytes",
            "Written into the record of what happens",
            self.record_bytes.clone(),
        );
        registry.register(
            "record_stopped",
            "Whether recording broke off, until the next start",
            self.record_stopped.clone(),
        );
        registry.register(
            "events_waiting",
            "Events not yet decided",
            self.events_waiting.clone(),
        );
        registry.register(
            "ready",
            "Whether it decides and records",
            self.ready.clone(),
        );
        registry.register(
            "ledger_commit_seconds",
            "Time until decisions are on the disk",
            self.ledger_commit_seconds.clone(),
        );
        registry.register(
            "engine_event_seconds",
            "Time to decide one event",
            self.engine_event_seconds.clone(),
        );
        registry.register(
            "order_given_seconds",
            "Time from the decision of an order to its actuator",
            self.order_given_seconds.clone(),
        );
        let build = Family::<VersionLabel, Gauge>::default();
        let version = crate::VERSION.to_owned();
        build.get_or_create(&VersionLabel { version }).set(1);
        registry.register("build_info", "Always 1", build);
    }

    pub(crate) fn count_observations(&self, observations: &[Observation]) {
        if let Some(told) = &self.told {
            told.tell(observations);
        }
        for observation in observations {
            let verdict = observation.verdict.to_string();
            self.observations
                .get_or_create(&VerdictLabel { verdict })
                .inc();
        }
    }

    /// What the ledger has taken.
    pub(crate) fn count_records(&self, records: &[Record]) {
        for record in records {
            match &record.fact {
                Fact::Intent { order } => self.count_order(order.action.name(), "given"),
                Fact::Notified {
                    receiver,
                    delivered,
                    ..
                } => {
                    let labels = ReceiverLabels {
                        receiver: receiver.to_string(),
                        delivered: delivered.to_string(),
                    };
                    self.notices.get_or_create(&labels).inc();
                }
                Fact::Closed { ending, .. } => {
                    let ending = ending.to_string().replace([' ', '-'], "_");
                    self.cases_closed
                        .get_or_create(&EndingLabel { ending })
                        .inc();
                }
                Fact::Held { hold, .. } => {
                    let reason = hold.name().to_owned();
                    self.holds.get_or_create(&ReasonLabel { reason }).inc();
                }
                _ => {}
            }
        }
    }

    /// `outcome`: `given`, `done`, `failed`, `unknown`.
    pub(crate) fn count_order(&self, action: &str, outcome: &str) {
        let labels = OrderLabels {
            action: action.to_owned(),
            outcome: outcome.to_owned(),
        };
        self.orders.get_or_create(&labels).inc();
    }

    pub(crate) fn set_agents(&self, connected: usize) {
        self.agents
            .set(i64::try_from(connected).unwrap_or(i64::MAX));
    }

    pub(crate) fn count_refused(&self, reason: &str) {
        let reason = reason.to_owned();
        self.agents_refused
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    pub(crate) fn text(&self, scraped: &Scraped) -> Result<String, std::fmt::Error> {
        self.targets.clear();
        for family in [&self.breakers, &self.held, &self.on_hold] {
            family.clear();
        }
        for service in &scraped.services {
            self.set_targets(service);
            let labels = ServiceLabel {
                service: service.name.to_string(),
            };
            let tripped = i64::try_from(service.breakers.len()).unwrap_or(i64::MAX);
            self.breakers.get_or_create(&labels).set(tripped);
            let held = i64::from(service.held);
            self.held.get_or_create(&labels).set(held);
            let on_hold = i64::from(service.on_hold);
            self.on_hold.get_or_create(&labels).set(on_hold);
        }
        let (read, all) = scraped.scrapes;
        for (result, count) in [("read", read), ("failing", all - read)] {
            let labels = ScrapeLabel {
                result: result.to_owned(),
            };
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.scrapes.get_or_create(&labels).set(count);
        }
        self.cases.clear();
        for (phase, count) in &scraped.cases {
            let phase = PhaseLabel {
                phase: (*phase).to_owned(),
            };
            self.cases.get_or_create(&phase).set(gauge_value(*count));
        }
        let counted = self.missed_rounds.get();
        self.missed_rounds
            .inc_by(scraped.missed_rounds.saturating_sub(counted));
        self.events_waiting
            .set(i64::try_from(scraped.events_waiting).unwrap_or(i64::MAX));
        self.ready.set(i64::from(scraped.ready));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn set_targets(&self, service: &ServiceStatus) {
        for (health, count) in [
            ("healthy", service.healthy),
            ("failing", service.failing),
            ("repairing", service.repairing),
            ("probation", service.probation),
            ("unknown", service.unknown),
        ] {
            let labels = TargetLabels {
                service: service.name.to_string(),
                health: health.to_owned(),
            };
            self.targets.get_or_create(&labels).set(i64::from(count));
        }
    }
}

fn gauge_value(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
