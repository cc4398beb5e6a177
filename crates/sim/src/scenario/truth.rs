//! How the targets really are, and what becomes of orders that reach them.
//!
//! The server sees none of this: it is told answers and outcomes. Actuators live on while the server is away.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use pitcrew_model::{
    Action, ObserverName, OperationId, Order, OutcomeKind, Target, TargetId, TestName, Verdict,
};

use super::{
    names::order_name,
    said::{Condition, Heard, OrderEffect, Rule, State},
};

#[derive(Default)]
pub(super) struct Truth {
    /// Of each target, the last said last.
    conditions: BTreeMap<TargetId, Vec<(Duration, Condition)>>,
    hosts: BTreeMap<TargetId, TargetId>,
    rules: Vec<Rule>,
    /// Those that the balancer sends nobody to.
    drained: BTreeSet<TargetId>,
    /// Orders that actuators are carrying out.
    acting: Vec<Acting>,
    /// What actuators remember of orders that they are through with.
    ended: BTreeMap<OperationId, Option<OutcomeKind>>,
}

struct Acting {
    order: Order,
    due: Duration,
    effect: OrderEffect,
    heard: Heard,
}

/// What an actuator knows of an order when a new server asks.
pub(super) enum Known {
    /// It never arrived.
    Never,
    UnderWay,
    Ended(OutcomeKind),
    /// It doesn't answer.
    Silent,
}

impl Truth {
    pub(super) fn place(&mut self, target: &Arc<Target>) {
        match &target.run_on {
            Some(host) => self.hosts.insert(target.id.clone(), host.clone()),
            None => self.hosts.remove(&target.id),
        };
    }

    pub(super) fn set(&mut self, at: Duration, target: &TargetId, condition: &Condition) {
        let conditions = self.conditions.entry(target.clone()).or_default();
        let is_whole = condition.test.is_none() && condition.seen_by.is_empty();
        if is_whole && condition.lasts.is_none() {
            conditions.clear();
        }
        conditions.push((at, condition.clone()));
    }

    pub(super) fn add_rule(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// What this observer is told, and the evidence.
    pub(super) fn answer(
        &self,
        at: Duration,
        target: &TargetId,
        test: &TestName,
        observer: &ObserverName,
        interval: Duration,
    ) -> (Verdict, String) {
        if let Some(host) = self.host_down(at, target, observer, interval) {
            return (Verdict::Fail, format!("{host}, which it runs on, is down"));
        }
        if self.is_away(target) {
            return (Verdict::Fail, "connection refused".to_owned());
        }
        let Some((since, condition)) = self.condition(at, target, Some(test), observer) else {
            return (Verdict::Pass, String::new());
        };
        let verdict = condition.verdict(at.saturating_sub(since), interval);
        let usual = match verdict {
            Verdict::Pass => "",
            Verdict::Warn => "slow",
            Verdict::Fail => "connection refused",
            Verdict::Unknown => "no agent",
        };
        let evidence = condition.evidence.as_deref();
        (verdict, evidence.unwrap_or(usual).to_owned())
    }

    fn host_down(
        &self,
        at: Duration,
        target: &TargetId,
        observer: &ObserverName,
        interval: Duration,
    ) -> Option<&TargetId> {
        let mut seen = BTreeSet::from([target]);
        let mut next = self.hosts.get(target);
        while let Some(host) = next.filter(|host| seen.insert(host)) {
            let condition = self.condition(at, host, None, observer);
            let is_down = condition.is_some_and(|(since, condition)| {
                condition.verdict(at.saturating_sub(since), interval) == Verdict::Fail
            });
            if is_down || self.is_away(host) {
                return Some(host);
            }
            next = self.hosts.get(host);
        }
        None
    }

    /// The last one said that fits and is not over; of the target as a whole where no test is named.
    fn condition(
        &self,
        at: Duration,
        target: &TargetId,
        test: Option<&TestName>,
        observer: &ObserverName,
    ) -> Option<(Duration, &Condition)> {
        let conditions = self.conditions.get(target)?.iter().rev();
        let mut fitting = conditions.filter(|(since, condition)| {
            condition.test.as_ref().is_none_or(|own| Some(own) == test)
                && (condition.seen_by.is_empty() || condition.seen_by.contains(observer))
                && condition.lasts.is_none_or(|lasts| at < *since + lasts)
        });
        fitting.next().map(|(since, condition)| (*since, condition))
    }

    /// Being restarted or stopped right now.
    fn is_away(&self, target: &TargetId) -> bool {
        self.acting.iter().any(|acting| {
            acting.order.acts_on().id == *target
                && acting.effect != OrderEffect::Fails
                && matches!(
                    acting.order.action,
                    Action::Restart | Action::Stop | Action::Reboot | Action::PowerCycle
                )
        })
    }

    pub(super) fn carry_out(&mut self, at: Duration, order: Order) {
        let action = order_name(&order);
        let mut rules = self.rules.iter().rev();
        let rule = rules.find(|rule| {
            rule.action == action
                && (rule.of.is_empty()
                    || rule.of.contains(&order.target.id)
                    || rule.of.contains(&order.acts_on().id))
        });
        let (effect, heard, takes) = rule.map_or(
            (OrderEffect::Cures, Heard::Done, Duration::from_secs(1)),
            |rule| (rule.effect, rule.heard, rule.takes),
        );
        self.acting.push(Acting {
            order,
            due: at + takes,
            effect,
            heard,
        });
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.acting.iter().map(|acting| acting.due).min()
    }

    /// The orders that take effect now, each with what its actuator reports.
    pub(super) fn finish(&mut self, at: Duration) -> Vec<(Order, Option<OutcomeKind>)> {
        let acting = std::mem::take(&mut self.acting);
        let (due, still): (Vec<_>, Vec<_>) =
            acting.into_iter().partition(|acting| acting.due <= at);
        self.acting = still;
        due.into_iter()
            .map(|acting| self.land(at, acting))
            .collect()
    }

    fn land(&mut self, at: Duration, acting: Acting) -> (Order, Option<OutcomeKind>) {
        let Acting {
            order,
            effect,
            heard,
            ..
        } = acting;
        let stays = |state, evidence: &str| Condition {
            state,
            test: None,
            seen_by: Vec::new(),
            evidence: Some(evidence.to_owned()),
            lasts: None,
        };
        let id = &order.target.id;
        match (effect, &order.action) {
            (OrderEffect::Fails, Action::Drain(_) | Action::Undrain(_)) => {}
            (_, Action::Drain(_)) => {
                self.drained.insert(id.clone());
            }
            (_, Action::Undrain(_)) => {
                self.drained.remove(id);
            }
            (OrderEffect::Cures, Action::Stop) => self.set(at, id, &stays(State::Fails, "stopped")),
            (OrderEffect::Cures, _) => {
                self.conditions.remove(id);
                self.conditions.remove(&order.acts_on().id);
            }
            (OrderEffect::Breaks, _) => {
                self.set(at, id, &stays(State::Fails, "broken by an order"));
            }
            (OrderEffect::DoesNotHelp | OrderEffect::Fails, _) => {}
        }
        let kind = match (effect, heard) {
            (OrderEffect::Fails, _) => Some(OutcomeKind::Failed),
            (_, Heard::Done) => Some(OutcomeKind::Done),
            (_, Heard::Unclear) => Some(OutcomeKind::Unknown),
            (_, Heard::Never) => None,
        };
        self.ended.insert(order.operation.clone(), kind);
        (order, kind)
    }

    pub(super) fn is_drained(&self, target: &TargetId) -> bool {
        self.drained.contains(target)
    }

    pub(super) fn known(&self, order: &Order) -> Known {
        let is_it = |acting: &Acting| acting.order.operation == order.operation;
        match self.ended.get(&order.operation) {
            Some(Some(kind)) => Known::Ended(*kind),
            Some(None) => Known::Silent,
            None if self.acting.iter().any(is_it) => Known::UnderWay,
            None => Known::Never,
        }
    }
}

impl Condition {
    fn verdict(&self, lasted: Duration, interval: Duration) -> Verdict {
        match self.state {
            State::Passes => Verdict::Pass,
            State::Warns => Verdict::Warn,
            State::Fails => Verdict::Fail,
            State::Silent => Verdict::Unknown,
            State::Flaps => {
                let round = lasted.as_millis() / interval.as_millis().max(1);
                if round.is_multiple_of(2) {
                    Verdict::Fail
                } else {
                    Verdict::Pass
                }
            }
        }
    }
}
