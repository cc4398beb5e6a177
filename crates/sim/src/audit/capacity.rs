//! 3, 4 and 9: what an order takes away, and what proves that it must.

use std::collections::BTreeMap;

use pitcrew_model::{Order, Proves, Target, TargetId, Timestamp};

use super::{
    Auditor,
    answers::Witnesses,
    invariants::{Charge, by_person, count},
    roster::Entry,
};

impl Auditor {
    /// 3: per service and per domain value of all that goes down with it.
    pub(super) fn room_in_flight(&self, now: Timestamp, order: &Order) -> Option<Charge> {
        let beside: Vec<&Order> = self.flights.beside(now, order.id).collect();
        for id in self.roster.brought_down(&order.acts_on().id) {
            let Some((entry, service)) = self.placed(&id) else {
                continue;
            };
            let of_service = |other: &&&Order| {
                other.service.as_ref() == Some(&service.name)
                    || self.takes_down(other, &|guest| guest.service == entry.service)
            };
            let in_service = count(beside.iter().filter(of_service).count());
            if in_service >= service.limits.max_in_flight {
                return Some((
                    3,
                    format!(
                        "{}: {in_service} in flight in {} already",
                        order.id, service.name
                    ),
                ));
            }
            for label in &service.domains {
                let Some(value) = entry.target.labels.get(label) else {
                    continue;
                };
                let has_it = |target: &Target| target.labels.get(label) == Some(value);
                let alike = |other: &&&Order| {
                    has_it(&other.target) || self.takes_down(other, &|guest| has_it(&guest.target))
                };
                let together = count(beside.iter().filter(alike).count());
                let own = service
                    .limits
                    .per_domain
                    .iter()
                    .find(|(name, _)| name == label);
                if together >= own.map_or(1, |(_, most)| *most) {
                    return Some((
                        3,
                        format!(
                            "{}: {together} in flight in {label}={value} already",
                            order.id
                        ),
                    ));
                }
            }
        }
        None
    }

    /// Whether an order on a machine takes such a guest with it.
    fn takes_down(&self, order: &Order, is_such: &dyn Fn(&Entry) -> bool) -> bool {
        let down = self.roster.brought_down(&order.acts_on().id);
        let mut guests = down.iter().filter_map(|id| self.roster.find(id));
        order.action.is_on_host() && guests.any(|(_, guest)| is_such(guest))
    }

    /// 3 and 9: unknown is not proven dead, and what a sick observer says proves nothing.
    pub(super) fn proven_to_fail(
        &self,
        now: Timestamp,
        order: &Order,
        entry: &Entry,
    ) -> Option<Charge> {
        let fails = |by: Witnesses| self.roster.is_failing(now, entry, None, by);
        if by_person(order) || fails(Witnesses::Trusted) {
            return None;
        }
        let id = &order.target.id;
        Some(if fails(Witnesses::All) {
            (
                9,
                format!("{} on {id}: only suspect observers see it fail", order.id),
            )
        } else {
            (
                3,
                format!(
                    "{} on {id}: no majority has lately seen it fail for long enough",
                    order.id
                ),
            )
        })
    }

    /// 3 and 4: counted after the removal, over every service that loses something.
    pub(super) fn enough_left(&self, now: Timestamp, order: &Order) -> Option<Charge> {
        let mut lost: BTreeMap<usize, Vec<TargetId>> = BTreeMap::new();
        for id in self.roster.brought_down(&order.acts_on().id) {
            let Some((_, entry)) = self.roster.find(&id) else {
                continue;
            };
            let dead = self
                .roster
                .is_failing(now, entry, Some(Proves::Down), Witnesses::Trusted);
            if let Some(service) = entry.service.filter(|_| !dead) {
                lost.entry(service).or_default().push(id);
            }
        }
        lost.into_iter()
            .find_map(|(at, lost)| self.service_has_enough(now, order, at, &lost))
    }

    fn service_has_enough(
        &self,
        now: Timestamp,
        order: &Order,
        at: usize,
        lost: &[TargetId],
    ) -> Option<Charge> {
        let service = &self.roster.services[at];
        let members = self.roster.members(at);
        let stays = |member: &&usize| {
            let entry = self.roster.entry(**member);
            !lost.contains(&entry.target.id) && self.is_up(now, order, entry)
        };
        let (of, left) = (
            count(members.len()),
            count(members.iter().filter(stays).count()),
        );
        if left == 0 {
            return Some((
                4,
                format!(
                    "{} on {} leaves 0 of {of} in {}",
                    order.id, order.target.id, service.name
                ),
            ));
        }
        let most = service.limits.unavailable_max(of);
        let gone = of - left;
        (gone > most).then(|| {
            (
                3,
                format!(
                    "{} on {}: {gone} of {of} in {} unavailable, at most {most}",
                    order.id, order.target.id, service.name
                ),
            )
        })
    }

    fn is_up(&self, now: Timestamp, order: &Order, entry: &Entry) -> bool {
        let id = &entry.target.id;
        let until = |until: Option<&Timestamp>| until.is_some_and(|until| self.latest < *until);
        !until(self.annals.probation.get(id))
            && !until(self.annals.holds.get(id))
            && !self.leases.is_out_of_use(id)
            && !self.flights.beside(now, order.id).any(|other| {
                other.target.id == *id
                    || other.action.is_on_host()
                        && self.roster.brought_down(&other.acts_on().id).contains(id)
            })
            && self.roster.is_passing(now, entry)
    }
}
