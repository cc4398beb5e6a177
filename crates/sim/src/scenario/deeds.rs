//! What happens in a scenario, done to the world that it runs in.

use std::time::Duration;

use pitcrew_model::{
    CaseId, Event, ObserverName, OrderId, PersonAct, Request, SourceTrouble, TargetId,
};

use super::{
    names::{action_named, source},
    run::Run,
    said::{Act, Discovery, Hand, Observer},
    story::Kind,
};

impl Run<'_> {
    pub(super) fn act(&mut self, act: &Act) {
        match act {
            Act::Truth { targets, condition } => targets
                .iter()
                .for_each(|target| self.truth.set(self.at, target, condition)),
            Act::Orders(rule) => self.truth.add_rule(rule.clone()),
            Act::Person { by, does } => self.person(by, does),
            Act::Server(trouble) => self.server.trouble(self.at, *trouble),
            Act::ClockSteps(ms) => self.step_clock(*ms),
            Act::LedgerFull(true) => self.server.ledger_full = true,
            Act::LedgerFull(false) => self.server.ledger_works(),
            Act::Discovery(discovery) => self.discovery(discovery),
            Act::Observer { observer, is } => self.observer(observer, is),
            Act::Reload(production) => self.server.reload(production),
            Act::Propose(proposal) => self.propose(proposal),
        }
        if self.server.starts_at.is_some_and(|at| at <= self.at) {
            self.start_server();
        }
    }

    /// The server's clock never goes back: it only notices that it was set.
    fn step_clock(&mut self, ms: i64) {
        let paused_for = Duration::from_millis(ms.unsigned_abs());
        if ms > 0 {
            self.clock_ahead += paused_for;
        }
        self.server.events.push_back(Event::Woke { paused_for });
    }

    fn discovery(&mut self, discovery: &Discovery) {
        match discovery {
            Discovery::Loses(targets) => self.server.loses(targets),
            Discovery::Gives(targets) => {
                targets.iter().for_each(|target| self.truth.place(target));
                self.server.gives(targets);
            }
            Discovery::AnswersNothing => self.server.answers_nothing(),
            Discovery::Fails(error) => {
                let error = error.clone();
                self.server.doubt(SourceTrouble::Failed { error });
            }
            Discovery::Works => self.server.ask_discovery(),
        }
    }

    fn observer(&mut self, name: &ObserverName, is: &Observer) {
        let trouble = match is {
            Observer::Suspect(trouble) => Some(trouble.clone()),
            _ => None,
        };
        let before = match &trouble {
            Some(trouble) => self.server.suspects.insert(name.clone(), trouble.clone()),
            None => self.server.suspects.remove(name),
        };
        if before != trouble {
            let observer = name.clone();
            self.server
                .events
                .push_back(Event::Observer { observer, trouble });
        }
        self.observers.insert(name.clone(), is.clone());
    }

    fn person(&mut self, by: &str, does: &Hand) {
        if self.server.brain.is_none() {
            return self.nothing_to(by, "ask: the server is away");
        }
        let act = match does {
            Hand::Holds { target, lasts, why } => PersonAct::Hold {
                target: target.clone(),
                until: self.now() + *lasts,
                why: why.clone(),
            },
            Hand::Releases(target) => PersonAct::Release {
                target: target.clone(),
            },
            Hand::Pauses { scope, why } => PersonAct::Pause {
                scope: scope.clone(),
                why: why.clone(),
            },
            Hand::Resumes(scope) => PersonAct::Resume {
                scope: scope.clone(),
            },
            Hand::Orders {
                action,
                target,
                why,
            } => match action_named(action, self.server.target(target), self.server.production()) {
                Some(action) => PersonAct::Order {
                    target: target.clone(),
                    action,
                    why: why.clone(),
                },
                None => return self.nothing_to(by, &format!("order {action}")),
            },
            Hand::Approves { target, digest } => match self.awaiting(target) {
                Some((order, own)) => PersonAct::Approve {
                    order,
                    digest: digest.clone().unwrap_or(own),
                },
                None => return self.nothing_to(by, &format!("approve on {target}")),
            },
            Hand::Denies(target) => match self.awaiting(target) {
                Some((order, _)) => PersonAct::Deny { order },
                None => return self.nothing_to(by, &format!("deny on {target}")),
            },
            Hand::Accepts { why } => {
                let source = source();
                let why = why.clone();
                let act = PersonAct::Accept { source, why };
                return self.accept(by, act);
            }
            Hand::Closes { target, why } => match self.case_of(target) {
                Some(case) => PersonAct::Close {
                    case,
                    why: why.clone(),
                },
                None => return self.nothing_to(by, &format!("close on {target}")),
            },
        };
        let by = by.to_owned();
        self.server
            .events
            .push_back(Event::Person(Request { by, act }));
    }

    /// Whoever asked discovery obeys its refused answer, unless the engine has said no.
    fn accept(&mut self, by: &str, act: PersonAct) {
        let by = by.to_owned();
        let request = Request { by, act };
        self.server.events.push_back(Event::Person(request));
        self.drain();
        let answer = self.server.story.lines.last();
        if !answer.is_some_and(|line| line.kind == Kind::Refusal) {
            self.server.accept_discovery();
        }
    }

    fn nothing_to(&mut self, by: &str, what: &str) {
        let what = format!("{by} refused: there is nothing to {what}");
        self.server.story.write(self.at, None, Kind::Refusal, what);
    }

    fn awaiting(&self, target: &TargetId) -> Option<(OrderId, String)> {
        let orders = self.server.brain.as_ref()?.engine.orders().rev();
        let mut waiting = orders.filter(|state| {
            !state.given && state.ended_at.is_none() && state.order.target.id == *target
        });
        let state = waiting.next()?;
        Some((state.order.id, state.order.digest.clone()))
    }

    fn case_of(&self, target: &TargetId) -> Option<CaseId> {
        let mut cases = self.server.brain.as_ref()?.engine.cases().rev();
        cases
            .find(|case| case.target == *target)
            .map(|case| case.id)
    }
}
