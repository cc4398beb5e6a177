//! People: they come when they are called, or when nobody called them and users complain; they pause, hold, stop,
//! approve and restart things while Pitcrew is at work. They reach the server as anybody does, by its API.

use std::collections::BTreeMap;

use pitcrew_model::{
    Action, Fact, Hold, Notice, OrderId, PersonAct, Record, Release, Request, Scope, Urgency,
};

use super::{
    World,
    chance::For,
    faults::{self, MINUTE, SECOND},
    queue::{Happening, Millis},
    truth::{Ended, millis},
};
use crate::{FaultKind, Hand, TargetIndex};

/// Whoever is called has repaired it after so long.
pub(super) const CALLED: Millis = 30 * MINUTE;
/// Whom nobody calls finds it after so long: users complain.
pub(super) const UNPROMPTED: Millis = 120 * MINUTE;
/// Until somebody has looked at an order that waits for approval.
pub(super) const APPROVAL: Millis = 10 * MINUTE;
/// A server that does not answer is asked again.
const TRY_AGAIN: Millis = MINUTE;

/// What a person does at a later time.
#[derive(Debug)]
pub(super) enum Errand {
    Repair {
        target: TargetIndex,
    },
    RepairScope(Scope),
    Release(Scope),
    Approve {
        order: OrderId,
        approve: bool,
    },
    Tell(Request),
    /// What was stopped on purpose.
    StartAgain {
        target: TargetIndex,
    },
    /// Beside Pitcrew: it hears nothing of it.
    HasRestarted {
        target: TargetIndex,
        number: u64,
    },
}

#[derive(Debug, Default)]
pub(super) struct People {
    /// Orders that wait for approval, with their digests.
    pending: BTreeMap<OrderId, String>,
    /// Scopes whose release somebody is on the way to.
    releasing: Vec<Scope>,
    restarts: u64,
}

impl World<'_> {
    fn later(&mut self, after: Millis, errand: Errand) {
        self.queue
            .push(self.now + after, Happening::Person(Box::new(errand)));
    }

    /// A notice has reached them.
    pub(super) fn call(&mut self, notice: &Notice) {
        if notice.urgency != Urgency::Page {
            return;
        }
        self.tally.called(self.now, notice.service.as_ref());
        if let Some(target) = notice
            .target
            .as_ref()
            .and_then(|target| self.fleet.find(target))
        {
            self.later(CALLED, Errand::Repair { target });
        }
    }

    pub(super) fn call_to_release(&mut self, scope: Scope) {
        if !self.people.releasing.contains(&scope) {
            self.people.releasing.push(scope.clone());
            self.later(CALLED, Errand::Release(scope));
        }
    }

    /// What people and the report read in the ledger.
    pub(super) fn note_record(&mut self, record: &Record) {
        let target = record
            .target
            .as_ref()
            .and_then(|target| self.fleet.find(target));
        match &record.fact {
            Fact::Confirmed { .. } => {
                if let (Some(case), Some(target)) = (record.case, &record.target) {
                    self.tally.confirmed(case, target);
                }
                if let Some(target) = target {
                    self.confirm(target);
                }
            }
            Fact::Held { hold, .. } => {
                self.tally.held(self.now, hold, record.case, target);
                if let Hold::AwaitingApproval { order, digest } = hold {
                    self.people.pending.insert(*order, digest.clone());
                    self.later(
                        APPROVAL,
                        Errand::Approve {
                            order: *order,
                            approve: true,
                        },
                    );
                }
            }
            Fact::HandedOver { .. } => self.tally.handed_over(self.now, target),
            Fact::Closed { ending, .. } => self.tally.closed(*ending),
            Fact::Intent { order } => self.tally.intended(order),
            Fact::Outcome { outcome } => self.tally.came_out(outcome),
            Fact::BreakerTripped { scope, .. } => {
                self.tally.tripped();
                self.later(CALLED, Errand::RepairScope(scope.clone()));
                if self.is_released_by_hand(scope) {
                    self.call_to_release(scope.clone());
                }
            }
            _ => {}
        }
    }

    fn confirm(&mut self, target: TargetIndex) {
        let range = (target, 0)..=(target, u32::MAX);
        for (_, affliction) in self.truth.afflictions.range_mut(range) {
            if !std::mem::replace(&mut affliction.confirmed, true) {
                self.tally.fault_confirmed(affliction.kind);
            }
        }
    }

    fn is_released_by_hand(&self, scope: &Scope) -> bool {
        let (Scope::Service(name) | Scope::Domain { service: name, .. }) = scope else {
            return false;
        };
        let services = self.production.services.iter();
        let mut rules = services.filter(|service| service.name == *name);
        rules.any(|service| service.limits.breaker.release == Release::Manual)
    }

    pub(super) fn run_errand(&mut self, errand: Errand) {
        match errand {
            Errand::Repair { target } => self.repair(target),
            Errand::RepairScope(scope) => self.repair_scope(&scope),
            Errand::Release(scope) => {
                self.people.releasing.retain(|other| *other != scope);
                self.ask_server("operator", PersonAct::Resume { scope });
            }
            Errand::Approve { order, approve } => self.decide_on(order, approve),
            Errand::Tell(request) => self.tell_server(request),
            Errand::StartAgain { target } => self.start_again(target),
            Errand::HasRestarted { target, number } => self.has_restarted(target, number),
        }
    }

    /// Everything that ails one target; what it shares with others, for all of them.
    fn repair(&mut self, target: TargetIndex) {
        let faults: Vec<(u32, FaultKind)> = self
            .truth
            .of(target)
            .map(|(fault, affliction)| (fault, affliction.kind))
            .collect();
        for (fault, kind) in faults {
            if faults::is_shared(kind) {
                self.end_fault(fault, Ended::Fixed);
            } else {
                self.relieve(fault, target, Ended::Fixed);
            }
        }
    }

    /// Whoever is called to a mass failure looks for what its targets have in common.
    fn repair_scope(&mut self, scope: &Scope) {
        for target in self.truth.afflicted() {
            if !self.is_in(scope, target) {
                continue;
            }
            let common: Vec<u32> = self
                .truth
                .of(target)
                .filter(|(_, affliction)| {
                    faults::is_shared(affliction.kind) || affliction.kind == FaultKind::Cascade
                })
                .map(|(fault, _)| fault)
                .collect();
            for fault in common {
                self.end_fault(fault, Ended::Fixed);
            }
        }
    }

    fn is_in(&self, scope: &Scope, target: TargetIndex) -> bool {
        let service = self.fleet.service_of(target);
        let of = service.map(|at| &self.production.services[at].name);
        match scope {
            Scope::Fleet => true,
            Scope::Service(name) => of == Some(name),
            Scope::Domain {
                service,
                label,
                value,
            } => {
                let labels = &self.fleet.targets()[target as usize].labels;
                of == Some(service) && labels.get(label).is_some_and(|have| **have == **value)
            }
        }
    }

    fn decide_on(&mut self, order: OrderId, approve: bool) {
        let Some(digest) = self.people.pending.remove(&order) else {
            return;
        };
        let act = if approve {
            PersonAct::Approve { order, digest }
        } else {
            PersonAct::Deny { order }
        };
        self.ask_server("operator", act);
    }

    fn ask_server(&mut self, by: &str, act: PersonAct) {
        self.tell_server(Request {
            by: by.to_owned(),
            act,
        });
    }

    fn tell_server(&mut self, request: Request) {
        if self.server.is_down() {
            self.later(TRY_AGAIN, Errand::Tell(request));
        } else {
            self.server.asked.push(request.clone());
            self.take(pitcrew_model::Event::Person(request));
            self.server.answer_if_idle();
        }
    }

    /// Whoever had no answer when the server's process ended.
    pub(super) fn ask_again(&mut self, unanswered: Vec<Request>) {
        for request in unanswered {
            self.later(TRY_AGAIN, Errand::Tell(request));
        }
    }

    pub(super) fn hand(&mut self, hand: &Hand) {
        match hand {
            Hand::Pause { scope, .. } => {
                let why = "maintenance".to_owned();
                self.ask_server(
                    "maintainer",
                    PersonAct::Pause {
                        scope: scope.clone(),
                        why,
                    },
                );
            }
            Hand::Hold { target, lasts } => {
                let until = self.stamp(self.now + millis(*lasts));
                let target = self.fleet.targets()[*target as usize].id.clone();
                let why = "maintenance".to_owned();
                self.ask_server("maintainer", PersonAct::Hold { target, until, why });
            }
            Hand::Restart { target } => {
                self.people.restarts += 1;
                // Careful people take it out of use first.
                let service = self.fleet.service_of(*target);
                let drain = service.and_then(|at| self.production.services[at].drain.clone());
                if let Some(drain) = drain {
                    self.order(*target, Action::Drain(drain));
                }
                if self.chance.percent(50, For::Hand, &[self.people.restarts]) {
                    self.order(*target, Action::Restart);
                } else {
                    self.restart_by_hand(*target);
                }
            }
            Hand::Stop { target, .. } => self.order(*target, Action::Stop),
            Hand::Decide { approve } => {
                let pending: Vec<OrderId> = self.people.pending.keys().copied().collect();
                for order in pending {
                    self.decide_on(order, *approve);
                }
            }
        }
    }

    pub(super) fn hand_over(&mut self, hand: &Hand) {
        match hand {
            Hand::Pause { scope, .. } => {
                self.ask_server(
                    "maintainer",
                    PersonAct::Resume {
                        scope: scope.clone(),
                    },
                );
            }
            Hand::Stop { target, .. } => self.start_again(*target),
            Hand::Hold { .. } | Hand::Restart { .. } | Hand::Decide { .. } => {}
        }
    }

    fn order(&mut self, target: TargetIndex, action: Action) {
        let target = self.fleet.targets()[target as usize].id.clone();
        let why = "as planned".to_owned();
        self.ask_server(
            "maintainer",
            PersonAct::Order {
                target,
                action,
                why,
            },
        );
    }

    /// Until it runs: a start may be refused or get lost.
    fn start_again(&mut self, target: TargetIndex) {
        if self.truth.stopped.contains(&target) {
            self.order(target, Action::Start);
            self.later(2 * TRY_AGAIN, Errand::StartAgain { target });
        }
    }

    fn restart_by_hand(&mut self, target: TargetIndex) {
        self.take_down(target);
        let number = self.people.restarts;
        let takes = SECOND + self.chance.below(9_000, For::Work, &[u64::MAX, number]);
        self.later(takes, Errand::HasRestarted { target, number });
    }

    fn has_restarted(&mut self, target: TargetIndex, number: u64) {
        self.bring_back(target);
        self.restarted_into_release(target);
        let faults: Vec<(u32, FaultKind)> = self
            .truth
            .of(target)
            .map(|(fault, affliction)| (fault, affliction.kind))
            .collect();
        for (fault, kind) in faults {
            let percent = faults::cure_percent(kind, &Action::Restart);
            if self
                .chance
                .percent(percent, For::Cure, &[u64::MAX, number, fault.into()])
            {
                self.relieve(fault, target, Ended::Fixed);
            }
        }
    }
}
