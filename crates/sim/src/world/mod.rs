//! The simulated world around engine and interlock: what is true, who sees it, what becomes of orders.
//!
//! Everything happens at its time, in one queue: a fault strikes, an observer asks, a message arrives, a write ends.
//! What is at rest is in no queue, so that a day costs what its changes cost, not its targets. The truth decides
//! what tests answer and what orders do; the server never sees it, only messages.

mod actuators;
mod balancer;
mod chance;
mod discovery;
mod faults;
pub(crate) mod fleet;
mod network;
mod observers;
mod people;
mod queue;
mod report;
mod server;
mod tally;
mod truth;
mod usage;
mod without;

use std::sync::Arc;

use actuators::Actuators;
use balancer::Balancer;
use chance::Chance;
use discovery::Inventory;
use fleet::Fleet;
use network::Weather;
use observers::Observers;
use people::People;
use pitcrew_engine::Engine;
use pitcrew_model::{Production, Timestamp};
use queue::{Happening, Millis, Queue};
use server::Server;
use tally::Tally;
use truth::{Ended, Truth, millis};

use crate::{Auditor, Link, Mishap, Options, Progress, Report, SimulateError, What};

pub(crate) struct World<'a> {
    options: &'a Options,
    plan: &'a [Mishap],
    production: Arc<Production>,
    fleet: Fleet,
    chance: Chance,
    now: Millis,
    end: Millis,
    queue: Queue,
    truth: Truth,
    observers: Observers,
    weather: Weather,
    server: Server,
    actuators: Actuators,
    balancer: Balancer,
    people: People,
    inventory: Inventory,
    auditor: Auditor,
    tally: Tally,
}

/// Between two words about the progress.
const TELL_EVERY: u32 = 1 << 16;
/// What may happen between two steps whatever the fleet, and for each of its targets and second. A storm needs a
/// hundredth; what needs more asks without end.
const HAPPENINGS_MAX: u64 = 1_000_000;
const HAPPENINGS_PER_TARGET_SECOND_MAX: u64 = 100;

impl<'a> World<'a> {
    pub(crate) fn new(
        production: &Production,
        options: &'a Options,
        plan: &'a [Mishap],
    ) -> Result<Self, SimulateError> {
        let end = millis(options.duration);
        if options.observers == 0 || end < 1_000 {
            return Err(SimulateError::Nothing);
        }
        let fleet = match &options.fleet {
            Some(fleet) => Fleet::clone(fleet),
            None => Fleet::generate(production, options.targets, options.seed)?,
        };
        check(plan, &fleet)?;
        let sizes = sizes(production, &fleet);
        let source = fleet.targets()[0].source.clone();
        Ok(Self {
            options,
            plan,
            chance: Chance(options.seed),
            now: 0,
            end,
            queue: Queue::default(),
            truth: Truth::default(),
            observers: Observers::new(production, options.observers, fleet.len()),
            weather: Weather::default(),
            server: Server::new(),
            actuators: Actuators::default(),
            balancer: Balancer::default(),
            people: People::default(),
            inventory: Inventory::new(source),
            auditor: Auditor::new(production),
            tally: Tally::new(production, &sizes, end),
            production: Arc::new(production.clone()),
            fleet,
        })
    }

    pub(crate) fn run(
        mut self,
        progress: &mut dyn FnMut(Progress),
        look: &mut dyn FnMut(Timestamp, Option<&Engine>),
    ) -> Result<Report, SimulateError> {
        self.queue.push(0, Happening::Starts);
        let steps = self.end.div_ceil(self.tally.step_ms);
        for step in 1..=steps {
            self.queue
                .push((step * self.tally.step_ms).min(self.end), Happening::Step);
        }
        self.push_mishap(0);
        let step_s = self.tally.step_ms.div_ceil(1_000);
        let happenings_max = HAPPENINGS_MAX
            + u64::from(self.fleet.len()) * step_s * HAPPENINGS_PER_TARGET_SECOND_MAX;
        let (mut since_told, mut since_step) = (0, 0);
        while let Some((at, what)) = self.queue.pop(self.end) {
            self.now = at;
            since_told += 1;
            since_step += 1;
            if since_step > happenings_max {
                let at = std::time::Duration::from_millis(at);
                return Err(SimulateError::WithoutEnd { at });
            }
            if since_told == TELL_EVERY || matches!(what, Happening::Step) {
                since_told = 0;
                progress(self.progress());
            }
            if matches!(what, Happening::Step) {
                since_step = 0;
                look(self.now_stamp(), self.server.engine());
            }
            self.happen(what);
        }
        self.now = self.end;
        progress(self.progress());
        look(self.now_stamp(), self.server.engine());
        Ok(self.report())
    }

    fn progress(&self) -> Progress {
        Progress {
            simulated: std::time::Duration::from_millis(self.now),
            of: self.options.duration,
            cases: self.tally.opened,
            orders: self.tally.orders_left,
        }
    }

    fn push_mishap(&mut self, number: usize) {
        if let Some(mishap) = self.plan.get(number) {
            self.queue
                .push(millis(mishap.at).max(self.now), Happening::Mishap(number));
        }
    }

    /// All that can happen, each to its part of the world.
    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Mishap(number) => self.begin_mishap(number),
            Happening::MishapOver(number) => self.end_mishap(number),
            Happening::Turns {
                fault,
                target,
                turn,
            } => self.turn(fault, target, turn),
            Happening::Spreads { fault } => self.spread(fault),
            Happening::Heals { fault } => self.end_fault(fault, Ended::Healed),
            Happening::Found { fault } => self.end_fault(fault, Ended::Fixed),
            Happening::Due { fault, target } => self.judge_missed(fault, target),
            Happening::Ask {
                observer,
                target,
                test,
            } => self.ask(observer, target, test),
            Happening::Probe { target, test } => self.probe(target, &test),
            Happening::Flush { observer } => self.flush(observer),
            Happening::Unchanged { observer } => self.say_unchanged(observer),
            Happening::Sweep {
                observer,
                run,
                slice,
            } => self.sweep(observer, run, slice),
            Happening::Control { observer, trouble } => self.tell_control(observer, trouble),
            Happening::Arrives { run, event } => self.arrive(run, *event),
            Happening::Tick { run, due } => self.tick(run, due),
            Happening::Written { run } => self.written(run),
            Happening::WriteAgain { run } => self.write_again(run),
            Happening::Wakes { run } => self.wake(run),
            Happening::Starts => self.start_server(),
            Happening::OrderArrives { run, order } => self.carry_out(run, *order),
            Happening::OrderEnds { operation } => self.order_ends(operation),
            Happening::TakesEffect { operation } => self.take_effect(operation),
            Happening::Reconcile { run, order } => self.reconcile(run, *order),
            Happening::LeaseEnds { target } => self.lease_ends(&target),
            Happening::Person(errand) => self.run_errand(*errand),
            Happening::Step => {
                self.nobody_is_forgotten();
                self.tally.note_step();
            }
        }
    }

    fn begin_mishap(&mut self, number: usize) {
        self.push_mishap(number + 1);
        let plan = self.plan;
        let lasts = match &plan[number].what {
            What::Fault(fault) => {
                self.strike(fault);
                None
            }
            What::Blip { target, test } => {
                self.blip(*target, *test);
                None
            }
            What::Observer {
                observer,
                how,
                lasts,
            } => {
                self.fall_sick(number, *observer, *how);
                Some(*lasts)
            }
            What::Cut { link, lasts } => {
                self.cut(number, *link);
                Some(*lasts)
            }
            What::Network { how, lasts } => {
                self.weather.storm(number, *how);
                Some(*lasts)
            }
            What::Server(trouble) => {
                self.trouble_server(*trouble);
                None
            }
            What::ClockStep { ms } => {
                self.step_clock(*ms);
                None
            }
            What::LedgerFull { lasts } => {
                self.disk_is_full(number);
                Some(*lasts)
            }
            What::Discovery { how, lasts } => {
                self.trouble_discovery(number, *how);
                Some(*lasts)
            }
            What::Person(hand) => {
                self.hand(hand);
                match hand {
                    crate::Hand::Pause { lasts, .. }
                    | crate::Hand::Hold { lasts, .. }
                    | crate::Hand::Stop { lasts, .. } => Some(*lasts),
                    crate::Hand::Restart { .. } | crate::Hand::Decide { .. } => None,
                }
            }
        };
        if let Some(lasts) = lasts {
            self.queue
                .push(self.now + millis(lasts), Happening::MishapOver(number));
        }
    }

    /// Observers and zones are counted round: a plan knows how many there are only roughly.
    fn cut(&mut self, number: usize, link: Link) {
        let observers = self.observers.count();
        let link = match link {
            Link::ObserverToServer(observer) => Link::ObserverToServer(observer % observers),
            Link::ObserverToTargets { observer, zone } => {
                let zones = self.fleet.groups(fleet::Level::Zone).max(1) as usize;
                Link::ObserverToTargets {
                    observer: observer % observers,
                    zone: zone % zones,
                }
            }
            Link::ServerToActuators | Link::ActuatorsToServer => link,
        };
        self.weather.cut(number, link);
        if let Link::ObserverToTargets { observer, zone } = link {
            self.look_at_shard(observer, Some(zone));
        }
    }

    fn end_mishap(&mut self, number: usize) {
        let plan = self.plan;
        match &plan[number].what {
            What::Observer { .. } => self.recover(number),
            What::Cut { .. } | What::Network { .. } => self.weather.over(number),
            What::LedgerFull { .. } => self.disk_has_room(number),
            What::Discovery { .. } => self.discovery_recovers(number),
            What::Person(hand) => self.hand_over(hand),
            What::Fault(_) | What::Blip { .. } | What::Server(_) | What::ClockStep { .. } => {}
        }
    }
}

/// How many targets each service has.
fn sizes(production: &Production, fleet: &Fleet) -> Vec<u64> {
    let services = 0..production.services.len();
    services
        .map(|at| fleet.members_of(at).len() as u64)
        .collect()
}

fn check(plan: &[Mishap], fleet: &Fleet) -> Result<(), SimulateError> {
    let targets = fleet.len();
    for (number, mishap) in plan.iter().enumerate() {
        if number > 0 && mishap.at < plan[number - 1].at {
            return Err(SimulateError::Unsorted { number });
        }
        let named: &[u32] = match &mishap.what {
            What::Fault(fault) => &fault.targets,
            What::Blip { target, .. } => std::slice::from_ref(target),
            What::Person(
                crate::Hand::Hold { target, .. }
                | crate::Hand::Restart { target }
                | crate::Hand::Stop { target, .. },
            ) => std::slice::from_ref(target),
            _ => &[],
        };
        if let Some(target) = named.iter().copied().find(|target| *target >= targets) {
            return Err(SimulateError::NoSuchTarget {
                number,
                target,
                targets,
            });
        }
    }
    Ok(())
}
