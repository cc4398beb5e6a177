//! What goes wrong around the targets: observers, the network, the server itself, discovery and people.

use std::time::Duration;

use pitcrew_model::Scope;

use super::{Dice, HOUR, MINUTE, Plan, index};
use crate::{Discovery, Hand, Level, Link, Network, ServerTrouble, Sick, Side, What};

const SECOND: Duration = Duration::from_secs(1);

impl Plan<'_> {
    pub(super) fn surroundings(&mut self) {
        self.observers();
        self.network();
        self.server();
        self.discovery();
        self.people();
    }

    fn observers(&mut self) {
        let of = self.rates.observer;
        for (rate, how) in [
            (of.silent, Sick::Silent),
            (of.lies_failing, Sick::LiesFailing),
            (of.lies_passing, Sick::LiesPassing),
            (of.knows_it, Sick::KnowsIt),
        ] {
            self.happen(rate, of.count, |dice, observer, plan| {
                let lasts = plan.lasts(dice, MINUTE, 2 * HOUR);
                Some(What::Observer {
                    observer,
                    how,
                    lasts,
                })
            });
        }
        self.happen(of.stale, of.count, |dice, observer, plan| {
            let how = Sick::Stale(dice.between(10 * SECOND, 10 * MINUTE));
            let lasts = plan.lasts(dice, MINUTE, 2 * HOUR);
            Some(What::Observer {
                observer,
                how,
                lasts,
            })
        });
    }

    fn network(&mut self) {
        let of = self.rates.network;
        let observers = self.rates.observer.count;
        self.happen(of.observer_cut, observers, |dice, observer, plan| {
            Some(plan.cut(dice, Link::ObserverToServer(observer)))
        });
        let zones = self.fleet.groups(Level::Zone) as usize;
        self.happen(of.observer_half_blind, observers, |dice, observer, plan| {
            let zone = dice.below(zones);
            Some(plan.cut(dice, Link::ObserverToTargets { observer, zone }))
        });
        for (rate, link) in [
            (of.orders_cut, Link::ServerToActuators),
            (of.outcomes_cut, Link::ActuatorsToServer),
        ] {
            self.happen(rate, 1, |dice, _, plan| Some(plan.cut(dice, link)));
        }
        self.happen(of.weather, 1, |dice, _, plan| {
            let percent = |dice: &mut Dice, most| u8::try_from(dice.below(most)).unwrap_or(0);
            let how = Network {
                lost_percent: percent(dice, 31),
                duplicated_percent: percent(dice, 31),
                late_max: dice.between(Duration::ZERO, 20 * SECOND),
            };
            let lasts = plan.lasts(dice, MINUTE, 2 * HOUR);
            Some(What::Network { how, lasts })
        });
    }

    fn cut(&self, dice: &mut Dice, link: Link) -> What {
        let lasts = self.lasts(dice, 30 * SECOND, HOUR);
        What::Cut { link, lasts }
    }

    fn server(&mut self) {
        let of = self.rates.server;
        self.happen(of.crash, 1, |dice, _, plan| {
            let sides = [Side::BeforeWrite, Side::AfterWrite, Side::AfterSend];
            let side = *dice.pick(&sides)?;
            let down = plan.lasts(dice, 5 * SECOND, 20 * MINUTE);
            Some(What::Server(ServerTrouble::Crash { side, down }))
        });
        self.happen(of.pause, 1, |dice, _, plan| {
            let lasts = plan.lasts(dice, 10 * SECOND, HOUR);
            Some(What::Server(ServerTrouble::Pause(lasts)))
        });
        self.happen(of.clock_step, 1, |dice, _, _| {
            let most = if dice.percent(20) { HOUR } else { 5 * MINUTE };
            let far = dice.between(SECOND, most);
            let ms = i64::try_from(far.as_millis()).unwrap_or(0);
            let ms = if dice.percent(50) { ms } else { -ms };
            Some(What::ClockStep { ms })
        });
        self.happen(of.ledger_full, 1, |dice, _, plan| {
            let lasts = plan.lasts(dice, MINUTE, HOUR);
            Some(What::LedgerFull { lasts })
        });
    }

    fn discovery(&mut self) {
        let of = self.rates.discovery;
        for (rate, how) in [(of.fails, Discovery::Fails), (of.empty, Discovery::Empty)] {
            self.happen(rate, 1, |dice, _, plan| Some(plan.discovers(dice, how)));
        }
        self.happen(of.shrinks, 1, |dice, _, plan| {
            let percent = u8::try_from(1 + dice.below(99)).unwrap_or(99);
            Some(plan.discovers(dice, Discovery::Shrinks(percent)))
        });
        self.happen(of.replaces, 1, |dice, _, plan| {
            let percent = u8::try_from(1 + dice.below(40)).unwrap_or(40);
            Some(plan.discovers(dice, Discovery::Replaces(percent)))
        });
    }

    fn discovers(&self, dice: &mut Dice, how: Discovery) -> What {
        let lasts = self.lasts(dice, MINUTE, 4 * HOUR);
        What::Discovery { how, lasts }
    }

    fn people(&mut self) {
        let of = self.rates.people;
        let instances = self.fleet.instances() as usize;
        self.happen(of.pause, 1, |dice, _, plan| {
            let scope = plan.scope(dice)?;
            let lasts = plan.lasts(dice, 5 * MINUTE, 4 * HOUR);
            Some(What::Person(Hand::Pause { scope, lasts }))
        });
        self.happen(of.hold, 1, |dice, _, plan| {
            let target = index(dice.below(instances));
            let lasts = plan.lasts(dice, 10 * MINUTE, 8 * HOUR);
            Some(What::Person(Hand::Hold { target, lasts }))
        });
        self.happen(of.restart, 1, |dice, _, _| {
            let target = index(dice.below(instances));
            Some(What::Person(Hand::Restart { target }))
        });
        self.happen(of.stop, 1, |dice, _, plan| {
            let target = index(dice.below(instances));
            let lasts = plan.lasts(dice, 10 * MINUTE, 8 * HOUR);
            Some(What::Person(Hand::Stop { target, lasts }))
        });
        self.happen(of.decide, 1, |dice, _, _| {
            let approve = dice.percent(70);
            Some(What::Person(Hand::Decide { approve }))
        });
    }

    /// Everything in one case of ten, else a service, and of every second one only a part.
    fn scope(&self, dice: &mut Dice) -> Option<Scope> {
        if dice.percent(10) {
            return Some(Scope::Fleet);
        }
        let at = dice.below(self.production.services.len());
        let service = self.production.services.get(at)?;
        let name = service.name.clone();
        let member = dice.pick(self.fleet.members_of(at)).copied();
        let label = dice.pick(&service.domains);
        let part = member.zip(label).filter(|_| dice.percent(50));
        let part = part.and_then(|(member, label)| {
            let target = &self.fleet.targets()[member as usize];
            let value = target.labels.get(label)?.to_string();
            Some((label.clone(), value))
        });
        Some(match part {
            Some((label, value)) => Scope::Domain {
                service: name,
                label,
                value,
            },
            None => Scope::Service(name),
        })
    }
}
