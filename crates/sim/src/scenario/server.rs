//! The server around the decision core, on paper: ledger before order, discovery's doubts, what a crash leaves.
//!
//! It does what the real one does and decides nothing itself.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use pitcrew_model::{
    Authority, Effect, Event, Fact, Objection, ObserverName, Order, OrderId, OutcomeKind,
    Production, Service, Target, TargetId, TestName, Timestamp,
};

use super::{
    discovery::Discovery,
    said::{Server as Trouble, Without},
    story::{Kind, Story},
};
use crate::{Brain, Ledger, Side};

pub(super) struct Server {
    /// `None` while it is away.
    pub(super) brain: Option<Brain>,
    without: Option<Without>,
    production: Arc<Production>,
    ledger: Ledger,
    pub(super) ledger_full: bool,
    /// Decided and not yet durable, while the ledger can't be written.
    waiting: Vec<Effect>,
    ledger_fails: bool,
    crash: Option<(Side, Option<Duration>)>,
    pub(super) starts_at: Option<Duration>,
    pub(super) wakes_at: Option<(Duration, Duration)>,
    pub(super) discovery: Discovery,
    pub(super) suspects: BTreeMap<ObserverName, String>,
    pub(super) watched: BTreeMap<TargetId, Arc<Service>>,
    pub(super) events: VecDeque<Event>,
    /// Of a former run, and when its actuator says what became of it.
    pub(super) unfinished: Vec<(Duration, Order)>,
    fence: u64,
    /// What left: to be carried out, and to be asked at once.
    pub(super) orders: Vec<Order>,
    pub(super) probes: BTreeSet<(TargetId, TestName)>,
    pub(super) story: Story,
}

impl Server {
    pub(super) fn new(
        production: Arc<Production>,
        targets: BTreeMap<TargetId, Arc<Target>>,
        without: Option<Without>,
    ) -> Self {
        Self {
            brain: None,
            without,
            production,
            ledger: Ledger::default(),
            ledger_full: false,
            waiting: Vec::new(),
            ledger_fails: false,
            crash: None,
            starts_at: None,
            wakes_at: None,
            discovery: Discovery::of(targets),
            suspects: BTreeMap::new(),
            watched: BTreeMap::new(),
            events: VecDeque::new(),
            unfinished: Vec::new(),
            fence: 0,
            orders: Vec::new(),
            probes: BTreeSet::new(),
            story: Story::default(),
        }
    }

    /// Configuration and discovery first, then what became of the former run's orders: those are returned.
    pub(super) fn start(&mut self, now: Timestamp) -> Vec<Order> {
        let birth = self.ledger.birth("scenario");
        self.fence = birth.fence;
        let brain = Brain::start(now, birth, self.ledger.rows());
        let unfinished = brain.engine.orders_in_flight();
        self.brain = Some(brain);
        self.starts_at = None;
        self.events.clear();
        self.events
            .push_back(Event::Production(self.production.clone()));
        self.events.push_back(Event::Targets {
            upserted: self.discovery.believed(),
            removed: Vec::new(),
        });
        for (observer, trouble) in &self.suspects {
            self.events.push_back(Event::Observer {
                observer: observer.clone(),
                trouble: Some(trouble.clone()),
            });
        }
        unfinished
    }

    /// Nothing that was not durable is known any more.
    pub(super) fn crash(&mut self, at: Duration, away: Option<Duration>) {
        self.brain = None;
        self.starts_at = away.map(|away| at + away);
        self.wakes_at = None;
        self.crash = None;
        (self.ledger_fails, self.waiting) = (false, Vec::new());
        self.events.clear();
        self.probes.clear();
        self.unfinished.clear();
        self.watched.clear();
        self.story.write(at, None, Kind::Other, "server crashes");
    }

    pub(super) fn trouble(&mut self, at: Duration, trouble: Trouble) {
        match trouble {
            Trouble::Crashes(away) if self.brain.is_some() => self.crash(at, away),
            Trouble::Crashes(_) => {}
            Trouble::CrashesAtNextOrder(side, away) => self.crash = Some((side, away)),
            Trouble::Starts => self.starts_at = self.brain.is_none().then_some(at),
            Trouble::Pauses(lasts) => self.wakes_at = Some((at + lasts, lasts)),
        }
    }

    pub(super) fn is_awake(&self) -> bool {
        self.brain.is_some() && self.wakes_at.is_none()
    }

    pub(super) fn reload(&mut self, production: &Arc<Production>) {
        self.production = production.clone();
        self.events.push_back(Event::Production(production.clone()));
    }

    pub(super) fn fence(&self) -> u64 {
        self.fence
    }

    /// Whether something is to be told or to leave at this moment.
    pub(super) fn has_work(&self, at: Duration) -> bool {
        self.is_awake() && !self.events.is_empty()
            || !self.orders.is_empty()
            || self.unfinished.iter().any(|(due, _)| *due <= at)
    }

    pub(super) fn production(&self) -> &Arc<Production> {
        &self.production
    }

    /// What is known of a target, also of one that is gone.
    pub(super) fn target(&self, id: &TargetId) -> Option<&Arc<Target>> {
        self.discovery.target(id)
    }

    /// One event through the core, and what it wants done through the ledger.
    pub(super) fn tell(&mut self, at: Duration, now: Timestamp, event: Event) {
        let Some(brain) = &mut self.brain else { return };
        let effects = match self.without {
            None => brain.tell(now, event),
            Some(Without::Interlock) => {
                brain.interlock.note(now, &event);
                brain.engine.handle(now, event, &mut |_, _| Vec::new())
            }
            Some(Without::Planner) => tell_without_planner(brain, now, event),
        };
        for case in brain.engine.cases() {
            self.story.phase(&case.phase);
        }
        self.take(at, effects);
    }

    fn take(&mut self, at: Duration, effects: Vec<Effect>) {
        let gives = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Give(_)));
        let crash = if gives { self.crash.take() } else { None };
        if let Some((Side::BeforeWrite, away)) = crash {
            return self.crash(at, away);
        }
        let (durable, rest): (Vec<Effect>, Vec<Effect>) = effects.into_iter().partition(is_durable);
        let orders = self.write(at, durable);
        match crash {
            Some((Side::AfterWrite, away)) => return self.crash(at, away),
            Some((_, away)) => {
                self.orders.extend(orders);
                return self.crash(at, away);
            }
            None => self.orders.extend(orders),
        }
        for effect in rest {
            match effect {
                Effect::Watch { target, service } => {
                    self.watched.insert(target.id.clone(), service);
                }
                Effect::Unwatch { target } => {
                    self.watched.remove(&target);
                }
                Effect::Probe { target, test } => {
                    self.probes.insert((target, test));
                }
                Effect::Notify(notice) => self.story.notice(at, &notice),
                Effect::Record(_) | Effect::Save(_) | Effect::Give(_) => {}
            }
        }
    }

    /// The orders that may leave. Those that the ledger can't take are struck, with their intents.
    fn write(&mut self, at: Duration, durable: Vec<Effect>) -> Vec<Order> {
        if durable.is_empty() {
            return Vec::new();
        }
        let mut orders: Vec<Order> = durable.iter().filter_map(given).cloned().collect();
        let struck: Vec<OrderId> = if self.ledger_full {
            let struck = orders.extract_if(.., |order| order.needs_ledger());
            struck.map(|order| order.id).collect()
        } else {
            Vec::new()
        };
        for effect in &durable {
            if let Effect::Record(record) = effect
                && !matches!(&record.fact, Fact::Intent { order } if struck.contains(&order.id))
            {
                self.story.record(at, record);
            }
        }
        if !self.ledger_full {
            self.ledger.commit(&durable);
            return orders;
        }
        self.waiting.extend(durable);
        if !self.ledger_fails || !struck.is_empty() {
            self.ledger_fails = true;
            self.story
                .write(at, None, Kind::Other, "ledger can't be written");
            self.events.push_back(Event::LedgerFailed {
                not_given: struck,
                error: "disk full".to_owned(),
            });
        }
        orders
    }

    pub(super) fn ledger_works(&mut self) {
        self.ledger_full = false;
        let waiting = std::mem::take(&mut self.waiting);
        self.ledger.commit(&waiting);
        if std::mem::take(&mut self.ledger_fails) {
            self.events.push_back(Event::LedgerRecovered);
        }
    }

    /// An order that went past the planner is given as any other: the ledger has it, then it leaves.
    pub(super) fn give(&mut self, order: Order) {
        let state = pitcrew_model::OrderState {
            order: order.clone(),
            given: true,
            outcome: None,
            ended_at: None,
        };
        let row = Effect::Save(pitcrew_model::Saved::Order(Box::new(state)));
        self.ledger.commit(std::iter::once(&row));
        self.orders.push(order);
    }

    pub(super) fn outcome(&mut self, now: Timestamp, order: OrderId, kind: OutcomeKind) {
        self.events
            .push_back(Event::Outcome(pitcrew_model::Outcome {
                order,
                kind,
                at: now,
                detail: "as the scenario says".to_owned(),
            }));
    }
}

/// What the planner wants by itself is not given and not counted; what a person wants is judged as ever.
fn tell_without_planner(brain: &mut Brain, now: Timestamp, event: Event) -> Vec<Effect> {
    brain.interlock.note(now, &event);
    let interlock = &mut brain.interlock;
    brain.engine.handle(now, event, &mut |now, order| {
        if matches!(order.authority, Authority::Person { .. }) {
            return interlock.check(now, order);
        }
        vec![Objection {
            invariant: 0,
            reason: "this scenario is without a planner".to_owned(),
        }]
    })
}

fn is_durable(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Record(_) | Effect::Save(_) | Effect::Give(_)
    )
}

fn given(effect: &Effect) -> Option<&Order> {
    match effect {
        Effect::Give(order) => Some(order),
        _ => None,
    }
}
