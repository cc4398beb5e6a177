//! What can be told from discovery and from the records alone, whether or not an order follows.

use std::{collections::BTreeMap, time::Duration};

use pitcrew_model::{
    Effect, ObserverName, OrderId, Record, Release, Saved, Scope, Service, SourceName, Target,
    Timestamp, Urgency,
};

use super::Auditor;

impl Auditor {
    /// 5: an answer of discovery that is empty or less than half of the one before is not obeyed.
    pub(super) fn answer_not_too_small(
        &mut self,
        now: Timestamp,
        before: &BTreeMap<SourceName, u32>,
    ) {
        for (source, before) in before {
            let left = self.sources.get(source).copied().unwrap_or(0);
            if !self.accepted.remove(source) && u64::from(left) * 2 < u64::from(*before) {
                self.convict(
                    now,
                    5,
                    format!("{source} shrank from {before} to {left} targets and was obeyed"),
                );
            }
        }
    }

    /// 5: only what a service selects is its own.
    pub(super) fn watched_is_selected(
        &mut self,
        now: Timestamp,
        target: &Target,
        service: &Service,
    ) {
        let wanted = &service.select.0;
        let selected = wanted
            .iter()
            .all(|(name, value)| target.labels.get(name) == Some(value));
        if wanted.is_empty() || !selected {
            self.convict(
                now,
                5,
                format!("{} does not select {}", service.name, target.id),
            );
        }
    }

    /// 7: a hold that never ends would outlive whoever asked for it.
    pub(super) fn hold_ends(&mut self, now: Timestamp, row: &Saved) {
        if let Saved::Hold {
            target,
            until: Some(until),
            ..
        } = row
            && *until > now + Duration::from_secs(2 * 365 * 86_400)
        {
            self.convict(now, 7, format!("the hold on {target} never ends"));
        }
    }

    /// 11: the fleet brake.
    pub(super) fn brake_is_released_by_person(&mut self, now: Timestamp, row: &Saved) {
        let Saved::FleetBrake {
            released_at: Some(at),
        } = row
        else {
            return;
        };
        if self.annals.resumed.get(&Scope::Fleet) != Some(at) {
            self.convict(now, 11, "nobody released the fleet brake".to_owned());
        }
        self.flights.release_brake(*at);
    }

    /// 8: what an order under way does to its own target is that order's business.
    pub(super) fn no_case_by_own_effect(&mut self, now: Timestamp, record: &Record) {
        let Some(target) = &record.target else { return };
        let out = self.flights.beside(now, OrderId(0)).find(|order| {
            order.target.id == *target
                && order.case != record.case
                && self
                    .flights
                    .get(order.id)
                    .is_some_and(|flight| flight.left && flight.is_out())
        });
        if let Some(order) = out {
            let what = format!(
                "a new case on {target} while {} is under way on it",
                order.id
            );
            self.convict(now, 8, what);
        }
    }

    /// 10: a breaker never blocks a notice, least of all its own.
    pub(super) fn trip_is_told(&mut self, now: Timestamp, scope: &Scope, beside: &[Effect]) {
        let told = beside.iter().any(
            |effect| matches!(effect, Effect::Notify(notice) if notice.urgency == Urgency::Page),
        );
        if !told {
            self.convict(
                now,
                10,
                format!("nobody was told that the breaker of {scope} tripped"),
            );
        }
    }

    /// 10: `release: manual` means a person.
    pub(super) fn manual_release_by_person(
        &mut self,
        now: Timestamp,
        scope: &Scope,
        by: Option<&str>,
    ) {
        let (Scope::Service(name) | Scope::Domain { service: name, .. }) = scope else {
            return;
        };
        let manual = self.roster.services.iter().any(|service| {
            service.name == *name && service.limits.breaker.release == Release::Manual
        });
        if manual && by.is_none() {
            self.convict(
                now,
                10,
                format!("the breaker of {scope} released itself, though only a person may"),
            );
        }
    }

    /// 13: tests decide, and only those that somebody saw pass after the outcome.
    pub(super) fn verified_by_tests(
        &mut self,
        now: Timestamp,
        record: &Record,
        observers: &[ObserverName],
    ) {
        let Some(id) = record.order else { return };
        let what = if observers.is_empty() {
            Some(format!("{id} was verified by nobody"))
        } else if self
            .flights
            .get(id)
            .is_some_and(|flight| flight.left && flight.is_out())
        {
            Some(format!("{id} was verified before its outcome"))
        } else {
            let entry = record.target.as_ref().and_then(|id| self.roster.find(id));
            entry
                .and_then(|(_, entry)| self.roster.not_seen_passing(entry))
                .map(|test| format!("{id} was verified, but nobody saw {} pass since", test.name))
        };
        if let Some(what) = what {
            self.convict(now, 13, what);
        }
    }

    /// 15: whoever gets a case is told so.
    pub(super) fn person_is_told(
        &mut self,
        now: Timestamp,
        record: &Record,
        why: &str,
        beside: &[Effect],
    ) {
        let told = beside.iter().any(|effect| {
            matches!(effect, Effect::Notify(notice) if notice.case == record.case && notice.urgency == Urgency::Page)
        });
        if !told {
            self.convict(
                now,
                15,
                format!("{:?} was handed over and nobody told: {why}", record.case),
            );
        }
    }
}
