//! 14 and 15: whose say it is, and when it becomes a person's.

use pitcrew_model::{Authority, Autonomy, Order, Service, Timestamp};

use super::{
    Auditor,
    invariants::{Charge, by_person, count},
    mass::covers,
};

impl Auditor {
    /// 14: a hold, an operator's stop or a pause.
    pub(super) fn person_has_no_hand_on_it(&self, order: &Order) -> Option<Charge> {
        let hosts = self.roster.hosts(order.acts_on());
        let down = self.roster.brought_down(&order.acts_on().id);
        let guests = down.iter().filter(|_| order.action.is_on_host());
        let own = std::iter::once(&order.target.id);
        let held = own.chain(guests).chain(&hosts).find(|id| {
            self.annals
                .holds
                .get(*id)
                .is_some_and(|until| self.latest < *until)
        });
        if let Some(id) = held.filter(|_| !by_person(order)) {
            return Some((14, format!("{} while a person holds {id}", order.id)));
        }
        let (_, service) = self.placed(&order.target.id)?;
        let paused = self
            .annals
            .pauses
            .iter()
            .find(|scope| covers(scope, service, &order.target))?;
        Some((14, format!("{} while {paused} is paused", order.id)))
    }

    /// 14: what a person must allow, that very person allowed; what they denied stays denied.
    pub(super) fn allowed_by_person(&self, order: &Order) -> Option<Charge> {
        let allowed = match &order.authority {
            Authority::Policy => true,
            Authority::Approval { .. } => {
                self.annals.approved.get(&order.id) == Some(&order.digest)
            }
            Authority::Person { .. } => {
                let wanted = (order.target.id.clone(), order.action.clone());
                self.annals.ordered.get(&order.id) == Some(&wanted)
            }
        };
        let denied = self.annals.denied.contains(&order.id);
        (!allowed || denied).then(|| (14, format!("no person allowed {}", order.id)))
    }

    /// 15: each order of a case stands on a rung of its repair, above the one before.
    pub(super) fn ladder_climbs(&self, order: &Order, service: &Service) -> Option<Charge> {
        if by_person(order) {
            return None;
        }
        let name = order.repair.as_ref();
        let rung = name.and_then(|name| {
            let repair = service.repairs.iter().find(|repair| repair.name == *name)?;
            repair.steps.get(usize::from(order.step))
        });
        let stands = rung.is_some_and(|rung| {
            rung.action == order.action && (1..=rung.tries).contains(&order.attempt)
        });
        // A drain may come again on its way up.
        let climbs_by = order.case.filter(|_| !order.action.is_drain());
        let before = climbs_by.and_then(|case| self.annals.rungs.get(&case));
        let climbs = before.is_none_or(|(repair, step, attempt)| {
            Some(repair) != name || (*step, *attempt) < (order.step, order.attempt)
        });
        (!stands || !climbs).then(|| {
            (
                15,
                format!(
                    "{} (step {}, try {}) does not climb its ladder",
                    order.id,
                    order.step + 1,
                    order.attempt
                ),
            )
        })
    }

    /// 15: what a person has is theirs.
    pub(super) fn not_handed_over(&self, order: &Order) -> Option<Charge> {
        let case = order
            .case
            .filter(|case| self.annals.handed_over.contains(case) && !by_person(order))?;
        Some((
            15,
            format!("{} is for {case}, which a person has", order.id),
        ))
    }

    /// 15: too many cases on one target are a person's business.
    pub(super) fn no_lemon(
        &self,
        now: Timestamp,
        order: &Order,
        service: &Service,
    ) -> Option<Charge> {
        let lemon = service.limits.lemon;
        let endings = self.annals.endings.get(&order.target.id)?;
        let lately = endings
            .iter()
            .filter(|at| now.since(**at) < lemon.within)
            .count();
        let cases = count(lately) + 1;
        (!by_person(order) && cases >= lemon.cases).then(|| {
            (
                15,
                format!(
                    "{} is for case {cases} on {}: a lemon",
                    order.id, order.target.id
                ),
            )
        })
    }

    /// 15: a target is left alone for a while after a case that was acted on.
    pub(super) fn rested(
        &self,
        now: Timestamp,
        order: &Order,
        service: &Service,
    ) -> Option<Charge> {
        let first = order
            .case
            .is_some_and(|case| !self.annals.rungs.contains_key(&case));
        let ended = self.annals.repaired_at.get(&order.target.id)?;
        let tired = now.since(*ended) < service.limits.cooldown;
        (first && tired && !by_person(order)).then(|| {
            (
                15,
                format!("{} on {} within its cooldown", order.id, order.target.id),
            )
        })
    }
}

/// 14: how freely Pitcrew may act on its own.
pub(super) fn allowed_by_autonomy(
    now: Timestamp,
    order: &Order,
    service: &Service,
) -> Option<Charge> {
    let open = service
        .windows
        .iter()
        .filter(|window| (window.from..window.to).contains(&now));
    let autonomy = open
        .map(|window| window.autonomy)
        .chain([service.autonomy])
        .min()?;
    let needed = match order.authority {
        Authority::Policy => Autonomy::Act,
        Authority::Approval { .. } => Autonomy::Approve,
        Authority::Person { .. } => Autonomy::Observe,
    };
    (autonomy < needed).then(|| {
        (
            14,
            format!(
                "{} in {}, whose autonomy is {autonomy}",
                order.id, service.name
            ),
        )
    })
}
