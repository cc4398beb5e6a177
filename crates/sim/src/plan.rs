//! Drawing mishaps: what goes wrong in a fleet, when, to whom and for how long, from a seed alone.
//!
//! Arrivals are drawn at the rate of all targets together and then given to one of them, so that a million
//! targets cost what happens to them, not what they are. The plan knows nothing of the policy, and each kind of
//! mishap has a stream of chance to itself, so that one rate can be changed without moving anything else.

mod dice;
mod rates;
mod surroundings;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(crate) use dice::Dice;
use pitcrew_model::Production;
pub use rates::{
    DiscoveryRates, NetworkRates, ObserverRates, PeopleRates, PerMonth, PlaceRates, Rates,
    ServerRates, ServiceRates, TargetRates,
};

use crate::{Fault, FaultKind, Fleet, Level, Mishap, TargetIndex, What};

/// All that goes wrong within `duration`, in the order of time.
#[must_use]
pub fn draw(
    production: &Production,
    fleet: &Fleet,
    seed: u64,
    duration: Duration,
    rates: &Rates,
) -> Vec<Mishap> {
    let mut plan = Plan {
        production,
        fleet,
        seed,
        duration,
        rates,
        streams: 0,
        drawn: Vec::new(),
    };
    plan.targets();
    plan.places();
    plan.services();
    plan.everything();
    plan.surroundings();
    plan.drawn.sort_by_key(|mishap| mishap.at);
    plan.drawn
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

struct Plan<'a> {
    production: &'a Production,
    fleet: &'a Fleet,
    seed: u64,
    duration: Duration,
    rates: &'a Rates,
    streams: u64,
    drawn: Vec<Mishap>,
}

impl Plan<'_> {
    /// One kind of mishap that happens to each of `count` things `rate` times a month.
    fn happen(
        &mut self,
        rate: PerMonth,
        count: usize,
        mut what: impl FnMut(&mut Dice, usize, &Self) -> Option<What>,
    ) {
        self.streams += 1;
        let mut dice = Dice::new(self.seed, self.streams);
        let count_exact = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        for at in dice.arrivals(rate * count_exact, self.duration) {
            let to = dice.below(count);
            if let Some(what) = what(&mut dice, to, self) {
                self.drawn.push(Mishap { at, what });
            }
        }
    }

    /// How long something lasts, from `least` to `most` in an ordinary production.
    fn lasts(&self, dice: &mut Dice, least: Duration, most: Duration) -> Duration {
        dice.between(least, most) / self.rates.hurry.max(1)
    }

    /// One in five ends by itself.
    fn heals(&self, dice: &mut Dice) -> Option<Duration> {
        dice.percent(20).then(|| self.lasts(dice, MINUTE, 2 * HOUR))
    }

    fn targets(&mut self) {
        let of = self.rates.target;
        let instances = self.fleet.instances() as usize;
        for (rate, kind) in [
            (of.crash, FaultKind::Crash),
            (of.hang, FaultKind::Hang),
            (of.errors, FaultKind::Errors),
            (of.slow, FaultKind::Slow),
        ] {
            self.happen(rate, instances, |dice, target, plan| {
                let heals_after = plan.heals(dice);
                Some(fault(kind, vec![index(target)], heals_after))
            });
        }
        self.happen(of.intermittent, instances, |dice, target, plan| {
            let lasts = plan.lasts(dice, 10 * MINUTE, 6 * HOUR);
            Some(fault(
                FaultKind::Intermittent,
                vec![index(target)],
                Some(lasts),
            ))
        });
        self.happen(of.permanent, instances, |_, target, _| {
            Some(fault(FaultKind::Permanent, vec![index(target)], None))
        });
        self.happen(of.blip, instances, |dice, target, plan| {
            let target = index(target);
            let service = plan.fleet.service_of(target)?;
            let tests = plan.production.services[service].tests.len();
            (tests > 0).then(|| What::Blip {
                target,
                test: dice.below(tests),
            })
        });
    }

    /// Hosts restart in minutes when a person or a watchdog sees to it, racks in one to six hours, power in six,
    /// cooling in a day or two (J. Dean, LADIS 2009).
    fn places(&mut self) {
        let of = self.rates.places;
        let hosts: Vec<TargetIndex> = (self.fleet.instances()..self.fleet.len()).collect();
        self.happen(of.host, hosts.len(), |dice, at, plan| {
            let host = hosts[at];
            let all = std::iter::once(host).chain(plan.fleet.runs_on(host));
            let lasts = plan.lasts(dice, 5 * MINUTE, 2 * HOUR);
            // Assumed: most of what takes a machine down is over once it is switched off and on.
            let kind = match dice.below(10) {
                0..3 => FaultKind::HostHung,
                3..7 => FaultKind::HostDead,
                _ => FaultKind::Host,
            };
            Some(fault(kind, all.collect(), Some(lasts)))
        });
        for (rate, level, kind, least, most) in [
            (of.rack, Level::Rack, FaultKind::Domain, HOUR, 6 * HOUR),
            (
                of.wonky_rack,
                Level::Rack,
                FaultKind::Intermittent,
                HOUR,
                6 * HOUR,
            ),
            (
                of.power,
                Level::Power,
                FaultKind::Domain,
                4 * HOUR,
                8 * HOUR,
            ),
            (
                of.zone,
                Level::Zone,
                FaultKind::Domain,
                24 * HOUR,
                48 * HOUR,
            ),
        ] {
            let groups = self.fleet.groups(level) as usize;
            self.happen(rate, groups, |dice, group, plan| {
                let all = plan.fleet.members(level, index(group));
                Some(fault(kind, all, Some(plan.lasts(dice, least, most))))
            });
        }
    }

    fn services(&mut self) {
        let of = self.rates.service;
        let services = self.production.services.len();
        self.happen(of.cascade, services, |dice, service, plan| {
            let members = plan.fleet.members_of(service);
            let (begins, length) = (dice.below(members.len()), 2 + dice.below(9));
            let around = members.iter().cycle().skip(begins);
            let all: Vec<TargetIndex> = around.take(length.min(members.len())).copied().collect();
            let heals_after = plan.heals(dice);
            (all.len() >= 2).then(|| fault(FaultKind::Cascade, all, heals_after))
        });
        self.happen(of.deploy, services, |dice, service, plan| {
            let all = plan.fleet.members_of(service).to_vec();
            // Until it is rolled back.
            let lasts = plan.lasts(dice, 10 * MINUTE, 2 * HOUR);
            (!all.is_empty()).then(|| fault(FaultKind::Deploy, all, Some(lasts)))
        });
        self.happen(of.third, services, |dice, service, plan| {
            let members = plan.fleet.members_of(service).iter().copied();
            plan.third(dice, members)
        });
    }

    fn everything(&mut self) {
        self.happen(self.rates.third_of_everything, 1, |dice, _, plan| {
            plan.third(dice, 0..plan.fleet.instances())
        });
    }

    /// 30 % of these at once, for a reason that nobody drew in advance.
    fn third(&self, dice: &mut Dice, of: impl Iterator<Item = TargetIndex>) -> Option<What> {
        let kinds = [FaultKind::Crash, FaultKind::Hang, FaultKind::Errors];
        let kind = *dice.pick(&kinds)?;
        let heals_after = dice
            .percent(50)
            .then(|| self.lasts(dice, 10 * MINUTE, HOUR));
        let all: Vec<TargetIndex> = of.filter(|_| dice.percent(30)).collect();
        (!all.is_empty()).then(|| fault(kind, all, heals_after))
    }
}

fn fault(kind: FaultKind, targets: Vec<TargetIndex>, heals_after: Option<Duration>) -> What {
    What::Fault(Fault {
        kind,
        targets,
        heals_after,
    })
}

fn index(at: usize) -> TargetIndex {
    TargetIndex::try_from(at).unwrap_or(TargetIndex::MAX)
}
