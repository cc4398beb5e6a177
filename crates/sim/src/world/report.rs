//! The world's end: its books become the report.

use pitcrew_model::format_duration;

use super::{
    World,
    actuators::ASSUMED as ASSUMED_OF_ORDERS,
    people::{APPROVAL, CALLED, UNPROMPTED},
    queue::Millis,
    tally::BOUND,
    without::{Without, without},
};
use crate::{Report, ServiceTally, Timeline, Unavailable};

fn minutes(ms: u64) -> u64 {
    ms / 60_000
}

fn text(ms: Millis) -> String {
    format_duration(std::time::Duration::from_millis(ms))
}

impl World<'_> {
    pub(super) fn report(mut self) -> Report {
        let kinds: Vec<_> = self
            .truth
            .afflictions
            .values()
            .map(|ill| ill.kind)
            .collect();
        for kind in kinds {
            self.tally.fault_lasts(kind);
        }
        let fleet = &self.fleet;
        self.tally
            .close_books(self.now, |target| fleet.service_of(target));
        let without = without(
            self.plan,
            &self.fleet,
            self.chance,
            self.end,
            self.tally.step_ms,
            self.production.services.len(),
        );
        let open = self.server.open_cases();
        let tally = &mut self.tally;
        if open > 0 {
            tally.ended.insert("open".to_owned(), open);
        }
        let sizes: Vec<u64> = tally
            .services
            .iter()
            .map(|service| service.targets)
            .collect();
        Report {
            seed: self.options.seed,
            configuration: self.production.digest.clone(),
            faults_from: self.options.faults_from.clone(),
            targets: self.fleet.instances().into(),
            hosts: u64::from(self.fleet.len() - self.fleet.instances()),
            observers: self.options.observers.into(),
            simulated_seconds: self.end / 1_000,
            cases: tally.ended.values().sum(),
            ended: std::mem::take(&mut tally.ended),
            orders: tally.orders_by_outcome(),
            wrong_targets: tally.wrong_targets,
            broken_invariants: tally.broken_count,
            broken: std::mem::take(&mut tally.broken),
            false_repairs: tally.false_repairs,
            missed_repairs: tally.missed_repairs,
            unavailable_target_minutes: Unavailable {
                with: minutes(tally.down_ms()),
                without: minutes(without.all_ms),
            },
            faults: tally
                .faults
                .iter()
                .map(|(name, fault)| ((*name).to_owned(), fault.clone()))
                .collect(),
            disruption: tally.usage.report(&self.production, &sizes),
            held_by: tally.held_by(),
            breaker_trips: tally.breaker_trips,
            people_called: tally.people_called,
            services: self.services(&without),
            timeline: self.timeline(without),
            assumptions: self.assumptions(),
        }
    }

    fn services(&self, without: &Without) -> std::collections::BTreeMap<String, ServiceTally> {
        let books = self.production.services.iter().zip(&self.tally.services);
        books
            .enumerate()
            .map(|(at, (service, book))| {
                let tally = ServiceTally {
                    targets: book.targets,
                    cases: book.cases,
                    orders: book.orders,
                    called: book.called,
                    unavailable_target_minutes: Unavailable {
                        with: minutes(book.down_ms),
                        without: minutes(without.by_service_ms[at]),
                    },
                };
                (service.name.to_string(), tally)
            })
            .collect()
    }

    fn timeline(&self, without: Without) -> Timeline {
        Timeline {
            step_seconds: self.tally.step_ms / 1_000,
            down_with: self.tally.down_with.clone(),
            down_without: without.down,
            in_flight: self.tally.usage.in_flight(),
            cases: self.tally.cases_over_time.clone(),
            called: self.tally.called_over_time.clone(),
        }
    }

    fn assumptions(&self) -> Vec<String> {
        let mut all = self.options.assumptions.clone();
        all.push(format!(
            "Whoever is called has repaired the fault {} later; a fault that nobody is called to is found and repaired by a person {} after it began, with Pitcrew and without.",
            text(CALLED),
            text(UNPROMPTED)
        ));
        all.push(format!(
            "Orders that wait for approval are approved after {}; the fleet brake and breakers with `release: manual` are released {} after they came on.",
            text(APPROVAL),
            text(CALLED)
        ));
        all.push(format!(
            "A fault counts as missed when {} after it began the policy's ladder could cure it with a rate of at least 50%, and neither did nor was held back nor had handed it over.",
            text(BOUND)
        ));
        all.extend(
            ASSUMED_OF_ORDERS
                .iter()
                .map(|sentence| (*sentence).to_owned()),
        );
        all.extend(
            super::faults::ASSUMED
                .iter()
                .map(|sentence| (*sentence).to_owned()),
        );
        all.extend(
            super::observers::ASSUMED
                .iter()
                .map(|sentence| (*sentence).to_owned()),
        );
        all
    }
}
