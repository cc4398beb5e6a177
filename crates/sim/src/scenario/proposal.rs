//! An order that no sound planner gives, straight to the interlock.

use std::time::Duration;

use pitcrew_engine::DrainStatus;
use pitcrew_model::{
    Action, Authority, LeaseTerm, OperationId, Order, OrderId, Repair, Service, Step, Timestamp,
};

use super::{
    names::action_named,
    run::Run,
    said::Proposal,
    story::{Kind, ordered},
};

impl Run<'_> {
    /// Straight to the interlock; what it lets pass is given.
    pub(super) fn propose(&mut self, proposal: &Proposal) {
        let awake = self.server.is_awake();
        let Some(order) = self.proposed_order(proposal).filter(|_| awake) else {
            let what =
                "nobody judges the proposal: the server is away, or no such action is configured";
            return self.server.story.write(self.at, None, Kind::Other, what);
        };
        let now = self.now();
        let Some(brain) = &mut self.server.brain else {
            return;
        };
        let objections = brain.interlock.check(now, &order);
        let target = Some(order.target.id.clone());
        self.server.story.object(&objections);
        for objection in &objections {
            let what = format!("objection {}: {objection}", objection.invariant);
            let kind = Kind::Objection(objection.invariant);
            self.server.story.write(self.at, target.clone(), kind, what);
        }
        self.last_operation = Some(order.operation.clone());
        if objections.is_empty() {
            let (kind, what) = ordered(&order);
            self.server.story.write(self.at, target, kind, what);
            self.server.give(order);
        }
    }

    /// As a sound planner would give it, but for what the proposal changes.
    fn proposed_order(&mut self, proposal: &Proposal) -> Option<Order> {
        let target = self
            .server
            .target(&proposal.target)
            .or_else(|| self.scenario.targets.get(&proposal.target))?
            .clone();
        let production = self.server.production().clone();
        let action = action_named(&proposal.action, Some(&target), &production)?;
        let mut services = production.services.iter();
        let own = services.find(|service| service.select.selects(&target.labels));
        let rung = own.and_then(|service| rung(service, &action));
        let repair = match &proposal.repair {
            Some(name) => name.parse().ok(),
            None => rung.map(|(repair, ..)| repair.name.clone()),
        };
        let service = proposal.service.clone();
        let host = match &proposal.host {
            Some(host) => Some(host),
            None => target.run_on.as_ref().filter(|_| action.is_on_host()),
        };
        let host = host
            .and_then(|host| self.scenario.targets.get(host))
            .cloned();
        let given_at = self.given_at(proposal.given_ms);
        self.proposed += 1;
        // Far above what the planner numbers, also after a crash.
        let id = OrderId(self.proposed * 1_000_000);
        let brain = self.server.brain.as_ref()?;
        let known = brain.engine.target(self.now(), &target.id);
        let drained = known.and_then(|status| status.drained);
        let lease = lease(proposal, id, given_at, &action, drained.as_ref());
        Some(Order {
            id,
            operation: self.operation(proposal.repeats)?,
            case: drained.and_then(|drained| drained.case),
            lease,
            service: service.or_else(|| own.map(|service| service.name.clone())),
            runner: own.and_then(|service| service.runner_for(&target)),
            target,
            host,
            action,
            authority: authority(proposal),
            repair,
            step: match proposal.step {
                Some(step) => step - 1,
                None => rung.map_or(0, |(_, step, _)| step),
            },
            attempt: proposal.attempt.unwrap_or(1),
            given_at,
            settle: rung.map_or(SETTLE, |(_, _, step)| step.settle),
            expires_at: given_at + Order::EXPIRY,
            fence: proposal.fence.unwrap_or_else(|| self.server.fence()),
            digest: String::new(),
            target_is_down: true,
        })
    }

    fn given_at(&self, given_ms: i64) -> Timestamp {
        let from_now = Duration::from_millis(given_ms.unsigned_abs());
        if given_ms < 0 {
            self.now() - from_now
        } else {
            self.now() + from_now
        }
    }

    fn operation(&self, repeats: bool) -> Option<OperationId> {
        match &self.last_operation {
            Some(last) if repeats => Some(last.clone()),
            Some(_) | None => format!("proposed-{}", self.proposed).parse().ok(),
        }
    }
}

/// Of a drain a new one; of a renewal or an undrain the one that runs.
fn lease(
    proposal: &Proposal,
    id: OrderId,
    given_at: Timestamp,
    action: &Action,
    drained: Option<&DrainStatus>,
) -> Option<LeaseTerm> {
    let until = match action {
        Action::Drain(drain) => given_at + proposal.lasts.unwrap_or(drain.lease),
        Action::Undrain(_) => drained.map_or(given_at, |drained| drained.until),
        _ => return None,
    };
    let known = drained.map_or(OrderId(1), |drained| drained.lease);
    let id = match (proposal.action.as_str(), proposal.lease) {
        (_, Some(lease)) => OrderId(lease),
        ("drain", None) => id,
        (_, None) => known,
    };
    Some(LeaseTerm { id, until })
}

/// For orders that stand on no rung.
const SETTLE: Duration = Duration::from_secs(60);

/// The first rung of a ladder that has this action, and its number from 0.
fn rung<'s>(service: &'s Service, action: &Action) -> Option<(&'s Repair, u8, &'s Step)> {
    let rungs = service.repairs.iter().flat_map(|repair| {
        let numbered = (0u8..).zip(&repair.steps);
        numbered.map(move |(number, step)| (repair, number, step))
    });
    rungs
        .into_iter()
        .find(|(_, _, step)| step.action == *action)
}

fn authority(proposal: &Proposal) -> Authority {
    match (&proposal.by, &proposal.approved_by) {
        (Some(by), _) => Authority::Person {
            by: by.clone(),
            why: "proposed".to_owned(),
        },
        (None, Some(by)) => Authority::Approval { by: by.clone() },
        (None, None) => Authority::Policy,
    }
}
