//! 9 and 10: when much fails at once, it is not repaired piece by piece.

use std::{collections::BTreeMap, time::Duration};

use pitcrew_model::{Order, Scope, Service, Target, Timestamp};

use super::{
    Auditor,
    answers::Witnesses,
    invariants::{Charge, by_person, count},
    roster::Entry,
};

impl Auditor {
    /// 9: when most of every domain fails at once, it is the observers that are to be doubted.
    pub(super) fn not_everything_at_once(
        &self,
        now: Timestamp,
        order: &Order,
        service: &Service,
    ) -> Option<Charge> {
        if by_person(order) {
            return None;
        }
        let (_, entry) = self.roster.find(&order.target.id)?;
        let at = entry.service?;
        let rule = &service.limits.breaker;
        let newly = self.newly_failing(now, at, rule.within, self.resumed(service, None));
        if count(newly.len()) < rule.count {
            return None;
        }
        let everywhere = service.domains.iter().find(|label| {
            let mut values: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
            for member in self.roster.members(at) {
                if let Some(value) = self.roster.entry(*member).target.labels.get(label) {
                    values.entry(value).or_default().0 += 1;
                }
            }
            for entry in &newly {
                if let Some(value) = entry.target.labels.get(label) {
                    values.entry(value).or_default().1 += 1;
                }
            }
            values.len() >= 2 && values.values().all(|(all, failing)| failing * 2 > *all)
        })?;
        Some((
            9,
            format!(
                "{}: most of {} fails in every {everywhere}",
                order.id, service.name
            ),
        ))
    }

    /// When a person last said that this may go on.
    fn resumed(&self, service: &Service, part: Option<&Scope>) -> Timestamp {
        let resumed = |scope: &Scope| self.annals.resumed.get(scope).copied().unwrap_or_default();
        let whole = resumed(&Scope::Service(service.name.clone())).max(resumed(&Scope::Fleet));
        whole.max(part.map(resumed).unwrap_or_default())
    }

    /// Targets of a service whose trouble began within `within` and that are proven to fail.
    fn newly_failing(
        &self,
        now: Timestamp,
        at: usize,
        within: Duration,
        after: Timestamp,
    ) -> Vec<&Entry> {
        self.roster
            .troubled(at)
            .filter(|(_, since)| *since > after && now.since(*since) <= within)
            .map(|(entry, _)| entry)
            .filter(|entry| self.roster.is_failing(now, entry, None, Witnesses::Trusted))
            .collect()
    }

    /// 10: what the ledger says has tripped stops new disruption until it says that it was released.
    pub(super) fn breaker_is_closed(&self, order: &Order, service: &Service) -> Option<Charge> {
        let tripped = self
            .annals
            .tripped
            .iter()
            .find(|scope| covers(scope, service, &order.target))?;
        Some((
            10,
            format!(
                "{} on {} while the breaker of {tripped} is open",
                order.id, order.target.id
            ),
        ))
    }

    /// 10: the same from the answers alone, whatever the breaker says.
    pub(super) fn no_mass_failure(
        &self,
        now: Timestamp,
        entry: &Entry,
        service: &Service,
    ) -> Option<Charge> {
        let at = entry.service?;
        let rule = &service.limits.breaker;
        let too_many = |failing: usize, of: usize| {
            count(failing) >= rule.count
                && u64::from(count(failing)) * 100 >= u64::from(count(of)) * u64::from(rule.percent)
        };
        let newly = |part: Option<&Scope>| {
            self.newly_failing(now, at, rule.within, self.resumed(service, part))
        };
        let (failing, of) = (newly(None).len(), self.roster.members(at).len());
        if too_many(failing, of) {
            return Some((
                10,
                format!("{failing} of {of} in {} newly fail", service.name),
            ));
        }
        service.domains.iter().find_map(|label| {
            let value = entry.target.labels.get(label)?;
            let alike = |entry: &Entry| entry.target.labels.get(label) == Some(value);
            let scope = Scope::Domain {
                service: service.name.clone(),
                label: label.clone(),
                value: value.to_string(),
            };
            let failing = newly(Some(&scope))
                .into_iter()
                .filter(|entry| alike(entry))
                .count();
            if count(failing) < rule.count {
                return None;
            }
            let of = self
                .roster
                .members(at)
                .iter()
                .filter(|at| alike(self.roster.entry(**at)))
                .count();
            too_many(failing, of).then(|| (10, format!("{failing} of {of} in {scope} newly fail")))
        })
    }
}

/// Whether a target of `service` is within `scope`.
pub(super) fn covers(scope: &Scope, service: &Service, target: &Target) -> bool {
    match scope {
        Scope::Fleet => true,
        Scope::Service(name) => *name == service.name,
        Scope::Domain {
            service: name,
            label,
            value,
        } => {
            *name == service.name
                && target
                    .labels
                    .get(label)
                    .is_some_and(|have| **have == **value)
        }
    }
}
